"""How long nothing was heard although it was asked: the failure detector's measure of time.

Silence is not the time since the last reply. It is that part of it which probes really sent cover: each
covers one interval after it was sent, and no more. A process that was stopped sent nothing, so its silence
does not grow; a tick that comes late covers what it covers. And a silence is only complete when the
multiplier's number of probes went unanswered for longer than a reply may take (RFC 5880 §6.8.4 counts
packets of the peer; here the peer only answers, so both are counted).

    answered          lost     lost     lost                   every | a probe, every > its reply
    |>       |        |        |        |
      ~~~~~~~~~~~~~~~~~~~~~~~~~~~ covered, from the last reply on: detection time -> silent
"""

from collections import deque
from math import inf

JITTER = 0.02  #: of the interval, to either side: how far the schedule may move a probe
COVER = 1.1  #: intervals that one probe covers: the most by which two probes may lie apart, and some lateness
_GRAIN = 1e-9  #: seconds, below any clock's: lets sums of floats reach the detection time


class Silence:
    """The silence of one path. Facts come in the order of time, but for a reply older than the last probe."""

    __slots__ = (
        "_covered",
        "_interval",
        "_limit",
        "_mark",
        "_multiplier",
        "_unanswered",
        "complete",
        "looked",
        "quiet",
        "quiet_at",
    )

    def __init__(self, interval: float, multiplier: int, at: float) -> None:
        self._interval = interval
        self._multiplier = multiplier
        self._unanswered: deque[tuple[int, float]] = deque()  #: number and time of the first ones
        self.restart(at)

    def restart(self, at: float) -> None:
        """Begin anew, as if just heard: what was not heard until now proves nothing."""
        self._covered = 0.0  #: seconds of silence up to ``_mark``
        self._mark = at
        self._limit = at  #: no probe covers more than this
        self._unanswered.clear()
        self.quiet = False  #: a probe was missed since the last reply
        self.quiet_at: float | None = None  #: when that was
        self.complete = False  #: nothing was heard for the detection time
        self.looked = False  #: at the counters, to judge it: by whoever judges

    @property
    def expected_at(self) -> float:
        """When the silence will be complete if probes go on to be sent and nothing is heard."""
        return self._mark + self._interval * self._multiplier - self._covered

    def extend(self, seconds: float) -> None:
        """Demand that much more covered silence."""
        self._covered -= seconds
        self.complete = self.looked = False

    def sent(self, number: int, at: float) -> None:
        """A probe left."""
        self._cover(at)
        limit = at + COVER * self._interval
        self._limit = max(self._limit, limit)
        if len(self._unanswered) < 4 * self._multiplier:
            self._unanswered.append((number, at))

    def heard(self, number: int, at: float) -> None:
        """A reply to that probe arrived."""
        unanswered = self._unanswered
        while unanswered and unanswered[0][0] <= number:
            unanswered.popleft()
        self._covered = 0.0
        self._mark = max(self._mark, at)
        self.quiet = False
        self.quiet_at = None
        self.complete = self.looked = False

    def stalled(self, since: float, until: float) -> None:
        """Take out a time in which this process, or the whole machine, did not run: it covers nothing.

        Probes that were under way get the rest of their chance afterwards.
        """
        self._cover(since)
        self._mark = max(self._mark, until)
        lost_time = until - since
        self._unanswered = deque(
            (number, sent_at + lost_time if sent_at <= since else sent_at)
            for number, sent_at in self._unanswered
        )

    def deadline(self, patience: float) -> float:
        """When ``advance`` is next due; infinite if that takes another probe."""
        if self.complete or not self._unanswered:
            return inf
        if not self.quiet:
            return self._unanswered[0][1] + patience
        return self._complete_at(patience)

    def advance(self, now: float, patience: float) -> None:
        """Apply the passage of time; ``patience`` is how long a reply may take."""
        if not self.quiet and self._unanswered:
            missed_at = self._unanswered[0][1] + patience
            if missed_at <= now:
                self.quiet, self.quiet_at = True, missed_at
        if self.quiet and not self.complete and self._complete_at(patience) <= now:
            self.complete = True

    def _complete_at(self, patience: float) -> float:
        if len(self._unanswered) < self._multiplier:
            return inf
        covered_at = self._mark + self._interval * self._multiplier - self._covered
        if covered_at > self._limit + _GRAIN:
            return inf
        return max(covered_at, self._unanswered[self._multiplier - 1][1] + patience)

    def _cover(self, to: float) -> None:
        end = self._limit if self._limit < to else to
        if end > self._mark:
            self._covered += end - self._mark
        self._mark = max(self._mark, to)
