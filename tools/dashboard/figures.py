"""The rows of figures: failovers in milliseconds, what the probes see, limits, and what needs care."""

from collections.abc import Sequence
from typing import Final

from tools.dashboard.look import (
    BLUE,
    GREEN,
    OF_CONNECTION,
    OF_GATEWAY,
    OF_TUNNEL,
    ORANGE,
    RED,
    YELLOW,
    Panel,
    bars,
    buckets,
    cells,
    counts,
    framed,
    grid,
    heat,
    instant,
    limited,
    lines,
    logarithmic,
    points,
    query,
    united,
)
from tools.dashboard.promql import (
    CONNECTION,
    GATEWAY,
    HOUR,
    RANGE,
    RATE,
    TUNNEL,
    increase,
    mean,
    occurrences,
    quantile,
    rate,
    series,
    total,
)

from vpnagent.commands.alerts.rules import DIRECTIONS, LEVELS
from vpnagent.finding import Severity

DETECTION: Final = "vpnagent_failover_detection_seconds"
SWITCH: Final = "vpnagent_failover_switch_seconds"
RTT: Final = "vpnagent_probe_rtt_seconds"
LATENESS: Final = "vpnagent_prober_lateness_seconds"


def failovers() -> Sequence[Panel]:
    """Return the panels of the failovers."""
    columns = {
        "instance": "Gateway",
        "connection": "Connection",
        "tunnel": "Tunnel left",
        "Value #A": "Failovers",
        "Value #B": "Detection, median",
        "Value #C": "Detection, 95 %",
        "Value #D": "Switch, median",
        "Value #E": "Switch, 95 %",
    }
    table = united(grid(columns, sort="Gateway"), "Failovers", "none", 0)
    for column in list(columns.values())[4:]:
        united(table, column, "s", 1)
    shares = [quantile(q, name, TUNNEL, RANGE) for name in (DETECTION, SWITCH) for q in (0.5, 0.95)]
    return [
        framed(
            table,
            "Failovers by tunnel",
            "How often each tunnel was left within the dashboard's range. Detection: from the last sign of "
            "life, or the signal, to the decision. Switch: from the decision to the kernel's "
            "acknowledgement. Quantiles are exact to the histogram's buckets.",
            (12, 8),
            cells(occurrences(f"{DETECTION}_count", TUNNEL)),
            *(cells(f"{share} >= 0") for share in shares),
            runbook=["VpnFailover"],
        ),
        framed(
            bars("short", [(None, BLUE)]).decimals(0).no_value("none"),
            "Failovers by reason",
            "Why traffic was moved within the dashboard's range; drain, config and recovered are no faults, "
            "and flinches no failovers.",
            (5, 8),
            instant(
                occurrences("vpnagent_failovers_total", (*CONNECTION, "reason")),
                OF_CONNECTION + " {{reason}}",
            ),
            instant(occurrences("vpnagent_flinches_total", TUNNEL), OF_TUNNEL + " flinches"),
            runbook=["VpnFailover"],
        ),
        framed(
            points("s").interval("1m"),  # with a finer step one failover is many points
            "Detection and switch",
            "What each failover took: a point shows the mean of those in its interval. Logarithmic.",
            (7, 8),
            query(mean(DETECTION, TUNNEL), OF_TUNNEL + " detection"),
            query(mean(SWITCH, TUNNEL), OF_TUNNEL + " switch"),
        ),
    ]


def paths() -> Sequence[Panel]:
    """Return the panels of the probes."""
    return [
        framed(
            heat("s"),
            "Round-trip times",
            "Probes by round-trip time, all chosen tunnels together: the brighter, the more.",
            (12, 9),
            buckets(total(("le",), increase(f"{RTT}_bucket", RATE))),
        ),
        framed(
            lines("s"),
            "Round-trip time by tunnel",
            "Median and 99 % quantile, exact to the histogram's buckets.",
            (12, 9),
            query(quantile(0.5, RTT, TUNNEL), OF_TUNNEL + " median"),
            query(quantile(0.99, RTT, TUNNEL), OF_TUNNEL + " 99 %"),
            runbook=["VpnPathDegraded"],
        ),
        framed(
            lines("percentunit"),
            "Loss",
            "Share of the probes that had no answer in time. The targets' own loss is in it.",
            (12, 8),
            query(f"{rate('vpnagent_probe_lost_total')} / {rate('vpnagent_probe_sent_total')}", OF_TUNNEL),
            runbook=["VpnPathDegraded"],
        ),
        framed(
            lines("short"),
            "Not probed, heard elsewhere",
            "1: no probe can be sent into the tunnel, or replies return by an interface that is no tunnel.",
            (8, 8),
            query(series("vpnagent_path_unprobed"), OF_TUNNEL + " not probed"),
            query(series("vpnagent_path_elsewhere"), OF_TUNNEL + " elsewhere"),
            runbook=["VpnPathUnprobed"],
        ),
        framed(
            logarithmic(lines("s")),
            "Proof of readiness",
            "Since a packet last passed through the tunnel each way, whichever is longer ago. Logarithmic.",
            (8, 8),
            query(series("vpnagent_standby_proven_seconds"), OF_TUNNEL),
            runbook=["VpnStandbyUnproven"],
        ),
        framed(
            lines("short"),
            "The probe's own losses",
            "Probes that could not be sent, and answers that a full buffer of the prober lost, per second.",
            (8, 8),
            query(rate("vpnagent_probe_send_errors_total"), OF_GATEWAY + " not sent"),
            query(rate("vpnagent_probe_overflows_total"), OF_GATEWAY + " overflow"),
            runbook=["VpnPathUnprobed"],
        ),
        framed(
            logarithmic(lines("s")),
            "Prober lateness",
            "By how much the prober's wake-ups came after their time. Late by half a probe interval, it "
            "notices a dead tunnel later than configured. Logarithmic.",
            (12, 8),
            query(quantile(0.5, LATENESS, GATEWAY), OF_GATEWAY + " median"),
            query(quantile(0.99, LATENESS, GATEWAY), OF_GATEWAY + " 99 %"),
            runbook=["VpnProberLate"],
        ),
    ]


# The row of the limits: how near to them the traffic came, in both views.

SIZE: Final = (8, 10)
COLOURS: Final = {Severity.INFO: YELLOW, Severity.WARNING: ORANGE, Severity.CRITICAL: RED}
STEPS: Final = ((None, GREEN), *((float(above), COLOURS[severity]) for severity, above, _ in LEVELS))
SHARES: Final = ", ".join(f"{float(above):.0%}" for _, above, _ in LEVELS)
DASHED: Final = f"Dashed: {SHARES}, the levels of the alerts."


def utilisation() -> Sequence[Panel]:
    """Return the row's panels."""
    by_connection, by_tunnel, packets = [], [], []
    tunnel_limit = series("vpnagent_tunnel_bandwidth_limit_bits_per_second")
    for way, cloud_way in DIRECTIONS:
        both_views = f"{way}, the cloud's {cloud_way}"
        octets = f"vpnagent_tunnel_{way}_bytes_total"
        by_connection.append(query(_of_connection(octets), f"{OF_CONNECTION} {both_views}"))
        by_tunnel.append(query(f"8 * {rate(octets)} / {tunnel_limit}", f"{OF_TUNNEL} {both_views}"))
        packets.append(rate(f"vpnagent_tunnel_{way}_packets_total"))
    packet_limit = series("vpnagent_tunnel_packet_rate_limit")
    return [
        framed(
            limited(lines("percentunit"), STEPS),
            "Bandwidth by connection",
            "Share of the purchased bandwidth, each direction; all tunnels of the connection, chosen or not. "
            f"For a VPN gateway. Connections with one gateway_id share its bandwidth: add them up. {DASHED}",
            SIZE,
            *by_connection,
            runbook=["VpnGatewayBandwidthHigh"],
        ),
        framed(
            limited(lines("percentunit"), STEPS),
            "Bandwidth by tunnel",
            f"Share of each single tunnel's bandwidth, each direction. For a transit router. {DASHED}",
            SIZE,
            *by_tunnel,
            runbook=["VpnTunnelBandwidthHigh"],
        ),
        framed(
            limited(lines("percentunit"), STEPS),
            "Packet rate by tunnel",
            "Share of the packets per second that the cloud allows, in and out together. "
            f"For a transit router. {DASHED}",
            SIZE,
            query(f"({' + '.join(packets)}) / {packet_limit}", OF_TUNNEL),
            runbook=["VpnTunnelPacketRateHigh"],
        ),
    ]


def _of_connection(octets: str) -> str:
    whole = total(CONNECTION, rate(octets, chosen=CONNECTION))
    limit = series("vpnagent_connection_bandwidth_limit_bits_per_second")
    return f"8 * {whole} / on ({', '.join(CONNECTION)}) {limit}"


# The row of what needs care before it needs haste: drift, certificates, events, hooks.

DAY: Final = 86400  #: seconds


def upkeep() -> Sequence[Panel]:
    """Return the row's panels."""
    left = f"{series('vpnagent_certificate_expiry_timestamp_seconds')} - time()"
    return [
        framed(
            counts(),
            "Drift repairs within an hour",
            "Objects of ours that somebody changed or removed and that were put right, by kind. More than "
            "one burst: something on the machine works against the agent.",
            (8, 8),
            query(
                occurrences("vpnagent_drift_repairs_total", (*GATEWAY, "kind"), HOUR),
                OF_GATEWAY + " {{kind}}",
            ),
            runbook=["VpnDriftRepeated"],
        ),
        framed(
            counts(),
            "Clear text stopped within an hour",
            "Packets for remote networks that would have left by no tunnel (out), and packets out of a "
            "tunnel that would have left by neither the LAN nor a tunnel (in). Any is a fault.",
            (8, 8),
            query(
                occurrences("vpnagent_clear_text_stopped_packets_total", (*GATEWAY, "direction"), HOUR),
                OF_GATEWAY + " {{direction}}",
            ),
            runbook=["VpnClearTextStopped"],
        ),
        framed(
            bars("s", [(None, RED), (7 * DAY, ORANGE), (30 * DAY, GREEN)]).no_value(
                "no tunnel has a certificate"
            ),
            "Certificates expire in",
            "How long the first of each tunnel's certificate and CA is still valid.",
            (8, 8),
            instant(left, OF_TUNNEL),
            runbook=["VpnCertificateExpiry"],
        ),
        framed(
            counts(),
            "Events within an hour",
            "Events by type; vpnagent events tells each.",
            (12, 8),
            query(occurrences("vpnagent_events_total", (*GATEWAY, "type"), HOUR), OF_GATEWAY + " {{type}}"),
        ),
        framed(
            counts(),
            "Events not told by a hook within an hour",
            "Events that a hook did not get, by its name: given up after its retries, or pushed out of "
            "its queue.",
            (12, 8),
            query(
                occurrences("vpnagent_hook_failures_total", (*GATEWAY, "hook"), HOUR),
                OF_GATEWAY + " {{hook}}",
            ),
            runbook=["HookFailing"],
        ),
        framed(
            counts(),
            "Findings",
            "What vpnagent status warns of and notes, by code and severity.",
            (12, 8),
            query(series("vpnagent_findings"), OF_GATEWAY + " {{severity}} {{code}}"),
        ),
        framed(
            counts(),
            "Events of the prober lost within an hour",
            "Events that the prober dropped as the daemon did not read them: it was stopped, or too busy.",
            (12, 8),
            query(occurrences("vpnagent_events_lost_total", GATEWAY, HOUR), OF_GATEWAY),
            runbook=["VpnProberLate"],
        ),
    ]
