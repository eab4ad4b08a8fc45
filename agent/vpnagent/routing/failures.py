"""How the rest of a plan goes on when an action has failed, and what of it the operator is told.

The next round is the retry. Until then what a failed action left in use keeps its footing: its removal is
withheld. And as the kernel refuses a whole group for one missing leg, a group is made without the
nexthops that could not be. Of refusals that follow from one another, the first is the finding.
"""

import errno
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network

from vpnagent.errors import NetlinkError
from vpnagent.finding import Finding, Severity
from vpnagent.routing.actions import Add, KernelAction, Remove, Replace
from vpnagent.routing.objects import GUARD_METRIC, KernelObject, Nexthop, NexthopGroup, Route, XfrmLink
from vpnagent.routing.plan import Conflict

Key = tuple[type[KernelObject], object]


class Failures:
    """The failures of one run through a plan, and what follows from them for its later actions."""

    def __init__(self) -> None:
        self.failed: list[tuple[KernelAction, NetlinkError]] = []
        self._lost: set[int] = set()  #: ids of nexthops that could not be made
        self._used: set[Key] = set()  #: what must stay, as something that should have changed rests on it
        self._unguarded: set[IPv4Network] = set()  #: prefixes whose guard could not be made
        self._routed = False  #: whether something stayed that was to take its routes along

    def note(self, action: KernelAction, error: NetlinkError) -> None:
        """Remember that an action failed."""
        self.failed.append((action, error))
        match action:
            case Add(Nexthop(id=id_)):
                self._lost.add(id_)
            case Add(Route(prefix=prefix, metric=metric)) if metric == GUARD_METRIC:
                self._unguarded.add(prefix)
                self._used.update((Route, (wide, metric)) for wide in _supernets(prefix))
            case Remove(left) | Replace(was=left):
                self._used.update(_rests_on(left))
                self._routed |= isinstance(left, NexthopGroup | Nexthop | XfrmLink)
            case Add():
                return

    def permitted(self, action: KernelAction) -> KernelAction | None:
        """Return what may be done of an action, after noting what may not."""
        if not self.failed:
            return action
        match action:
            case Remove(removed) if self._must_stay(removed):
                self.note(action, NetlinkError(str(action), 0, "not yet: what is to replace it failed"))
                return None
            case Add(NexthopGroup() as group) | Replace(NexthopGroup() as group):
                return self._without_lost(action, group)
            case _:
                return action

    def _must_stay(self, removed: KernelObject) -> bool:
        """Whether something rests on it, or it is a guard whose prefix may still need one.

        Networks may have been split or joined: then the guards of old cover the prefixes of new. And what
        could not be removed has kept its routes, which are known to the kernel alone.
        """
        if _key(removed) in self._used:
            return True
        if not isinstance(removed, Route) or removed.metric != GUARD_METRIC:
            return False
        return self._routed or not self._unguarded.isdisjoint(_supernets(removed.prefix))

    def _without_lost(self, action: KernelAction, group: NexthopGroup) -> KernelAction | None:
        members = tuple(member for member in group.members if member[0] not in self._lost)
        if members == group.members:
            return action
        error = NetlinkError(str(action), 0, "done without the nexthops that could not be made")
        if not members:
            self.note(action, error)
            return None
        self.failed.append((action, error))
        return replace(action, object=replace(group, members=members))


def _rests_on(left: KernelObject) -> Iterator[Key]:
    match left:
        case Route(prefix=prefix, group=group):
            yield Route, (prefix, GUARD_METRIC)
            yield NexthopGroup, group
        case NexthopGroup(members=members):
            yield from ((Nexthop, id_) for id_, _ in members)
        case Nexthop(interface=interface):
            yield XfrmLink, interface
        case _:
            return


def _key(removed: KernelObject) -> Key:
    match removed:
        case Route():
            return Route, removed.key
        case Nexthop() | NexthopGroup():
            return type(removed), removed.id
        case XfrmLink():
            return XfrmLink, removed.name
        case _:
            return type(removed), None


def _supernets(prefix: IPv4Network) -> Iterator[IPv4Network]:
    return (prefix.supernet(new_prefix=length) for length in range(prefix.prefixlen + 1))


def root_causes(refused: Mapping[KernelAction, NetlinkError]) -> dict[KernelAction, NetlinkError]:
    """Return the refusals that may have caused the others: without an interface nothing above it can be."""
    storeys = [_storey(action) for action in refused]
    lowest = min((storey for storey in storeys if storey), default=0)
    return {action: error for action, error in refused.items() if _storey(action) in (0, lowest)}


def _storey(action: KernelAction) -> int:
    """Return how high up the object stands; 0 when it stands by itself."""
    match action.object:
        case XfrmLink():
            return 1
        case Nexthop():
            return 2
        case NexthopGroup():
            return 3
        case Route(group=int(), interface=""):
            return 4
        case _:
            return 0


def refused_finding(action: KernelAction, error: NetlinkError) -> Finding:
    """Return that the kernel refused an action."""
    return Finding(
        code="KernelRefused",
        subject=str(action),
        severity=Severity.CRITICAL,
        text=str(error),
        hint=_hint(action, error),
    )


def _hint(action: KernelAction, error: NetlinkError) -> str:
    match action.object:
        case XfrmLink() if error.errno == errno.EOPNOTSUPP:
            return "this kernel has no XFRM interfaces: modprobe xfrm_interface (Linux 4.19 or later)"
        case Route(interface="") if error.errno == errno.EINVAL and action.object.source is not None:
            return f"is gateway.source_address {action.object.source} an address of this machine?"
        case _:
            return "see the reason; it is tried again every second"


def conflict_finding(conflict: Conflict) -> Finding:
    """Return that something foreign is in a place that we need."""
    return Finding(
        code="ForeignObject",
        subject=str(conflict.object),
        severity=Severity.CRITICAL,
        text=conflict.text,
        hint="remove or rename what is not ours; vpnagent never touches it",
    )
