"""The tunnels of a domain as they stand together, and what may be done to one of them in view of the others.

The two laws of resetting are here: at most one tunnel is being reset at a time, and never the last one that
carries anything.
"""

import enum

from vpnagent.config.values import OnPathDown, TunnelKey
from vpnagent.probe.blame import Judgement, Witness
from vpnagent.probe.doubt import Doubt, Stage
from vpnagent.probe.path import Path
from vpnagent.probe.trial import DISTURBING, UNTOLD, Phase, Remedy
from vpnagent.selection import PathState

_DESPAIR = 3  #: rounds of waiting, 5, 10 and 20 s, before a tunnel without alternative is restarted


class Permit(enum.Enum):
    """Whether a tunnel may be reset."""

    YES = enum.auto()
    LATER = enum.auto()  #: another one is being reset
    NO = enum.auto()
    RESTART = enum.auto()  #: and bring it up again at once: there is no other


class Picture:
    """Facts only; changed by ``Domain``."""

    __slots__ = ("doubt", "judged", "paths", "policies", "remedies")

    def __init__(self) -> None:
        self.paths: dict[TunnelKey, Path] = {}
        self.remedies: dict[TunnelKey, Remedy] = {}
        self.policies: dict[TunnelKey, OnPathDown] = {}
        self.judged: dict[TunnelKey, Judgement] = {}  #: silent ones of which nothing more is to be said now
        self.doubt = Doubt()

    def add(self, path: Path, remedy: Remedy, policy: OnPathDown) -> None:
        """Take a tunnel in, or take in another policy for it."""
        self.paths[path.key] = path
        self.remedies[path.key] = remedy
        self.policies[path.key] = policy

    def permit(self, path: Path, now: float) -> Permit:
        """Return whether the tunnel may be reset.

        Not by policy; not while anything still arrives through it; and not if no other one carries. But
        what was cut off with its underlay, and stays silent after that came back, carries nothing; nor does
        any tunnel while all are down. Then the peer may still be returning everything through this one, and
        another one may be the way to take; or, after a while, our SA may be one that the peer forgot.
        """
        remedy = self.remedies[path.key]
        if self.policies[path.key] is OnPathDown.KEEP or self._arrives(path, now):
            return Permit.NO
        permit = Permit.YES
        if not remedy.at_once and not any(self._carries(p, path) for p in self.in_service()):
            permit = self._in_despair(path, remedy)
        return Permit.LATER if permit is not Permit.NO and self.busy(path.key) else permit

    def _in_despair(self, path: Path, remedy: Remedy) -> Permit:
        others = [p for p in self.paths.values() if p is not path and p.signals.usable]
        if remedy.phase is Phase.PROBING or any(p.state is not PathState.DOWN for p in others):
            return Permit.NO
        if remedy.rounds and any(p.evidence.ike.answered_since(p.detector.since) for p in others):
            return Permit.YES
        return Permit.RESTART if remedy.rounds >= _DESPAIR else Permit.NO

    @property
    def alive(self) -> bool:
        """Whether any tunnel is heard just now."""
        return any(p.alive for p in self.paths.values())

    def _arrives(self, path: Path, now: float) -> bool:
        evidence = path.evidence
        recently = evidence.arrived_since(now - path.intent.detection_time)
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
        """Tunnels that could be used, and whose path is not down."""
        return [p for p in self.paths.values() if p.signals.usable and p.state is not PathState.DOWN]

    def busy(self, key: TunnelKey | None) -> bool:
        """Whether another tunnel is being reset."""
        if self.doubt.stage is Stage.WATCHING and self.doubt.culprit != key:
            return True
        return any(r.phase in DISTURBING for k, r in self.remedies.items() if k != key)

    def mute(self) -> frozenset[TunnelKey]:
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
        own=evidence.own,
        returns_on=evidence.returns_on,
        arrives=evidence.arrived_since(path.silence.quiet_at),
        inbound=evidence.traffic.inbound,
        full=evidence.traffic.full(intent.bandwidth, intent.packet_rate),
        patient=path.schedule.hurried,
        targets=frozenset(target.address for target in intent.targets),
    )
