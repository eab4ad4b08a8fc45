"""The tunnels of a domain as they stand together, and what may be done to one of them in view of the others.

The two laws of resetting are here: at most one tunnel is being reset at a time, and never the last one that
carries anything.
"""

import enum

from vpnagent.config.values import OnPathDown, TunnelKey
from vpnagent.probe.blame import Judgement, Witness
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import DISTURBING, HELD, UNTOLD, Phase, Remedy
from vpnagent.probe.suspicion import Suspicion
from vpnagent.selection import PathState


class Permit(enum.Enum):
    """Whether a tunnel may be reset."""

    YES = enum.auto()
    LATER = enum.auto()  #: another one is being reset
    NO = enum.auto()


class Situation:
    """Facts only; changed by ``Domain``."""

    __slots__ = ("hashed", "judged", "paths", "policies", "remedies", "suspicion")

    def __init__(self) -> None:
        self.hashed = False  #: the cloud returns on all tunnels, by a hash
        self.paths: dict[TunnelKey, Path] = {}
        self.remedies: dict[TunnelKey, Remedy] = {}
        self.policies: dict[TunnelKey, OnPathDown] = {}
        self.judged: dict[TunnelKey, Judgement] = {}  #: silent ones of which nothing more is to be said now
        self.suspicion = Suspicion()

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
        if not remedy.at_once and not any(self._carries(p, path) for p in self.in_service()):
            return Permit.NO
        if self.busy(path.key) or self._can_wait(path, now):
            return Permit.LATER
        return Permit.YES

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
