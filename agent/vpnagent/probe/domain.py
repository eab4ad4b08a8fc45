"""The tunnels that can stand in for each other, and what is done when some of them go silent.

A domain is a set of connections that share networks: return traffic may come on any of its tunnels. Here
the facts of its paths become verdicts (``blame``), doubts are cleared (``doubt``), and remedies are driven
(``trial``) under the two laws that need the whole picture: at most one tunnel is being reset at a time, and
never the last one that carries anything.
"""

from collections.abc import Iterable

from vpnagent.config.values import TunnelKey
from vpnagent.probe.actions import Cause, Initiate, SendIkePing, Terminate
from vpnagent.probe.blame import Judgement, judge
from vpnagent.probe.detector import Transition
from vpnagent.probe.doubt import Stage
from vpnagent.probe.outbox import Change, Outbox, Trigger
from vpnagent.probe.path import Path
from vpnagent.probe.picture import Permit, Picture
from vpnagent.probe.trial import DISTURBING, HELD, Phase, Step
from vpnagent.selection import PathState

_RTT = 0.1  #: seconds: of an IKE daemon of which nothing is known
WAITING_FOR_PEER = "return path: waiting for the cloud"
TARGET_DEAD = "the probe target may be dead"


class Domain:
    """Tell it facts, then ``advance`` it."""

    __slots__ = ("_looked", "_outbox", "_rechecked", "picture")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._looked = False  #: at the counters, just before judging
        self._rechecked = False  #: the same, before a pardon is prolonged
        self.picture = Picture()

    @property
    def unsettled(self) -> bool:
        """Whether a silent path has not been judged."""
        return any(self.unjudged(p) and p.signals.usable for p in self.picture.paths.values())

    def unjudged(self, path: Path) -> bool:
        """Whether the path is silent, and that was not judged."""
        return path.silence.complete and path.key not in self.picture.judged

    @property
    def deadline(self) -> float:
        """When ``advance`` is next due, if no path becomes silent before."""
        return min(self.picture.doubt.until, *(r.until for r in self.picture.remedies.values()))

    # Facts

    def heard(
        self, path: Path, heard_on: TunnelKey | None, transitions: Iterable[Transition], at: float
    ) -> bool:
        """A reply to a probe of ``path`` arrived, and ``transitions`` came of it. Return whether more did."""
        if heard_on is not None:
            path.evidence.returns_on = heard_on
            if heard_on in self.picture.paths:
                self.picture.paths[heard_on].evidence.last_in = at
                self.picture.paths[heard_on].evidence.traffic.reply()
        detector = path.detector
        told = False
        for transition in transitions:
            told = True
            self._note(path, [transition])
            self._recovered(path, transition.new, at)
        if detector.state is PathState.DEGRADED and detector.cause in (Cause.RETURN, Cause.TARGET):
            told = True
            path.window.clear()
            self._note(path, detector.better("heard again", at))
        if detector.state is not PathState.DOWN and (
            self.picture.judged or self.picture.doubt.stage is not Stage.CLEAR
        ):
            told = True
            self._resolve(path, at)
        return told

    def ike_answered(self, key: TunnelKey, at: float) -> None:
        """The IKE daemon of a tunnel's peer gave a sign of life."""
        self.picture.paths[key].evidence.ike.answer(at)
        self.picture.doubt.answer(key, at)
        self._do(key, self.picture.remedies[key].answered(at), at)

    def signalled(self, path: Path, cause: Cause, reason: str, at: float, *, was_usable: bool) -> None:
        """A tunnel's CHILD_SA or an interface of it came or went."""
        if path.signals.usable == was_usable:
            return
        self._outbox.triggers.append(Trigger(cause, path.key, reason))
        remedy = self.picture.remedies[path.key]
        self._note(path, path.signal(cause, reason, at, was_usable=was_usable))
        if not was_usable:
            self.picture.judged.pop(path.key, None)
            self._do(path.key, remedy.child_sa_came(at), at)
            return
        remedy.child_sa_went(at)
        if any(p.evidence.returns_on == path.key for p in self.picture.in_service()):
            self._listen_again(at)  # the cloud moves its direction too

    def terminated(self, key: TunnelKey, at: float, *, done: bool) -> None:
        """A reset was carried out, or was not possible."""
        remedy = self.picture.remedies[key]
        if remedy.phase is Phase.RESETTING:
            remedy.terminated(at, done=done)
            self._listen_again(at)

    def initiated(self, key: TunnelKey, at: float, *, done: bool) -> None:
        """A trial's CHILD_SA is installed, or could not be."""
        self._do(key, self.picture.remedies[key].initiated(at, done=done), at)

    # Time

    def advance(self, now: float) -> None:
        """Apply the passage of time, and judge what is silent."""
        if self.picture.doubt.until <= now:
            self._advance_doubt(now)
        for key, remedy in self.picture.remedies.items():
            if remedy.until <= now:
                path = self.picture.paths[key]
                known = path.evidence.ike.answered_at is not None
                phase = remedy.phase
                steps = remedy.advance(
                    now, ike_known=known, rtt=_ike_rtt([path]), busy=self._busy_for_trial(key)
                )
                if phase in DISTURBING and remedy.phase not in DISTURBING:
                    self._listen_again(now)
                self._do(key, steps, now)
        if self.unsettled:
            self._judge(now)

    def _judge(self, now: float) -> None:
        silent = [p for p in self.picture.paths.values() if p.silence.complete and p.signals.usable]
        for path in [p for p in silent if p.state is PathState.DOWN and p.key not in self.picture.judged]:
            self.picture.judged[path.key] = Judgement.DOWN
            self._do(path.key, self.picture.remedies[path.key].silent(now), now)
        silent = [p for p in silent if p.state is not PathState.DOWN and p.key not in self.picture.judged]
        if not silent:
            return
        if not self._looked:
            self._looked = True
            self._look([p for p in self.picture.in_service() if p.silence.quiet])
            return
        self._looked = False
        if self.picture.doubt.stage is Stage.PARDONED:
            for path in silent:
                self._degrade(path, Cause.TARGET, TARGET_DEAD, now)
            return
        verdicts = judge(self.picture.witnesses(), self.picture.mute(), disturbed=self.picture.busy(None))
        for path in silent:
            self._carry_out(path, verdicts[path.key], now)

    def _carry_out(self, path: Path, judgement: Judgement, now: float) -> None:
        match judgement:
            case Judgement.DOWN:
                self._take_down(path, Cause.SILENT, _silence_of(path), now)
                self._do(path.key, [Step.ASK], now)
            case Judgement.EXCUSED | Judgement.WAIT:
                self._excuse(path, judgement, now)
            case Judgement.CONGESTED:
                path.grade.worse(now)
                self._degrade(path, Cause.CONGESTION, "probes go missing while the tunnel is full", now)
                self._extend(path)
            case Judgement.EXTEND:
                path.schedule.hurry(now)
                self._extend(path)
            case Judgement.TARGET:
                self._pardon(now)
            case Judgement.ASK:
                self._ask(path, now)

    def _excuse(self, path: Path, judgement: Judgement, now: float) -> None:
        self.picture.judged[path.key] = judgement
        if self.picture.busy(None):
            self.picture.judged[path.key] = Judgement.EXCUSED
        elif path.evidence.returns_on in self.picture.mute():
            if path.evidence.ike.silent_since(path.evidence.heard_at):
                self._underlay_dead(path, now)
            else:
                self._degrade(path, Cause.RETURN, WAITING_FOR_PEER, now)
        else:
            self.picture.judged[path.key] = Judgement.WAIT  # until the other one is judged, or heard

    def _extend(self, path: Path) -> None:
        path.silence.extend(path.intent.detection_time)
        path.evidence.traffic.begin()
        path.read_traffic(self._outbox.actions)
        self.picture.judged.pop(path.key, None)

    # Doubt

    def _ask(self, culprit: Path, now: float) -> None:
        self.picture.judged[culprit.key] = Judgement.ASK
        if self.picture.doubt.stage is not Stage.CLEAR:
            return
        if not self.picture.doubt.may_guess(now):
            self._pardon(now)
            return
        suspects = [p for p in self.picture.in_service() if p.silence.quiet and p.intent.ike_ping]
        self.picture.doubt.ask(culprit.key, frozenset(p.key for p in suspects), now, _ike_rtt(suspects))
        for path in suspects:
            self._ping(path.key, now)

    def _advance_doubt(self, now: float) -> None:
        match self.picture.doubt.stage:
            case Stage.ASKING:
                again = self.picture.doubt.repeat(now)
                if again is None:
                    self._conclude(now)
                for key in sorted(again or ()):
                    self._ping(key, now)
            case Stage.WATCHING:
                self._mistaken(now)
            case Stage.PARDONED:
                self._recheck(now)
            case Stage.CLEAR:
                pass

    def _conclude(self, now: float) -> None:
        """The IKE daemons have answered, or have not: a silent one's tunnel is the dead one."""
        doubt = self.picture.doubt
        asked = [self.picture.paths[key] for key in sorted(doubt.asked) if key in self.picture.paths]
        silent = [p for p in asked if p.key not in doubt.answered]
        known = any(p.evidence.ike.answered_at is not None for p in asked)
        culprit = self.picture.paths.get(doubt.culprit) if doubt.culprit else None
        answered = doubt.answered
        doubt.clear()
        self.picture.judged.clear()
        for path in silent if known else ():
            if path.silence.complete:
                self._underlay_dead(path, now)
        if (
            culprit is not None
            and culprit.state is not PathState.DOWN
            and (culprit.key in answered or not known)
        ):
            self._blame(culprit, now)

    def _underlay_dead(self, path: Path, now: float) -> None:
        """Keep the SAs: they work again the moment it returns."""
        self._take_down(path, Cause.UNDERLAY, f"{_silence_of(path)}, and its IKE daemon is silent too", now)
        self.picture.remedies[path.key].wait(now)

    def _blame(self, culprit: Path, now: float) -> None:
        """All fell silent, and IKE does not tell: act on the tunnel on which the replies used to arrive."""
        others = [p for p in self.picture.in_service() if p is not culprit]
        if others:
            reason = f"{_silence_of(culprit)}, and the replies of all tunnels used to arrive here"
            self.picture.doubt.watch(culprit.key, now)
            self._take_down(culprit, Cause.RETURN, reason, now)
        else:
            self._take_down(culprit, Cause.SILENT, _silence_of(culprit), now)
        self._reset_or_keep(culprit, now)

    def _resolve(self, path: Path, at: float) -> None:
        """Something is heard while there is a doubt, or while a silence is excused."""
        if self.picture.doubt.stage is Stage.WATCHING:
            if path.key != self.picture.doubt.culprit:
                self.picture.doubt.helped()
        elif self.picture.doubt.stage is not Stage.CLEAR:
            self.picture.doubt.clear()
            self._listen_again(at)
        if self.picture.judged.pop(path.key, None) is not None:
            path.window.clear()
        for key in [k for k, judgement in self.picture.judged.items() if judgement is Judgement.WAIT]:
            del self.picture.judged[key]

    def _mistaken(self, now: float) -> None:
        """Nothing improved: put back what was done."""
        culprit = self.picture.paths.get(self.picture.doubt.culprit) if self.picture.doubt.culprit else None
        self.picture.doubt.failed(now)
        if culprit is not None and culprit.state is PathState.DOWN:
            remedy = self.picture.remedies[culprit.key]
            held = remedy.phase in HELD
            self._degrade(culprit, Cause.TARGET, TARGET_DEAD, now)
            if held:
                self._do(culprit.key, remedy.restore(now), now)
            else:
                remedy.over()
        self._pardon(now)

    def _pardon(self, now: float) -> None:
        self.picture.doubt.pardon(now)
        quiet = [p for p in self.picture.in_service() if p.silence.quiet]
        for path in quiet:
            if path.silence.complete:
                self._degrade(path, Cause.TARGET, TARGET_DEAD, now)
            path.evidence.traffic.begin()
        self._look(quiet)

    def _recheck(self, now: float) -> None:
        """While packets still arrive, or no guess is allowed, the pardon stands."""
        quiet = [p for p in self.picture.in_service() if p.silence.quiet]
        self._rechecked = not self._rechecked
        if self._rechecked:
            self._look(quiet)
        elif any(p.evidence.traffic.inbound for p in quiet) or not self.picture.doubt.may_guess(now):
            self._pardon(now)
        else:
            self.picture.doubt.clear()
            self.picture.judged.clear()

    # Remedies

    def _do(self, key: TunnelKey, steps: Iterable[Step], now: float) -> None:
        path = self.picture.paths[key]
        for step in steps:
            match step:
                case Step.ASK:
                    # A path that was never heard proves nothing: it may be the target that does not answer.
                    if path.evidence.heard_at is not None or self.picture.alive:
                        self.picture.remedies[key].begin(now, _ike_rtt([path]))
                        self._ping(key, now)
                case Step.PING:
                    self._ping(key, now)
                case Step.INITIATE:
                    self._initiate(path)
                case Step.LISTEN:
                    path.restart(now)
                    self.picture.judged.pop(key, None)
                case Step.WANT_RESET:
                    self._reset_or_keep(path, now)

    def _reset_or_keep(self, path: Path, now: float) -> None:
        """Terminate the tunnel's IKE_SA if that is allowed: it tells the peer."""
        remedy = self.picture.remedies[path.key]
        match self.picture.permit(path, now):
            case Permit.NO:
                remedy.keep(now)
            case Permit.LATER:
                remedy.want(now)
            case Permit.YES | Permit.RESTART as permit:
                remedy.reset(now, at_once=permit is Permit.RESTART)
                reason = f"path down ({path.detector.reason}) while its IKE daemon lives"
                self._outbox.actions.append(Terminate(tunnel=path.key, reason=reason))

    def _initiate(self, path: Path) -> None:
        """Bring the tunnel up; a first trial puts ESP that was native into UDP, which IKE got through by."""
        remedy = self.picture.remedies[path.key]
        first = remedy.phase is Phase.INITIATING and not remedy.trials
        force = first and not path.intent.encapsulated
        self._outbox.actions.append(Initiate(tunnel=path.key, force_encapsulation=force))

    def _busy_for_trial(self, key: TunnelKey) -> bool:
        return self.picture.busy(key) or self.picture.doubt.stage is Stage.WATCHING

    def _recovered(self, path: Path, state: PathState, at: float) -> None:
        remedy = self.picture.remedies[path.key]
        if state is PathState.HOLD_DOWN:
            remedy.over()
            self._listen_again(at)
        elif state is PathState.UP:
            remedy.path_up(at, ike_known=path.evidence.ike.answered_at is not None)

    def _ping(self, key: TunnelKey, now: float) -> None:
        path = self.picture.paths[key]
        if not path.intent.ike_ping:
            return
        path.evidence.ike.ask(now)
        self._outbox.actions.append(SendIkePing(tunnel=key))
        if self.picture.remedies[key].phase is Phase.ASKING and self.picture.remedies[key].rounds:
            path.evidence.traffic.begin()
            path.read_traffic(self._outbox.actions)

    def _listen_again(self, now: float) -> None:
        """Return traffic may take another way from now on: what was silent gets a new chance."""
        self.picture.judged.clear()
        for path in self.picture.in_service():
            if path.silence.quiet and not path.evidence.own:
                path.silence.restart(now)
                path.window.clear()

    def _look(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.read_traffic(self._outbox.actions)

    def _take_down(self, path: Path, cause: Cause, reason: str, now: float) -> None:
        self.picture.judged.clear()
        self._note(path, path.detector.lost(cause, reason, now))

    def _degrade(self, path: Path, cause: Cause, reason: str, now: float) -> None:
        self.picture.judged[path.key] = Judgement.TARGET
        self._note(path, path.detector.worse(cause, reason, now))

    def _note(self, path: Path, transitions: Iterable[Transition]) -> None:
        self._outbox.changes.extend(Change(path, transition) for transition in transitions)


def _silence_of(path: Path) -> str:
    return f"nothing heard for {path.intent.detection_time:g} s"


def _ike_rtt(paths: Iterable[Path]) -> float:
    """Return how long their IKE daemons may take, in seconds."""
    known = [rtt for p in paths for rtt in (p.evidence.ike.rtt, p.window.rtt.srtt) if rtt is not None]
    return min(max(known, default=_RTT), 1.0)
