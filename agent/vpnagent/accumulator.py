"""Counters that only grow, made of counts that begin at zero again whenever what counts is made anew. Pure.

An interface that is made again counts from zero, and so does the next prober. A sum never goes back: each
reading adds what was counted since the last one of the same life.
"""

from collections.abc import Hashable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

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
