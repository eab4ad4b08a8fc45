"""From the paths as they are to what is written and told: selection, group writes, failovers, findings.

``Switchover`` answers a change: the writes come first, then what is told, and that is bounded: a tunnel or
connection that flaps is reported a few times, then now and then with the number of changes that were left
out. ``path_report`` and ``findings`` tell how a path stands, whenever they are asked; they decide nothing.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding, Severity
from vpnagent.policy.selection import PathState, Verdict, select_shared
from vpnagent.probe.actions import (
    BLAMELESS,
    Cause,
    CoreEvent,
    DeleteGroup,
    FirstReply,
    GroupAction,
    PathChanged,
    PathReport,
    ProberAction,
    TrafficMoved,
    WriteGroup,
)
from vpnagent.probe.intent import Intent, Member
from vpnagent.probe.measures import Budget, PathTransition, Trigger
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import HELD, Phase, Remedy
from vpnagent.record import replace

_BURST, _EVERY = 10, 10.0  #: reports of one kind and subject: at once, and seconds between further ones


class Groups:
    """What each nexthop group should hold: selection applied to the intent and the paths as they are.

    Stickiness needs memory: the members that a group has now are one of selection's arguments. They are kept
    here, begin as the kernel has them, and change only by ``reselect``.
    """

    __slots__ = ("_carrying", "_intent", "members")

    def __init__(self, intent: Intent) -> None:
        keys = {t.nexthop_id: t.key for t in intent.tunnels()}
        self._carrying: dict[int, tuple[TunnelKey, ...]] = {
            g.id: tuple(keys[id_] for id_, _ in g.members if id_ in keys) for g in intent.groups
        }
        self.members: dict[int, tuple[Member, ...]] = {}  #: empty: the group should not exist
        self._intent = intent

    @property
    def selected(self) -> dict[str, tuple[str, ...]]:
        """By connection, the names of the tunnels that carry its traffic, in the order of the file."""
        carrying = {key for keys in self._carrying.values() for key in keys}
        return {
            c.name: tuple(t.key.tunnel for t in c.tunnels if t.key in carrying)
            for c in self._intent.connections
        }

    def replace_intent(self, intent: Intent) -> None:
        """Groups that stay keep their members until ``reselect``; new ones begin as they are told."""
        begun = Groups(intent)._carrying
        known = {t.key for t in intent.tunnels()}
        for id_, keys in self._carrying.items():
            if id_ in begun:
                begun[id_] = tuple(key for key in keys if key in known)
        self._carrying = begun
        self.members = {id_: members for id_, members in self.members.items() if id_ in begun}
        self._intent = intent

    def agree(self, other: "Groups") -> None:
        """Take over what another holds."""
        self._carrying, self.members = dict(other._carrying), dict(other.members)

    def reselect(self, verdicts: Mapping[TunnelKey, Verdict]) -> list[int]:
        """Choose anew; return the groups that changed, or were never chosen before."""
        connections = {c.name: c for c in self._intent.connections}
        changed = []
        for group in self._intent.groups:
            sharing = [connections[name] for name in group.connections]
            chosen = select_shared(sharing, verdicts, self._carrying[group.id])
            members = tuple(sorted((t.nexthop_id, t.weight) for t in chosen))
            self._carrying[group.id] = tuple(t.key for t in chosen)
            if self.members.get(group.id) != members:
                self.members[group.id] = members
                changed.append(group.id)
        return changed


class Decision(NamedTuple):
    """What follows from the changes."""

    writes: list[GroupAction]
    reports: list[CoreEvent]


class _Why(NamedTuple):
    cause: Cause
    tunnel: TunnelKey | None
    reason: str
    last_heard: float | None


class _Move(NamedTuple):
    """The tunnels that carry a connection's traffic, by certainty and as they really do."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


class Switchover:
    """Owns the groups, and remembers which failovers wait for their first reply.

    What is written follows suspicion; what is reported as a failover follows certainty, and says when traffic
    was moved. Where suspicion ends otherwise, the traffic comes back: a flinch.
    """

    __slots__ = ("_awaited", "_begun", "_budgets", "_certain", "_left", "_replies", "flinches", "groups")

    def __init__(self, intent: Intent) -> None:
        self.groups = Groups(intent)
        self._certain = Groups(intent)  #: as they would be without suspicion
        self._left: dict[str, float] = {}  #: connections whose traffic was moved on suspicion, and when
        self._replies: dict[str, FirstReply] = {}  #: of those
        self.flinches: dict[TunnelKey, int] = {}  #: times that traffic came back to a tunnel so
        self._begun = False
        self._budgets: dict[object, Budget] = {}
        self._awaited: dict[str, tuple[float, frozenset[TunnelKey]]] = {}  #: by connection

    def replace_intent(self, intent: Intent) -> None:
        """Take a newer intent; ``decide`` must follow."""
        self.groups.replace_intent(intent)
        self._certain.replace_intent(intent)

    def heard(self, tunnel: TunnelKey, sent_at: float, at: float, actions: list[ProberAction]) -> None:
        """A reply through a tunnel ends the failover to it."""
        name = tunnel.connection
        if self._awaited and (awaited := self._awaited.get(name)) is not None:
            decided, tunnels = awaited
            if tunnel in tunnels and sent_at >= decided:
                del self._awaited[name]
                reply = FirstReply(connection=name, tunnel=tunnel, at=at)
                if name in self._left:
                    self._replies[name] = reply
                else:
                    actions.append(reply)

    def decide(
        self,
        paths: Mapping[TunnelKey, Path],
        changes: Iterable[PathTransition],
        triggers: Iterable[Trigger],
        now: float,
    ) -> Decision:
        """Select anew, after these changes."""
        changes = tuple(changes)
        causes = [_why(change) for change in changes]
        causes += [_Why(t.cause, t.tunnel, t.reason, None) for t in triggers]
        before, was_certain = self.groups.selected, self._certain.selected
        verdicts = {key: _verdict(path) for key, path in paths.items()}
        changed = self.groups.reselect(verdicts)
        if any(verdict.suspected for verdict in verdicts.values()):
            self._certain.reselect({key: replace(v, suspected=False) for key, v in verdicts.items()})
        else:
            self._certain.agree(self.groups)
        after, certain = self.groups.selected, self._certain.selected
        for key, path in paths.items():
            path.carries = key.tunnel in after[key.connection]
        decision = Decision([], [])
        for id_ in changed:
            decision.writes.append(self._write(id_, _pick(causes, before, after)))
        for change in changes:
            self._report_path(change, decision.reports)
        for name in sorted(certain) if self._begun else ():
            move = _Move(was_certain.get(name, ()), certain[name], before.get(name, ()), after[name])
            self._report_move(name, move, causes, now, decision.reports)
        self._begun = True
        return decision

    def _report_move(
        self, name: str, move: _Move, causes: list[_Why], now: float, reports: list[CoreEvent]
    ) -> None:
        """Report what became of a connection's traffic: a failover, a flinch, or nothing."""
        gained = frozenset(TunnelKey(name, tunnel) for tunnel in set(move.after) - set(move.before))
        if gained:
            self._awaited[name] = now, gained
        if move.old != move.new:
            why = _pick(causes, {name: move.old}, {name: move.new})
            self._report_failover(name, move, why, self._left.get(name, now), reports)
            if (reply := self._replies.get(name)) is not None:
                reports.append(reply)
        elif name in self._left and move.after == move.new:
            for key in gained:
                self.flinches[key] = self.flinches.get(key, 0) + 1
        if move.after == move.new:
            self._left.pop(name, None)
            self._replies.pop(name, None)
        else:
            self._left.setdefault(name, now)

    def _write(self, group: int, why: _Why) -> GroupAction:
        cause, tunnel, reason, _ = why
        if members := self.groups.members[group]:
            return WriteGroup(group_id=group, members=members, cause=cause, tunnel=tunnel, reason=reason)
        return DeleteGroup(group_id=group, cause=cause, tunnel=tunnel, reason=reason)

    def _report_path(self, change: PathTransition, reports: list[CoreEvent]) -> None:
        path, transition = change
        suppressed = self._budgets.setdefault(path.key, Budget(_BURST, _EVERY)).take(transition.at)
        if suppressed is None:
            return
        reports.append(
            PathChanged(
                tunnel=path.key,
                old=transition.old,
                new=transition.new,
                cause=transition.cause,
                reason=transition.reason,
                rtt=path.window.mean_rtt,
                loss_ratio=path.window.loss_ratio,
                last_heard=path.detector.last_heard,
                at=transition.at,
                suppressed=suppressed,
            )
        )

    def _report_failover(
        self, name: str, move: _Move, why: _Why, at: float, reports: list[CoreEvent]
    ) -> None:
        suppressed = self._budgets.setdefault(name, Budget(_BURST, _EVERY)).take(at)
        if suppressed is None:
            return
        reports.append(
            TrafficMoved(
                connection=name, old=move.old, new=move.new, **why._asdict(), at=at, suppressed=suppressed
            )
        )


def _verdict(path: Path) -> Verdict:
    return Verdict(
        child_sa_installed=path.signals.usable,
        drained=path.intent.drained,
        path=path.state,
        blameless=blameless(path),
        suspected=path.suspected,
    )


def _why(change: PathTransition) -> _Why:
    path, transition = change
    signalled = transition.cause in (Cause.CHILD_SA, Cause.LINK)
    return _Why(
        transition.cause, path.key, transition.reason, None if signalled else path.detector.last_heard
    )


def _pick(
    causes: Iterable[_Why], before: Mapping[str, tuple[str, ...]], after: Mapping[str, tuple[str, ...]]
) -> _Why:
    """Return what moved the traffic: best, what befell a tunnel that was left, then one that was gained."""
    old = {TunnelKey(name, tunnel) for name, tunnels in before.items() for tunnel in tunnels}
    new = {TunnelKey(name, tunnel) for name, tunnels in after.items() for tunnel in tunnels}
    for tunnels in (old - new, new - old):
        for why in causes:
            if why.tunnel in tunnels:
                return why
    return next(iter(causes), _Why(Cause.START, None, "start of the prober", None))


def limit_finding(path: Path) -> Finding:
    """Return what is to be said of a path's target that answers no more than so many probes."""
    limit = path.limit
    return Finding(
        code="ProbeTargetLimits",
        subject=str(path.schedule.usual.address),
        severity=Severity.WARNING,
        text=(
            f"answers about {limit.rate:.0f} probes a second, whoever asks: asked {limit.slower} times more "
            f"slowly, so a dead path is noticed after {path.detection_time:.2g} s"
        ),
        hint="raise its limit for this gateway, name another target, or lengthen probe.interval",
    )


def blameless(path: Path) -> bool:
    """Whether the path is degraded by what is not its own fault, so that no other would be better."""
    if path.state is PathState.ELSEWHERE:
        return True
    blamed = path.detector.cause not in BLAMELESS
    return path.state is PathState.DEGRADED and not blamed


def path_report(path: Path, remedy: Remedy, flinches: int) -> PathReport:
    """Return what is known of one path."""
    detector, window = path.detector, path.window
    return PathReport(
        tunnel=path.key,
        state=detector.state,
        cause=detector.cause,
        reason=detector.reason,
        rtt=window.mean_rtt,
        loss_ratio=window.loss_ratio,
        target=path.schedule.usual.address,
        sent=window.totals.sent,
        answered=window.totals.answered,
        lost=window.totals.lost,
        held=remedy.phase in HELD,
        trial=remedy.phase in (Phase.INITIATING, Phase.PROBING),
        failed_trials=remedy.trials if remedy.phase in HELD else None,
        proven=path.evidence.proven_at,
        waiting_for_peer=remedy.phase in (Phase.WAITING, Phase.RETURNED),
        suspected=path.suspected,
        flinches=flinches,
    )


def findings(path: Path, remedy: Remedy) -> list[Finding]:
    """Return what is wrong with one path, and what can be done."""
    detector = path.detector
    if path.signals.usable and path.intent.dscp and not path.marked and path.alive:
        text = f"probes with DSCP {path.intent.dscp} are not answered, unmarked ones are: they go unmarked"
        hint = "a provider or firewall on the way drops marked packets: let them pass, or set probe.dscp: 0"
        return [_finding(path, "ProbeMarkDropped", Severity.INFO, text, hint)]
    if path.signals.usable and detector.state in _UNKNOWN:
        code, hint = _UNKNOWN[detector.state]
        return [_finding(path, code, Severity.WARNING, detector.reason, hint)]
    if not path.signals.usable or detector.state not in (PathState.DOWN, PathState.DEGRADED):
        return [_left_down(path, remedy)] if remedy.phase in HELD else []
    if detector.state is PathState.DOWN:
        return [_down(path, remedy)]
    code, hint = _DEGRADED.get(detector.cause, _DEGRADED[Cause.QUALITY])
    return [_finding(path, code, Severity.WARNING, detector.reason, hint)]


_UNKNOWN = {
    PathState.UNPROBED: (
        "PathUnprobed",
        "nothing is known of the path: see whether a packet filter drops what the gateway itself sends, and "
        "whether it has the source address of its probes",
    ),
    PathState.ELSEWHERE: (
        "HeardElsewhere",
        "the cloud, or the network behind it, returns to this gateway by another line: see its routes",
    ),
}
_DEGRADED = {
    Cause.QUALITY: ("PathDegraded", "look at the line between here and the tunnel's remote address"),
    Cause.CONGESTION: (
        "TunnelFull",
        "traffic is near the purchased bandwidth or packet rate: shape it, or buy more",
    ),
    Cause.TARGET: (
        "ProbeTargetSilent",
        "see whether the probe target is up and answers; a second target would outvote it",
    ),
    Cause.FILTERED: (
        "ProbeRepliesFiltered",
        "the tunnel works; let ICMP echo replies in by its interface: nft list ruleset (input and prerouting "
        "chains, fib ... oif missing drop), nft monitor trace; sysctl net.ipv4.conf.all.rp_filter and that "
        "of the interface: 0, or 2 (loose)",
    ),
    Cause.RETURN: (
        "ReturnPathDead",
        "the cloud still answers through a dead tunnel; its own detection moves it",
    ),
}


def _down(path: Path, remedy: Remedy) -> Finding:
    if remedy.phase in HELD:
        return _left_down(path, remedy)
    text = f"path down: {path.detector.reason}"
    hint = "see whether the tunnel's remote address is reachable and lets ESP through"
    if remedy.phase in (Phase.WAITING, Phase.RETURNED):
        text += "; SAs kept; return path: waiting for the cloud"
        hint = "the peer's IKE daemon is silent as well: look at the line to the tunnel's remote address"
    elif remedy.phase in (Phase.KEPT, Phase.WANTED):
        text += "; its IKE_SA is kept"
    return _finding(path, "PathDown", Severity.CRITICAL, text, hint)


def _left_down(path: Path, remedy: Remedy) -> Finding:
    text = (
        f"left down: {path.detector.reason}, while its IKE daemon lives; trials failed: {remedy.trials or 0}"
    )
    hint = "ESP or UDP port 4500 does not come through: look at firewalls between here and the remote address"
    return _finding(path, "TunnelLeftDown", Severity.WARNING, text, hint)


def _finding(path: Path, code: str, severity: Severity, text: str, hint: str) -> Finding:
    return Finding(code=code, subject=str(path.key), severity=severity, text=text, hint=hint)
