"""The rules as Prometheus's own promtool evaluates them: every alert at its edge, on both sides of it.

Each case is a healthy gateway but for some series. At each of its moments exactly the alerts that are named
fire, and no other: neither another alert nor the same with another severity.
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pytest
from tests.commands.alerts.gateways import EVERY_KIND, SCOPE
from tests.native.prometheus import Moment, Told, alert, counter, gauge, promtool, run

from vpnagent.commands.alerts import rule_file
from vpnagent.commands.alerts.rule import Scope
from vpnagent.config.values import Config, Connection, Tunnel

LONG: Final = 80.0  #: minutes, a bit more than any case needs
HAIR: Final = 1e-6  #: relative; what is this much above a threshold is above it
TARGET: Final = 'job="vpnagent",instance="idc-hz-1:9786"'
DAY: Final = 86400

Courses = dict[str, str]


def series(name: str, labels: str = "", target: str = TARGET) -> str:
    return f"{name}{{{','.join(filter(None, (target, labels)))}}}"


def tunnel_series(name: str, tunnel: str, labels: str = "") -> str:
    """Return a tunnel's series; it is named CONNECTION/TUNNEL."""
    connection, _, own = tunnel.partition("/")
    return series(name, ",".join(filter(None, (f'connection="{connection}",tunnel="{own}"', labels))))


def healthy(config: Config, minutes: float) -> Courses:
    """Return the series of a gateway on which all is well and a little traffic flows."""
    courses = {
        series("up"): gauge((1, minutes)),
        series("vpnagent_charon_up"): gauge((1, minutes)),
        series("vpnagent_config_last_reload_successful"): gauge((1, minutes)),
        series("vpnagent_drift_repairs_total", 'kind="route"'): gauge((7, minutes)),
        series("vpnagent_prober_lateness_seconds_bucket", 'le="0.025"'): counter((100, minutes)),
        series("vpnagent_prober_lateness_seconds_count"): counter((100, minutes)),
    }
    for connection in config.connections:
        of = f'connection="{connection.name}"'
        limit = series("vpnagent_connection_bandwidth_limit_bits_per_second", of)
        courses[limit] = gauge((connection.bandwidth, minutes))
        courses[series("vpnagent_failovers_total", f'{of},reason="silent"')] = gauge((3, minutes))
        for remote in connection.remote_networks:
            network = f'{of},local="10.1.0.0/16",remote="{remote}"'
            courses[series("vpnagent_network_carried", network)] = gauge((1, minutes))
        for tunnel in connection.tunnels:
            courses |= _healthy_tunnel(connection, tunnel, minutes)
    return courses


def _healthy_tunnel(connection: Connection, tunnel: Tunnel, minutes: float) -> Iterator[tuple[str, str]]:
    for name, course in (
        ("vpnagent_child_sa_installed", gauge((1, minutes))),
        ("vpnagent_tunnel_up", gauge((1, minutes))),
        ("vpnagent_path_degraded", gauge((0, minutes))),
        ("vpnagent_tunnel_bandwidth_limit_bits_per_second", gauge((connection.bandwidth, minutes))),
        ("vpnagent_tunnel_packet_rate_limit", gauge((connection.packet_rate, minutes))),
        ("vpnagent_tunnel_transmit_bytes_total", counter((1000, minutes))),
        ("vpnagent_tunnel_receive_bytes_total", counter((1000, minutes))),
        ("vpnagent_tunnel_transmit_packets_total", counter((10, minutes))),
        ("vpnagent_tunnel_receive_packets_total", counter((10, minutes))),
    ):
        yield tunnel_series(name, str(tunnel.key)), course
    for state in ("up", "down", "trial"):
        name = tunnel_series("vpnagent_tunnel_state", str(tunnel.key), f'state="{state}"')
        yield name, gauge((state == "up", minutes))


def _labels(severity: str, **about: str) -> dict[str, str]:
    """Return all labels of an alert of this gateway."""
    target = {"job": "vpnagent", "instance": "idc-hz-1:9786"}
    return {"severity": severity, "gateway": "idc-hz-1", **target, **about}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Courses that differ from the healthy ones, and what is expected when."""

    name: str
    courses: Mapping[str, str]
    expected: Sequence[Moment | Told]
    scope: Scope = SCOPE
    without: frozenset[str] = frozenset()  #: healthy series that are not there at all
    config: Config = field(default=EVERY_KIND, repr=False)


# Traffic: the tables of the page.

LEVELS: Final = ((0.3, "info"), (0.5, "warning"), (0.85, "critical"))
DIRECTIONS: Final = ("transmit", "receive")


def _byte_series(direction: str, tunnel: str) -> str:
    return tunnel_series(f"vpnagent_tunnel_{direction}_bytes_total", tunnel)


def _edge(name: str, level: float, severity: str, **about: str) -> tuple[Moment, ...]:
    """Return what fires at a level and a hair above it: at it still the level below."""
    below = next((severity for share, severity in reversed(LEVELS) if share < level), None)
    under = (alert(name, below, **about),) if below else ()
    return (
        Moment(minutes=14, firing=under),
        Moment(minutes=30, firing=(alert(name, severity, **about),)),
    )


def _over(threshold: float) -> str:
    """Return a counter whose growth a second is at a threshold, and from minute 15 on a hair above it."""
    return counter((threshold, 15), (threshold * (1 + HAIR), 20))


def gateway_cases() -> Iterator[Case]:
    """The instance's bandwidth: of two connections that share it, and of one that has its own."""
    for direction in DIRECTIONS:
        for level, severity in LEVELS:
            shared, own = (
                _edge("VpnGatewayBandwidthHigh", level, severity, vpn_gateway=name, direction=direction)
                for name in ("vpn-bp1", "shanghai")
            )
            half = _over(level * 200e6 / 8 / 2)
            courses = {_byte_series(direction, name): half for name in ("hangzhou/primary", "ningbo/only")}
            courses[_byte_series(direction, "hangzhou/backup")] = counter((0, LONG))
            yield Case(name=f"shared gateway, {direction}, {level:.0%}", courses=courses, expected=shared)
            courses = {_byte_series(direction, "shanghai/only"): _over(level * 100e6 / 8)}
            yield Case(name=f"own gateway, {direction}, {level:.0%}", courses=courses, expected=own)


def tunnel_cases() -> Iterator[Case]:
    """A transit router's single tunnel, with the page's limits and with others."""
    for key, bandwidth in (("beijing/a", 1e9), ("chengdu/b", 200e6)):
        connection, _, tunnel = key.partition("/")
        for direction in DIRECTIONS:
            about = {"connection": connection, "tunnel": tunnel, "direction": direction}
            for level, severity in LEVELS:
                expected = _edge("VpnTunnelBandwidthHigh", level, severity, **about)
                courses = {_byte_series(direction, key): _over(level * bandwidth / 8)}
                yield Case(name=f"{key}, {direction}, {level:.0%}", courses=courses, expected=expected)


def packet_cases() -> Iterator[Case]:
    """Packets in and out together: neither direction alone is above the level."""
    for key, limit in (("beijing/b", 120_000), ("chengdu/a", 10_000)):
        connection, _, tunnel = key.partition("/")
        for level, severity in LEVELS:
            expected = _edge("VpnTunnelPacketRateHigh", level, severity, connection=connection, tunnel=tunnel)
            courses = {
                tunnel_series(f"vpnagent_tunnel_{way}_packets_total", key): _over(level * limit * part)
                for way, part in (("transmit", 0.75), ("receive", 0.25))
            }
            yield Case(name=f"{key}, packets, {level:.0%}", courses=courses, expected=expected)


BEIJING_A: Final = {"connection": "beijing", "tunnel": "a", "direction": "transmit"}
BEIJING_TRANSMIT: Final = _byte_series("transmit", "beijing/a")
BEIJING_LIMIT: Final = tunnel_series("vpnagent_tunnel_bandwidth_limit_bits_per_second", "beijing/a")


def _beijing(severity: str) -> tuple[tuple[str, ...], ...]:
    return (alert("VpnTunnelBandwidthHigh", severity, **BEIJING_A),)


COURSE_CASES: Final = (
    Case(
        name="the page's own numbers: 300, 500 and 850 Mbps",
        courses={
            BEIJING_TRANSMIT: counter((290e6 / 8, 20), (310e6 / 8, 20), (510e6 / 8, 20), (860e6 / 8, 60))
        },
        expected=(
            Moment(minutes=19),
            Moment(minutes=39, firing=_beijing("info")),
            Moment(minutes=59, firing=_beijing("warning")),
            Moment(minutes=79, firing=_beijing("critical")),
        ),
    ),
    Case(
        name="a rise by two levels leaves no moment without an alert",
        courses={BEIJING_TRANSMIT: counter((350e6 / 8, 30), (900e6 / 8, 90))},
        expected=(
            *(Moment(minutes=30 + half / 2, firing=_beijing("info")) for half in range(8)),
            *(Moment(minutes=38 + half / 2, firing=_beijing("critical")) for half in range(8)),
        ),
    ),
    Case(
        name="what does not last is not told",
        courses={BEIJING_TRANSMIT: counter((100e6 / 8, 30), (900e6 / 8, 4), (100e6 / 8, 86))},
        expected=tuple(Moment(minutes=minute) for minute in range(28, 45)),
    ),
    Case(
        name="traffic that swings about a threshold holds the level below it",
        courses={BEIJING_TRANSMIT: counter(*((share * 1e9 / 8, 2) for share in (0.45, 0.55) * 30))},
        expected=tuple(Moment(minutes=minute, firing=_beijing("info")) for minute in range(20, 40)),
    ),
    Case(
        name="another limit moves the level without other rules",
        courses={
            BEIJING_TRANSMIT: counter((400e6 / 8, LONG)),
            BEIJING_LIMIT: gauge((1e9, 30), (450e6, 90)),
        },
        expected=(
            Moment(minutes=29, firing=_beijing("info")),
            Moment(minutes=40, firing=_beijing("critical")),
        ),
    ),
    Case(
        name="a tunnel of a VPN gateway is not judged by itself, nor by its packets",
        courses={
            tunnel_series("vpnagent_tunnel_transmit_packets_total", "hangzhou/primary"): counter(
                (119e3, LONG)
            ),
            _byte_series("transmit", "hangzhou/primary"): counter((0.29 * 200e6 / 8, LONG)),
        },
        expected=(Moment(minutes=30),),
    ),
    Case(
        name="another gateway's traffic is not this one's",
        courses={
            series(
                "vpnagent_tunnel_transmit_bytes_total",
                'connection="hangzhou",tunnel="primary"',
                'job="vpnagent",instance="idc-hz-2:9786"',
            ): counter((199e6 / 8, LONG)),
        },
        scope=replace(SCOPE, instance="idc-hz-1:9786"),
        expected=(Moment(minutes=30),),
    ),
    Case(
        name="what is told of a VPN gateway",
        courses={_byte_series("receive", "shanghai/only"): counter((0.9 * 100e6 / 8, LONG))},
        expected=(
            Told(
                minutes=30,
                alert="VpnGatewayBandwidthHigh",
                labels=_labels(
                    "critical", vpn_gateway="shanghai", direction="receive", cloud_direction="outbound"
                ),
                summary="VPN gateway shanghai: receive (the cloud's outbound) at 90% of its bandwidth",
                description="All tunnels of the VPN gateway have used at least 90% of the bandwidth bought, "
                "receive (the cloud's outbound), for 5m. Near 100 % the cloud drops packets, probes too.",
            ),
        ),
    ),
)

# Tunnels, charon, the agent: each changes after 30 minutes.

UP = tunnel_series("vpnagent_tunnel_state", "hangzhou/primary", 'state="up"')
DOWN = tunnel_series("vpnagent_tunnel_state", "hangzhou/primary", 'state="down"')
BACKUP_DOWN = tunnel_series("vpnagent_tunnel_state", "hangzhou/backup", 'state="down"')
OTHER_DOWN = alert("VpnTunnelDown", "critical", connection="hangzhou", tunnel="backup")
TRIAL = tunnel_series("vpnagent_tunnel_state", "hangzhou/primary", 'state="trial"')
CHILD_SA = tunnel_series("vpnagent_child_sa_installed", "hangzhou/primary")
TUNNEL_DOWN = alert("VpnTunnelDown", "critical", connection="hangzhou", tunnel="primary")
OF_NETWORK = {"connection": "hangzhou", "local": "10.1.0.0/16", "remote": "100.64.0.0/10"}
NETWORK = series("vpnagent_network_carried", ",".join(f'{k}="{v}"' for k, v in OF_NETWORK.items()))
NOT_CARRIED = alert("VpnNetworkNotCarried", "critical", **OF_NETWORK)
NO_STANDBY = alert("VpnNoStandby", "warning", connection="hangzhou")
PATH_UNPROBED = alert("VpnPathUnprobed", "warning", connection="beijing", tunnel="a")
UNPROVEN = alert("VpnStandbyUnproven", "info", connection="beijing", tunnel="a")
PATH_DEGRADED = alert("VpnPathDegraded", "warning", connection="beijing", tunnel="a")
FAILOVERS = series("vpnagent_failovers_total", 'connection="hangzhou",reason="silent"')
FAILOVER = alert("VpnFailover", "info", connection="hangzhou", reason="silent")
STOPPED = series("vpnagent_clear_text_stopped_packets_total", 'direction="out"')
CLEAR_TEXT = alert("VpnClearTextStopped", "critical", direction="out")
EXPIRY = tunnel_series("vpnagent_certificate_expiry_timestamp_seconds", "hangzhou/primary")
CHARON_UP = series("vpnagent_charon_up")
RELOADED = series("vpnagent_config_last_reload_successful")
DRIFT = series("vpnagent_drift_repairs_total", 'kind="route"')
PROBER_LATE = alert("VpnProberLate", "warning")
LATENESS = series("vpnagent_prober_lateness_seconds_bucket", 'le="0.025"')


def _held(firing: tuple[str, ...], minutes: float) -> tuple[Moment, ...]:
    """Return that this fires ``minutes`` after minute 30, and not half a minute before."""
    return Moment(minutes=29.5 + minutes), Moment(minutes=30 + minutes, firing=(firing,))


def _expiry(days: float, *, late: float) -> str:
    """Return an expiry ``days`` and some seconds after minute 30 of a case, which begins at time 0."""
    return gauge((30 * 60 + days * DAY + late, LONG))


def _certificate(severity: str) -> tuple[tuple[str, ...], ...]:
    return (alert("VpnCertificateExpiry", severity, connection="hangzhou", tunnel="primary"),)


def _repairs(*at: float) -> str:
    """Return a counter that grows at these minutes, by hundreds as with many prefixes."""
    ends = (*at, LONG)
    return gauge((7, at[0]), *((100 * n, ends[n] - ends[n - 1]) for n in range(1, len(ends))))


HEALTH_CASES: Final = (
    Case(
        name="all is well, also when Prometheus has only begun to look",
        courses={},
        expected=tuple(Moment(minutes=minute) for minute in (0.5, 1, 3, 9, 11, 60)),
    ),
    Case(
        name="negotiation status 0",
        courses={CHILD_SA: gauge((1, 30), (0, 90))},
        expected=_held(TUNNEL_DOWN, 1),
    ),
    Case(
        name="a network that is not carried whatever the tunnels say",
        courses={NETWORK: gauge((1, 30), (0, 90))},
        expected=_held(NOT_CARRIED, 1),
    ),
    Case(
        name="a network whose tunnels are all down: the tunnels are the fault",
        courses={
            NETWORK: gauge((1, 30), (0, 90)),
            DOWN: gauge((0, 30), (1, 90)),
            UP: gauge((1, 30), (0, 90)),
            BACKUP_DOWN: gauge((0, 30), (1, 90)),
        },
        expected=(Moment(minutes=29.5), Moment(minutes=31, firing=(TUNNEL_DOWN, OTHER_DOWN))),
    ),
    Case(
        name="charon is down: what is not known of its tunnels is no other fault",
        courses={CHARON_UP: gauge((1, 30), (0, 90)), CHILD_SA: gauge((1, 30), (0, 90))},
        expected=_held(alert("VpnCharonDown", "critical"), 1),
    ),
    Case(
        name="a renegotiation within a minute is not told",
        courses={CHILD_SA: gauge((1, 30), (0, 0.75), (1, 89.25))},
        expected=tuple(Moment(minutes=30 + half / 2) for half in range(8)),
    ),
    Case(
        name="a tunnel that is negotiated and yet down",
        courses={DOWN: gauge((0, 30), (1, 90))},
        expected=_held(TUNNEL_DOWN, 1),
    ),
    Case(
        name="a tunnel that is left down and tried now and then is one alert all the time",
        courses={
            CHILD_SA: gauge((1, 30), *((value, 1) for value in (0, 1) * 45)),
            DOWN: gauge((0, 30), *((value, 1) for value in (1, 0) * 45)),
            TRIAL: gauge((0, 30), *((value, 1) for value in (0, 1) * 45)),
        },
        expected=tuple(Moment(minutes=31 + half / 2, firing=(TUNNEL_DOWN,)) for half in range(20)),
    ),
    Case(
        name="what is told of a tunnel that is down",
        courses={
            CHILD_SA: gauge((1, 30), (0, 90)),
            UP: gauge((1, 30), (0, 90)),
        },
        expected=(
            Told(
                minutes=40,
                alert="VpnTunnelDown",
                labels=_labels("critical", connection="hangzhou", tunnel="primary"),
                summary="Tunnel hangzhou/primary is down",
                description="For a minute the tunnel has not been negotiated, or was left as nothing comes "
                "through. Tunnels of connection hangzhou that are up or degraded: 1. "
                "With 0 its networks cannot be reached; else the redundancy is lost.",
            ),
        ),
    ),
    Case(
        name="one tunnel of two is up",
        courses={tunnel_series("vpnagent_tunnel_up", "hangzhou/backup"): gauge((1, 30), (0, 90))},
        expected=_held(NO_STANDBY, 2),
    ),
    Case(
        name="no tunnel is up: there is no standby to miss",
        courses={
            tunnel_series("vpnagent_tunnel_up", f"hangzhou/{tunnel}"): gauge((1, 30), (0, 90))
            for tunnel in ("primary", "backup")
        },
        expected=(Moment(minutes=40),),
    ),
    Case(
        name="a connection with ecmp or of one tunnel has no standby to miss",
        courses={tunnel_series("vpnagent_tunnel_up", "beijing/a"): gauge((0, LONG))},
        expected=(Moment(minutes=40),),
    ),
    Case(
        name="a degraded path",
        courses={tunnel_series("vpnagent_path_degraded", "beijing/a"): gauge((0, 30), (1, 90))},
        expected=_held(PATH_DEGRADED, 2),
    ),
    Case(
        name="a path that is not probed",
        courses={tunnel_series("vpnagent_path_unprobed", "beijing/a"): gauge((0, 30), (1, 90))},
        expected=_held(PATH_UNPROBED, 1),
    ),
    Case(
        name="a tunnel that is not proven",
        courses={
            tunnel_series("vpnagent_standby_proven_seconds", "beijing/a"): gauge(
                (7 * DAY, 30), (7 * DAY + 1, 90)
            )
        },
        expected=_held(UNPROVEN, 60),
    ),
    Case(
        name="a failover is told at once, and for ten minutes",
        courses={FAILOVERS: gauge((3, 30), (4, 90))},
        expected=(
            Moment(minutes=29.5),
            Moment(minutes=30, firing=(FAILOVER,)),
            Moment(minutes=39.5, firing=(FAILOVER,)),
            Moment(minutes=40.5),
        ),
    ),
    Case(
        name="a gap in what is scraped is no failover",
        courses={FAILOVERS: gauge((3, 30), (None, 30), (3, 60))},
        expected=tuple(Moment(minutes=minute) for minute in range(25, 75)),
    ),
    Case(
        name="30 days",
        courses={EXPIRY: _expiry(30, late=0)},
        expected=(Moment(minutes=29.5), Moment(minutes=30, firing=_certificate("warning"))),
    ),
    Case(
        name="7 days",
        courses={EXPIRY: _expiry(7, late=0)},
        expected=(
            Moment(minutes=29.5, firing=_certificate("warning")),
            Moment(minutes=30, firing=_certificate("critical")),
        ),
    ),
    Case(
        name="a certificate that has expired",
        courses={EXPIRY: _expiry(0, late=-60)},
        expected=(
            Moment(minutes=30, firing=_certificate("critical")),
            Told(
                minutes=30,
                alert="VpnCertificateExpiry",
                labels=_labels("critical", connection="hangzhou", tunnel="primary"),
                summary="Tunnel hangzhou/primary: a certificate expires in -1m 0s",
                description="The tunnel's certificate or its CA expires; a negative time says that it has. "
                "Then the next authentication of the IKE_SA fails, and the tunnel stays down.",
            ),
        ),
    ),
    Case(
        name="the agent does not answer",
        courses={series("up"): gauge((1, 30), (0, 90))},
        expected=_held(alert("VpnAgentDown", "critical"), 2),
    ),
    Case(
        name="the target is gone: five minutes after its last sample Prometheus forgets it",
        courses={series("up"): gauge((1, 30), (None, 90))},
        expected=(Moment(minutes=34), Moment(minutes=38, firing=(alert("VpnAgentDown", "critical"),))),
    ),
    Case(
        name="there was never such a target",
        courses={},
        without=frozenset({series("up")}),
        expected=(Moment(minutes=1.5), Moment(minutes=2, firing=(alert("VpnAgentDown", "critical"),))),
    ),
    Case(
        name="another gateway of the job answers",
        courses={series("up", target='job="vpnagent",instance="idc-hz-2:9786"'): gauge((1, LONG))},
        without=frozenset({series("up")}),
        scope=replace(SCOPE, instance="idc-hz-1:9786"),
        expected=(Moment(minutes=1.5), Moment(minutes=2, firing=(alert("VpnAgentDown", "critical"),))),
    ),
    Case(
        name="charon does not answer",
        courses={CHARON_UP: gauge((1, 30), (0, 90))},
        expected=_held(alert("VpnCharonDown", "critical"), 1),
    ),
    Case(
        name="the file is not in force",
        courses={RELOADED: gauge((1, 30), (0, 90))},
        expected=_held(alert("VpnConfigReloadFailed", "warning"), 5),
    ),
    Case(
        name="two repairs in an hour, of many objects each",
        courses={DRIFT: _repairs(20, 30)},
        expected=(Moment(minutes=35),),
    ),
    Case(
        name="a single packet was about to leave in clear",
        courses={STOPPED: gauge((7, 30), (8, 90))},
        expected=(
            Moment(minutes=29.5),
            Moment(minutes=30, firing=(CLEAR_TEXT,)),
            Moment(minutes=34, firing=(CLEAR_TEXT,)),
            Moment(minutes=36),
            Told(
                minutes=30,
                alert="VpnClearTextStopped",
                labels=_labels("critical", direction="out"),
                summary="idc-hz-1: packets of the cloud's networks were about to leave in clear (out)",
                description="Within the last five minutes packets for a remote network (out), or packets out "
                "of a tunnel (in), would have left by an interface that is neither a tunnel nor the LAN's. "
                "The leak guard stopped them, unless agent.leak_guard is count; whoever sent them has no "
                "answer.",
            ),
        ),
    ),
    Case(
        name="a restart of the agent is no clear text",
        courses={STOPPED: gauge((40, 30), (0, 90))},
        expected=(Moment(minutes=31), Moment(minutes=36)),
    ),
    Case(
        name="three repairs in an hour",
        courses={DRIFT: _repairs(10, 20, 30)},
        expected=(
            Moment(minutes=29.5),
            Moment(minutes=30, firing=(alert("VpnDriftRepeated", "warning"),)),
            Moment(minutes=69.5, firing=(alert("VpnDriftRepeated", "warning"),)),
            Moment(minutes=70.5),
            Told(
                minutes=30,
                alert="VpnDriftRepeated",
                labels=_labels("warning"),
                summary="Something on idc-hz-1 keeps changing what is vpnagent's",
                description="3 times within the last hour the agent has put its interfaces, nexthops or "
                "routes right. Each time traffic may have stopped for a moment.",
            ),
        ),
    ),
    Case(
        name="restarts of the agent are no repairs",
        courses={DRIFT: gauge((40, 10), (30, 10), (20, 10), (10, 90))},
        expected=(Moment(minutes=35),),
    ),
    Case(
        name="1 % of the wake-ups late, and a bit more",
        courses={LATENESS: counter((99.001, 40), (98.999, 40))},
        expected=(Moment(minutes=39), Moment(minutes=60, firing=(PROBER_LATE,))),
    ),
    Case(
        name="more than 1 % of the wake-ups late, for five minutes",
        courses={LATENESS: counter((100, 30), (98, 90))},
        # 1 % of the five-minute rate is reached half-way through the window, after 2.5 minutes.
        expected=(
            Moment(minutes=37.0),
            Moment(minutes=38.5, firing=(PROBER_LATE,)),
            Told(
                minutes=60,
                alert="VpnProberLate",
                labels=_labels("warning"),
                summary="The prober on idc-hz-1 is late",
                description="For five minutes 2% of the prober's wake-ups were over "
                "25 ms late: the machine is too busy, and a dead tunnel is left too late.",
            ),
        ),
    ),
)

CASES: Final = (*gateway_cases(), *tunnel_cases(), *packet_cases(), *COURSE_CASES, *HEALTH_CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exactly_these_fire(case: Case, tmp_path: pathlib.Path) -> None:
    end = max(one.minutes for one in case.expected) + 1
    usual = {name: course for name, course in healthy(case.config, end).items() if name not in case.without}
    done = run(tmp_path, case.config, case.scope, usual | dict(case.courses), case.expected)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_and_severity_is_seen_to_fire_and_not_to_fire() -> None:
    moments = [one for case in CASES for one in case.expected if isinstance(one, Moment)]
    seen = {(name, severity) for one in moments for name, severity, *_ in one.firing}
    made = {
        (line.split(": ")[1], severity.split(": ")[1])
        for line, severity in _alerts_of(rule_file(EVERY_KIND, SCOPE))
    }
    assert seen == made
    assert any(not one.firing for one in moments)


def _alerts_of(text: str) -> Iterator[tuple[str, str]]:
    lines = [line.strip("- ") for line in text.splitlines()]
    names = [line for line in lines if line.startswith("alert: ")]
    severities = [line for line in lines if line.startswith("severity: ")]
    yield from zip(names, severities, strict=True)


def test_promtool_finds_nothing_to_complain_of(tmp_path: pathlib.Path) -> None:
    (tmp_path / "rules.yaml").write_text(rule_file(EVERY_KIND, SCOPE))
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "SUCCESS" in done.stdout
