"""What is done to the tunnels of a domain, and what is asked when all of them fall silent together.

``Measures`` are the hands of those who decide: ``Inquiry`` here, ``domain`` and ``recovery``. They change the
situation, and leave what follows from that in the ``Outbox``, which the core empties.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from vpnagent.config.values import TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause, InitiateTunnel, ProberAction, SendIkePing, TerminateTunnel
from vpnagent.probe.detector import StateChange
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import IkeQuestion, Phase, Step
from vpnagent.probe.situation import InquiryStage, Judgement, Permit, Situation

WAITING_FOR_PEER = "return path: waiting for the cloud"
TARGET_DEAD = "the probe target may be dead"
_RTT = 0.1  #: seconds: of an IKE daemon of which nothing is known

_WARNINGS, _EVERY = 5, 10.0  #: questions ahead of a verdict: at once, and seconds between further ones


class Budget:
    """A bounded rate: so many at once, and then one in so many seconds.

    A token bucket; ``suppressed`` counts what was refused since the last that was not.
    """

    __slots__ = ("_burst", "_every", "_full_at", "suppressed")

    def __init__(self, burst: int, every: float) -> None:
        self._burst = burst
        self._every = every
        self._full_at = 0.0  #: when the bucket is full again
        self.suppressed = 0

    def take(self, now: float) -> int | None:
        """Return how many were refused before this one, or None if this one is."""
        if max(self._full_at, now) + self._every > now + self._burst * self._every:
            self.suppressed += 1
            return None
        self._full_at = max(self._full_at, now) + self._every
        suppressed, self.suppressed = self.suppressed, 0
        return suppressed


class PathTransition(NamedTuple):
    """A path of the domain changed its state."""

    path: Path
    transition: StateChange


class Trigger(NamedTuple):
    """Something else that selection depends on changed."""

    cause: Cause
    tunnel: TunnelKey | None
    reason: str


class Outbox(NamedTuple):
    """Where a domain leaves what follows from facts and time; the core empties it."""

    actions: list[ProberAction]
    changes: list[PathTransition]
    triggers: list[Trigger]


class Measures:
    """Changes the situation, and leaves actions and changes in the outbox."""

    __slots__ = ("outbox", "situation")

    def __init__(self, situation: Situation, outbox: Outbox) -> None:
        self.situation = situation
        self.outbox = outbox

    def do(self, key: TunnelKey, steps: Iterable[Step], now: float) -> None:
        """Take the steps that a remedy asks for."""
        path = self.situation.paths[key]
        for step in steps:
            match step:
                case Step.ASK:
                    self._ask(path, now)
                case Step.PING:
                    self.ping(key, now)
                case Step.INITIATE:
                    self._initiate(path)
                case Step.LISTEN:
                    path.restart(now)
                    self.situation.judged.pop(key, None)
                case Step.WANT_RESET:
                    self.reset_or_keep(path, now)

    def _ask(self, path: Path, now: float) -> None:
        """Ask the IKE daemon, unless it gave a sign of life since the path was last heard.

        A path that was never heard proves nothing: it may be the target that does not answer.
        """
        heard_at = path.evidence.heard_at
        if heard_at is None and not self.situation.alive:
            return
        if heard_at is not None and path.evidence.ike.answered_since(heard_at):
            self.reset_or_keep(path, now)
        else:
            self.situation.remedies[path.key].begin(now, ike_rtt([path]))
            self.ping(path.key, now)

    def reset_or_keep(self, path: Path, now: float) -> None:
        """Terminate the tunnel's IKE_SA if that is allowed: it tells the peer."""
        remedy = self.situation.remedies[path.key]
        permit = self.situation.permit(path, now)
        if remedy.phase is Phase.ASKING:
            remedy.keep(now)
        if self.situation.stranded():
            return  # recovery begins: whose turn it is is decided there
        match permit:
            case Permit.NO:
                remedy.keep(now)
            case Permit.LATER:
                remedy.want(now)
            case Permit.YES:
                remedy.reset(now)
                reason = f"path down ({path.detector.reason}) while its IKE daemon lives"
                self.outbox.actions.append(TerminateTunnel(tunnel=path.key, reason=reason))

    def _initiate(self, path: Path) -> None:
        """Bring the tunnel up; a first trial puts ESP that was native into UDP, which IKE got through by."""
        remedy = self.situation.remedies[path.key]
        first = remedy.phase is Phase.INITIATING and not remedy.trials
        force = first and not path.intent.encapsulated
        self.outbox.actions.append(InitiateTunnel(tunnel=path.key, force_encapsulation=force))

    def recovered(self, path: Path, state: PathState, at: float) -> None:
        """The path is heard again, or up."""
        remedy = self.situation.remedies[path.key]
        if state is PathState.HOLD_DOWN:
            remedy.over()
            self.listen_again(at)
        elif state is PathState.UP:
            remedy.path_up(at, ike_known=path.evidence.ike.answered_at is not None)

    def ping(self, key: TunnelKey, now: float) -> None:
        """Ask the tunnel's IKE daemon."""
        path = self.situation.paths[key]
        if not path.intent.ike_ping:
            return
        path.evidence.ike.ask(now)
        self.outbox.actions.append(SendIkePing(tunnel=key))
        if self.situation.remedies[key].phase is Phase.ASKING and self.situation.remedies[key].rounds:
            path.evidence.traffic.begin()
            path.read_traffic(self.outbox.actions)

    def listen_again(self, now: float) -> None:
        """Return traffic may take another way from now on: what was silent gets a new chance."""
        self.situation.judged.clear()
        for path in self.situation.in_service():
            if path.silence.quiet and not path.own:
                path.silence.restart(now)
                path.window.clear()

    def look(self, paths: Iterable[Path]) -> None:
        """Ask for the counters."""
        for path in paths:
            path.read_traffic(self.outbox.actions)

    def take_down(self, path: Path, cause: Cause, reason: str, now: float) -> None:
        """The path is down: by verdict, not by signal."""
        self.situation.judged.clear()
        self._end_suspicion(path, cause, reason)
        self.note(path, path.detector.lost(cause, reason, now))

    def degrade(self, path: Path, cause: Cause, reason: str, now: float) -> None:
        """The path is degraded, or, if it was down, was so by mistake."""
        self.situation.judged[path.key] = Judgement.TARGET
        self._end_suspicion(path, cause, reason)
        self.note(path, path.detector.worse(cause, reason, now))

    def _end_suspicion(self, path: Path, cause: Cause, reason: str) -> None:
        if path.confirmation.suspected:
            path.confirmation.over()
            self.outbox.triggers.append(Trigger(cause, path.key, reason))

    def note(self, path: Path, transitions: Iterable[StateChange]) -> None:
        """Pass transitions on."""
        self.outbox.changes.extend(PathTransition(path, transition) for transition in transitions)

    def underlay_dead(self, path: Path, now: float) -> None:
        """Keep the SAs: they work again the moment it returns."""
        self.take_down(path, Cause.UNDERLAY, f"{silence_of(path)}, and its IKE daemon is silent too", now)
        self.situation.remedies[path.key].wait(now)


def silence_of(path: Path) -> str:
    """Return the reason of most verdicts."""
    return f"nothing heard for {path.detection_time:g} s"


def ike_rtt(paths: Iterable[Path]) -> float:
    """Return how long their IKE daemons may take, in seconds."""
    known = [rtt for p in paths for rtt in (p.evidence.ike.rtt, p.window.rtt.srtt) if rtt is not None]
    return min(max(known, default=_RTT), 1.0)


class Inquiry:
    """When all tunnels of a domain fall silent together: asking, blaming, watching, and taking it back.

    Drives the domain's ``InquiryState``. The IKE daemons are asked a little before the silence is complete,
    so that their answers, or their own silence, are there when the verdict is due.
    """

    __slots__ = ("_budget", "_measures", "_rechecked", "_situation", "_warn_at")

    def __init__(self, situation: Situation, measures: Measures) -> None:
        self._situation = situation
        self._measures = measures
        self._rechecked = False  #: the counters were looked at, before the inquiry stands for longer
        self._warn_at = inf  #: when to ask ahead
        self._budget = Budget(_WARNINGS, _EVERY)

    @property
    def deadline(self) -> float:
        """When ``advance`` is next due."""
        return min(self._warn_at, self._situation.inquiry.until)

    def quieted(self, now: float) -> None:
        """A path missed a probe: see whether a verdict draws near that will need the IKE daemons' answers."""
        self._warn_at = min(_ahead_of(self._own()), _ahead_of(self._shared()))
        if self._warn_at <= now:
            self._warn(now)

    def _own(self) -> list[Path]:
        """Quiet paths that are judged by themselves, and were not asked about yet."""
        return [
            p
            for p in self._situation.in_service()
            if p.own and p.silence.quiet and not p.evidence.ike.consulted_since(p.evidence.heard_at)
        ]

    def _shared(self) -> list[Path]:
        """Quiet paths whose silence nothing explains; none while one is heard or suspected."""
        service, untold = self._situation.in_service(), self._situation.untold()
        asked = self._situation.inquiry.stage is not InquiryStage.CLEAR or self._situation.busy(None)
        if asked or any(p.alive for p in service):
            return []
        return [p for p in service if not (p.own or p.evidence.returns_on in untold)]

    def _warn(self, now: float) -> None:
        """Ask ahead, as far as the budget goes: a bad line makes many a path quiet for a moment."""
        self._warn_at = inf
        own = [p for p in self._own() if _ahead_of([p]) <= now]
        shared = _ahead_of(self._shared()) <= now
        if (not own and not shared) or self._budget.take(now) is None:
            return
        for path in own:
            self._measures.ping(path.key, now)
        if shared:
            self._question(None, now)

    def ask(self, culprit: Path, now: float) -> None:
        """A path is silent, and may be dead; or its target is."""
        self._situation.judged[culprit.key] = Judgement.ASK
        inquiry = self._situation.inquiry
        if (
            inquiry.stage is InquiryStage.FOREWARNED
            and culprit.key in inquiry.asked
            and not inquiry.stale(now)
        ):
            inquiry.accuse(culprit.key, now)
        elif inquiry.stage in (InquiryStage.CLEAR, InquiryStage.FOREWARNED):
            self._question(culprit.key, now)

    def _question(self, culprit: TunnelKey | None, now: float) -> None:
        suspects = [p for p in self._situation.in_service() if p.silence.quiet and p.intent.ike_ping]
        self._situation.inquiry.ask(culprit, frozenset(p.key for p in suspects), now, ike_rtt(suspects))
        for path in suspects:
            self._measures.ping(path.key, now)

    def advance(self, now: float) -> None:
        """Apply the passage of time."""
        if self._warn_at <= now:
            self._warn(now)
        inquiry = self._situation.inquiry
        if inquiry.until > now:
            return
        match inquiry.stage:
            case InquiryStage.ASKING | InquiryStage.FOREWARNED:
                self._ask_again(now)
            case InquiryStage.TARGET:
                self._recheck(now)
            case InquiryStage.CLEAR:
                pass

    def _ask_again(self, now: float) -> None:
        again = self._situation.inquiry.repeat(now)
        for key in sorted(again):
            self._measures.ping(key, now)
        if not again and self._situation.inquiry.stage is InquiryStage.ASKING:
            self._conclude(now)

    def _conclude(self, now: float) -> None:
        """The IKE daemons have answered, or have not: a silent one's tunnel is the dead one."""
        inquiry = self._situation.inquiry
        asked = [self._situation.paths[key] for key in sorted(inquiry.asked) if key in self._situation.paths]
        silent = [p for p in asked if p.key not in inquiry.answered]
        known = any(p.evidence.ike.answered_at is not None for p in asked)
        culprit = self._situation.paths.get(inquiry.culprit) if inquiry.culprit else None
        answered = inquiry.answered
        inquiry.clear()
        self._situation.judged.clear()
        for path in silent if known else ():
            if path.silence.complete:
                self._measures.underlay_dead(path, now)
        if culprit is None or culprit.state is PathState.DOWN:
            return
        if culprit.key in answered or not known:
            missed = any(p.evidence.traffic.unanswered for p in asked)
            if missed or inquiry.may_guess(now):
                self._blame(culprit, now)
            else:
                self.suspect_target(now)

    def _blame(self, culprit: Path, now: float) -> None:
        """All fell silent, and IKE does not tell: act on the tunnel on which the replies used to arrive."""
        if len(self._situation.in_service()) > 1:
            reason = f"{silence_of(culprit)}, and the replies of all tunnels used to arrive here"
            self._measures.take_down(culprit, Cause.RETURN, reason, now)
        else:
            self._measures.take_down(culprit, Cause.SILENT, silence_of(culprit), now)
        if not self._situation.stranded():
            self._measures.reset_or_keep(culprit, now)

    def resolve(self, path: Path, at: float) -> None:
        """Something is heard while there is an inquiry, or while a silence is excused."""
        if self._situation.inquiry.stage is InquiryStage.FOREWARNED:
            self._situation.inquiry.clear()
        elif self._situation.inquiry.stage is not InquiryStage.CLEAR:
            self._situation.inquiry.clear()
            self._measures.listen_again(at)
        if self._situation.judged.pop(path.key, None) is not None:
            path.window.clear()
        for key in [k for k, judgement in self._situation.judged.items() if judgement is Judgement.WAIT]:
            del self._situation.judged[key]

    def suspect_target(self, now: float) -> None:
        """It is the target that is dead, as far as one can tell: nobody is taken down for it.

        If it is not, only a tunnel that was left down can show it: those are tried soon.
        """
        if self._situation.inquiry.stage is not InquiryStage.TARGET:
            for remedy in self._situation.remedies.values():
                remedy.hasten(now)
        self._situation.inquiry.suspect_target(now)
        quiet = [p for p in self._situation.in_service() if p.silence.quiet]
        for path in quiet:
            if path.silence.complete:
                self._measures.degrade(path, Cause.TARGET, TARGET_DEAD, now)
            path.evidence.traffic.begin()
        self._measures.look(quiet)

    def _recheck(self, now: float) -> None:
        """While packets still arrive, or nobody misses any, the inquiry stands."""
        service = self._situation.in_service()
        self._rechecked = not self._rechecked
        if self._rechecked:
            self._measures.look(service)
            return
        traffic = [p.evidence.traffic for p in service]
        missed = any(t.unanswered for t in traffic) and not any(t.inbound for t in traffic)
        if missed or (not any(t.inbound for t in traffic) and self._situation.inquiry.may_guess(now)):
            self._situation.inquiry.clear()
            self._situation.judged.clear()
        else:
            self.suspect_target(now)


def _ahead_of(paths: Sequence[Path]) -> float:
    """Return when to ask so that the answers are there when the first silence is complete."""
    due = [p.silence.expected_at for p in paths if p.intent.ike_ping and not p.silence.complete]
    return min(due) - IkeQuestion.length(ike_rtt(paths)) if due else inf
