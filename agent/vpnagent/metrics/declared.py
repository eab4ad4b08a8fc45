"""Every metric, declared once, and the samples made from what the daemon knows.

All samples are computed at the scrape: a tunnel that is removed takes its series along, and one
that is configured but down has its series. Labels are names from the configuration; never an SPI, a
unique id or a reqid, so that a rekey mints nothing. A reason that was never seen has its series too: its
first time is an increase. Receive and transmit are this gateway's view. docs/metrics.md shows METRICS.
"""

import math
import sys
from collections import Counter as Counted
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from typing import Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from vpnagent import __version__
from vpnagent.config.values import Connection, Tunnel, TunnelKey
from vpnagent.finding import EventType
from vpnagent.ipsec.failure_reason import Reason
from vpnagent.knowledge.incidents import of_tunnel
from vpnagent.knowledge.knowledge import DETECTION_BOUNDS, SWITCH_BOUNDS, FailoverTimes, Knowledge
from vpnagent.knowledge.tunnels import TunnelState, TunnelView
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import LATENESS_BOUNDS, RTT_BOUNDS, Cause
from vpnagent.routing.actions import KINDS

Gauge, Counter, Histogram = GaugeMetricFamily, CounterMetricFamily, HistogramMetricFamily
TUNNEL: Final = ("connection", "tunnel")
DIRECTIONS: Final = ("out", "in")  #: of clear text
FLAG: Final = "0 or 1"
SECONDS: Final = "seconds"


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric."""

    kind: type[GaugeMetricFamily] | type[CounterMetricFamily] | type[HistogramMetricFamily]
    unit: str  #: for people; the name has it too where it is a base unit
    help: str
    labels: tuple[str, ...] = TUNNEL


METRICS: Final = {
    "vpnagent_tunnel_state": Declaration(
        Gauge, FLAG, "1 for the state that the tunnel is in, 0 for the others.", (*TUNNEL, "state")
    ),
    "vpnagent_tunnel_up": Declaration(
        Gauge, FLAG, "1 when the tunnel is up; no series in state standby-device."
    ),
    "vpnagent_tunnel_forwarding": Declaration(Gauge, FLAG, "1 when the tunnel carries traffic now."),
    "vpnagent_ike_sa_established": Declaration(Gauge, FLAG, "1 when the tunnel has an established IKE_SA."),
    "vpnagent_child_sa_installed": Declaration(Gauge, FLAG, "1 when the tunnel has an installed CHILD_SA."),
    "vpnagent_tunnel_receive_bytes_total": Declaration(
        Counter, "bytes", "Bytes received from the cloud through the tunnel, without ESP (its outbound)."
    ),
    "vpnagent_tunnel_transmit_bytes_total": Declaration(
        Counter, "bytes", "Bytes sent to the cloud through the tunnel, without ESP (its inbound)."
    ),
    "vpnagent_tunnel_receive_packets_total": Declaration(
        Counter, "packets", "Packets received from the cloud through the tunnel (its outbound)."
    ),
    "vpnagent_tunnel_transmit_packets_total": Declaration(
        Counter, "packets", "Packets sent to the cloud through the tunnel (its inbound)."
    ),
    "vpnagent_tunnel_bandwidth_limit_bits_per_second": Declaration(
        Gauge, "bits per second", "Purchased bandwidth, each direction."
    ),
    "vpnagent_tunnel_packet_rate_limit": Declaration(
        Gauge, "packets per second", "Packets per second allowed, in + out."
    ),
    "vpnagent_connection_bandwidth_limit_bits_per_second": Declaration(
        Gauge, "bits per second", "Purchased bandwidth of the connection, each direction.", ("connection",)
    ),
    "vpnagent_failovers_total": Declaration(
        Counter, "failovers", "Times that the connection's traffic was moved.", ("connection", "reason")
    ),
    "vpnagent_failover_detection_seconds": Declaration(
        Histogram,
        SECONDS,
        "From the last sign of life, or the signal, to the decision to leave the tunnel.",
    ),
    "vpnagent_failover_switch_seconds": Declaration(
        Histogram, SECONDS, "From the decision to leave the tunnel to the kernel's acknowledgement."
    ),
    "vpnagent_probe_rtt_seconds": Declaration(Histogram, SECONDS, "Round trips of the tunnel's probes."),
    "vpnagent_probe_sent_total": Declaration(Counter, "probes", "Probes sent into the tunnel."),
    "vpnagent_probe_lost_total": Declaration(Counter, "probes", "Probes without an answer in time."),
    "vpnagent_flinches_total": Declaration(
        Counter,
        "flinches",
        "Times that traffic left the tunnel on suspicion, and came back as it was heard again.",
    ),
    "vpnagent_path_degraded": Declaration(
        Gauge, FLAG, "1 when the path is degraded by loss or round-trip time."
    ),
    "vpnagent_path_unprobed": Declaration(
        Gauge, FLAG, "1 when no probe can be sent into the tunnel, so that nothing is known of its path."
    ),
    "vpnagent_path_elsewhere": Declaration(
        Gauge, FLAG, "1 when the replies to the tunnel's probes return by an interface that is no tunnel."
    ),
    "vpnagent_standby_proven_seconds": Declaration(
        Gauge, SECONDS, "Since a packet last passed through the tunnel each way, whichever is longer ago."
    ),
    "vpnagent_probe_send_errors_total": Declaration(
        Counter, "probes", "Probes that could not be sent: refused by a packet filter, no source address.", ()
    ),
    "vpnagent_probe_overflows_total": Declaration(
        Counter, "answers", "Answers to probes that a full buffer of ours lost.", ()
    ),
    "vpnagent_prober_lateness_seconds": Declaration(
        Histogram, SECONDS, "By how much the prober's wake-ups came after their time.", ()
    ),
    "vpnagent_rekeys_total": Declaration(Counter, "rekeys", "Rekeys of the tunnel's IKE_SA or CHILD_SA."),
    "vpnagent_negotiation_failures_total": Declaration(
        Counter, "negotiations", "Failed negotiations by reason, in the cloud's words.", (*TUNNEL, "reason")
    ),
    "vpnagent_certificate_expiry_timestamp_seconds": Declaration(
        Gauge, "Unix time", "When the first of the tunnel's certificate and CA expires."
    ),
    "vpnagent_route_installed": Declaration(
        Gauge, FLAG, "1 when the route for the prefix leads into a tunnel.", ("connection", "prefix")
    ),
    "vpnagent_clear_text_stopped_packets_total": Declaration(
        Counter,
        "packets",
        "Packets that the leak guard stopped (or, with count, saw): out: for a remote network, by no tunnel; "
        "in: out of a tunnel, to neither the LAN nor a tunnel.",
        ("direction",),
    ),
    "vpnagent_tunnel_incident": Declaration(
        Gauge, FLAG, "1 from the first symptom of a fault of the tunnel until it has been up for 30 s again."
    ),
    "vpnagent_network_carried": Declaration(
        Gauge,
        FLAG,
        "1 when packets of the local network's hosts go into a tunnel, and answers back.",
        ("connection", "local", "remote"),
    ),
    "vpnagent_findings": Declaration(
        Gauge, "findings", "What is wrong or worth knowing now, as in status.", ("code", "severity")
    ),
    "vpnagent_drift_repairs_total": Declaration(
        Counter,
        "objects",
        "Objects of ours that somebody changed or removed and that were put right.",
        ("kind",),
    ),
    "vpnagent_events_total": Declaration(Counter, "events", "Events told, by type.", ("type",)),
    "vpnagent_events_lost_total": Declaration(
        Counter, "events", "Events of the prober that were dropped, as the daemon did not read them.", ()
    ),
    "vpnagent_hook_failures_total": Declaration(
        Counter, "events", "Events that the hook did not get: given up, or pushed out.", ("hook",)
    ),
    "vpnagent_config_last_reload_successful": Declaration(
        Gauge, FLAG, "1 when the configuration file in force is the one last read.", ()
    ),
    "vpnagent_build_info": Declaration(Gauge, "1", "1; the version of the agent.", ("version",)),
    "vpnagent_charon_up": Declaration(Gauge, FLAG, "1 when charon answers on its VICI socket.", ()),
}

Sample = tuple[str, tuple[str, ...], float]
Buckets = list[tuple[str, float]]
Distribution = tuple[str, tuple[str, ...], Buckets, float]
K = TypeVar("K")


def histograms(known: Knowledge) -> Iterator[Distribution]:
    """Yield name, label values, cumulative buckets and sum of every histogram."""
    counted = known.probe.counted
    for tunnel in known.config.tunnels():
        key = tunnel.key
        times = known.kernel.failover_times.get(key) or FailoverTimes()
        for name, times_of, bounds in (
            ("vpnagent_failover_detection_seconds", times.detection, DETECTION_BOUNDS),
            ("vpnagent_failover_switch_seconds", times.switch, SWITCH_BOUNDS),
        ):
            yield name, key, cumulative(bounds, times_of.counts), times_of.total
        if known.probe.report is not None:
            counts, total = counted.round_trips(key)
            yield "vpnagent_probe_rtt_seconds", key, cumulative(RTT_BOUNDS, counts), total
    if known.probe.report is not None:
        counts, total = counted.lateness()
        yield "vpnagent_prober_lateness_seconds", (), cumulative(LATENESS_BOUNDS, counts), total


def cumulative(bounds: tuple[float, ...], counts: Sequence[float]) -> Buckets:
    """Return the buckets as Prometheus wants them: each counts all below its bound."""
    return list(zip(_written(bounds), accumulate(counts), strict=True))


@cache
def _written(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(str(floatToGoString(bound)) for bound in (*bounds, math.inf))  # type: ignore[no-untyped-call]


def samples(known: Knowledge) -> Iterator[Sample]:
    """Yield name, label values and value of every sample."""
    yield from _agent(known)
    for connection in known.config.connections:
        yield from _connection(known, connection)
        for tunnel in connection.tunnels:
            yield from _tunnel(known, connection, tunnel)


def _agent(known: Knowledge) -> Iterator[Sample]:
    yield "vpnagent_build_info", (__version__,), 1
    yield "vpnagent_charon_up", (), known.charon.connected
    yield "vpnagent_config_last_reload_successful", (), known.config_error is None
    for kind, count in seen_or_not(KINDS, known.repairs()):
        yield "vpnagent_drift_repairs_total", (kind,), count
    for direction in DIRECTIONS:
        yield "vpnagent_clear_text_stopped_packets_total", (direction,), known.kernel.stopped.of(direction)
    for type_, count in seen_or_not((type_.value for type_ in EventType), known.event_counts):
        yield "vpnagent_events_total", (type_,), count
    if known.probe.report is not None:
        yield "vpnagent_probe_send_errors_total", (), known.probe.counted.send_errors
        yield "vpnagent_probe_overflows_total", (), known.probe.counted.overflows
        yield "vpnagent_events_lost_total", (), known.probe.counted.events_lost
    found = Counted((f.code, f.severity.value) for f in known.findings.current)
    for code_and_severity, count in found.items():
        yield "vpnagent_findings", code_and_severity, count
    for hook in known.config.hooks:
        yield "vpnagent_hook_failures_total", (hook.name,), known.hook_failures.get(hook.name, 0)


def seen_or_not(keys: Iterable[K], counts: Mapping[K, float]) -> Iterable[tuple[K, float]]:
    """Return the counts of these keys."""
    return ((key, counts.get(key, 0)) for key in keys)


def _connection(known: Knowledge, connection: Connection) -> Iterator[Sample]:
    name = connection.name
    yield "vpnagent_connection_bandwidth_limit_bits_per_second", (name,), connection.bandwidth
    for prefix in connection.remote_networks:
        installed = known.kernel.state is not None and prefix not in known.kernel.missing
        yield "vpnagent_route_installed", (name, str(prefix)), installed
    for verdict in known.carried(name):
        pair = verdict.pair
        yield "vpnagent_network_carried", (name, str(pair.local), str(pair.remote)), verdict.carried
    keys = ((name, cause.value) for cause in Cause)
    for key, count in seen_or_not(keys, known.kernel.failover_counts):
        yield "vpnagent_failovers_total", key, count


def _tunnel(known: Knowledge, connection: Connection, tunnel: Tunnel) -> Iterator[Sample]:
    key = tunnel.key
    yield from _state(key, known.tunnels.views.get(key))
    yield "vpnagent_tunnel_incident", key, known.incidents.of(of_tunnel(key)) is not None
    forwarding = tunnel.name in known.kernel.selected.get(connection.name, ())
    yield "vpnagent_tunnel_forwarding", key, forwarding
    yield "vpnagent_tunnel_bandwidth_limit_bits_per_second", key, connection.bandwidth
    yield "vpnagent_tunnel_packet_rate_limit", key, connection.packet_rate
    yield "vpnagent_rekeys_total", key, known.charon.rekeys.get(key, 0)
    yield from _traffic(key, known)
    yield from _path(key, known)
    if (expiry := known.certificate_expiry.get(key)) is not None:
        yield "vpnagent_certificate_expiry_timestamp_seconds", key, expiry
    for reason in Reason:
        count = known.charon.negotiation_failures.get((key, reason.value), 0)
        yield "vpnagent_negotiation_failures_total", (*key, reason.value), count


def _state(key: TunnelKey, view: TunnelView | None) -> Iterator[Sample]:
    current = view.state if view else TunnelState.INIT
    for state in TunnelState:
        yield "vpnagent_tunnel_state", (*key, state.value), state is current
    if current is TunnelState.STANDBY_DEVICE:
        return  # what the other gateway has is no failure here
    yield "vpnagent_tunnel_up", key, current is TunnelState.UP
    established = view is not None and view.sa.ike.value in ("established", "rekeying")
    yield "vpnagent_ike_sa_established", key, established
    yield "vpnagent_child_sa_installed", key, view is not None and view.sa.installed


def _path(key: TunnelKey, known: Knowledge) -> Iterator[Sample]:
    path = known.probe.paths.get(key)
    yield "vpnagent_path_degraded", key, path is not None and path.state is PathState.DEGRADED
    yield "vpnagent_path_unprobed", key, path is not None and path.state is PathState.UNPROBED
    yield "vpnagent_path_elsewhere", key, path is not None and path.state is PathState.ELSEWHERE
    if known.probe.report is not None and path is not None and path.proven is not None:
        yield "vpnagent_standby_proven_seconds", key, max(0.0, known.probe.report.at - path.proven)
    if known.probe.report is not None:
        yield "vpnagent_probe_sent_total", key, known.probe.counted.sent(key)
        yield "vpnagent_probe_lost_total", key, known.probe.counted.lost(key)
        yield "vpnagent_flinches_total", key, known.probe.counted.flinches(key)


def _traffic(key: TunnelKey, known: Knowledge) -> Iterator[Sample]:
    """Yield nothing before the first look: a zero there would be read as a counter that began again."""
    if known.kernel.state is None:
        return
    passed = known.kernel.traffic.of(key)
    yield "vpnagent_tunnel_receive_bytes_total", key, passed.rx_bytes
    yield "vpnagent_tunnel_transmit_bytes_total", key, passed.tx_bytes
    yield "vpnagent_tunnel_receive_packets_total", key, passed.rx_packets
    yield "vpnagent_tunnel_transmit_packets_total", key, passed.tx_packets


# Metrics as text: what prometheus-client writes, to the byte, in a fifth of the time.
# The library makes an object of every sample and escapes every name in it anew: for 32 tunnels 45 ms in
# OpenMetrics, in which the daemon would do nothing else. Here labels, which do not change, are written
# once.

TYPES: Final = {Gauge: "gauge", Counter: "counter", Histogram: "histogram"}
REMEMBERED: Final = 4096  #: sets of labels; 32 tunnels have 2,600
COMMON: Final = {0: "0.0", 1: "1.0"}


def text(samples: Iterable[Sample], histograms: Iterable[Distribution], *, openmetrics: bool) -> bytes:
    """Return the exposition: OpenMetrics 1.0, or Prometheus's text format 0.0.4."""
    rows: dict[str, list[str]] = {name: [] for name in METRICS}
    for name, values, value in samples:
        rows[name].append(f"{name}{_labels(METRICS[name].labels, values)} {_number(value)}")
    for name, values, buckets, total in histograms:
        names, row = METRICS[name].labels, rows[name]
        for bound, count in buckets:
            row.append(f"{name}_bucket{_labels((*names, 'le'), (*values, bound))} {_number(count)}")
        labels = _labels(names, values)
        row.append(f"{name}_count{labels} {_number(buckets[-1][1])}")
        row.append(f"{name}_sum{labels} {_number(total)}")
    lines = []
    for name, row in rows.items():
        lines += [*_head(name, openmetrics=openmetrics), *row]
    lines.append("# EOF\n" if openmetrics else "")
    return "\n".join(lines).encode()


def _head(name: str, *, openmetrics: bool) -> tuple[str, str]:
    metric = METRICS[name]
    family = name.removesuffix("_total") if openmetrics else name
    about = _escaped(metric.help, quote=openmetrics)
    return f"# HELP {family} {about}", f"# TYPE {family} {TYPES[metric.kind]}"


@lru_cache(REMEMBERED)
def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = sorted(zip(names, values, strict=True))
    inside = ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in pairs)
    return f"{{{inside}}}"


def _escaped(value: str, *, quote: bool) -> str:
    value = value.replace("\\", r"\\").replace("\n", r"\n")
    return value.replace('"', r"\"") if quote else value


def _number(value: float) -> str:
    return COMMON.get(value) or str(floatToGoString(value))  # type: ignore[no-untyped-call,call-overload]


# The table of all metrics for docs/metrics.md: ``python -m vpnagent.metrics.declared`` prints it.
# A test keeps the two equal.


def table() -> str:
    """Return a Markdown table, in the order of the declarations."""
    head = ("| name | type | labels | unit | meaning |", "|---|---|---|---|---|")
    return "\n".join([*head, *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for name, metric in METRICS.items():
        yield f"| `{name}` | {TYPES[metric.kind]} | {_label_names(metric)} | {metric.unit} | {metric.help} |"


def _label_names(metric: Declaration) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels) or "none"


if __name__ == "__main__":
    sys.stdout.write(table())
