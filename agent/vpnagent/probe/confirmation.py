"""A missed probe is confirmed at once: whether a path is to be suspected, long before it is known to be dead.

    IDLE --missed--> ASKING: a short burst --all unanswered--> UNANSWERED
      ^                |                                          |
      +-----heard------+------------------heard-------------------+

The detection time stays what it was: probes of a burst are spare ones, whose silence proves nothing. An
unanswered burst is reason enough to send our own packets another way, if there is a better one: that costs
nothing, and is taken back at once. It is not reason enough to tell a peer, nor to leave a tunnel down.
"""

from math import inf

# A bad line, or a limit of the target, misses many probes, and more of them make that no better.
_CLEAN = 2.0  #: seconds without a missed probe, before one is worth a burst


class Confirmation:
    """The confirmation of one path; times are monotonic seconds."""

    __slots__ = ("_count", "_interval", "_left", "_missed_at", "begun_at", "due", "suspected", "unanswered")

    def __init__(self, count: int, interval: float) -> None:
        """Ask ``count`` times in all, ``interval`` seconds apart; 0: never."""
        self._count = count
        self._interval = interval
        self._left = 0  #: probes that have yet to leave
        self._missed_at = self.begun_at = -inf
        self.due = inf  #: when ``take`` is next due
        self.unanswered = False
        self.suspected = False  #: and another tunnel is better: noted by who sees the others

    def begin(self, now: float, *, worth_it: bool) -> None:
        """A probe was missed, and the first of the burst leaves now, if it is worth it."""
        self.over()
        clean, self._missed_at = now >= self._missed_at + _CLEAN, now
        if not (self._count and worth_it and clean):
            return
        self.begun_at = now
        self._left = self._count - 1
        self.due = now + self._interval

    def take(self, now: float, patience: float) -> int | None:
        """Apply the passage of time; return which probe of the burst is to leave now: 1, 2, ...

        The last one has ``patience`` seconds to be answered.
        """
        if now < self.due:
            return None
        if self._left:
            self._left -= 1
            self.due = now + (self._interval if self._left else max(patience, self._interval))
            return self._count - 1 - self._left
        self.due, self.unanswered = inf, True
        return None

    def stalled(self, until: float, patience: float) -> None:
        """Nothing of us ran until then: what is under way gets its chance."""
        if self.due < inf:
            self.due = max(self.due, until + patience)

    def over(self) -> None:
        """Something was heard, or cannot be expected."""
        self.due, self.unanswered, self.suspected = inf, False, False
