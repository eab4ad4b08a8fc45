"""Every metric, declared once, and the samples made from what the daemon knows.

A collector computes all samples at the scrape: a tunnel that is removed takes its series along, and one
that is configured but down has its series. Labels are names from the configuration; never an SPI, a
unique id or a reqid, so that a rekey mints nothing. Receive and transmit are this gateway's view.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from vpnagent import __version__
from vpnagent.config.values import Connection, Tunnel, TunnelKey
from vpnagent.knowledge import DETECTION_BOUNDS, SWITCH_BOUNDS, Knowledge, ProbeKnowledge
from vpnagent.probe.meter import LATENESS_BOUNDS, RTT_BOUNDS
from vpnagent.routing.objects import LinkCounters
from vpnagent.selection import PathState
from vpnagent.status import NO_TRAFFIC
from vpnagent.tunnels import TunnelState, TunnelView


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric: type, help, labels."""

    kind: type[GaugeMetricFamily] | type[CounterMetricFamily] | type[HistogramMetricFamily]
    help: str
    labels: tuple[str, ...] = ("connection", "tunnel")


Gauge, Counter, Histogram = GaugeMetricFamily, CounterMetricFamily, HistogramMetricFamily

METRICS: Final = {
    "vpnagent_tunnel_state": Declaration(
        Gauge, "1 for the state that the tunnel is in, 0 for the others.", ("connection", "tunnel", "state")
    ),
    "vpnagent_tunnel_up": Declaration(Gauge, "1 when the tunnel is up."),
    "vpnagent_tunnel_forwarding": Declaration(Gauge, "1 when the tunnel carries traffic now."),
    "vpnagent_ike_sa_established": Declaration(Gauge, "1 when the tunnel has an established IKE_SA."),
    "vpnagent_child_sa_installed": Declaration(Gauge, "1 when the tunnel has an installed CHILD_SA."),
    "vpnagent_tunnel_receive_bytes_total": Declaration(
        Counter, "Bytes received from the cloud through the tunnel, without ESP (the cloud's outbound)."
    ),
    "vpnagent_tunnel_transmit_bytes_total": Declaration(
        Counter, "Bytes sent to the cloud through the tunnel, without ESP (the cloud's inbound)."
    ),
    "vpnagent_tunnel_receive_packets_total": Declaration(Counter, "Packets received from the cloud."),
    "vpnagent_tunnel_transmit_packets_total": Declaration(Counter, "Packets sent to the cloud."),
    "vpnagent_tunnel_bandwidth_limit_bits_per_second": Declaration(
        Gauge, "Purchased bandwidth, each direction."
    ),
    "vpnagent_tunnel_packet_rate_limit": Declaration(Gauge, "Packets per second allowed, in + out."),
    "vpnagent_connection_bandwidth_limit_bits_per_second": Declaration(
        Gauge, "Purchased bandwidth of the connection, each direction.", ("connection",)
    ),
    "vpnagent_failovers_total": Declaration(
        Counter, "Times that the connection's traffic was moved.", ("connection", "reason")
    ),
    "vpnagent_failover_detection_seconds": Declaration(
        Histogram, "From the last sign of life, or the signal, to the decision to leave the tunnel."
    ),
    "vpnagent_failover_switch_seconds": Declaration(
        Histogram, "From the decision to leave the tunnel to the kernel's acknowledgement."
    ),
    "vpnagent_probe_rtt_seconds": Declaration(Histogram, "Round trips of the tunnel's probes."),
    "vpnagent_probe_sent_total": Declaration(Counter, "Probes sent into the tunnel."),
    "vpnagent_probe_lost_total": Declaration(Counter, "Probes without an answer in time."),
    "vpnagent_path_degraded": Declaration(Gauge, "1 when the path is degraded by loss or round-trip time."),
    "vpnagent_prober_lateness_seconds": Declaration(
        Histogram, "By how much the prober's wake-ups came after their time.", ()
    ),
    "vpnagent_rekeys_total": Declaration(Counter, "Rekeys of the tunnel's IKE_SA or CHILD_SA."),
    "vpnagent_negotiation_failures_total": Declaration(
        Counter, "Failed negotiations by reason, in the cloud's words.", ("connection", "tunnel", "reason")
    ),
    "vpnagent_certificate_expiry_timestamp_seconds": Declaration(
        Gauge, "Unix time at which the first of the tunnel's certificate and CA expires."
    ),
    "vpnagent_route_installed": Declaration(
        Gauge, "1 when the route for the prefix leads into a tunnel.", ("connection", "prefix")
    ),
    "vpnagent_drift_repairs_total": Declaration(
        Counter, "Objects of ours that somebody changed or removed and that were put right.", ("kind",)
    ),
    "vpnagent_events_total": Declaration(Counter, "Events told, by type.", ("type",)),
    "vpnagent_config_last_reload_successful": Declaration(
        Gauge, "1 when the configuration file in force is the one last read.", ()
    ),
    "vpnagent_build_info": Declaration(Gauge, "1; the version of the agent.", ("version",)),
    "vpnagent_charon_up": Declaration(Gauge, "1 when charon answers on its VICI socket.", ()),
}


class AgentCollector(Collector):
    """Samples for a scrape, from what the daemon knows at that moment."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples; asked for at registration."""
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        """Return all families with their samples."""
        families = _families()
        for name, labels, value in samples(self._known):
            families[name].add_metric(labels, value)
        for name, labels, buckets, total in histograms(self._known):
            families[name].add_metric(labels, buckets, total)
        return families.values()


def _families() -> dict[str, Any]:
    return {name: d.kind(name, d.help, labels=d.labels) for name, d in METRICS.items()}


Sample = tuple[str, tuple[str, ...], float]
Buckets = list[tuple[str, float]]


def histograms(known: Knowledge) -> Iterator[tuple[str, tuple[str, ...], Buckets, float]]:
    """Yield name, label values, cumulative buckets and sum of every histogram."""
    for key, times in known.kernel.failover_times.items():
        for name, times_of, bounds in (
            ("vpnagent_failover_detection_seconds", times.detection, DETECTION_BOUNDS),
            ("vpnagent_failover_switch_seconds", times.switch, SWITCH_BOUNDS),
        ):
            yield name, key, cumulative(bounds, times_of.counts), times_of.total
    report = known.probe.report
    if report is None:
        return
    for meter in report.rtt:
        yield "vpnagent_probe_rtt_seconds", meter.tunnel, cumulative(RTT_BOUNDS, meter.counts), meter.total
    lateness = cumulative(LATENESS_BOUNDS, report.lateness)
    yield "vpnagent_prober_lateness_seconds", (), lateness, report.lateness_total


def cumulative(bounds: Sequence[float], counts: Sequence[int]) -> Buckets:
    """Return the buckets as Prometheus wants them: each counts all below its bound."""
    return [
        (str(floatToGoString(bound)), total)  # type: ignore[no-untyped-call]
        for bound, total in zip((*bounds, math.inf), accumulate(counts), strict=True)
    ]


def samples(known: Knowledge) -> Iterator[Sample]:
    """Yield name, label values and value of every sample."""
    yield "vpnagent_build_info", (__version__,), 1
    yield "vpnagent_charon_up", (), known.charon.connected
    yield "vpnagent_config_last_reload_successful", (), known.config_error is None
    for kind, count in known.kernel.repairs.items():
        yield "vpnagent_drift_repairs_total", (kind,), count
    for type_, count in known.event_counts.items():
        yield "vpnagent_events_total", (type_,), count
    for connection in known.config.connections:
        yield from _connection(known, connection)
        for tunnel in connection.tunnels:
            yield from _tunnel(known, connection, tunnel)


def _connection(known: Knowledge, connection: Connection) -> Iterator[Sample]:
    yield "vpnagent_connection_bandwidth_limit_bits_per_second", (connection.name,), connection.bandwidth
    for prefix in connection.remote_networks:
        installed = known.kernel.state is not None and prefix not in known.kernel.missing
        yield "vpnagent_route_installed", (connection.name, str(prefix)), installed
    for (name, reason), count in known.kernel.failover_counts.items():
        if name == connection.name:
            yield "vpnagent_failovers_total", (name, reason), count


def _tunnel(known: Knowledge, connection: Connection, tunnel: Tunnel) -> Iterator[Sample]:
    labels = (connection.name, tunnel.name)
    view = known.tunnels.views.get(tunnel.key)
    yield from _state(labels, view)
    forwarding = tunnel.name in known.kernel.selected.get(connection.name, ())
    yield "vpnagent_tunnel_forwarding", labels, forwarding
    yield "vpnagent_tunnel_bandwidth_limit_bits_per_second", labels, connection.bandwidth
    yield "vpnagent_tunnel_packet_rate_limit", labels, connection.packet_rate
    yield "vpnagent_rekeys_total", labels, known.charon.rekeys.get(tunnel.key, 0)
    yield from _traffic(labels, known, tunnel)
    yield from _path(labels, known.probe, tunnel.key)
    if (expiry := known.certificate_expiry.get(tunnel.key)) is not None:
        yield "vpnagent_certificate_expiry_timestamp_seconds", labels, expiry
    for (key, reason), count in known.charon.negotiation_failures.items():
        if key == tunnel.key:
            yield "vpnagent_negotiation_failures_total", (*labels, reason), count


def _state(labels: tuple[str, str], view: TunnelView | None) -> Iterator[Sample]:
    current = view.state if view else TunnelState.INIT
    for state in TunnelState:
        yield "vpnagent_tunnel_state", (*labels, state.value), state is current
    yield "vpnagent_tunnel_up", labels, current is TunnelState.UP
    established = view is not None and view.sa.ike.value in ("established", "rekeying")
    yield "vpnagent_ike_sa_established", labels, established
    yield "vpnagent_child_sa_installed", labels, view is not None and view.sa.installed


def _path(labels: tuple[str, str], probe: ProbeKnowledge, key: TunnelKey) -> Iterator[Sample]:
    path = probe.paths.get(key)
    yield "vpnagent_path_degraded", labels, path is not None and path.state is PathState.DEGRADED
    yield "vpnagent_probe_sent_total", labels, path.sent if path else 0
    yield "vpnagent_probe_lost_total", labels, probe.lost.get(key, 0)


def _traffic(labels: tuple[str, str], known: Knowledge, tunnel: Tunnel) -> Iterator[Sample]:
    counters: LinkCounters = NO_TRAFFIC
    if known.kernel.state is not None:
        counters = known.kernel.state.counters.get(tunnel.interface, NO_TRAFFIC)
    yield "vpnagent_tunnel_receive_bytes_total", labels, counters.rx_bytes
    yield "vpnagent_tunnel_transmit_bytes_total", labels, counters.tx_bytes
    yield "vpnagent_tunnel_receive_packets_total", labels, counters.rx_packets
    yield "vpnagent_tunnel_transmit_packets_total", labels, counters.tx_packets
