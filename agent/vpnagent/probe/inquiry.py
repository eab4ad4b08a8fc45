"""When all tunnels of a domain fall silent together: asking, blaming, watching, and taking it back.

Drives the domain's ``Suspicion``. The IKE daemons are asked a little before the silence is complete, so that
their answers, or their own silence, are there when the verdict is due.
"""

from collections.abc import Sequence
from math import inf

from vpnagent.config.values import TunnelKey
from vpnagent.probe.actions import Cause
from vpnagent.probe.blame import Judgement
from vpnagent.probe.budget import Budget
from vpnagent.probe.measures import TARGET_DEAD, Measures, ike_rtt, silence_of
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import IkeQuestion
from vpnagent.probe.situation import Situation
from vpnagent.probe.suspicion import SuspicionStage
from vpnagent.selection import PathState

_WARNINGS, _EVERY = 5, 10.0  #: questions ahead of a verdict: at once, and seconds between further ones


class Inquiry:
    """Who is dead, when nobody can be heard to say so."""

    __slots__ = ("_budget", "_measures", "_rechecked", "_situation", "_warn_at")

    def __init__(self, situation: Situation, care: Measures) -> None:
        self._situation = situation
        self._measures = care
        self._rechecked = False  #: the counters were looked at, before the suspicion stands for longer
        self._warn_at = inf  #: when to ask ahead
        self._budget = Budget(_WARNINGS, _EVERY)

    @property
    def deadline(self) -> float:
        """When ``advance`` is next due."""
        return min(self._warn_at, self._situation.suspicion.until)

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
        asked = self._situation.suspicion.stage is not SuspicionStage.CLEAR or self._situation.busy(None)
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
        suspicion = self._situation.suspicion
        if (
            suspicion.stage is SuspicionStage.FOREWARNED
            and culprit.key in suspicion.asked
            and not suspicion.stale(now)
        ):
            suspicion.accuse(culprit.key, now)
        elif suspicion.stage in (SuspicionStage.CLEAR, SuspicionStage.FOREWARNED):
            self._question(culprit.key, now)

    def _question(self, culprit: TunnelKey | None, now: float) -> None:
        suspects = [p for p in self._situation.in_service() if p.silence.quiet and p.intent.ike_ping]
        self._situation.suspicion.ask(culprit, frozenset(p.key for p in suspects), now, ike_rtt(suspects))
        for path in suspects:
            self._measures.ping(path.key, now)

    def advance(self, now: float) -> None:
        """Apply the passage of time."""
        if self._warn_at <= now:
            self._warn(now)
        suspicion = self._situation.suspicion
        if suspicion.until > now:
            return
        match suspicion.stage:
            case SuspicionStage.ASKING | SuspicionStage.FOREWARNED:
                self._ask_again(now)
            case SuspicionStage.TARGET:
                self._recheck(now)
            case SuspicionStage.CLEAR:
                pass

    def _ask_again(self, now: float) -> None:
        again = self._situation.suspicion.repeat(now)
        for key in sorted(again):
            self._measures.ping(key, now)
        if not again and self._situation.suspicion.stage is SuspicionStage.ASKING:
            self._conclude(now)

    def _conclude(self, now: float) -> None:
        """The IKE daemons have answered, or have not: a silent one's tunnel is the dead one."""
        suspicion = self._situation.suspicion
        asked = [
            self._situation.paths[key] for key in sorted(suspicion.asked) if key in self._situation.paths
        ]
        silent = [p for p in asked if p.key not in suspicion.answered]
        known = any(p.evidence.ike.answered_at is not None for p in asked)
        culprit = self._situation.paths.get(suspicion.culprit) if suspicion.culprit else None
        answered = suspicion.answered
        suspicion.clear()
        self._situation.judged.clear()
        for path in silent if known else ():
            if path.silence.complete:
                self._measures.underlay_dead(path, now)
        if culprit is None or culprit.state is PathState.DOWN:
            return
        if culprit.key in answered or not known:
            missed = any(p.evidence.traffic.unanswered for p in asked)
            if missed or suspicion.may_guess(now):
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
        """Something is heard while there is a suspicion, or while a silence is excused."""
        if self._situation.suspicion.stage is SuspicionStage.FOREWARNED:
            self._situation.suspicion.clear()
        elif self._situation.suspicion.stage is not SuspicionStage.CLEAR:
            self._situation.suspicion.clear()
            self._measures.listen_again(at)
        if self._situation.judged.pop(path.key, None) is not None:
            path.window.clear()
        for key in [k for k, judgement in self._situation.judged.items() if judgement is Judgement.WAIT]:
            del self._situation.judged[key]

    def suspect_target(self, now: float) -> None:
        """It is the target that is dead, as far as one can tell: nobody is taken down for it."""
        self._situation.suspicion.suspect_target(now)
        quiet = [p for p in self._situation.in_service() if p.silence.quiet]
        for path in quiet:
            if path.silence.complete:
                self._measures.degrade(path, Cause.TARGET, TARGET_DEAD, now)
            path.evidence.traffic.begin()
        self._measures.look(quiet)

    def _recheck(self, now: float) -> None:
        """While packets still arrive, or nobody misses any, the suspicion stands."""
        service = self._situation.in_service()
        self._rechecked = not self._rechecked
        if self._rechecked:
            self._measures.look(service)
            return
        traffic = [p.evidence.traffic for p in service]
        missed = any(t.unanswered for t in traffic) and not any(t.inbound for t in traffic)
        if missed or (not any(t.inbound for t in traffic) and self._situation.suspicion.may_guess(now)):
            self._situation.suspicion.clear()
            self._situation.judged.clear()
        else:
            self.suspect_target(now)


def _ahead_of(paths: Sequence[Path]) -> float:
    """Return when to ask so that the answers are there when the first silence is complete."""
    due = [p.silence.expected_at for p in paths if p.intent.ike_ping and not p.silence.complete]
    return min(due) - IkeQuestion.length(ike_rtt(paths)) if due else inf
