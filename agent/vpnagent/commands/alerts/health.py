"""Tunnels, paths, certificates, charon and the agent itself. Pure: one function an alert.

Each ``hold`` is as long as what mends itself: a renegotiation takes seconds, a restart of charon or of the
agent less than a minute. A failover is told without delay, as it has happened.
"""

from collections.abc import Callable, Iterator
from typing import Final

from vpnagent.checks.certificates import AT_ONCE as URGENT
from vpnagent.checks.certificates import DAY, SOON
from vpnagent.commands.alerts.rule import AT_ONCE, Alert, Scope, of_connections, quoted
from vpnagent.config.values import Config, Forwarding
from vpnagent.finding import Severity
from vpnagent.probe.actions import LATENESS_BOUNDS

TUNNEL: Final = "{{ $labels.connection }}/{{ $labels.tunnel }}"
UNPROVEN: Final = 7 * DAY  #: seconds without a packet each way, before a drill is advised
NEVERTHELESS: Final = "Tunnels and routes stay as they are"


def health(config: Config, scope: Scope) -> Iterator[Alert]:
    """Yield all alerts that are not about limits."""
    for rule in RULES:
        yield from rule(config, scope)


def _tunnel_down(config: Config, scope: Scope) -> Iterator[Alert]:
    state = scope.series("vpnagent_tunnel_state", 'state=~"down|trial"')
    usable = scope.series("vpnagent_tunnel_state", 'state=~"up|degraded"', "connection=%q")
    count = f"{{{{ with printf {quoted(f'sum({usable})')} $labels.connection | query }}}}"
    count += "{{ . | first | value }}{{ end }}"
    yield Alert(
        name="VpnTunnelDown",
        severity=Severity.CRITICAL,
        # A tunnel that is left down has an SA in each of its short trials.
        expr=f"max without (state) ({state}) == 1\nor {scope.series('vpnagent_child_sa_installed')} == 0",
        hold="1m",
        summary=f"Tunnel {TUNNEL} is down",
        description="For a minute the tunnel has not been negotiated, or was left as nothing comes through. "
        f"Tunnels of connection {{{{ $labels.connection }}}} that are up or degraded: {count}. "
        "With 0 its networks cannot be reached; else the redundancy is lost.",
    )


def _network_not_carried(config: Config, scope: Scope) -> Iterator[Alert]:
    carried = scope.series("vpnagent_network_carried")
    yield Alert(
        name="VpnNetworkNotCarried",
        severity=Severity.CRITICAL,
        expr=f"{carried} == 0",
        hold="1m",
        summary="{{ $labels.local }} does not reach {{ $labels.remote }} through {{ $labels.connection }}",
        description="For a minute packets of hosts in {{ $labels.local }} for {{ $labels.remote }} have "
        "not gone into a tunnel, or answers have not found their way back, whatever the tunnels' states. "
        "vpnagent status names the broken link: forwarding, rule, route, selectors, the way to the LAN.",
    )


def _no_standby(config: Config, scope: Scope) -> Iterator[Alert]:
    names = [
        connection.name
        for connection in config.connections
        if connection.forwarding is Forwarding.ACTIVE_STANDBY and len(connection.tunnels) > 1
    ]
    if names:
        up = scope.series("vpnagent_tunnel_up", of_connections(names))
        yield Alert(
            name="VpnNoStandby",
            severity=Severity.WARNING,
            expr=f"sum without (tunnel) ({up}) == 1",
            hold="2m",
            summary="Connection {{ $labels.connection }} has no standby",
            description="For two minutes only one of the connection's tunnels has been up: "
            "the next fault is an outage.",
        )


def _path_degraded(config: Config, scope: Scope) -> Iterator[Alert]:
    yield Alert(
        name="VpnPathDegraded",
        severity=Severity.WARNING,
        expr=f"{scope.series('vpnagent_path_degraded')} == 1",
        hold="2m",
        summary=f"Tunnel {TUNNEL}: its path is degraded",
        description="For two minutes probes through the tunnel have been lost, or have come back late: "
        "applications that use it are slow. Where the other tunnel is better it is used.",
    )


def _path_unprobed(config: Config, scope: Scope) -> Iterator[Alert]:
    yield Alert(
        name="VpnPathUnprobed",
        severity=Severity.WARNING,
        expr=f"{scope.series('vpnagent_path_unprobed')} == 1",
        hold="1m",
        summary=f"Tunnel {TUNNEL}: its path is not probed",
        description="For a minute no probe could be sent into the tunnel: if it dies, nobody will notice.",
    )


def _standby_unproven(config: Config, scope: Scope) -> Iterator[Alert]:
    yield Alert(
        name="VpnStandbyUnproven",
        severity=Severity.INFO,
        expr=f"{scope.series('vpnagent_standby_proven_seconds')} > {UNPROVEN / DAY:g} * {DAY:g}",
        hold="1h",
        summary=f"Tunnel {TUNNEL}: not proven both ways for {UNPROVEN / DAY:g} days",
        description="No packet has passed through the tunnel in each direction for that long. A drill proves "
        "that it can take over.",
    )


def _failover(config: Config, scope: Scope) -> Iterator[Alert]:
    yield Alert(
        name="VpnFailover",
        severity=Severity.INFO,
        expr=f"increase({scope.series('vpnagent_failovers_total')}[10m]) > 0",
        hold=AT_ONCE,
        summary="Connection {{ $labels.connection }}: traffic was moved ({{ $labels.reason }})",
        description="Within the last ten minutes the connection's traffic was moved to other tunnels. "
        "Nothing is to be done for it; see why it was.",
    )


def _clear_text_stopped(config: Config, scope: Scope) -> Iterator[Alert]:
    yield Alert(
        name="VpnClearTextStopped",
        severity=Severity.CRITICAL,
        expr=f"increase({scope.series('vpnagent_clear_text_stopped_packets_total')}[5m]) > 0",
        hold=AT_ONCE,
        summary=f"{scope.gateway}: packets of the cloud's networks were about to leave in clear "
        "({{ $labels.direction }})",
        description="Within the last five minutes packets for a remote network (out), or packets out of a "
        "tunnel (in), would have left by an interface that is neither a tunnel nor the LAN's. The leak guard "
        "stopped them, unless agent.leak_guard is count; whoever sent them has no answer.",
    )


def _certificate_expiry(config: Config, scope: Scope) -> Iterator[Alert]:
    left = f"{scope.series('vpnagent_certificate_expiry_timestamp_seconds')} - time()"
    soon, urgent = (f"{time / DAY:g} * {DAY:g}" for time in (SOON, URGENT))
    for severity, expr in (
        (Severity.WARNING, f"{left} <= {soon} > {urgent}"),
        (Severity.CRITICAL, f"{left} <= {urgent}"),
    ):
        yield Alert(
            name="VpnCertificateExpiry",
            severity=severity,
            expr=expr,
            hold=AT_ONCE,
            summary=f"Tunnel {TUNNEL}: a certificate expires in {{{{ $value | humanizeDuration }}}}",
            description="The tunnel's certificate or its CA expires; a negative time says that it has. "
            "Then the next authentication of the IKE_SA fails, and the tunnel stays down.",
        )


def _agent_down(config: Config, scope: Scope) -> Iterator[Alert]:
    up = scope.series("up")
    yield Alert(
        name="VpnAgentDown",
        severity=Severity.CRITICAL,
        expr=f"{up} == 0\nor absent({up})",
        hold="2m",
        summary=f"vpnagent on {scope.gateway} does not answer Prometheus",
        description="For two minutes Prometheus has had no answer from the agent, or no such target. "
        f"{NEVERTHELESS}, and a prober that lives goes on with failover; but drift is not repaired, and no "
        "other alert can fire.",
    )


def _charon_down(config: Config, scope: Scope) -> Iterator[Alert]:
    yield Alert(
        name="VpnCharonDown",
        severity=Severity.CRITICAL,
        expr=f"{scope.series('vpnagent_charon_up')} == 0",
        hold="1m",
        summary=f"charon on {scope.gateway} does not answer",
        description="For a minute the IKE daemon has not answered on its VICI socket. "
        f"{NEVERTHELESS} until the SAs expire; if charon has ended, nothing is rekeyed or negotiated.",
    )


def _config_reload_failed(config: Config, scope: Scope) -> Iterator[Alert]:
    yield Alert(
        name="VpnConfigReloadFailed",
        severity=Severity.WARNING,
        expr=f"{scope.series('vpnagent_config_last_reload_successful')} == 0",
        hold="5m",
        summary=f"The configuration file of {scope.gateway} is not in force",
        description="For five minutes the agent has run another configuration than the file's: it was "
        "refused, or taken back as nobody confirmed it. Nothing is broken; what was to change has not.",
    )


def _drift_repeated(config: Config, scope: Scope) -> Iterator[Alert]:
    repairs = scope.series("vpnagent_drift_repairs_total")
    yield Alert(
        name="VpnDriftRepeated",
        severity=Severity.WARNING,
        # Moments, not objects: with one interface a thousand routes go, in one moment.
        expr=f"max without (kind) (changes({repairs}[1h]) - resets({repairs}[1h])) >= 3",
        hold=AT_ONCE,
        summary=f"Something on {scope.gateway} keeps changing what is vpnagent's",
        description="{{ $value }} times within the last hour the agent has put its interfaces, nexthops or "
        "routes right. Each time traffic may have stopped for a moment.",
    )


def _prober_late(config: Config, scope: Scope) -> Iterator[Alert]:
    interval = min(tunnel.probe.interval for tunnel in config.tunnels())
    bound = max(bound for bound in LATENESS_BOUNDS if bound <= interval / 2)
    in_time = scope.series("vpnagent_prober_lateness_seconds_bucket", f'le="{bound}"')
    every = scope.series("vpnagent_prober_lateness_seconds_count")
    yield Alert(
        name="VpnProberLate",
        severity=Severity.WARNING,
        expr=f"1 - rate({in_time}[5m]) / ignoring (le) rate({every}[5m]) > 0.01",
        hold="5m",
        summary=f"The prober on {scope.gateway} is late",
        description=f"For five minutes {{{{ $value | humanizePercentage }}}} of the prober's wake-ups were "
        f"over {bound * 1e3:g} ms late: the machine is too busy, and a dead tunnel is left too late.",
    )


RULES: Final[tuple[Callable[[Config, Scope], Iterator[Alert]], ...]] = (
    _tunnel_down,
    _network_not_carried,
    _no_standby,
    _path_degraded,
    _path_unprobed,
    _standby_unproven,
    _failover,
    _clear_text_stopped,
    _certificate_expiry,
    _agent_down,
    _charon_down,
    _config_reload_failed,
    _drift_repeated,
    _prober_late,
)
