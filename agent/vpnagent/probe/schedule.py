"""When the next probe of a tunnel is due and whom it asks; and, over all tunnels, what is due next.

Probes lie on a grid of one interval, each moved by a little jitter, and the grids of different tunnels are
spread over the interval: they never leave in bursts, and never drift into one. A tunnel with several
targets asks its usual one every time and the others in turn, now and then, so that a dead one is known
before it is needed; at the first miss all are asked at once, and who answers then becomes the usual one.
The quorum is one: a path is heard while any of its targets answers.
"""

from collections.abc import Hashable, Iterator
from heapq import heappop, heappush
from math import inf
from typing import Generic, TypeVar

from vpnagent.probe.intent import ProbeTarget
from vpnagent.probe.silence import JITTER

SPARE_EVERY = 10  #: probes to the usual target for one to another
_DESERTED = 2  #: probes that the usual target misses before another that answers takes its place
_HURRY = 4  #: times as many probes


K = TypeVar("K", bound=Hashable)


class Schedule:
    """One tunnel's schedule."""

    __slots__ = ("_grid", "_interval", "_missed", "_sent", "_targets", "_usual", "due", "hurried")

    def __init__(self, interval: float, targets: tuple[ProbeTarget, ...], at: float) -> None:
        self._interval = interval
        self._targets = targets
        self._usual = 0  #: index of the target that is asked every time
        self._missed = 0  #: probes to it since it last answered
        self.hurried = False  #: until the next reply: a path is to be judged that is half alive
        self._sent = 0
        self._grid = self.due = at

    @property
    def usual(self) -> ProbeTarget:
        """The target that is asked every time."""
        return self._targets[self._usual]

    def start(self, at: float) -> None:
        """Let the next probe leave at that time, and the others follow from there."""
        self._grid = self.due = at

    def pace(self, interval: float) -> None:
        """Let this much time pass between probes, from the next one on."""
        self._grid += interval - self._interval
        self._interval = interval

    def take(self, now: float, random: float) -> list[tuple[ProbeTarget, bool]]:
        """Return whom to ask now, and whether that is a spare one; the next probe is one interval later."""
        if now - self._grid > self._interval / 2:
            self._grid = now
        self._grid += self._interval / _HURRY if self.hurried else self._interval
        self.due = self._grid + (2 * random - 1) * JITTER * self._interval
        self._sent += 1
        self._missed += 1
        asked = [(self._targets[self._usual], False)]
        if self._sent % SPARE_EVERY == 0 and len(self._targets) > 1:
            others = len(self._targets) - 1
            turn = 1 + self._sent // SPARE_EVERY % others
            asked.append((self._targets[(self._usual + turn) % len(self._targets)], True))
        return asked

    def everyone(self) -> Iterator[tuple[ProbeTarget, bool]]:
        """Return whom to ask at the first miss: the usual target again, and all others."""
        for target in self._targets:
            yield target, target is not self.usual

    def hurry(self, now: float) -> None:
        """Ask more often until something is heard."""
        self.hurried = True
        self.start(now)

    def answered(self, target: ProbeTarget) -> None:
        """Note who answered, and choose the usual target anew."""
        self.hurried = False
        if target is self._targets[self._usual]:
            self._missed = 0
        elif (index := self._targets.index(target)) < self._usual or self._missed >= _DESERTED:
            self._usual, self._missed = index, 0


class Timetable(Generic[K]):
    """What is due when; a heap whose outdated entries are dropped when they come up."""

    __slots__ = ("_due", "_entries", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._entries = 0  #: ever made: entries due at the same time come out in the order they went in

    def set(self, what: K, due: float) -> None:
        """``what`` is due then and not as was said before; infinite: not at all."""
        if self._due.get(what, inf) != due:
            self._due[what] = due
            if due != inf:
                self._entries += 1
                heappush(self._heap, (due, self._entries, what))

    def deadline(self) -> float:
        """When the first is due; infinite if none is."""
        heap, due = self._heap, self._due
        while heap and due.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else inf

    def pop(self, now: float) -> K | None:
        """Take out the first that is due, or return None."""
        heap, due = self._heap, self._due
        while heap and heap[0][0] <= now:
            at, _, what = heappop(heap)
            if due.get(what) == at:
                del due[what]
                return what
        return None
