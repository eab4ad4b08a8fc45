"""What passed and what was probed since the daemon began, for counters that never go back. Pure.

What was counted before the daemon began counts too where it still stands, so that a restart of the daemon
alone is none of the counters. What an interface counts in the moment before somebody removes it is lost.
"""

from typing import NamedTuple

from vpnagent.accumulator import Accumulator, Counts, Reading
from vpnagent.config.values import TunnelKey
from vpnagent.probe.meter import LATENESS_BOUNDS, RTT_BOUNDS
from vpnagent.probe.protocol import Report
from vpnagent.routing.objects import KernelState, LinkCounters


class Traffic:
    """What passed each tunnel, however often its interface was made. Drive it with ``update()``."""

    def __init__(self) -> None:
        self._sums: Accumulator[str] = Accumulator()

    def update(self, state: KernelState) -> None:
        """Take in one observation; an interface belongs to the tunnel that its alias names."""
        self._sums.update(
            Reading(
                state.objects.links[name].alias,
                counters.index or name,
                (counters.rx_bytes, counters.tx_bytes, counters.rx_packets, counters.tx_packets),
            )
            for name, counters in state.counters.items()
            if name in state.objects.links
        )

    def of(self, tunnel: TunnelKey) -> LinkCounters:
        """Return what passed a tunnel."""
        rx_bytes, tx_bytes, rx_packets, tx_packets = map(int, self._sums.of(tunnel.owner, 4))
        return LinkCounters(
            rx_bytes=rx_bytes, tx_bytes=tx_bytes, rx_packets=rx_packets, tx_packets=tx_packets
        )


class Observed(NamedTuple):
    """A histogram: how many values fell into each bucket, and their sum."""

    counts: Counts
    total: float


class Probes:
    """What was probed, however many probers did it. Drive it with ``update()``."""

    def __init__(self) -> None:
        self._probes: Accumulator[TunnelKey] = Accumulator()
        self._round_trips: Accumulator[TunnelKey] = Accumulator()
        self._lateness: Accumulator[None] = Accumulator()
        self._troubles: Accumulator[None] = Accumulator()

    def update(self, report: Report, prober: int) -> None:
        """Take in a report of the prober with that process id."""
        self._probes.update(
            Reading(path.tunnel, (prober, path.tunnel), (path.sent, path.lost)) for path in report.paths
        )
        self._round_trips.update(
            Reading(meter.tunnel, (prober, meter.tunnel), _counts(meter.counts, meter.total))
            for meter in report.rtt
        )
        self._troubles.update([Reading(None, prober, (report.send_errors, report.overflows))])
        self._lateness.update([Reading(None, prober, _counts(report.lateness, report.lateness_total))])

    def sent(self, tunnel: TunnelKey) -> float:
        """Return the number of probes sent into a tunnel."""
        return self._probes.of(tunnel, 2)[0]

    def lost(self, tunnel: TunnelKey) -> float:
        """Return how many of them were not answered; a late answer takes none back."""
        return self._probes.of(tunnel, 2)[1]

    @property
    def send_errors(self) -> float:
        """Return the number of probes that could not be sent."""
        return self._troubles.of(None, 2)[0]

    @property
    def overflows(self) -> float:
        """Return the number of answers that a full buffer of ours lost."""
        return self._troubles.of(None, 2)[1]

    def round_trips(self, tunnel: TunnelKey) -> Observed:
        """Return the round trips by bucket of RTT_BOUNDS."""
        return _observed(self._round_trips.of(tunnel, len(RTT_BOUNDS) + 3))

    def lateness(self) -> Observed:
        """Return the lateness of wake-ups by bucket of LATENESS_BOUNDS."""
        return _observed(self._lateness.of(None, len(LATENESS_BOUNDS) + 3))


def _counts(buckets: tuple[int, ...], total: float) -> Counts:
    """Return a histogram as counts, the number of all values first: that one never goes back."""
    return (sum(buckets), *buckets, total)


def _observed(counts: Counts) -> Observed:
    return Observed(counts[1:-1], counts[-1])
