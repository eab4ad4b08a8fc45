"""Damp storms of log lines: equal ones, and more of one kind than anybody reads. Pure; ``now`` in seconds.

Of equal lines at most ``EQUAL`` pass in a period that begins with the first, of one kind (one place in the
code, whatever the values) at most ``ALIKE``. When it is over, one line says how many did not pass. So in any
``PERIOD`` at most ``2 * EQUAL`` equal lines and ``2 * ALIKE`` of one kind are written, and their counts.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

PERIOD: Final = 10.0  #: seconds
EQUAL: Final = 5  #: lines
ALIKE: Final = 500  #: lines; 256 tunnels at a start make as many of one kind
MOST: Final = 4096  #: kinds and texts that are counted at a time; the rest passes


class Suppressed(NamedTuple):
    """How many lines did not pass."""

    lines: int
    text: str  #: the last of them
    level: int


@dataclass(slots=True)
class _Period:
    ends: float  #: monotonic, seconds
    passed: int = 0
    suppressed: int = 0
    text: str = ""
    level: int = 0


class LogStorm:
    """Ask ``passes()`` for every line, and ``ended()`` now and then."""

    def __init__(self) -> None:
        self._periods: dict[tuple[str, ...], _Period] = {}

    def passes(self, kind: str, text: str, level: int, now: float) -> bool:
        """Whether a line is to be written; call ``ended()`` before, at the same time."""
        alike, equal = self._period((kind,), now), self._period((kind, text), now)
        full = equal if equal.passed >= EQUAL else alike if alike.passed >= ALIKE else None
        if full is not None:
            full.suppressed += 1
            full.text, full.level = text, max(full.level, level)
            return False
        alike.passed += 1
        equal.passed += 1
        return True

    def ended(self, now: float) -> list[Suppressed]:
        """Return the counts of the periods that are over, oldest first; ``inf`` for all."""
        over = [key for key, period in self._periods.items() if period.ends <= now]
        periods = [self._periods.pop(key) for key in over]
        return [Suppressed(p.suppressed, p.text, p.level) for p in periods if p.suppressed]

    def _period(self, key: tuple[str, ...], now: float) -> _Period:
        """Return the period that a line falls into; one that is over waits for ``ended``, and counts on."""
        period = self._periods.get(key)
        if period is None:
            period = _Period(now + PERIOD)
            if len(self._periods) < MOST:
                self._periods[key] = period
        return period
