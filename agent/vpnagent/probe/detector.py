"""The state of one path: a table of transitions, and the few functions that take them.

             heard                     silent, signalled
    INIT ------------> UP <--------+----------------------> DOWN
     |                 |           | proved                   | heard (a probe sent since)
     | silent          | quality   |                          v
     +--> DOWN         v           +--------------------- HOLD_DOWN ---> DOWN (silent, signalled)
                    DEGRADED -----> UP, DOWN

    any but DOWN  -- unsent (probes cannot be sent) ---> UNPROBED ---> HOLD_DOWN (heard), DOWN
                  -- elsewhere (heard on others' interface) -> ELSEWHERE -> UP (heard on ours), DOWN

Replies that something on this machine drops (``filtered``) make UP DEGRADED; one that is received, UP again.

All transitions are here, and each is returned as a value. ``INIT`` is the state of what was never judged:
its first reply is trusted, while a path that was down must prove itself for the time of ``HoldDown``.
No time passes in here: what silence is, and when, is the business of ``Silence``.
"""

import enum

from vpnagent.probe.actions import Cause
from vpnagent.probe.hold_down import HoldDown
from vpnagent.record import dataclass
from vpnagent.selection import PathState

FILTERED = "replies arrive at the interface, and something on this machine drops them"


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


@dataclass(frozen=True, slots=True)
class StateChange:
    """A path changed its state."""

    at: float
    old: PathState
    new: PathState
    cause: Cause
    reason: str


class Detector:
    """One path's state, why it is so and since when."""

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
