"""The rows of the paths: failovers with their milliseconds, and what the probes see."""

from collections.abc import Sequence
from typing import Final

from tools.dashboard.look import (
    BLUE,
    OF_CONNECTION,
    OF_GATEWAY,
    OF_TUNNEL,
    Panel,
    bars,
    buckets,
    cells,
    framed,
    grid,
    heat,
    instant,
    lines,
    logarithmic,
    points,
    query,
    united,
)
from tools.dashboard.promql import (
    CONNECTION,
    GATEWAY,
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
            "Why traffic was moved within the dashboard's range; drain, config and recovered are no faults.",
            (5, 8),
            instant(
                occurrences("vpnagent_failovers_total", (*CONNECTION, "reason")),
                OF_CONNECTION + " {{reason}}",
            ),
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
