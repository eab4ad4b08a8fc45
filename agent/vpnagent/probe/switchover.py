"""From what changed to what is written and told: selection, the group writes, and the failover's story.

The writes come first in every answer. What is told is bounded: a tunnel or connection that flaps is reported
a few times, then now and then with the number of changes that were left out.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vpnagent.config.values import TunnelKey
from vpnagent.probe.actions import (
    Action,
    Cause,
    CoreEvent,
    DeleteGroup,
    FirstReply,
    GroupAction,
    PathChanged,
    TrafficMoved,
    WriteGroup,
)
from vpnagent.probe.budget import Budget
from vpnagent.probe.groups import Groups
from vpnagent.probe.intent import Intent
from vpnagent.probe.outbox import PathTransition, Trigger
from vpnagent.probe.outlook import blameless
from vpnagent.probe.path import Path
from vpnagent.selection import Verdict

_BURST, _EVERY = 10, 10.0  #: reports of one kind and subject: at once, and seconds between further ones


class Decision(NamedTuple):
    """What follows from the changes."""

    writes: list[GroupAction]
    reports: list[CoreEvent]


class _Why(NamedTuple):
    cause: Cause
    tunnel: TunnelKey | None
    reason: str
    last_heard: float | None


class Switchover:
    """Owns the groups, and remembers which failovers wait for their first reply."""

    __slots__ = ("_awaited", "_begun", "_budgets", "groups")

    def __init__(self, intent: Intent) -> None:
        self.groups = Groups(intent)
        self._begun = False
        self._budgets: dict[object, Budget] = {}
        self._awaited: dict[str, tuple[float, frozenset[TunnelKey]]] = {}  #: by connection

    def replace_intent(self, intent: Intent) -> None:
        """Take a newer intent; ``decide`` must follow."""
        self.groups.replace_intent(intent)

    def heard(self, tunnel: TunnelKey, sent_at: float, at: float, actions: list[Action]) -> None:
        """A reply through a tunnel ends the failover to it."""
        if self._awaited and (awaited := self._awaited.get(tunnel.connection)) is not None:
            decided, tunnels = awaited
            if tunnel in tunnels and sent_at >= decided:
                del self._awaited[tunnel.connection]
                actions.append(FirstReply(connection=tunnel.connection, tunnel=tunnel, at=at))

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
        before = self.groups.selected
        changed = self.groups.reselect({key: _verdict(path) for key, path in paths.items()})
        after = self.groups.selected
        moved = {name for name in after if before.get(name, ()) != after[name]} if self._begun else set()
        self._begun = True
        decision = Decision([], [])
        for id_ in changed:
            decision.writes.append(self._write(id_, _pick(causes, before, after)))
        for change in changes:
            self._report_path(change, decision.reports)
        for name in sorted(moved):
            why = _pick(causes, {name: before.get(name, ())}, {name: after[name]})
            self._report_failover(name, before.get(name, ()), after[name], why, now, decision.reports)
        return decision

    def _write(self, group: int, why: _Why) -> GroupAction:
        members = self.groups.members[group]
        if members:
            return WriteGroup(
                group_id=group, members=members, cause=why.cause, tunnel=why.tunnel, reason=why.reason
            )
        return DeleteGroup(group_id=group, cause=why.cause, tunnel=why.tunnel, reason=why.reason)

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
        self,
        name: str,
        old: tuple[str, ...],
        new: tuple[str, ...],
        why: _Why,
        now: float,
        reports: list[CoreEvent],
    ) -> None:
        gained = frozenset(TunnelKey(name, tunnel) for tunnel in set(new) - set(old))
        if gained:
            self._awaited[name] = now, gained
        suppressed = self._budgets.setdefault(name, Budget(_BURST, _EVERY)).take(now)
        if suppressed is None:
            return
        reports.append(
            TrafficMoved(
                connection=name,
                old=old,
                new=new,
                cause=why.cause,
                tunnel=why.tunnel,
                reason=why.reason,
                last_heard=why.last_heard,
                at=now,
                suppressed=suppressed,
            )
        )


def _verdict(path: Path) -> Verdict:
    return Verdict(
        child_sa_installed=path.signals.usable,
        drained=path.intent.drained,
        path=path.state,
        blameless=blameless(path),
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
