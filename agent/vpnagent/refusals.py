"""What of a plan could not be done, and what stands in its way, as findings. Pure."""

import errno
from collections.abc import Mapping

from vpnagent.errors import NetlinkError
from vpnagent.finding import Finding, Severity
from vpnagent.routing.actions import Action
from vpnagent.routing.objects import Nexthop, NexthopGroup, Route, XfrmLink
from vpnagent.routing.plan import Conflict


def root_causes(refused: Mapping[Action, NetlinkError]) -> dict[Action, NetlinkError]:
    """Return the refusals that may have caused the others: without an interface nothing above it can be."""
    storeys = [_storey(action) for action in refused]
    lowest = min((storey for storey in storeys if storey), default=0)
    return {action: error for action, error in refused.items() if _storey(action) in (0, lowest)}


def _storey(action: Action) -> int:
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


def refused_finding(action: Action, error: NetlinkError) -> Finding:
    """Return that the kernel refused an action."""
    return Finding(
        code="KernelRefused",
        subject=str(action),
        severity=Severity.CRITICAL,
        text=str(error),
        hint=_hint(action, error),
    )


def _hint(action: Action, error: NetlinkError) -> str:
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
