"""The three things that can be done to a kernel object, as values.

``str()`` of an action is the command that does the same in ``ip``'s own notation: one log line per
mutation that an operator can paste into a shell. The line of the nftables table says what it does (the rules
are nft's business), everything else is complete.
"""

from dataclasses import dataclass

from vpnagent.netlink.rtnetlink import PROTOCOL
from vpnagent.routing.objects import (
    GUARD_METRIC,
    FilterTable,
    KernelObject,
    Lane,
    Nexthop,
    NexthopGroup,
    Route,
    Sysctl,
    XfrmLink,
)


@dataclass(frozen=True, slots=True)
class Add:
    """Make an object that is not there; the kernel refuses where something else holds its place."""

    object: KernelObject

    def __str__(self) -> str:
        match self.object:
            case XfrmLink():
                return _add_link(self.object)
            case Sysctl():
                return f"sysctl -w {self.object}"
            case FilterTable():
                return f"nft add table {self.object}"
            case Nexthop() | NexthopGroup() | Route():
                return f"{self.object.command} add {self.object}"
            case Lane():
                return f"{_ways(self.object, 'add')} && ip rule add {self.object}"


@dataclass(frozen=True, slots=True)
class Replace:
    """Turn an object of ours into another of the same key, in place."""

    object: KernelObject
    was: KernelObject

    def __str__(self) -> str:
        if isinstance(self.object, XfrmLink) and isinstance(self.was, XfrmLink):
            return _change_link(self.object, self.was)
        if isinstance(self.object, Sysctl):
            return f"sysctl -w {self.object}"
        if isinstance(self.object, Lane):
            new = "" if str(self.object) == str(self.was) else f" && ip rule add {self.object}"
            return f"{_ways(self.object, 'replace')}{new}"
        return f"{self.object.command} replace {self.object}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove an object of ours. That it has gone already is no failure."""

    object: KernelObject

    def __str__(self) -> str:
        match self.object:
            case XfrmLink():
                return f"ip link delete dev {self.object.name}"
            case Nexthop() | NexthopGroup():
                return f"ip nexthop delete id {self.object.id}"
            case Route():
                return f"ip route delete {self.object}"
            case Lane():
                return f"ip rule delete {self.object} && ip route flush table {self.object.table}"
            case FilterTable():
                return "nft delete table inet vpnagent"
            case Sysctl():
                raise ValueError(f"a sysctl is never removed: {self.object}")


KernelAction = Add | Replace | Remove


def _ways(lane: Lane, verb: str) -> str:
    """Return the commands for what is in a lane's table."""
    rest = f"table {lane.table} protocol {PROTOCOL}"
    via = f"via {lane.gateway} dev {lane.interface} onlink" if lane.gateway else f"dev {lane.interface}"
    way = f"ip route {verb} {lane.remote} {via} {rest} && " if lane.interface else ""
    return f"{way}ip route {verb} unreachable {lane.remote} metric {GUARD_METRIC} {rest}"


def _add_link(link: XfrmLink) -> str:
    commands = [
        f"ip link add name {link.name} mtu {link.mtu} type xfrm if_id {link.if_id:#x}",
        f"ip link set dev {link.name} alias {link.alias} addrgenmode none up",
    ]
    if link.address:
        commands.append(f"ip address add {link.address} dev {link.name}")
    return " && ".join(commands)


def _change_link(link: XfrmLink, was: XfrmLink) -> str:
    settings = []
    if link.mtu != was.mtu:
        settings.append(f" mtu {link.mtu}")
    if link.alias != was.alias:
        settings.append(f" alias {link.alias}")
    if link.up != was.up:
        settings.append(" up")
    commands = [f"ip link set dev {link.name}{''.join(settings)}"] if settings else []
    if link.address != was.address:
        if link.address:
            commands.append(f"ip address add {link.address} dev {link.name}")
        if was.address:
            commands.append(f"ip address delete {was.address} dev {link.name}")
    return " && ".join(commands)


KINDS = ("xfrmlink", "nexthop", "group", "route", "guard", "rule", "filtertable", "sysctl")


def kind_of(action: KernelAction) -> str:
    """Return the metric's word for the object that an action is about: one of KINDS."""
    match action.object:
        case Route(group=None):
            return "guard"
        case Lane():
            return "rule"
        case NexthopGroup():
            return "group"
        case _:
            return type(action.object).__name__.lower()
