"""What is done while nothing carries: the tunnels are tried one after the other until one is heard.

    IDLE -> CLEARING -> TRYING -> LOOKING -+-> CLEARING, for the next one
               the others   one       at   +-> PAUSED: all were tried, for more than a minute; then CLEARING
               are          tunnel    the  +-> IDLE: packets of others arrive, or nobody misses anything:
               terminated             counters       it is the target; and from anywhere, when one is heard

An active/standby cloud returns everything on the first tunnel whose negotiation is up, dead or not. So while
one tunnel is tried the others stay terminated, unless their peer's IKE daemon is silent: the DELETE would be
lost, and the SAs work again when the underlay returns. A tunnel with a target of its own proves itself
whatever the cloud prefers: for its sake nobody else is terminated.

While no packet of a user goes unanswered, and no tunnel was left down before, it may as well be the target
that is dead: then the first trial is a long one, what was done is put back, and it is not done again for a
time that doubles (``InquiryState``). Where packets of others arrive they clear the tunnel that they arrive
by, and no other: what was tried and brought nothing stays down.
"""

import enum
from collections.abc import Collection, Iterable
from math import inf

from vpnagent.config.values import OnPathDown, TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause, InitiateTunnel, TerminateTunnel
from vpnagent.probe.measures import TARGET_DEAD, WAITING_FOR_PEER, Measures, ike_rtt, silence_of
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import DISTURBING, HELD, IkeQuestion, Phase
from vpnagent.probe.situation import Situation

TRIAL = 2.0  #: seconds for one tunnel: its negotiation, a detection time, and some for the cloud to move
IDLE_TRIAL = 10.0  #: seconds, while nobody misses anything
BRISK = 60.0  #: seconds of rounds without rest
FIRST_REST, LONGEST_REST = 1.0, 10.0  #: seconds between later rounds
_MOVING = 1.0  #: seconds for the cloud to move to a tunnel that is up already
_ACKNOWLEDGED = 0.5  #: seconds for charon to say that it terminated a tunnel
_ASK_AGAIN = 0.5  #: seconds between questions to IKE daemons that are silent
_SHORTEST = 0.3  #: seconds for a trial that fails at once
_REFRESH = 6.0  #: seconds before a tunnel is negotiated anew whose replies another draws to itself
_INITIATING = (Phase.INITIATING, Phase.RESTORING)
_EVICTIONS = 3  #: tunnels that come up by themselves and are terminated again, in one trial


class RecoveryStage(enum.Enum):
    """Where the recovery stands."""

    IDLE = "idle"
    CLEARING = "clearing"
    TRYING = "trying"
    LOOKING = "looking"
    PAUSED = "paused"


class Recovery:
    """The recovery of one domain."""

    __slots__ = (
        "_attempted",
        "_began",
        "_clearing",
        "_counted",
        "_evictions",
        "_extended",
        "_left",
        "_listened",
        "_measures",
        "_order",
        "_refresh",
        "_rest",
        "_situation",
        "_stale",
        "_taken",
        "_trial_began",
        "_tried",
        "_wanted",
        "stage",
        "until",
    )

    def __init__(self, situation: Situation, measures: Measures) -> None:
        self._situation = situation
        self._measures = measures
        self._began = 0.0
        self._order: list[TunnelKey] = []  #: in which they are tried
        self._left: set[TunnelKey] = set()  #: not yet tried in this round
        self._tried: TunnelKey | None = None
        self._trial_began = 0.0
        self._clearing: TunnelKey | None = None  #: the one that is being terminated
        self._listened: set[TunnelKey] = set()  #: tried with the SAs that they have
        self._counted: set[TunnelKey] = set()  #: terminated by this recovery
        self._taken: set[TunnelKey] = set()  #: those of them that were not left down before
        self._stale: set[TunnelKey] = set()  #: which charon may still be negotiating: an earlier attempt
        self._attempted: set[TunnelKey] = set()  #: tried in this recovery, and nothing was heard
        self._evictions = 0
        self._extended = False  #: the trial goes on for one more detection time
        self._wanted = False  #: somebody misses what does not carry
        self._refresh = _REFRESH
        self._rest = FIRST_REST
        self.stage = RecoveryStage.IDLE
        self.until = inf

    @property
    def active(self) -> bool:
        """Whether tunnels are being tried because nothing carries."""
        return self.stage is not RecoveryStage.IDLE

    # Beginning and end

    def begin(self, now: float) -> None:
        """Nothing carries. Who was lost last comes last: that is what is left when a round is over."""
        paths, remedies = self._situation.paths, self._situation.remedies
        held = {key: remedy for key, remedy in remedies.items() if remedy.phase in HELD}
        self._wanted = any(remedy.trials for remedy in held.values()) or _missed(paths.values())
        self._began, self._rest, self._refresh = now, FIRST_REST, _REFRESH
        self._tried = self._clearing = None
        self._counted, self._attempted = set(), set()
        self._taken = {key for key, remedy in held.items() if not remedy.trials}
        self._stale = {key for key in held if not paths[key].signals.child_sa}
        down = [p for p in paths.values() if p.state is PathState.DOWN]
        self._listened = {p.key for p in down if p.signals.usable and p.silence.complete}
        resettable = [p for p in paths.values() if self._situation.policies[p.key] is OnPathDown.RESET]
        asked = [p for p in resettable if not p.intent.drained] or resettable
        self._order = [p.key for p in sorted(asked, key=lambda p: (p in down, p.evidence.heard_at or -inf))]
        self._left = set(self._order)
        for path in paths.values():
            returns_on = paths.get(path.evidence.returns_on) if path.evidence.returns_on else None
            if (
                path.signals.usable
                and path.state is not PathState.DOWN
                and self._beyond_reach(returns_on, now)
            ):
                self._measures.degrade(path, Cause.RETURN, WAITING_FOR_PEER, now)
            remedy = remedies[path.key]
            if remedy.phase is Phase.PROBING:
                remedy.keep(now)
            if path in resettable and not path.signals.child_sa and remedy.phase not in _INITIATING:
                remedy.park(now + TRIAL)
        self._turn(now)

    def end(self, now: float) -> None:
        """Something is heard: what is left goes at the pace of tunnels that others stand in for."""
        self.stage, self.until = RecoveryStage.IDLE, inf
        self._tried = self._clearing = None
        for key, remedy in self._situation.remedies.items():
            if remedy.phase in HELD and not self._situation.paths[key].signals.usable:
                remedy.rest(now)
            elif remedy.phase not in (Phase.WAITING, Phase.RETURNED):
                remedy.over()
        self._measures.listen_again(now)

    def _blame_target(self, cleared: Collection[Path], now: float) -> None:
        """It is the target that is dead: what was left down for it comes back, one after the other."""
        silent = self._attempted - {path.key for path in cleared}
        self.end(now)
        for path in cleared:
            self._measures.degrade(path, Cause.TARGET, TARGET_DEAD, now)
        for key in self._taken - silent:
            if not self._situation.paths[key].signals.child_sa:
                self._situation.remedies[key].put_back(now)

    # Facts

    def terminated(self, key: TunnelKey, now: float) -> None:
        """A tunnel was terminated, or could not be."""
        if self._situation.remedies[key].phase is not Phase.RESETTING:
            return
        self._situation.remedies[key].park(now + TRIAL)
        self._listened.discard(key)
        if key == self._clearing:
            self._clearing = None
            if self.stage is RecoveryStage.CLEARING:
                self.until = now

    def child_sa_came(self, path: Path, now: float) -> None:
        """A tunnel was brought up: by us, by its peer, or by the control daemon a moment ago."""
        if path.key == self._tried and self.stage is not RecoveryStage.CLEARING:
            self._situation.remedies[path.key].listen(now)
            self._listen(path, now)
        elif (
            self.stage is RecoveryStage.TRYING
            and self._in_the_way(path, now)
            and self._evictions < _EVICTIONS
        ):
            self._evictions += 1
            self._left.add(path.key)
            self.stage, self.until = RecoveryStage.CLEARING, now

    def child_sa_went(self, key: TunnelKey, now: float) -> None:
        """A tunnel's CHILD_SA or interface went, by itself or as we had it."""
        self._listened.discard(key)
        remedy = self._situation.remedies[key]
        if remedy.phase is Phase.RESETTING or self._situation.policies[key] is OnPathDown.KEEP:
            return
        remedy.park(now + TRIAL)
        if key == self._tried and self.stage is RecoveryStage.TRYING:
            self.until = min(self.until, max(now, self._trial_began + _SHORTEST))

    def ike_answered(self, now: float) -> None:
        """An IKE daemon answered: perhaps there is somebody to be tried now."""
        if self.stage is RecoveryStage.TRYING and self._tried is None:
            self.until = now

    # Time

    def advance(self, now: float) -> bool:
        """Apply the passage of time; return whether it turned out that the target is dead."""
        if now < self.until:
            return False
        match self.stage:
            case RecoveryStage.CLEARING:
                self._clear(now)
            case RecoveryStage.TRYING if self._tried is None:
                self._turn(now)
            case RecoveryStage.TRYING | RecoveryStage.PAUSED:
                self.stage = RecoveryStage.LOOKING
                self._measures.look(p for p in self._situation.paths.values() if p.signals.usable)
            case RecoveryStage.LOOKING:
                return self._over(now)
            case RecoveryStage.IDLE:
                pass
        return False

    def _over(self, now: float) -> bool:
        """A trial is over, and nothing was heard."""
        paths = self._situation.paths
        usable = [p for p in paths.values() if p.signals.usable]
        arriving = [p for p in usable if p.evidence.traffic.inbound]
        if arriving and self._tried is not None and not self._extended:
            # What healed a moment ago brings others' packets before the reply to our next probe.
            self._extended = True
            self.stage, self.until = RecoveryStage.TRYING, now + paths[self._tried].detection_time
            return False
        if arriving:
            self._blame_target(arriving, now)
            return True
        self._wanted |= _missed(usable)
        absent = self._tried is None or not paths[self._tried].signals.child_sa
        if self._wanted or absent:
            self._turn(now)
        elif now < self._trial_began + IDLE_TRIAL:
            self.stage, self.until = RecoveryStage.TRYING, now + TRIAL
        else:
            self._blame_target([p for key, p in paths.items() if p in usable or key in self._taken], now)
            self._situation.inquiry.failed(now)
            return True
        return False

    # Turns

    def _turn(self, now: float) -> None:
        """Give the next tunnel its turn, or rest."""
        self._ask(now)
        ready = [key for key in self._order if self._ready(self._situation.paths[key], now)]
        if not ready:
            self._leave(now)
            self._tried = None
            self.stage, self.until = RecoveryStage.TRYING, now + _ASK_AGAIN
            return
        others = [key for key in ready if key != self._tried] or ready
        if (
            others == [self._tried]
            and self._drawn_away(others[0])
            and now < self._trial_began + self._refresh
        ):
            self.stage = RecoveryStage.TRYING
            self.until = min(now + _MOVING, self._trial_began + self._refresh)
            return
        if self._left.isdisjoint(others):
            self._left = set(self._order)
            if now >= self._began + BRISK:
                self._pause(now)
                return
        self._try(next(key for key in others if key in self._left), now)

    def _pause(self, now: float) -> None:
        self.stage, self.until = RecoveryStage.PAUSED, now + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)

    def _beyond_reach(self, path: Path | None, now: float) -> bool:
        """Whether the peer of a tunnel is known not to be told anything now."""
        return path is not None and path.evidence.ike.silent(now, IkeQuestion.length(ike_rtt([path])))

    def _ready(self, path: Path, now: float) -> bool:
        """Whether the tunnel can be tried: its IKE daemon is not known to be silent."""
        return not path.signals.lost_interfaces and not self._beyond_reach(path, now)

    def _drawn_away(self, key: TunnelKey) -> bool:
        """Whether its replies used to arrive on another tunnel, whose peer cannot be told."""
        path = self._situation.paths[key]
        return not path.own and path.signals.child_sa and path.evidence.returns_on not in (None, key)

    def _ask(self, now: float) -> None:
        """Ask the IKE daemons, so that the answers are there at the next turn."""
        for path in self._situation.paths.values():
            asked = path.evidence.ike.last_asked
            if asked is None or now >= asked + _ASK_AGAIN:
                self._measures.ping(path.key, now)

    def _try(self, key: TunnelKey, now: float) -> None:
        if key == self._tried:
            self._refresh = LONGEST_REST
        else:
            self._leave(now)
        self._left.discard(key)
        self._tried, self._trial_began, self._evictions, self._extended = key, now, 0, False
        self._clear(now)

    def _leave(self, now: float) -> None:
        """The trial is over: with its SAs, if the tunnel need not be terminated for the next one."""
        if self._tried is not None and self._situation.paths[self._tried].signals.child_sa:
            self._situation.remedies[self._tried].keep(now)

    def _clear(self, now: float) -> None:
        """Terminate what is in the way, one after the other; then begin the trial."""
        self.stage = RecoveryStage.CLEARING
        if self._clearing is not None:  # charon does not say
            self._situation.remedies[self._clearing].park(now + TRIAL)
            self._listened.discard(self._clearing)
            self._clearing = None
        in_the_way = [p for p in self._situation.paths.values() if self._in_the_way(p, now)]
        if in_the_way:
            self._terminate(min(in_the_way, key=lambda p: not self._unfinished(p)), now)
            return
        if self._tried is not None:
            self._start(self._situation.paths[self._tried], now)

    def _in_the_way(self, path: Path, now: float) -> bool:
        """Whether the tunnel must go for the sake of the one that is tried, which may be itself."""
        # charon repeats an unanswered request at growing intervals, and whoever initiates then joins it.
        initiating = self._initiating(path) or (path.key == self._tried and path.key in self._stale)
        if self._tried is None or not (path.signals.child_sa or initiating):
            return False
        if self._situation.policies[path.key] is OnPathDown.KEEP:
            return False
        if path.key == self._tried:
            return initiating or path.key in self._listened
        if initiating or not (path.silence.complete or path.key in self._listened):
            return initiating  # what is not known to be silent is left alone
        return not self._beyond_reach(path, now) and not self._situation.paths[self._tried].own

    def _initiating(self, path: Path) -> bool:
        return self._situation.remedies[path.key].phase in _INITIATING

    def _unfinished(self, path: Path) -> bool:
        return self._situation.remedies[path.key].phase in DISTURBING

    def _terminate(self, path: Path, now: float) -> None:
        self._clearing, self.until = path.key, now + _ACKNOWLEDGED
        self._stale.discard(path.key)
        remedy = self._situation.remedies[path.key]
        if path.signals.child_sa and path.key not in self._counted:
            self._counted.add(path.key)
            if remedy.trials is None:
                self._taken.add(path.key)
            remedy.reset(now)
        if path.state is not PathState.DOWN:
            self._measures.take_down(path, Cause.SILENT, silence_of(path), now)
        remedy.clear_away(now)
        reason = f"nothing carries; path down ({path.detector.reason}) while its IKE daemon lives"
        self._measures.outbox.actions.append(TerminateTunnel(tunnel=path.key, reason=reason))

    def _start(self, path: Path, now: float) -> None:
        remedy = self._situation.remedies[path.key]
        self.stage, self.until = RecoveryStage.TRYING, now + TRIAL
        if path.signals.child_sa:
            self._listen(path, now)
            self.until = now + min(_MOVING + path.detection_time, TRIAL)
        else:
            force = not path.intent.encapsulated and not remedy.trials
            remedy.initiate(now + TRIAL)
            self._measures.outbox.actions.append(InitiateTunnel(tunnel=path.key, force_encapsulation=force))
        usable = [p for p in self._situation.paths.values() if p.signals.usable or p is path]
        for other in usable:
            other.evidence.traffic.begin()
        self._measures.look(usable)

    def _listen(self, path: Path, now: float) -> None:
        self._listened.add(path.key)
        self._attempted.add(path.key)
        path.restart(now)


def _missed(paths: Iterable[Path]) -> bool:
    """Whether packets of others leave, and none comes back."""
    return any(p.evidence.traffic.unanswered for p in paths)
