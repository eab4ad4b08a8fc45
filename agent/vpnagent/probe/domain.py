"""The tunnels that can stand in for each other, and what is done when some of them go silent.

A domain is a set of connections that share networks: return traffic may come on any of its tunnels. Here
the facts of its paths become verdicts (``situation.judge``), by ``Inquiry`` where all fell silent together,
and remedies and the ``recovery`` are driven.
"""

import itertools
from collections.abc import Iterable

from vpnagent.config.values import TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause
from vpnagent.probe.detector import StateChange
from vpnagent.probe.measures import (
    TARGET_DEAD,
    WAITING_FOR_PEER,
    Budget,
    Inquiry,
    Measures,
    Outbox,
    Trigger,
    ike_rtt,
    silence_of,
)
from vpnagent.probe.path import Path
from vpnagent.probe.recovery import Recovery
from vpnagent.probe.remedy import DISTURBING, Phase, Step
from vpnagent.probe.situation import InquiryStage, Judgement, Situation, judge

_ASKED = 2  #: paths that are asked beside the one that is confirmed
_MOVES, _MOVES_EVERY = 3, 10.0  #: times that suspicion moves a tunnel's traffic at once; seconds to another


class Domain:
    """Tell it facts, then ``advance`` it."""

    __slots__ = ("_inquiry", "_measures", "_moves", "_outbox", "_recovery", "situation")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.situation = Situation()
        self._moves: dict[TunnelKey, Budget] = {}
        self._measures = Measures(self.situation, outbox)
        self._inquiry = Inquiry(self.situation, self._measures)
        self._recovery = Recovery(self.situation, self._measures)

    @property
    def unsettled(self) -> bool:
        """Whether a silent path has not been judged, or nothing carries and nothing is done about it."""
        if self._recovery.active:
            return False
        return self.situation.stranded() or any(
            self.unjudged(p) and p.signals.usable for p in self.situation.paths.values()
        )

    def unjudged(self, path: Path) -> bool:
        """Whether the path is silent, and that was not judged."""
        return path.silence.complete and path.key not in self.situation.judged and not self._recovery.active

    @property
    def deadline(self) -> float:
        """When ``advance`` is next due, if no path becomes silent before."""
        if self._recovery.active:
            return self._recovery.until
        return min(self._inquiry.deadline, *(r.until for r in self.situation.remedies.values()))

    # Facts

    def heard(
        self, path: Path, heard_on: TunnelKey | None, transitions: Iterable[StateChange], at: float
    ) -> bool:
        """A reply to a probe of ``path`` arrived, and ``transitions`` came of it. Return whether more did."""
        if heard_on is not None:
            path.evidence.returns_on = heard_on
            arrival = self.situation.paths.get(heard_on)
            if arrival is not None:
                arrival.evidence.last_in = at
                arrival.evidence.traffic.reply()
        detector = path.detector
        told = False
        if path.confirmation.suspected and not path.silence.quiet:
            told = True
            self._outbox.triggers.append(Trigger(Cause.RECOVERED, path.key, "heard again"))
            path.confirmation.over()
        for transition in transitions:
            told = True
            self._measures.note(path, [transition])
            self._measures.recovered(path, transition.new, at)
        if detector.state is PathState.DEGRADED and detector.cause in (Cause.RETURN, Cause.TARGET):
            told = True
            path.window.clear()
            self._measures.note(path, detector.better("heard again", at))
        if self._recovery.active and detector.state is not PathState.DOWN:
            told = True
            self._recovery.end(at)
            self.situation.inquiry.helped()
        unsure = self.situation.judged or self.situation.inquiry.stage is not InquiryStage.CLEAR
        if unsure and detector.state is not PathState.DOWN:
            told = True
            self._inquiry.resolve(path, at)
        return told

    def quieted(self, path: Path, now: float) -> None:
        """A path missed a probe, and has not been heard since."""
        if self._recovery.active:
            return
        if (
            path.confirmation.begun_at == now
        ):  # those that could stand in for it, and share no target, are asked too
            others = (
                p for p in self.situation.in_service() if p is not path and p.own and not p.silence.quiet
            )
            for other in itertools.islice(others, _ASKED):
                other.ask_now(self._outbox.actions)
        elif path.confirmation.unanswered and not path.confirmation.suspected:
            self._suspect(path, now)
        self._inquiry.quieted(now)

    def _suspect(self, path: Path, now: float) -> None:
        """The burst is unanswered: packets of ours leave by another tunnel, if there is a better one."""
        if not self.situation.suspects(path):
            return
        if self._moves.setdefault(path.key, Budget(_MOVES, _MOVES_EVERY)).take(now) is not None:
            path.confirmation.suspected = True
            reason = "a probe and its confirmation are unanswered"
            self._outbox.triggers.append(Trigger(Cause.SUSPECTED, path.key, reason))

    def ike_answered(self, key: TunnelKey, at: float) -> None:
        """The IKE daemon of a tunnel's peer gave a sign of life."""
        self.situation.paths[key].evidence.ike.answer(at)
        if self._recovery.active:
            self._recovery.ike_answered(at)
            return
        self.situation.inquiry.answer(key, at)
        self._measures.do(key, self.situation.remedies[key].answered(at), at)

    def signalled(self, path: Path, cause: Cause, reason: str, at: float, *, was_usable: bool) -> None:
        """A tunnel's CHILD_SA or an interface of it came or went."""
        if path.signals.usable == was_usable:
            return
        self._outbox.triggers.append(Trigger(cause, path.key, reason))
        remedy = self.situation.remedies[path.key]
        self._measures.note(path, path.signal(cause, reason, at, was_usable=was_usable))
        if self._recovery.active:
            if was_usable:
                self._recovery.child_sa_went(path.key, at)
            else:
                self._recovery.child_sa_came(path, at)
            return
        if not was_usable:
            self.situation.judged.pop(path.key, None)
            self._measures.do(path.key, remedy.child_sa_came(at), at)
            return
        if cause is Cause.CHILD_SA and remedy.phase is Phase.NONE:  # not by our doing
            for other in self.situation.remedies.values():
                other.hasten(at)
        remedy.child_sa_went(at)
        if any(p.evidence.returns_on == path.key for p in self.situation.in_service()):
            self._measures.listen_again(at)  # the cloud moves its direction too

    def terminated(self, key: TunnelKey, at: float, *, done: bool) -> None:
        """A reset was carried out, or was not possible."""
        remedy = self.situation.remedies[key]
        if self._recovery.active:
            self._recovery.terminated(key, at)
        elif remedy.phase is Phase.RESETTING:
            remedy.terminated(at, done=done)
            self._measures.listen_again(at)

    def initiated(self, key: TunnelKey, at: float, *, done: bool) -> None:
        """A trial's CHILD_SA is installed, or could not be: one that nobody waits for any more, perhaps."""
        if self._recovery.active:
            return
        self._measures.do(key, self.situation.remedies[key].initiated(at, done=done), at)

    # Time

    def advance(self, now: float) -> None:
        """Apply the passage of time: judge what is silent; while nothing carries, try them in turn."""
        if self._recovery.active:
            if self._recovery.advance(now):
                self._inquiry.suspect_target(now)
            return
        self._pass(now)
        if self.situation.stranded():
            self.situation.inquiry.clear()
            self._recovery.begin(now)

    def _pass(self, now: float) -> None:
        if self._inquiry.deadline <= now:
            self._inquiry.advance(now)
        for key, remedy in self.situation.remedies.items():
            if remedy.until <= now:
                path = self.situation.paths[key]
                known = path.evidence.ike.answered_at is not None
                phase = remedy.phase
                busy = self.situation.busy(key)
                steps = remedy.advance(now, ike_known=known, rtt=ike_rtt([path]), busy=busy)
                if phase in DISTURBING and remedy.phase not in DISTURBING:
                    self._measures.listen_again(now)
                self._measures.do(key, steps, now)
        if self.unsettled:
            self._judge(now)

    def _judge(self, now: float) -> None:
        silent = [p for p in self.situation.paths.values() if p.silence.complete and p.signals.usable]
        for path in [p for p in silent if p.state is PathState.DOWN and p.key not in self.situation.judged]:
            self.situation.judged[path.key] = Judgement.DOWN
            self._measures.do(path.key, self.situation.remedies[path.key].silent(now), now)
        silent = [p for p in silent if p.state is not PathState.DOWN and p.key not in self.situation.judged]
        silent = [p for p in silent if not self._limited(p, now)]
        if not silent:
            return
        looked = all(p.silence.looked for p in silent)
        for path in silent:
            path.silence.looked = not looked
        if not looked:
            self._measures.look([p for p in self.situation.in_service() if p.silence.quiet])
            return
        if self.situation.inquiry.stage is InquiryStage.TARGET:
            for path in silent:
                self._measures.degrade(path, Cause.TARGET, TARGET_DEAD, now)
            return
        verdicts = judge(
            self.situation.witnesses(), self.situation.untold(), disturbed=self.situation.disturbed()
        )
        for path in silent:
            self._carry_out(path, verdicts[path.key], now)

    def _limited(self, path: Path, now: float) -> bool:
        """Whether the silence may be due to a limit of the target: wait until that is known.

        A target that is limited answers somebody now and then: while nobody is heard, do not wait.
        """
        if not any(p.heard_since(now - 2 * p.detection_time) for p in self.situation.paths.values()):
            return False
        heard_at = path.evidence.heard_at
        since = heard_at if heard_at is not None else now
        if path.own or not path.limit.suspect(since, now, new=path.new):
            return False
        self._extend(path)
        return True

    def _carry_out(self, path: Path, judgement: Judgement, now: float) -> None:
        match judgement:
            case Judgement.DOWN:
                self._measures.take_down(path, Cause.SILENT, silence_of(path), now)
                self._measures.do(path.key, [Step.ASK], now)
            case Judgement.EXCUSED | Judgement.WAIT:
                self._excuse(path, judgement, now)
            case Judgement.CONGESTED:
                if path.detector.cause is not Cause.CONGESTION:
                    path.grade.worse(now)
                self._measures.degrade(
                    path, Cause.CONGESTION, "probes go missing while the tunnel is full", now
                )
                self._extend(path)
            case Judgement.EXTEND:
                path.schedule.hurry(now)
                self._extend(path)
            case Judgement.TARGET:
                self._inquiry.suspect_target(now)
            case Judgement.ASK:
                self._inquiry.ask(path, now)

    def _excuse(self, path: Path, judgement: Judgement, now: float) -> None:
        self.situation.judged[path.key] = judgement
        if self.situation.disturbed():
            self.situation.judged[path.key] = Judgement.EXCUSED
        elif path.evidence.returns_on in self.situation.untold():
            if path.evidence.ike.silent_since(path.evidence.heard_at):
                self._measures.underlay_dead(path, now)
            else:
                self._measures.degrade(path, Cause.RETURN, WAITING_FOR_PEER, now)
        else:
            self.situation.judged[path.key] = Judgement.WAIT  # until the other one is judged, or heard

    def _extend(self, path: Path) -> None:
        path.silence.extend(path.detection_time)
        path.evidence.traffic.begin()
        path.read_traffic(self._outbox.actions)
        self.situation.judged.pop(path.key, None)
