"""Histograms with fixed bounds: cheap to observe, cheap to send, cumulative only at the exporter. Pure."""

from bisect import bisect_left
from typing import Final

LATENESS_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
#: seconds by which a wake-up came after its time
RTT_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
#: seconds from the send of a probe to the kernel's receipt of its answer


class Histogram:
    """Counts by bucket; the last bucket holds what exceeds every bound."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0  #: sum of all observed values

    def observe(self, value: float) -> None:
        """Count one value; one that equals a bound belongs below it, as in Prometheus."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class RoundTrips:
    """Times the probes of one tunnel; the first answer to each counts."""

    __slots__ = ("_at", "_sequences", "histogram")

    _SIZE = 256  # probes that may be under way; sequences are used modulo this

    def __init__(self) -> None:
        self._sequences = [-1] * self._SIZE
        self._at = [0.0] * self._SIZE
        self.histogram = Histogram(RTT_BOUNDS)

    def sent(self, sequence: int, at: float) -> None:
        """Note when a probe was sent."""
        place = sequence % self._SIZE
        self._sequences[place] = sequence
        self._at[place] = at

    def answered(self, sequence: int, at: float) -> None:
        """Note when it was answered."""
        place = sequence % self._SIZE
        if self._sequences[place] == sequence:
            self._sequences[place] = -1
            self.histogram.observe(at - self._at[place])
