"""What passed and what was probed since the daemon began, for counters that never go back. Pure.

An interface that is made again counts from zero, and so does the next prober: each reading adds what was
counted since the last one of the same life. What was counted before the daemon began counts too where it
still stands, so that a restart of the daemon alone is none of the counters. What an interface counts in the
moment before somebody removes it is lost. Beside them: bits per second, and what the leak guard stopped.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from vpnagent.config.values import Config, LeakGuard, TunnelKey
from vpnagent.finding import Finding, Severity
from vpnagent.netlink.rtnetlink import LinkCounters
from vpnagent.probe.actions import LATENESS_BOUNDS, RTT_BOUNDS
from vpnagent.probe.protocol import ProberReport
from vpnagent.routing.objects import KernelState

K = TypeVar("K", bound=Hashable)

Counts = tuple[float, ...]

#: Lives that have ended are remembered that long: an interface may be missing from a single reading.
REMEMBERED: Final = 1024


class Reading(NamedTuple, Generic[K]):
    """What something has counted since it began."""

    key: K  #: under which it is added up
    life: Hashable  #: of what counts: another one began at zero
    counts: (
        Counts  #: the first one goes back only with a new life; the others may, and the sum waits for them
    )


class Accumulator(Generic[K]):
    """Sums by key. Drive it with ``update()``."""

    def __init__(self) -> None:
        self._highest: dict[Hashable, Counts] = {}  #: by life, latest last
        self._sums: dict[K, Counts] = {}

    def update(self, readings: Iterable[Reading[K]]) -> None:
        """Take in what counts now."""
        alive = 0
        for key, life, counts in readings:
            alive += 1
            known = self._highest.pop(life, None)
            if known is None or counts[0] < known[0]:
                known = (0,) * len(counts)
            self._highest[life] = highest = tuple(map(max, known, counts))
            rows = zip(self.of(key, len(counts)), highest, known, strict=True)
            self._sums[key] = tuple(total + (now - before) for total, now, before in rows)
        while len(self._highest) > alive + REMEMBERED:
            del self._highest[next(iter(self._highest))]

    def of(self, key: K, length: int) -> Counts:
        """Return the sums of a key; zeros, so many, where there was none."""
        return self._sums.get(key) or (0,) * length


# Bits per second from counters read now and then: the mean over the last seconds.
# Pure: ``now`` is monotonic seconds. A counter that went back (the interface was made anew) starts again.

WINDOW = 5.0  #: seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Traffic inside one tunnel, this gateway's view."""

    rx_bits_per_second: float
    tx_bits_per_second: float


class Rates:
    """Rates by interface name. Drive it with ``update()``."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, LinkCounters]]] = deque()

    def update(self, now: float, counters: Mapping[str, LinkCounters]) -> None:
        """Take in one reading; keep just enough to span the window."""
        self._samples.append((now, counters))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:  # noqa: PLR2004 - first and last
            self._samples.popleft()

    def rate(self, interface: str) -> Rate:
        """Return the mean rate over the window; zero while there is nothing to compare."""
        if not self._samples:
            return Rate(rx_bits_per_second=0.0, tx_bits_per_second=0.0)
        then, old = self._samples[0]
        now, new = self._samples[-1]
        before, after = old.get(interface), new.get(interface)
        if before is None or after is None or now <= then:
            return Rate(rx_bits_per_second=0.0, tx_bits_per_second=0.0)
        seconds = now - then
        return Rate(
            rx_bits_per_second=max(0, after.rx_bytes - before.rx_bytes) * 8 / seconds,
            tx_bits_per_second=max(0, after.tx_bytes - before.tx_bytes) * 8 / seconds,
        )


# What passed and what was probed since the daemon began, for counters that never go back. Pure.
# What was counted before the daemon began counts too where it still stands, so that a restart of the
# daemon alone is none of the counters. What an interface counts in the moment before somebody removes it
# is lost.

LATELY: Final = 300.0  #: seconds for which packets that were stopped are told of
LEAKS: Final = {
    "out": (
        "packets for remote networks",
        "an interface that is no tunnel",
        "vpnagent explain HOST says which route or rule leads there; a way that is meant is named in exits",
    ),
    "in": (
        "packets out of a tunnel",
        "an interface that is neither the LAN's nor a tunnel",
        "is a route to a local network missing? A way that is meant is named in gateway.local_interfaces",
    ),
}  #: by direction: what, where it would leave, and what to do


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


class Stopped:
    """What the leak guard stopped, by direction, and how much of it lately. Drive it with ``update()``."""

    def __init__(self) -> None:
        self._sums: Accumulator[str] = Accumulator()
        self._grown: deque[tuple[float, str, int]] = deque()  #: when, in which direction, by how many
        self._begun: set[str] = set()

    def update(self, counts: Mapping[str, int], now: float) -> None:
        """Take in the counters as they are, at a monotonic time."""
        for direction, count in counts.items():
            before = self.of(direction)
            self._sums.update([Reading(direction, direction, (count,))])
            if direction in self._begun and self.of(direction) > before:
                self._grown.append((now, direction, self.of(direction) - before))
            self._begun.add(direction)  # what was counted before our time is no news
        while self._grown and self._grown[0][0] <= now - LATELY:
            self._grown.popleft()

    def of(self, direction: str) -> int:
        """Return the packets that were stopped."""
        return int(self._sums.of(direction, 1)[0])

    def lately(self, direction: str) -> int:
        """Return how many of them in the last minutes before the last update."""
        return sum(count for _, of, count in self._grown if of == direction)


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

    def update(self, report: ProberReport, prober: int) -> None:
        """Take in a report of the prober with that process id."""
        self._probes.update(
            Reading(path.tunnel, (prober, path.tunnel), (path.sent, path.lost, path.flinches))
            for path in report.paths
        )
        self._round_trips.update(
            Reading(meter.tunnel, (prober, meter.tunnel), _counts(meter.counts, meter.total))
            for meter in report.rtt
        )
        troubles = (report.send_errors, report.overflows, report.events_lost, report.groups_repaired)
        self._troubles.update([Reading(None, prober, troubles)])
        self._lateness.update([Reading(None, prober, _counts(report.lateness, report.lateness_total))])

    def sent(self, tunnel: TunnelKey) -> float:
        """Return the number of probes sent into a tunnel."""
        return self._probes.of(tunnel, 3)[0]

    def lost(self, tunnel: TunnelKey) -> float:
        """Return how many of them were not answered; a late answer takes none back."""
        return self._probes.of(tunnel, 3)[1]

    def flinches(self, tunnel: TunnelKey) -> int:
        """Return how often traffic left a tunnel on suspicion, and came back."""
        return int(self._probes.of(tunnel, 3)[2])

    @property
    def send_errors(self) -> float:
        """Return the number of probes that could not be sent."""
        return self._troubles.of(None, 4)[0]

    @property
    def overflows(self) -> float:
        """Return the number of answers that a full buffer of ours lost."""
        return self._troubles.of(None, 4)[1]

    @property
    def events_lost(self) -> float:
        """Return how many events of the prober's the daemon was too slow for."""
        return self._troubles.of(None, 4)[2]

    @property
    def groups_repaired(self) -> int:
        """Return how many nexthop groups the probers put right that others had changed or removed."""
        return int(self._troubles.of(None, 4)[3])

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


def leaks(conf: Config, stopped: Stopped) -> Iterator[Finding]:
    """Yield that packets of the remote networks are about to leave in clear, or do."""
    drops = conf.agent.leak_guard is LeakGuard.DROP
    done = "stopped" if drops else "let pass"
    for direction, (packets, where, hint) in LEAKS.items():
        if count := stopped.lately(direction):
            yield Finding(
                code="ClearTextStopped",
                subject=direction,
                severity=Severity.CRITICAL,
                text=f"{packets} that would leave in clear, by {where}: {count} {done} in the last "
                f"{LATELY / 60:g} minutes",
                hint=hint,
            )
