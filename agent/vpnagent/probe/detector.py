"""The failure detector of one path: silence is measured, and moves a state along a table of transitions.

``Silence`` tells when a path is quiet (a probe was missed) and when its silence is complete; ``Detector`` is
the state that follows from that, from signals and from what others judge; ``HoldDown`` is the time for which
a path that was down must prove itself. Facts come in with their time, transitions go out as values; nothing
here knows of other tunnels, nor when it is.
"""

import enum
from collections import deque
from math import inf

from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause
from vpnagent.record import record

JITTER = 0.02  #: of the interval, to either side: how far the schedule may move a probe
COVER = 1.1  #: intervals that one probe covers: the most by which two probes may lie apart, and some lateness
_GRAIN = 1e-9  #: seconds, below any clock's: lets sums of floats reach the detection time
CAP = 300.0  #: seconds; a longer ``hold_down`` is its own cap
_DOUBLED_FROM = 1.0  #: seconds: the least that is ever doubled, lest 0 stay 0
_DECAY = 4  #: times the hold-down: how long the path must be up for one fall to be forgotten
FILTERED = "replies arrive at the interface, and something on this machine drops them"


class Silence:
    """How long nothing was heard although it was asked: the failure detector's measure of time.

    Silence is not the time since the last reply. It is that part of it which probes really sent cover: each
    covers one interval after it was sent, and no more. A process that was stopped sent nothing, so its
    silence does not grow; a tick that comes late covers what it covers. And a silence is only complete when
    the multiplier's number of probes went unanswered for longer than a reply may take (RFC 5880 §6.8.4 counts
    packets of the peer; here the peer only answers, so both are counted).

        answered          lost     lost     lost                   every | a probe, every > its reply
        |>       |        |        |        |
          ~~~~~~~~~~~~~~~~~~~~~~~~~~~ covered, from the last reply on: detection time -> silent

    Facts come in the order of time, but for a reply older than the last probe.
    """

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


class HoldDown:
    """How long a recovered path must prove itself: damping of flaps.

    The first recovery takes ``hold_down``. Each further fall doubles it, up to a cap; each spell of being up
    for four times the present one takes one doubling back. A path that falls more often than that is left
    alone more and more: whatever the rhythm of its falls, it comes up less than once per cap in the long run.

    ``ends`` is None while the path is not in hold-down.
    """

    __slots__ = ("_changed", "base", "ends", "falls")

    def __init__(self, base: float) -> None:
        self.base = base  #: seconds
        self._changed = 0.0  #: when the path came up, or the last doubling was taken back
        self.ends: float | None = None
        self.falls = 0  #: that are remembered

    @property
    def length(self) -> float:
        """Seconds, for the present number of falls."""
        if self.falls <= 1:
            return self.base
        doubled = max(self.base, _DOUBLED_FROM) * 2.0 ** min(self.falls - 1, 30)
        return max(self.base, min(doubled, CAP))

    def begin(self, at: float) -> None:
        """The path is heard again; or it missed a probe while it had to prove itself."""
        self.ends = at + self.length

    def postpone(self, seconds: float) -> None:
        """Leave out a time in which nothing could be heard through no fault of the path."""
        if self.ends is not None:
            self.ends += seconds

    def up(self, at: float) -> None:
        """The path has proved itself."""
        self.ends = None
        self._changed = at

    def fell(self, at: float) -> None:
        """The path went down."""
        if self.ends is None:
            self._decay(at)
        self.falls += 1
        self.ends = None

    def take_back(self) -> None:
        """The last fall was none."""
        self.falls = max(0, self.falls - 1)

    def _decay(self, at: float) -> None:
        """Take one fall back for each spell of being up."""
        while self.falls and at - self._changed >= _DECAY * self.length:
            self._changed += _DECAY * self.length
            self.falls -= 1


class PathEvent(enum.Enum):
    """What can happen to a path."""

    HEARD = enum.auto()
    PROVED = enum.auto()
    LOST = enum.auto()  #: silent, blamed or signalled
    WORSE = enum.auto()
    BETTER = enum.auto()
    UNSENT = enum.auto()
    ELSEWHERE = enum.auto()


_UNKNOWN = {PathEvent.UNSENT: PathState.UNPROBED, PathEvent.ELSEWHERE: PathState.ELSEWHERE}
TRANSITIONS = {
    PathState.INIT: {
        **_UNKNOWN,
        PathEvent.HEARD: PathState.UP,
        PathEvent.LOST: PathState.DOWN,
        PathEvent.WORSE: PathState.DEGRADED,
    },
    PathState.UP: {**_UNKNOWN, PathEvent.LOST: PathState.DOWN, PathEvent.WORSE: PathState.DEGRADED},
    PathState.DEGRADED: {**_UNKNOWN, PathEvent.LOST: PathState.DOWN, PathEvent.BETTER: PathState.UP},
    PathState.UNPROBED: {PathEvent.HEARD: PathState.HOLD_DOWN, PathEvent.LOST: PathState.DOWN},
    PathState.ELSEWHERE: {
        PathEvent.BETTER: PathState.UP,
        PathEvent.LOST: PathState.DOWN,
        PathEvent.UNSENT: PathState.UNPROBED,
    },
    PathState.HOLD_DOWN: {**_UNKNOWN, PathEvent.LOST: PathState.DOWN, PathEvent.PROVED: PathState.UP},
    PathState.DOWN: {PathEvent.HEARD: PathState.HOLD_DOWN, PathEvent.WORSE: PathState.DEGRADED},
}


@record(frozen=True, slots=True)
class StateChange:
    """A path changed its state."""

    at: float
    old: PathState
    new: PathState
    cause: Cause
    reason: str


class Detector:
    """One path's state, why it is so and since when.

                 heard                     silent, signalled
        INIT ------------> UP <--------+----------------------> DOWN
         |                 |           | proved                   | heard (a probe sent since)
         | silent          | quality   |                          v
         +--> DOWN         v           +--------------------- HOLD_DOWN ---> DOWN (silent, signalled)
                        DEGRADED -----> UP, DOWN

        any but DOWN  -- unsent (probes cannot be sent) ---> UNPROBED ---> HOLD_DOWN (heard), DOWN
                      -- elsewhere (heard on others' interface) -> ELSEWHERE -> UP (heard on ours), DOWN

    Replies that something on this machine drops (``filtered``) make UP DEGRADED; one that is received, UP
    again.

    All transitions are here, and each is returned as a value. ``INIT`` is the state of what was never judged:
    its first reply is trusted, while a path that was down must prove itself for the time of ``HoldDown``. No
    time passes in here: what silence is, and when, is the business of ``Silence``.
    """

    __slots__ = ("_gap", "cause", "hold_down", "last_heard", "reason", "since", "state")

    def __init__(self, hold_down: float, gap: float, at: float) -> None:
        """Start in INIT. Replies further apart than ``gap`` seconds do not prove the time between them."""
        self.state = PathState.INIT
        self.cause = Cause.START
        self.reason = "not yet heard"
        self.since = at
        self.last_heard: float | None = None
        self.hold_down = HoldDown(hold_down)
        self._gap = gap

    def tune(self, hold_down: float, gap: float) -> None:
        """Go on with other parameters; a hold-down that runs ends as it would have."""
        self.hold_down.base = hold_down
        self._gap = gap

    def heard(self, sent_at: float, at: float) -> list[StateChange]:
        """Note a reply. One to a probe that was sent before the verdict comes too late to change it."""
        if self.state is PathState.DOWN and sent_at < self.since:
            return []
        unheard = at - self.last_heard if self.last_heard is not None else 0.0
        self.last_heard = max(at, self.last_heard or at)
        match self.state:
            case PathState.UP | PathState.DEGRADED | PathState.ELSEWHERE:
                return []
            case PathState.INIT:
                return [self._take(PathEvent.HEARD, Cause.START, "heard", at)]
            case PathState.HOLD_DOWN:
                if unheard > self._gap:
                    self.hold_down.postpone(unheard)
                return self._prove(at)
            case PathState.DOWN | PathState.UNPROBED:
                transition = self._take(PathEvent.HEARD, Cause.RECOVERED, "heard again", at)
                self.hold_down.begin(at)
                return [transition, *self._prove(at)]

    def missed(self, at: float) -> None:
        """A probe was not answered in time."""
        if self.state is PathState.HOLD_DOWN:
            self.hold_down.begin(at)

    def lost(self, cause: Cause, reason: str, at: float) -> list[StateChange]:
        """The path is down: nothing is heard any more, or a signal says so."""
        if self.state is PathState.DOWN:
            return []
        if self.state is not PathState.INIT:
            self.hold_down.fell(at)
        return [self._take(PathEvent.LOST, cause, reason, at)]

    def worse(self, cause: Cause, reason: str, at: float) -> list[StateChange]:
        """The path is degraded. A path that is down is so only by a verdict that turned out to be wrong."""
        if self.state is PathState.DEGRADED:
            self.cause, self.reason = cause, reason
            return []
        if self.state in (PathState.HOLD_DOWN, PathState.UNPROBED, PathState.ELSEWHERE):
            return []
        if self.state is PathState.DOWN:
            self.hold_down.take_back()
        return [self._take(PathEvent.WORSE, cause, reason, at)]

    def better(self, reason: str, at: float) -> list[StateChange]:
        """The path is no longer degraded."""
        if self.state is not PathState.DEGRADED:
            return []
        return [self._take(PathEvent.BETTER, Cause.RECOVERED, reason, at)]

    def unsent(self, reason: str, at: float) -> list[StateChange]:
        """No probe could be sent for the detection time: nothing is known of the path."""
        if PathEvent.UNSENT not in TRANSITIONS[self.state]:
            return []
        self.hold_down.ends = None
        return [self._take(PathEvent.UNSENT, Cause.UNSENT, reason, at)]

    def elsewhere(self, at: float) -> list[StateChange]:
        """For the detection time replies came by an interface that is none of our tunnels'."""
        if PathEvent.ELSEWHERE not in TRANSITIONS[self.state]:
            return []
        self.hold_down.ends = None
        reason = "replies return by an interface that is no tunnel: only the way out is proven"
        return [self._take(PathEvent.ELSEWHERE, Cause.ELSEWHERE, reason, at)]

    def returned(self, at: float) -> list[StateChange]:
        """A reply came by a tunnel."""
        if self.state is not PathState.ELSEWHERE:
            return []
        return [self._take(PathEvent.BETTER, Cause.RECOVERED, "replies return by a tunnel", at)]

    def filtered(self, at: float) -> list[StateChange]:
        """For the detection time replies arrived, and something on this machine dropped them."""
        if self.state not in (PathState.UP, PathState.DEGRADED):
            return []
        return self.worse(Cause.FILTERED, FILTERED, at)

    def unfiltered(self, at: float) -> list[StateChange]:
        """A reply was received as it should be."""
        if self.cause is not Cause.FILTERED:
            return []
        return self.better("replies are received again", at)

    def _prove(self, at: float) -> list[StateChange]:
        ends = self.hold_down.ends
        if ends is None or at < ends:
            return []
        self.hold_down.up(at)
        return [self._take(PathEvent.PROVED, Cause.RECOVERED, f"heard for {self.hold_down.length:g} s", at)]

    def _take(self, event: PathEvent, cause: Cause, reason: str, at: float) -> StateChange:
        transition = StateChange(at, self.state, TRANSITIONS[self.state][event], cause, reason)
        self.state, self.cause, self.reason, self.since = transition.new, cause, reason, at
        return transition
