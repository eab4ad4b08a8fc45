"""Tunnels, paths, certificates, charon and the agent itself. Pure: one function an alert.

Each ``hold`` is as long as what mends itself: a renegotiation takes seconds, a restart of charon or of the
agent less than a minute. A failover is told without delay, as it has happened.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from vpnagent.checks.certificates import AT_ONCE as URGENT
from vpnagent.checks.certificates import DAY, SOON
from vpnagent.commands.alerts.rule import AT_ONCE, Alert, AlertRule, Recording, Scope, of_connections, quoted
from vpnagent.config.values import Attachment, Config, Forwarding
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
        # Without charon nothing is known of its SAs: VpnCharonDown is what there is to say.
        expr=f"(max without (state) ({state}) == 1\nor {scope.series('vpnagent_child_sa_installed')} == 0)\n"
        f"unless on (job, instance) {scope.series('vpnagent_charon_up')} == 0",
        hold="1m",
        summary=f"Tunnel {TUNNEL} is down",
        description="For a minute the tunnel has not been negotiated, or was left as nothing comes through. "
        f"Tunnels of connection {{{{ $labels.connection }}}} that are up or degraded: {count}. "
        "With 0 its networks cannot be reached; else the redundancy is lost.",
    )


def _network_not_carried(config: Config, scope: Scope) -> Iterator[Alert]:
    carried, every = scope.series("vpnagent_network_carried"), scope.series("vpnagent_tunnel_up")
    down = scope.series("vpnagent_tunnel_state", 'state=~"down|trial"')
    yield Alert(
        name="VpnNetworkNotCarried",
        severity=Severity.CRITICAL,
        # While none of its tunnels works, that is the fault, and VpnTunnelDown tells it.
        expr=f"{carried} == 0\nunless on (job, instance, connection) "
        f"sum by (job, instance, connection) ({down}) == count by (job, instance, connection) ({every})",
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
            # A tunnel that the other gateway of a pair has is not counted: its series is not there.
            expr=f"sum without (tunnel) ({up}) == 1\nand count without (tunnel) ({up}) > 1",
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


# Traffic against its limits: the tables of the cloud's page (4.3), exactly. Pure.
# A VPN gateway instance is judged per direction, a transit router's connection per single tunnel: each
# direction's bandwidth, and the packet rate of both directions together.
# Every level is a share of a limit that the agent exports, so that 300 Mbps of 1000 stay 30 % when the
# limit changes. What is compared is the share that was held: the lowest two-minute rate of the last five
# minutes. One number has one level, so that at most one severity fires, a rise from one level to the next
# leaves no gap, and traffic that swings about a threshold holds the level below it all the time. With
# ``for`` instead, bands would never fire on such traffic, and plain thresholds would all fire at once.

RATE: Final = "2m"  #: at least four scrapes of 30 s; the cloud's own metrics have periods of 60 s
HELD: Final = "5m"  #: so long a level must last; a copy that takes three minutes is no trouble

#: severity, above which share of the limit it begins, and at which the next one takes over
LEVELS: Final = (
    (Severity.INFO, "0.3", "0.5"),
    (Severity.WARNING, "0.5", "0.85"),
    (Severity.CRITICAL, "0.85", None),
)

#: this gateway's word and the cloud's: what we transmit comes in there
DIRECTIONS: Final = (("transmit", "inbound"), ("receive", "outbound"))

GATEWAY_BANDWIDTH: Final = "gateway:vpnagent_bandwidth_utilisation:ratio_rate2m"
TUNNEL_BANDWIDTH: Final = "tunnel:vpnagent_bandwidth_utilisation:ratio_rate2m"
TUNNEL_PACKET_RATE: Final = "tunnel:vpnagent_packet_rate_utilisation:ratio_rate2m"

SHARE: Final = "{{ $value | humanizePercentage }}"
BOTH_VIEWS: Final = "{{ $labels.direction }} (the cloud's {{ $labels.cloud_direction }})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """A recorded share of a limit, and what is told when it is high."""

    alert: str
    record: str
    summary: str
    description: str


GATEWAY: Final = Utilisation(
    alert="VpnGatewayBandwidthHigh",
    record=GATEWAY_BANDWIDTH,
    summary=f"VPN gateway {{{{ $labels.vpn_gateway }}}}: {BOTH_VIEWS} at {SHARE} of its bandwidth",
    description=f"All tunnels of the VPN gateway have used at least {SHARE} of the bandwidth bought, "
    f"{BOTH_VIEWS}, for {HELD}. Near 100 % the cloud drops packets, probes too.",
)
BANDWIDTH: Final = Utilisation(
    alert="VpnTunnelBandwidthHigh",
    record=TUNNEL_BANDWIDTH,
    summary=f"Tunnel {TUNNEL}: {BOTH_VIEWS} at {SHARE} of its bandwidth",
    description=f"The tunnel has used at least {SHARE} of its bandwidth limit, {BOTH_VIEWS}, for {HELD}. "
    "Near 100 % the cloud drops packets, probes too.",
)
PACKET_RATE: Final = Utilisation(
    alert="VpnTunnelPacketRateHigh",
    record=TUNNEL_PACKET_RATE,
    summary=f"Tunnel {TUNNEL}: {SHARE} of its packet rate",
    description=f"The tunnel has carried, in and out together, at least {SHARE} of the packets per second "
    f"that the cloud allows it, for {HELD}. Near 100 % the cloud drops packets, probes too.",
)


def traffic(config: Config, scope: Scope) -> Iterator[AlertRule]:
    """Yield what is recorded, and the alerts on it; nothing for an attachment that is not configured."""
    instances = vpn_gateways(config)
    for vpn_gateway, connections in instances.items():
        for direction, cloud_direction in DIRECTIONS:
            labels = {
                "vpn_gateway": vpn_gateway,
                "direction": direction,
                "cloud_direction": cloud_direction,
            }
            expr = _of_gateway(scope, direction, connections)
            yield Recording(record=GATEWAY_BANDWIDTH, expr=expr, labels=labels)
    if instances:
        yield from _alerts(scope, GATEWAY)
    routed = [c.name for c in config.connections if c.attachment is Attachment.TRANSIT_ROUTER]
    if routed:
        for direction, cloud_direction in DIRECTIONS:
            labels = {"direction": direction, "cloud_direction": cloud_direction}
            yield Recording(record=TUNNEL_BANDWIDTH, expr=_of_tunnel(scope, direction, routed), labels=labels)
        yield Recording(record=TUNNEL_PACKET_RATE, expr=_packets(scope, routed))
        yield from _alerts(scope, BANDWIDTH)
        yield from _alerts(scope, PACKET_RATE)


def vpn_gateways(config: Config) -> dict[str, list[str]]:
    """Return the connections of each VPN gateway instance: those with one ``gateway_id`` share it."""
    instances: dict[str, list[str]] = {}
    for connection in config.connections:
        if connection.attachment is Attachment.VPN_GATEWAY:
            instances.setdefault(connection.gateway_id or connection.name, []).append(connection.name)
    return instances


def _alerts(scope: Scope, told: Utilisation) -> Iterator[Alert]:
    held = f"min_over_time({scope.recorded(told.record)}[{HELD}])"
    for severity, above, up_to in LEVELS:
        yield Alert(
            name=told.alert,
            severity=severity,
            expr=f"{held} > {above}" + (f" <= {up_to}" if up_to else ""),
            hold=AT_ONCE,
            summary=told.summary,
            description=told.description,
        )


def _of_gateway(scope: Scope, direction: str, connections: list[str]) -> str:
    ours = of_connections(connections)
    sent = scope.series(f"vpnagent_tunnel_{direction}_bytes_total", ours)
    limit = scope.series("vpnagent_connection_bandwidth_limit_bits_per_second", ours)
    return (
        f"8 * sum without (connection, tunnel) (rate({sent}[{RATE}]))\n/ max without (connection) ({limit})"
    )


def _of_tunnel(scope: Scope, direction: str, connections: list[str]) -> str:
    sent = scope.series(f"vpnagent_tunnel_{direction}_bytes_total", of_connections(connections))
    return f"8 * rate({sent}[{RATE}])\n/ {scope.series('vpnagent_tunnel_bandwidth_limit_bits_per_second')}"


def _packets(scope: Scope, connections: list[str]) -> str:
    transmitted, received = (
        scope.series(f"vpnagent_tunnel_{direction}_packets_total", of_connections(connections))
        for direction, _ in DIRECTIONS
    )
    limit = scope.series("vpnagent_tunnel_packet_rate_limit")
    return f"(rate({transmitted}[{RATE}])\n  + rate({received}[{RATE}]))\n/ {limit}"
