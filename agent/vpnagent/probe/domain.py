"""The tunnels that can stand in for each other, and what is done when some of them go silent.

A domain is a set of connections that share networks: return traffic may come on any of its tunnels. Here
the facts of its paths become verdicts (``blame``), doubts are cleared (``doubt``), and remedies are driven
(``trial``) under the two laws that need the whole picture: at most one tunnel is being reset at a time, and
never the last one that carries anything.
"""

from collections.abc import Iterable
from typing import NamedTuple

from vpnagent.config.values import OnPathDown, TunnelKey
from vpnagent.probe.actions import Action, Cause, Initiate, SendIkePing, Terminate
from vpnagent.probe.blame import Judgement, Witness, judge
from vpnagent.probe.detector import Transition
from vpnagent.probe.doubt import Doubt, Stage
from vpnagent.probe.path import Path
from vpnagent.probe.silence import COVER
from vpnagent.probe.trial import DISTURBING, HELD, UNTOLD, Phase, Remedy, Step
from vpnagent.selection import PathState

_RTT = 0.1  #: seconds: of an IKE daemon of which nothing is known
WAITING_FOR_PEER = "return path: waiting for the cloud"
TARGET_DEAD = "the probe target may be dead"


class Change(NamedTuple):
    """A path of the domain changed its state."""

    path: Path
    transition: Transition


class Trigger(NamedTuple):
    """Something else that selection depends on changed."""

    cause: Cause
    tunnel: TunnelKey | None
    reason: str


class Outbox(NamedTuple):
    """Where a domain leaves what follows from facts and time; the core empties it."""

    actions: list[Action]
    changes: list[Change]
    triggers: list[Trigger]


class Domain:
    """Tell it facts, then ``advance`` it."""

    __slots__ = ("_judged", "_looked", "_outbox", "_policies", "_rechecked", "doubt", "paths", "remedies")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._policies: dict[TunnelKey, OnPathDown] = {}
        self._judged: dict[TunnelKey, Judgement] = {}  #: silent ones of which nothing more is to be said now
        self._looked = False  #: at the counters, just before judging
        self._rechecked = False  #: the same, before a pardon is prolonged
        self.doubt = Doubt()
        self.paths: dict[TunnelKey, Path] = {}
        self.remedies: dict[TunnelKey, Remedy] = {}

    def add(self, path: Path, remedy: Remedy, policy: OnPathDown) -> None:
        """Take a tunnel in, or take in another policy for it."""
        self.paths[path.key] = path
        self.remedies[path.key] = remedy
        self._policies[path.key] = policy

    @property
    def unsettled(self) -> bool:
        """Whether a silent path has not been judged."""
        return any(self.unjudged(p) and p.signals.usable for p in self.paths.values())

    def unjudged(self, path: Path) -> bool:
        """Whether the path is silent, and that was not judged."""
        return path.silence.complete and path.key not in self._judged

    @property
    def deadline(self) -> float:
        """When ``advance`` is next due, if no path becomes silent before."""
        return min(self.doubt.until, *(r.until for r in self.remedies.values()))

    # Facts

    def heard(
        self, path: Path, heard_on: TunnelKey | None, transitions: Iterable[Transition], at: float
    ) -> bool:
        """A reply to a probe of ``path`` arrived, and ``transitions`` came of it. Return whether more did."""
        if heard_on is not None:
            path.evidence.returns_on = heard_on
            if heard_on in self.paths:
                self.paths[heard_on].evidence.last_in = at
                self.paths[heard_on].evidence.traffic.reply()
        detector = path.detector
        told = False
        for transition in transitions:
            told = True
            self._note(path, [transition])
            self._recovered(path, transition.new, at)
        if detector.state is PathState.DEGRADED and detector.cause in (Cause.RETURN, Cause.TARGET):
            told = True
            self._note(path, detector.better("heard again", at))
        if detector.state is not PathState.DOWN and (self._judged or self.doubt.stage is not Stage.CLEAR):
            told = True
            self._resolve(path, at)
        return told

    def ike_answered(self, key: TunnelKey, at: float) -> None:
        """The IKE daemon of a tunnel's peer gave a sign of life."""
        self.paths[key].evidence.ike.answer(at)
        self.doubt.answer(key, at)
        self._do(key, self.remedies[key].answered(at), at)

    def signalled(self, path: Path, cause: Cause, reason: str, at: float, *, was_usable: bool) -> None:
        """A tunnel's CHILD_SA or an interface of it came or went."""
        if path.signals.usable == was_usable:
            return
        self._outbox.triggers.append(Trigger(cause, path.key, reason))
        remedy = self.remedies[path.key]
        self._note(path, path.signal(cause, reason, at, was_usable=was_usable))
        if not was_usable:
            self._do(path.key, remedy.child_sa_came(at), at)
            return
        remedy.child_sa_went(at)
        if any(p.evidence.returns_on == path.key for p in self._in_service()):
            self._listen_again(at)  # the cloud moves its direction too

    def terminated(self, key: TunnelKey, at: float, *, done: bool) -> None:
        """A reset was carried out, or was not possible."""
        remedy = self.remedies[key]
        if remedy.phase is Phase.RESETTING:
            remedy.terminated(at, done=done)
            self._listen_again(at)

    def initiated(self, key: TunnelKey, at: float, *, done: bool) -> None:
        """A trial's CHILD_SA is installed, or could not be."""
        self._do(key, self.remedies[key].initiated(at, done=done), at)

    # Time

    def advance(self, now: float) -> None:
        """Apply the passage of time, and judge what is silent."""
        if self.doubt.until <= now:
            self._advance_doubt(now)
        for key, remedy in self.remedies.items():
            if remedy.until <= now:
                path = self.paths[key]
                known = path.evidence.ike.answered_at is not None
                phase = remedy.phase
                steps = remedy.advance(now, ike_known=known, rtt=_ike_rtt([path]), busy=self._busy(key))
                if phase in DISTURBING and remedy.phase not in DISTURBING:
                    self._listen_again(now)
                self._do(key, steps, now)
        if self.unsettled:
            self._judge(now)

    def _judge(self, now: float) -> None:
        silent = [p for p in self.paths.values() if p.silence.complete and p.signals.usable]
        for path in [p for p in silent if p.state is PathState.DOWN and p.key not in self._judged]:
            self._judged[path.key] = Judgement.DOWN
            self._do(path.key, self.remedies[path.key].silent(now), now)
        silent = [p for p in silent if p.state is not PathState.DOWN and p.key not in self._judged]
        if not silent:
            return
        if not self._looked:
            self._looked = True
            self._look([p for p in self._in_service() if p.silence.quiet])
            return
        self._looked = False
        if self.doubt.stage is Stage.PARDONED:
            for path in silent:
                self._degrade(path, Cause.TARGET, TARGET_DEAD, now)
            return
        witnesses = [self._witness(path, now) for path in self._in_service()]
        verdicts = judge(witnesses, self._mute(), disturbed=self._busy(None))
        for path in silent:
            self._carry_out(path, verdicts[path.key], now)

    def _carry_out(self, path: Path, judgement: Judgement, now: float) -> None:
        match judgement:
            case Judgement.DOWN:
                self._take_down(path, Cause.SILENT, _silence_of(path), now)
                heard = path.evidence.heard_at is not None or any(p.alive for p in self.paths.values())
                if heard:
                    self._do(path.key, self.remedies[path.key].begin(now, _ike_rtt([path])), now)
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
        self._judged[path.key] = judgement
        if self._busy(None):
            self._judged[path.key] = Judgement.EXCUSED
        elif path.evidence.returns_on in self._mute():
            if path.evidence.ike.silent_since(path.evidence.heard_at):
                self._underlay_dead(path, now)
            else:
                self._degrade(path, Cause.RETURN, WAITING_FOR_PEER, now)
        else:
            self._judged[path.key] = Judgement.WAIT  # until the other one is judged, or heard

    def _extend(self, path: Path) -> None:
        path.silence.extend(path.intent.detection_time)
        path.evidence.traffic.begin()
        path.read_traffic(self._outbox.actions)
        self._judged.pop(path.key, None)

    # Doubt

    def _ask(self, culprit: Path, now: float) -> None:
        self._judged[culprit.key] = Judgement.ASK
        if self.doubt.stage is not Stage.CLEAR:
            return
        if not self.doubt.may_guess(now):
            self._pardon(now)
            return
        suspects = [p for p in self._in_service() if p.silence.quiet and p.intent.ike_ping]
        self.doubt.ask(culprit.key, frozenset(p.key for p in suspects), now, _ike_rtt(suspects))
        for path in suspects:
            self._ping(path.key, now)

    def _advance_doubt(self, now: float) -> None:
        match self.doubt.stage:
            case Stage.ASKING:
                again = self.doubt.repeat(now)
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
        doubt = self.doubt
        asked = [self.paths[key] for key in sorted(doubt.asked) if key in self.paths]
        silent = [p for p in asked if p.key not in doubt.answered]
        known = any(p.evidence.ike.answered_at is not None for p in asked)
        culprit = self.paths.get(doubt.culprit) if doubt.culprit else None
        answered = doubt.answered
        doubt.clear()
        self._judged.clear()
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
        self.remedies[path.key].wait(now)

    def _blame(self, culprit: Path, now: float) -> None:
        """All fell silent, and IKE does not tell: act on the tunnel on which the replies used to arrive."""
        others = [p for p in self._in_service() if p is not culprit]
        if others:
            reason = f"{_silence_of(culprit)}, and the replies of all tunnels used to arrive here"
            self.doubt.watch(culprit.key, now)
            self._take_down(culprit, Cause.RETURN, reason, now)
        else:
            self._take_down(culprit, Cause.SILENT, _silence_of(culprit), now)
        self._reset_or_keep(culprit, now)

    def _resolve(self, path: Path, at: float) -> None:
        """Something is heard while there is a doubt, or while a silence is excused."""
        if self.doubt.stage is Stage.WATCHING:
            if path.key != self.doubt.culprit:
                self.doubt.helped()
        elif self.doubt.stage is not Stage.CLEAR:
            self.doubt.clear()
            self._listen_again(at)
        self._judged.pop(path.key, None)
        for key in [k for k, judgement in self._judged.items() if judgement is Judgement.WAIT]:
            del self._judged[key]

    def _mistaken(self, now: float) -> None:
        """Nothing improved: put back what was done."""
        culprit = self.paths.get(self.doubt.culprit) if self.doubt.culprit else None
        self.doubt.failed(now)
        if culprit is not None and culprit.state is PathState.DOWN:
            remedy = self.remedies[culprit.key]
            held = remedy.phase in HELD
            self._degrade(culprit, Cause.TARGET, TARGET_DEAD, now)
            if held:
                self._do(culprit.key, remedy.restore(now), now)
            else:
                remedy.over()
        self._pardon(now)

    def _pardon(self, now: float) -> None:
        self.doubt.pardon(now)
        quiet = [p for p in self._in_service() if p.silence.quiet]
        for path in quiet:
            if path.silence.complete:
                self._degrade(path, Cause.TARGET, TARGET_DEAD, now)
            path.evidence.traffic.begin()
        self._look(quiet)

    def _recheck(self, now: float) -> None:
        """While packets still arrive, or no guess is allowed, the pardon stands."""
        quiet = [p for p in self._in_service() if p.silence.quiet]
        self._rechecked = not self._rechecked
        if self._rechecked:
            self._look(quiet)
        elif any(p.evidence.traffic.inbound for p in quiet) or not self.doubt.may_guess(now):
            self._pardon(now)
        else:
            self.doubt.clear()
            self._judged.clear()

    # Remedies

    def _do(self, key: TunnelKey, steps: Iterable[Step], now: float) -> None:
        path = self.paths[key]
        for step in steps:
            match step:
                case Step.PING:
                    self._ping(key, now)
                case Step.INITIATE:
                    remedy = self.remedies[key]
                    force = (
                        remedy.phase is Phase.INITIATING
                        and not remedy.trials
                        and not path.intent.encapsulated
                    )
                    self._outbox.actions.append(Initiate(tunnel=key, force_encapsulation=force))
                case Step.LISTEN:
                    path.restart(now)
                    self._judged.pop(key, None)
                case Step.WANT_RESET:
                    self._reset_or_keep(path, now)

    def _reset_or_keep(self, path: Path, now: float) -> None:
        """Terminate the tunnel's IKE_SA if that is allowed: it tells the peer."""
        remedy = self.remedies[path.key]
        others = [
            p for p in self._in_service() if p is not path and not p.intent.drained and self._carries(p)
        ]
        if (
            self._policies[path.key] is OnPathDown.KEEP
            or path.evidence.traffic.inbound
            or (not others and not remedy.at_once)
        ):
            remedy.keep(now)
        elif self._busy(path.key):
            remedy.want(now)
        else:
            remedy.reset(now)
            reason = f"path down ({path.detector.reason}) while its IKE daemon lives"
            self._outbox.actions.append(Terminate(tunnel=path.key, reason=reason))

    def _recovered(self, path: Path, state: PathState, at: float) -> None:
        remedy = self.remedies[path.key]
        if state is PathState.HOLD_DOWN:
            remedy.over()
            self._listen_again(at)
        elif state is PathState.UP:
            remedy.path_up(at, ike_known=path.evidence.ike.answered_at is not None)

    def _ping(self, key: TunnelKey, now: float) -> None:
        path = self.paths[key]
        if not path.intent.ike_ping:
            return
        path.evidence.ike.ask(now)
        self._outbox.actions.append(SendIkePing(tunnel=key))
        if self.remedies[key].phase is Phase.ASKING and self.remedies[key].asked_before:
            path.evidence.traffic.begin()
            path.read_traffic(self._outbox.actions)

    # The whole picture

    def _in_service(self) -> list[Path]:
        """Tunnels that could be used, and whose path is not down."""
        return [p for p in self.paths.values() if p.signals.usable and p.state is not PathState.DOWN]

    def _carries(self, path: Path) -> bool:
        """Whether the tunnel is known to carry traffic, or, while none is heard, gave a sign of life."""
        if path.state is PathState.INIT:
            return False
        if not path.silence.quiet or path.evidence.ike.answered_at is None:
            return True
        return path.evidence.ike.answered_at >= (path.evidence.heard_at or 0.0)

    def _busy(self, key: TunnelKey | None) -> bool:
        """Whether another tunnel is being reset."""
        if self.doubt.stage is Stage.WATCHING and self.doubt.culprit != key:
            return True
        return any(r.phase in DISTURBING for k, r in self.remedies.items() if k != key)

    def _mute(self) -> frozenset[TunnelKey]:
        """Dead tunnels on which the peer may still return everything."""
        return frozenset(
            key
            for key, path in self.paths.items()
            if path.state is PathState.DOWN and path.signals.usable and self.remedies[key].phase in UNTOLD
        )

    def _witness(self, path: Path, now: float) -> Witness:
        evidence, intent = path.evidence, path.intent
        recent = now - COVER * intent.interval - path.patience
        return Witness(
            key=path.key,
            silent=path.silence.complete,
            quiet=path.silence.quiet,
            heard=evidence.heard_at is not None,
            own=evidence.own,
            returns_on=evidence.returns_on,
            arrives=evidence.last_in is not None and evidence.last_in > recent,
            inbound=evidence.traffic.inbound,
            full=evidence.traffic.full(intent.bandwidth, intent.packet_rate),
            patient=path.schedule.hurried,
            targets=frozenset(target.address for target in intent.targets),
        )

    def _listen_again(self, now: float) -> None:
        """Return traffic may take another way from now on: what was silent gets a new chance."""
        self._judged.clear()
        for path in self._in_service():
            if path.silence.quiet and not path.evidence.own:
                path.silence.restart(now)

    def _look(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.read_traffic(self._outbox.actions)

    def _take_down(self, path: Path, cause: Cause, reason: str, now: float) -> None:
        self._judged.clear()
        self._note(path, path.detector.lost(cause, reason, now))

    def _degrade(self, path: Path, cause: Cause, reason: str, now: float) -> None:
        self._judged[path.key] = Judgement.TARGET
        self._note(path, path.detector.worse(cause, reason, now))

    def _note(self, path: Path, transitions: Iterable[Transition]) -> None:
        self._outbox.changes.extend(Change(path, transition) for transition in transitions)


def _silence_of(path: Path) -> str:
    return f"nothing heard for {path.intent.detection_time:g} s"


def _ike_rtt(paths: Iterable[Path]) -> float:
    """Return how long their IKE daemons may take, in seconds."""
    known = [rtt for p in paths for rtt in (p.evidence.ike.rtt, p.window.rtt.srtt) if rtt is not None]
    return min(max(known, default=_RTT), 1.0)
