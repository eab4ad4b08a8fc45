"""What is done about one tunnel whose path is down: telling the peer, leaving it down, trying it again.

Two deaths are told apart by asking the peer's IKE daemon, before any SA is touched:

    path dead, IKE alive   ASKING -> RESETTING -> RESTING -> INITIATING -> PROBING -+-> heard: over
                                          ^                                         |
                                          +------------ silent: next trial ---------+
    underlay dead          ASKING -> WAITING -> RETURNED (IKE answers again) -+-> heard: over
                                                                              +-> silent: RESETTING
    not to be reset        ASKING -> KEPT, asked again later
    the target is dead     DISPLACED -> RESTORING, for what was taken down for its sake

A tunnel that was reset is left down, because an active/standby cloud goes back to it as soon as its
negotiation is up again; each trial puts the return traffic at risk for one detection time, so the space
between trials grows. The remedy decides when; whether a reset is allowed at all is decided in ``domain``,
which sees the other tunnels. While nothing carries, ``recovery`` decides when too, and no time passes here.
"""

import enum
from collections.abc import Callable
from math import inf

from vpnagent.record import record

FIRST_REST = 5.0  #: seconds before the first trial
MAINTENANCE = 600.0  #: seconds in which a cloud that replaces one endpoint may replace the next
MAINTENANCE_REST = 10.0  #: seconds between trials meanwhile, at most
LONGEST_REST = 300.0  #: seconds between trials, in the end
_JITTER = 0.1  #: of the rest, to either side
_TERMINATE_PATIENCE = 2.0  #: seconds for charon to say that it did
_INITIATE_PATIENCE = 15.0  #: seconds for a CHILD_SA to come up
_PROBE_PATIENCE = 15.0  #: seconds for a trial whose probes cannot even be sent
_BUSY = 1.0  #: seconds after which a trial that had to give way to another is due again
_FIRST_ASK, _LONGEST_ASK = 1.0, 5.0  #: seconds between questions to a silent IKE daemon
_BASELINE = (2.0, 60.0, 600.0)  #: seconds after which an IKE daemon is first asked, in time of peace
_EARLY_TRIALS = 3  #: times that a tunnel which the peer brings up by itself is tried at once


class Phase(enum.Enum):
    """Where the remedy stands."""

    NONE = "none"
    ASKING = "asking"
    WANTED = "wanted"  #: a reset, as soon as no other tunnel is being reset
    KEPT = "kept"
    RESETTING = "resetting"
    RESTING = "resting"
    INITIATING = "initiating"
    PROBING = "probing"
    WAITING = "waiting"
    RETURNED = "returned"
    DISPLACED = "displaced"  #: to be restored
    RESTORING = "restoring"  #: the reset was a mistake


DISTURBING = frozenset({Phase.RESETTING, Phase.INITIATING, Phase.PROBING, Phase.RESTORING})
#: the tunnel is being reset: the return traffic of others may go anywhere; one tunnel at a time
HELD = DISTURBING | {Phase.RESTING, Phase.DISPLACED}
#: nobody else is to initiate the tunnel
UNTOLD = frozenset({Phase.ASKING, Phase.WANTED, Phase.KEPT, Phase.WAITING, Phase.RETURNED})
#: the peer may still return everything through this dead tunnel


class Step(enum.Enum):
    """What the domain is to do for the tunnel now."""

    ASK = enum.auto()  #: ``begin``, if the path was ever heard
    PING = enum.auto()
    WANT_RESET = enum.auto()  #: check whether it is allowed, then ``reset`` or ``keep``
    INITIATE = enum.auto()
    LISTEN = enum.auto()  #: begin a new silence and probe at once


@record(frozen=True, slots=True)
class IkeQuestion:
    """How long the IKE daemon may take: one repetition, then silence is an answer too."""

    again: float  #: when to repeat the question
    until: float  #: when to give up

    @classmethod
    def at(cls, now: float, rtt: float) -> "IkeQuestion":
        """Return the times of a question that is asked now."""
        return cls(now + 1.5 * rtt + 0.02, now + cls.length(rtt))

    @staticmethod
    def length(rtt: float) -> float:
        """Return the seconds after which silence is an answer."""
        return 2.5 * rtt + 0.04


class Remedy:
    """The remedy of one tunnel. Times are monotonic seconds; steps are returned in order."""

    __slots__ = (
        "_baselines",
        "_maintenance_until",
        "_question",
        "_random",
        "_rests",
        "at_once",
        "phase",
        "trials",
        "until",
    )

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._question: IkeQuestion | None = None
        self._baselines = 0  #: questions in time of peace
        self._rests = 0  #: questions and waits since the path went down
        self._maintenance_until = -inf
        self.at_once = False  #: the next trial needs no rest: it was the peer who forgot the SA
        self.phase = Phase.NONE
        self.until = inf  #: when ``advance`` is next due
        self.trials: int | None = None  #: that failed; None: not taken down for its path

    def resume(self, failed_trials: int, now: float) -> None:
        """Go on where a former prober stopped."""
        self.trials = failed_trials
        self._enter(Phase.RESTING, now + self._rest(now))

    def path_up(self, now: float, *, ike_known: bool) -> None:
        """The path is up, and has proved itself if it had to."""
        self.trials = None
        if not ike_known and self._baselines < len(_BASELINE):
            self._enter(Phase.NONE, now + _BASELINE[self._baselines] * (0.5 + self._random()))
        else:
            self.over()

    def over(self) -> None:
        """The path is heard again, or the tunnel's fate is in other hands."""
        self._rests = 0
        self.at_once = False
        self._enter(Phase.NONE, inf)

    def begin(self, now: float, rtt: float) -> list[Step]:
        """The path is down: ask."""
        self._question = IkeQuestion.at(now, rtt)
        self._enter(Phase.ASKING, self._question.again)
        return [Step.PING]

    def reset(self, now: float) -> None:
        """The tunnel is being terminated."""
        self.trials = 0 if self.trials is None else self.trials + 1
        self._enter(Phase.RESETTING, now + _TERMINATE_PATIENCE)

    def keep(self, now: float) -> None:
        """A reset is not allowed; ask again later."""
        self._prolong(Phase.KEPT, now, FIRST_REST, LONGEST_REST)

    def want(self, now: float) -> None:
        """A reset is allowed, but not now."""
        self._enter(Phase.WANTED, now + _BUSY)

    def wait(self, now: float) -> None:
        """The underlay is dead."""
        self._prolong(Phase.WAITING, now, _FIRST_ASK, _LONGEST_ASK)

    def clear_away(self, now: float) -> None:
        """The tunnel is being terminated for the sake of another, or to be brought up anew."""
        self.trials = self.trials or 0
        self._enter(Phase.RESETTING, now + _TERMINATE_PATIENCE)

    def park(self, until: float) -> None:
        """The tunnel is down, and will be tried when its turn comes."""
        self.trials = self.trials or 0
        self._enter(Phase.RESTING, until)

    def initiate(self, until: float) -> None:
        """It is the tunnel's turn."""
        self._enter(Phase.INITIATING, until)

    def listen(self, now: float) -> None:
        """The tunnel came up when it was its turn."""
        self._enter(Phase.PROBING, now + _PROBE_PATIENCE)

    def rest(self, now: float) -> None:
        """Another tunnel carries again: the next trial is due as after any other."""
        self._enter(Phase.RESTING, now + self._rest(now))

    def hasten(self, now: float) -> None:
        """Another tunnel's peer ended it: a cloud that replaces its endpoints goes on with the next one.

        This one has perhaps been replaced by now, and is the one that will be needed.
        """
        self._maintenance_until = now + MAINTENANCE
        if self.phase is Phase.RESTING:
            self.until = min(self.until, now + FIRST_REST)

    def put_back(self, now: float) -> None:
        """The reset was a mistake: bring the tunnel up again, as soon as no other is being reset."""
        self._enter(Phase.DISPLACED, now)

    @property
    def rounds(self) -> int:
        """How often it was decided to wait since the path went down."""
        return self._rests

    def restore(self, now: float) -> list[Step]:
        """The reset was a mistake: bring the tunnel up again."""
        self._prolong(Phase.RESTORING, now, FIRST_REST, LONGEST_REST)
        self.trials = None
        return [Step.INITIATE]

    def answered(self, now: float) -> list[Step]:
        """The peer's IKE daemon gave a sign of life."""
        if self.phase is Phase.ASKING:
            return [Step.WANT_RESET]
        if self.phase is Phase.WAITING:
            self.at_once = True
            self._enter(Phase.RETURNED, now + _PROBE_PATIENCE)
            return [Step.LISTEN]
        return []

    def terminated(self, now: float, *, done: bool) -> None:
        """Charon did it, or refused."""
        if self.phase is not Phase.RESETTING:
            return
        if done:
            self._enter(Phase.RESTING, now if self.at_once else now + self._rest(now))
            self.at_once = False
        else:
            self.keep(now)

    def initiated(self, now: float, *, done: bool) -> list[Step]:
        """Charon brought the tunnel up, or could not."""
        if self.phase is Phase.RESTORING and done:
            self.over()
            return [Step.LISTEN]
        if self.phase is not Phase.INITIATING:
            return []
        if done:
            self._enter(Phase.PROBING, now + _PROBE_PATIENCE)
            return [Step.LISTEN]
        self._failed(now)
        return []

    def child_sa_came(self, now: float) -> list[Step]:
        """A CHILD_SA was installed, by whomever."""
        if self.phase is Phase.DISPLACED:
            self.over()
            return [Step.LISTEN]
        if self.phase is Phase.RESTING and (self.trials or 0) < _EARLY_TRIALS:
            self._enter(Phase.PROBING, now + _PROBE_PATIENCE)
            return [Step.LISTEN]
        return self.initiated(now, done=True)

    def child_sa_went(self, now: float) -> None:
        """The CHILD_SA is gone."""
        if self.phase is Phase.PROBING:
            self._failed(now)
        elif self.phase in UNTOLD:
            self.over()

    def silent(self, now: float) -> list[Step]:
        """Nothing was heard for a detection time, of a path that is down already."""
        if self.phase is Phase.NONE:
            return [Step.ASK]
        return [Step.WANT_RESET] if self.phase in (Phase.PROBING, Phase.RETURNED) else []

    def advance(self, now: float, *, ike_known: bool, rtt: float, busy: bool) -> list[Step]:
        """Apply the passage of time. ``busy``: another tunnel is being reset, which must end first."""
        if now < self.until:
            return []
        match self.phase:
            case Phase.NONE:
                self._baselines += 1
                self.path_up(now, ike_known=ike_known)
                return [] if ike_known else [Step.PING]
            case Phase.ASKING:
                return self._unanswered(now, ike_known=ike_known)
            case Phase.KEPT:
                return self.begin(now, rtt)
            case Phase.WAITING | Phase.RETURNED:
                self.wait(now)
                return [Step.PING]
            case _:
                return self._advance_reset(now, busy=busy)

    def _advance_reset(self, now: float, *, busy: bool) -> list[Step]:
        match self.phase:
            case Phase.RESETTING:
                self._enter(Phase.RESTING, now + self._rest(now))
            case Phase.RESTING if busy:
                self.until = now + _BUSY
            case Phase.RESTING:
                self._enter(Phase.INITIATING, now + _INITIATE_PATIENCE)
                return [Step.INITIATE]
            case Phase.INITIATING:
                self._failed(now)
            case Phase.DISPLACED if busy:
                self.until = now + _BUSY / 10
            case Phase.DISPLACED | Phase.RESTORING:
                return self.restore(now)
            case _:  # PROBING that could not even send, WANTED that had to wait
                self.until = now + _BUSY
                return [Step.WANT_RESET]
        return []

    def _unanswered(self, now: float, *, ike_known: bool) -> list[Step]:
        if self._question is not None and now < self._question.until:
            self.until = self._question.until
            return [Step.PING]
        if ike_known:
            self.wait(now)
            return []
        return [Step.WANT_RESET]  # it never answered: cannot tell, so the configured policy decides

    def _failed(self, now: float) -> None:
        self.trials = (self.trials or 0) + 1
        self._enter(Phase.RESTING, now + self._rest(now))

    def _rest(self, now: float) -> float:
        longest = MAINTENANCE_REST if now < self._maintenance_until else LONGEST_REST
        rest = min(FIRST_REST * 2.0 ** min(self.trials or 0, 30), longest)
        return float(rest * (1 + _JITTER * (2 * self._random() - 1)))

    def _prolong(self, phase: Phase, now: float, first: float, longest: float) -> None:
        wait = min(first * 2.0 ** min(self._rests, 30), longest)
        self._rests += 1
        self._enter(phase, now + wait * (1 + _JITTER * (2 * self._random() - 1)))

    def _enter(self, phase: Phase, until: float) -> None:
        self.phase, self.until = phase, until
