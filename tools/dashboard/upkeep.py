"""The row of what needs care before it needs haste: drift, certificates, events, hooks."""

from collections.abc import Sequence
from typing import Final

from tools.dashboard.look import (
    GREEN,
    OF_GATEWAY,
    OF_TUNNEL,
    ORANGE,
    RED,
    Panel,
    bars,
    counts,
    framed,
    instant,
    query,
)
from tools.dashboard.promql import GATEWAY, HOUR, occurrences, series

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
