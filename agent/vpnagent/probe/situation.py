"""The tunnels of a domain together: who is to blame for a silence, what is suspected, what may be done.

Nothing is done here, and nobody is asked. ``judge`` reasons from what each tunnel can tell; ``InquiryState``
says where an inquiry stands; ``Situation`` holds the facts of all tunnels, and the two laws of resetting: at
most one tunnel is being reset at a time, and never the last one that carries anything.
"""

import enum
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address
from math import inf

from vpnagent.config.values import OnPathDown, TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import DISTURBING, HELD, UNTOLD, IkeQuestion, Phase, Remedy
from vpnagent.record import record

_FRESH = 1.0  #: seconds after the time to answer in which what was asked ahead is still of use
_RECHECK = 1.0  #: seconds between looks whether packets still arrive
_SOUND = (PathState.UP, PathState.DEGRADED)
_FIRST_BLOCK, _LONGEST_BLOCK = 60.0, 3600.0  #: seconds without another guess after one that did not help


@record(frozen=True, slots=True, kw_only=True)
class Witness:
    """What one tunnel can tell. Only tunnels that could be used, and whose path is not down already."""

    key: TunnelKey
    silent: bool  #: nothing heard for its detection time
    quiet: bool  #: a probe was missed since the last reply
    heard: bool  #: ever
    own: bool  #: its target answers through this tunnel only
    returns_on: TunnelKey | None  #: where its replies used to arrive
    arrives: bool  #: some reply, to whomever, arrived on it just now
    inbound: bool  #: packets arrived through it while probes went missing
    full: bool  #: it runs near its bandwidth or packet rate
    patient: bool  #: its silence was already extended once
    targets: frozenset[IPv4Address]


class Judgement(enum.Enum):
    """What follows for a silent tunnel."""

    DOWN = "down"
    EXCUSED = "excused"  #: another tunnel explains it
    WAIT = "wait"  #: another tunnel may explain it, and will be known in a moment
    EXTEND = "extend"  #: its inbound direction lives: look for one more detection time
    CONGESTED = "congested"
    TARGET = "target"  #: the target does not answer
    ASK = "ask"  #: ask the IKE daemons


def judge(
    witnesses: Sequence[Witness], untold: Collection[TunnelKey], *, disturbed: bool
) -> dict[TunnelKey, Judgement]:
    """Return a judgement for every silent tunnel: pure reasoning on what each sent and where it was heard.

    A probe out of tunnel *i* whose reply arrives on tunnel *j* proves *out i* and *in j*. So the silence of
    *i* is explained by the death of *j*, if that is where its replies used to arrive and nothing arrives
    there any more. What is silent without such an explanation is dead itself, if its target is known to live:
    because the target can be reached through this tunnel only (it is the tunnel's own end), or because
    another tunnel hears it. If nobody hears it, it may be the target that is dead: then packets of others
    that still arrive through the tunnel clear it, and else its IKE daemon, and those of all who fell silent
    with it, are asked.

    ``untold`` are dead tunnels on which the peer may still return everything; ``disturbed`` means that a
    tunnel is being reset or tried, so that return traffic may go anywhere for a moment.
    """
    return {w.key: _judge(w, witnesses, untold, disturbed) for w in witnesses if w.silent}


def _judge(
    silent: Witness, witnesses: Sequence[Witness], untold: Collection[TunnelKey], disturbed: bool
) -> Judgement:
    if silent.inbound and silent.full:
        return Judgement.CONGESTED
    if not silent.own and (disturbed or silent.returns_on in untold):
        return Judgement.EXCUSED
    if not silent.own and (judgement := _explained(silent, witnesses)) is not None:
        return judgement
    if not _target_lives(silent, witnesses):
        return Judgement.TARGET if silent.inbound else Judgement.DOWN if silent.own else Judgement.ASK
    if silent.inbound and not silent.patient:
        return Judgement.EXTEND
    return Judgement.DOWN


def _explained(silent: Witness, witnesses: Sequence[Witness]) -> Judgement | None:
    """Return what follows if the tunnel on which the replies used to arrive explains the silence."""
    other = next((w for w in witnesses if w.key == silent.returns_on), None)
    if other is None or other is silent or not other.quiet or other.arrives:
        return None
    return Judgement.EXCUSED if other.silent else Judgement.WAIT


def _target_lives(silent: Witness, witnesses: Sequence[Witness]) -> bool:
    """Whether somebody hears the target just now, or nobody ever did, so that nothing is known of it.

    Tunnels with targets of their own cannot hear each other's, but that all of those died together with
    packets still arriving is less likely than that their cloud ends stopped answering.
    """
    if silent.own:
        return any(not w.quiet and w.heard for w in witnesses)
    if not any(w.heard for w in witnesses):
        return True
    return any(not w.quiet and w.heard and not w.targets.isdisjoint(silent.targets) for w in witnesses)


class InquiryStage(enum.Enum):
    """Where the inquiry stands."""

    CLEAR = "clear"
    FOREWARNED = "forewarned"
    ASKING = "asking"
    TARGET = "target"


class InquiryState:
    """What is suspected when all tunnels of a domain went silent together: one of them, or the target.

        CLEAR -> FOREWARNED -> ASKING -> CLEAR, and a tunnel is blamed: ``recovery`` begins
          |                                | nothing improved
          +-- packets still arrive ---> TARGET -> CLEAR, when something is heard or missed

    FOREWARNED: the IKE daemons are asked ahead of the verdict. ASKING: they are asked. TARGET: the target is
    probably dead.

    Blaming on no more than where replies used to arrive is a guess. One that did not help is not repeated
    before a time that doubles with each such failure.
    """

    __slots__ = ("_blocked_until", "_failures", "_question", "answered", "asked", "culprit", "stage", "until")

    def __init__(self) -> None:
        self.clear()
        self._failures = 0
        self._blocked_until = -inf

    def clear(self) -> None:
        """Something was heard: all is open again."""
        self.stage = InquiryStage.CLEAR
        self.culprit: TunnelKey | None = None
        self.asked: frozenset[TunnelKey] = frozenset()
        self.answered: set[TunnelKey] = set()
        self._question: IkeQuestion | None = None
        self.until = inf

    def ask(self, culprit: TunnelKey | None, suspects: frozenset[TunnelKey], now: float, rtt: float) -> None:
        """The IKE daemons of ``suspects`` are being asked; without a culprit, ahead of a verdict."""
        self.stage = InquiryStage.FOREWARNED if culprit is None else InquiryStage.ASKING
        self.culprit, self.asked, self.answered = culprit, suspects, set()
        self._question = IkeQuestion.at(now, rtt)
        self.until = self._question.again

    def accuse(self, culprit: TunnelKey, now: float) -> None:
        """The verdict is due of which this was the warning: what was asked need not be asked again."""
        self.stage = InquiryStage.ASKING
        self.culprit = culprit
        if self.until == inf or self.asked <= self.answered:
            self.until = now

    def stale(self, now: float) -> bool:
        """Whether the question was asked too long ago to be of use."""
        return self._question is None or now > self._question.until + _FRESH

    def repeat(self, now: float) -> frozenset[TunnelKey]:
        """Return whom to ask again; nobody: it has been waited long enough."""
        question = self._question
        if question is None or now >= question.until or self.asked <= self.answered:
            self.until = inf
            return frozenset()
        self.until = question.until
        return self.asked - self.answered

    def answer(self, tunnel: TunnelKey, now: float) -> None:
        """A tunnel's IKE daemon answered."""
        if self.stage in (InquiryStage.ASKING, InquiryStage.FOREWARNED) and tunnel in self.asked:
            self.answered.add(tunnel)
            if self.asked <= self.answered:
                self.until = now

    def may_guess(self, now: float) -> bool:
        """Whether another guess is allowed."""
        return now >= self._blocked_until

    def helped(self) -> None:
        """A tunnel was heard: the guess was right."""
        self._failures = 0
        self.clear()

    def failed(self, now: float) -> None:
        """Nothing improved: the guess was wrong."""
        self._blocked_until = now + min(_FIRST_BLOCK * 2.0 ** min(self._failures, 30), _LONGEST_BLOCK)
        self._failures += 1

    def suspect_target(self, now: float) -> None:
        """The target is probably dead."""
        self.clear()
        self.stage = InquiryStage.TARGET
        self.until = now + _RECHECK


class Permit(enum.Enum):
    """Whether a tunnel may be reset."""

    YES = enum.auto()
    LATER = enum.auto()  #: another one is being reset
    NO = enum.auto()


class Situation:
    """The tunnels of a domain as they stand together: facts only; changed by ``Domain``."""

    __slots__ = ("hashed", "inquiry", "judged", "paths", "policies", "remedies")

    def __init__(self) -> None:
        self.hashed = False  #: the cloud returns on all tunnels, by a hash
        self.paths: dict[TunnelKey, Path] = {}
        self.remedies: dict[TunnelKey, Remedy] = {}
        self.policies: dict[TunnelKey, OnPathDown] = {}
        self.judged: dict[TunnelKey, Judgement] = {}  #: silent ones of which nothing more is to be said now
        self.inquiry = InquiryState()

    def add(self, path: Path, remedy: Remedy, policy: OnPathDown) -> None:
        """Take a tunnel in, or take in another policy for it."""
        self.paths[path.key] = path
        self.remedies[path.key] = remedy
        self.policies[path.key] = policy

    def permit(self, path: Path, now: float) -> Permit:
        """Return whether the tunnel may be reset.

        Not by policy; not while anything still arrives through it; and not if no other one carries: then
        it is for ``recovery`` to try them all.
        """
        remedy = self.remedies[path.key]
        if path.evidence.heard_at is None and not path.own and remedy.phase is not Phase.PROBING:
            return Permit.NO  # that others hear their replies says nothing of one that never did
        if self.policies[path.key] is OnPathDown.KEEP or self._arrives(path, now):
            return Permit.NO
        if self._doubts_target(path) and remedy.phase is not Phase.PROBING:
            return Permit.NO
        if not remedy.at_once and not any(self._carries(p, path) for p in self.in_service()):
            return Permit.NO
        if self.busy(path.key) or self._can_wait(path, now):
            return Permit.LATER
        return Permit.YES

    def _doubts_target(self, path: Path) -> bool:
        """Whether nothing follows from the path's silence, because its target is probably dead."""
        return not path.own and self.inquiry.stage is InquiryStage.TARGET

    def _can_wait(self, path: Path, now: float) -> bool:
        """Whether the target may be to blame, and the reset is not urgent until that is known.

        It is not while an active/standby cloud returns on another tunnel, which is heard.
        """
        if self.remedies[path.key].phase is Phase.PROBING:
            return False
        if path.own:  # its own target's limit, if probes were lost before it fell silent: traffic has moved
            return path.limit.suspect(path.evidence.heard_at or now, now, new=False)
        if self.hashed:
            return False
        returns = [p.evidence.returns_on == p.key for p in self.in_service() if p is not path and p.alive]
        return any(returns) and path.limit.suspect(now, now, new=True)

    def suspects(self, path: Path) -> bool:
        """Whether a path whose confirmation is unanswered is worse than another, whatever it is that is dead.

        Another one is heard since; or its replies came by this tunnel too, until it fell silent with it: its
        own way out was proven a moment ago, and loses nothing if it is the target that is dead.
        """
        quiet_at, evidence = path.silence.quiet_at, path.evidence
        if quiet_at is None or self.disturbed():
            return False
        others = [
            p for p in self.in_service() if p is not path and p.state in _SOUND and not p.intent.drained
        ]
        returns = self.paths.get(evidence.returns_on) if evidence.returns_on else None
        if not path.own and returns is not None and returns is not path and returns.silence.quiet:
            return False
        if any(p.heard_since(quiet_at) for p in others):
            return True
        since = quiet_at - path.detection_time
        return not path.own and any(
            not p.own and p.evidence.returns_on == path.key and p.heard_since(since) for p in others
        )

    def stranded(self) -> bool:
        """Whether nothing carries: every path is down, or its replies used to arrive on one that is.

        What was never heard proves nothing, and while an IKE daemon is being asked nothing is known.
        """
        if any(r.phase in (Phase.ASKING, Phase.RESETTING) for r in self.remedies.values()):
            return False
        if any(not self._lost(p) for p in self.paths.values() if p.signals.usable):
            return False
        tried = [p for p in self.paths.values() if self.policies[p.key] is OnPathDown.RESET]
        held = any(r.phase in HELD for r in self.remedies.values())
        heard = any(p.evidence.heard_at is not None for p in self.paths.values())
        return held or (heard and any(p.signals.usable for p in tried))

    def _lost(self, path: Path) -> bool:
        if path.alive:
            return False
        returns_on = path.evidence.returns_on
        returns = self.paths.get(returns_on) if returns_on else None
        drawn = returns is not None and returns is not path and returns.state is PathState.DOWN
        if drawn and returns_on and self.remedies[returns_on].phase in DISTURBING:
            return False  # by a trial, for a moment
        return path.state is PathState.DOWN or (path.silence.quiet and not path.own and drawn)

    @property
    def alive(self) -> bool:
        """Whether any tunnel is heard just now."""
        return any(p.alive for p in self.paths.values())

    def _arrives(self, path: Path, now: float) -> bool:
        evidence = path.evidence
        recently = evidence.arrived_since(now - path.detection_time)
        return (recently and evidence.arrived_since(path.silence.quiet_at)) or evidence.traffic.inbound

    def _carries(self, path: Path, dead: Path) -> bool:
        """Whether the tunnel carries traffic, or would if the dead one did not draw the replies away."""
        if path is dead or path.intent.drained or path.state is PathState.INIT:
            return False
        if not path.silence.quiet or self.remedies[dead.key].phase is Phase.PROBING:
            return True
        if self.judged.get(path.key) is Judgement.EXCUSED:
            return True
        ike = path.evidence.ike
        return ike.answered_at is None or ike.answered_at >= (path.evidence.heard_at or 0.0)

    def in_service(self) -> list[Path]:
        """Tunnels that could be used, and whose path is not down, as far as they are probed."""
        unusable = (PathState.DOWN, PathState.UNPROBED)
        return [p for p in self.paths.values() if p.signals.usable and p.state not in unusable]

    def busy(self, key: TunnelKey | None) -> bool:
        """Whether another tunnel is being reset."""
        return any(r.phase in DISTURBING for k, r in self.remedies.items() if k != key)

    def disturbed(self) -> bool:
        """Whether a tunnel is being reset or tried, so that return traffic may go anywhere for a moment."""
        return any(r.phase in (Phase.RESETTING, Phase.PROBING) for r in self.remedies.values())

    def untold(self) -> frozenset[TunnelKey]:
        """Dead tunnels on which the peer may still return everything."""
        return frozenset(
            key
            for key, path in self.paths.items()
            if path.state is PathState.DOWN and path.signals.usable and self.remedies[key].phase in UNTOLD
        )

    def witnesses(self) -> list[Witness]:
        """Return what each tunnel in service can tell."""
        return [_witness(path) for path in self.in_service()]


def _witness(path: Path) -> Witness:
    evidence, intent = path.evidence, path.intent
    return Witness(
        key=path.key,
        silent=path.silence.complete,
        quiet=path.silence.quiet,
        heard=evidence.heard_at is not None,
        own=path.own,
        returns_on=evidence.returns_on,
        arrives=evidence.arrived_since(path.silence.quiet_at),
        inbound=evidence.traffic.inbound,
        full=evidence.traffic.full(intent.bandwidth, intent.packet_rate),
        patient=path.schedule.hurried,
        targets=frozenset(target.address for target in intent.targets),
    )
