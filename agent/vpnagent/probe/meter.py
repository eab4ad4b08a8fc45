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
