"""Routes and ip rules: how ours are written, what there is of a lane, and how anybody's rules are read.

No I/O. By struct, as there may be 10,000 routes. linux/fib_rules.h: the header of a rule is a route's, with
the action in the place of the type. The requests of one action are meant for one system call: the way of a
lane stands before the rule that leads to it, and goes after it.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType

from vpnagent.netlink.message import (
    AF_INET,
    GONE,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkRequest,
    attribute,
    attributes,
    message,
    string,
    u32,
    u32_attribute,
)
from vpnagent.netlink.rtnetlink import (
    HOST,
    MAIN_TABLE,
    PROTOCOL,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RTA_DST,
    RTA_GATEWAY,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTMSG,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTN_UNSPEC,
    RTNH_F_ONLINK,
    RouteRow,
    route_header,
)
from vpnagent.routing.actions import Add, Remove, Replace
from vpnagent.routing.objects import GUARD_METRIC, LANE_PRIORITIES, ROUTE_METRIC, Lane, Route

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK = 1, 2, 3, 6, 10
FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_L3MDEV, FRA_PROTOCOL = 14, 15, 16, 19, 21
FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE = 22, 23, 24
#: what no look-up can ask for: FRA_TUN_ID, FRA_SUPPRESS_IFGROUP, FRA_OIFNAME, FRA_UID_RANGE, FRA_DSCP
OBSCURE = (12, 13, 17, 20, 25)
FR_ACT_TO_TBL, FR_ACT_BLACKHOLE, FR_ACT_UNREACHABLE, FR_ACT_PROHIBIT = 1, 6, 7, 8
ACTIONS = {FR_ACT_BLACKHOLE: "blackhole", FR_ACT_UNREACHABLE: "unreachable", FR_ACT_PROHIBIT: "prohibit"}
FIB_RULE_INVERT = 2
ALL_BITS = 0xFFFFFFFF
I32 = struct.Struct("=i")
PORTS = struct.Struct("=HH")  #: fib_rule_port_range: first, last
ATTEMPTS = 2  #: of one priority: a rule of ours, and one that somebody made beside it
NOBODY = IPv4Address(0)

MAKE = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL  #: refused where anything holds the place
CHANGE = NLM_F_ACK | NLM_F_REPLACE  #: refused where nothing is there


@dataclass(frozen=True, slots=True, kw_only=True)
class FibRule:
    """An ``ip rule`` for IPv4."""

    priority: int
    source: IPv4Network
    destination: IPv4Network
    incoming: str  #: interface, or empty
    table: int
    action: int  #: FR_ACT_TO_TBL, FR_ACT_BLACKHOLE, …
    suppressed_length: int  #: routes with prefixes of at most this length are ignored; -1: none
    protocol: int
    flags: int = 0  #: FIB_RULE_INVERT, …
    mark: int = 0
    mask: int = 0  #: of the packet's mark; 0: whatever it is
    tos: int = 0
    ip_protocol: int = 0
    source_ports: tuple[int, int] = (0, 0)  #: first and last; (0, 0): all
    destination_ports: tuple[int, int] = (0, 0)
    obscure: bool = False  #: for a user, an outgoing interface, …: what is not looked up
    of_devices: bool = False  #: l3mdev: for interfaces of a VRF

    @property
    def inverted(self) -> bool:
        """Whether it is for what the selectors are not about."""
        return bool(self.flags & FIB_RULE_INVERT)

    @property
    def selective(self) -> bool:
        """Whether it asks for more than addresses and the interface by which a packet comes."""
        ports = (*self.source_ports, *self.destination_ports)
        asked = (self.mask, self.tos, self.ip_protocol, self.obscure, self.of_devices, *ports)
        return any(asked)

    def __str__(self) -> str:
        source = str(self.source) if self.source.prefixlen else "all"
        selectors = (
            f" to {self.destination}" if self.destination.prefixlen else "",
            f" fwmark {self.mark:#x}" + ("" if self.mask == ALL_BITS else f"/{self.mask:#x}")
            if self.mask
            else "",
            f" tos {self.tos:#x}" if self.tos else "",
            f" iif {self.incoming}" if self.incoming else "",
            f" ipproto {self.ip_protocol}" if self.ip_protocol else "",
            f" sport {_range(self.source_ports)}" if any(self.source_ports) else "",
            f" dport {_range(self.destination_ports)}" if any(self.destination_ports) else "",
        )
        what = f"lookup {self.table}" if self.action == FR_ACT_TO_TBL else ACTIONS.get(self.action, "")
        denial = "not " if self.inverted else ""
        return f"{self.priority}: {denial}from {source}{''.join(selectors)} {what}"


def fib_rule(body: bytes) -> FibRule | None:
    """Read an RTM_NEWRULE; the kernel keeps the host bits of the networks, and does not look at them."""
    family, destination_length, source_length, tos, table, _, _, action, flags = RTMSG.unpack_from(body)
    if family != AF_INET:
        return None
    found = attributes(body, RTMSG.size)
    suppressed = found.get(FRA_SUPPRESS_PREFIXLEN)
    mark = u32(found.get(FRA_FWMARK))
    return FibRule(
        priority=u32(found.get(FRA_PRIORITY)),
        source=IPv4Network((found.get(FRA_SRC, bytes(4)), source_length), strict=False),
        destination=IPv4Network((found.get(FRA_DST, bytes(4)), destination_length), strict=False),
        incoming=string(found.get(FRA_IIFNAME, b"")),
        table=u32(found.get(FRA_TABLE)) or table,
        action=action,
        suppressed_length=I32.unpack(suppressed)[0] if suppressed else -1,
        protocol=(found.get(FRA_PROTOCOL) or b"\0")[0],
        flags=flags,
        mark=mark,
        mask=u32(found.get(FRA_FWMASK)) if FRA_FWMASK in found else (ALL_BITS if mark else 0),
        tos=tos,
        ip_protocol=(found.get(FRA_IP_PROTO) or b"\0")[0],
        source_ports=_ports(found.get(FRA_SPORT_RANGE)),
        destination_ports=_ports(found.get(FRA_DPORT_RANGE)),
        obscure=any(_is_set(found.get(kind, b"")) for kind in OBSCURE),
        of_devices=any(found.get(FRA_L3MDEV, b"")),
    )


def _ports(value: bytes | None) -> tuple[int, int]:
    """Read a fib_rule_port_range; (0, 0) for none."""
    return PORTS.unpack(value) if value is not None and len(value) == PORTS.size else (0, 0)


def _range(ports: tuple[int, int]) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def _is_set(value: bytes) -> bool:
    """Whether a selector is there and not the kernel's word for none: SUPPRESS_IFGROUP -1."""
    return any(value) and value != b"\xff\xff\xff\xff"


def route_request(
    action: Add | Replace | Remove, route: Route, indexes: Mapping[str, int] = MappingProxyType({})
) -> NetlinkRequest:
    """Return the request for a route; ``indexes`` tells the interfaces': the kernel refuses one without.

    A removal names the type: without it, a route that has gone already would have the kernel take the guard
    of the same prefix, as metric 0 stands for any metric there.
    """
    length = route.prefix.prefixlen
    place = attribute(RTA_DST, route.prefix.network_address.packed) if length else b""
    place += u32_attribute(RTA_PRIORITY, route.metric) if route.metric else b""
    if isinstance(action, Remove):
        kind = {None: RTN_UNREACHABLE, 0: RTN_UNSPEC}.get(route.group, RTN_UNICAST)
        kind = RTN_UNICAST if route.interface else kind
        header = route_header(length, scope=RT_SCOPE_NOWHERE, kind=kind)
        return NetlinkRequest(message(RTM_DELROUTE, NLM_F_ACK, header + place), GONE)
    place += attribute(RTA_PREFSRC, route.source.packed) if route.source else b""
    if route.group is None:
        body = route_header(length, kind=RTN_UNREACHABLE) + place
    elif route.interface:
        body = _by_interface(length, place, indexes.get(route.interface, 0), route.gateway)
    else:
        body = route_header(length) + place + u32_attribute(RTA_NH_ID, route.group)
    return NetlinkRequest(message(RTM_NEWROUTE, MAKE if isinstance(action, Add) else CHANGE, body))


def _by_interface(
    length: int, place: bytes, index: int, gateway: IPv4Address | None, *, table: int = MAIN_TABLE
) -> bytes:
    """Return a route by an interface, and a neighbour on it.

    A neighbour, whatever the table says of its network: that may be about to come back.
    """
    out = u32_attribute(RTA_OIF, index)
    if gateway is None:
        return route_header(length, scope=RT_SCOPE_LINK, table=table) + place + out
    onlink = route_header(length, flags=RTNH_F_ONLINK, table=table)
    return onlink + place + out + attribute(RTA_GATEWAY, gateway.packed)


def lane_requests(
    action: Add | Replace | Remove, lane: Lane, indexes: Mapping[str, int]
) -> list[NetlinkRequest]:
    """Return the requests: the ways before the rule that leads to them, and after it when they go.

    Where the rule stays, what is replaced is the way: no packet takes another meanwhile.
    """
    if isinstance(action, Remove):
        return [*_no_rule(lane), _no_way(lane, RTN_UNICAST), _no_way(lane, RTN_UNREACHABLE)]
    made = [_way_out(lane, indexes) if lane.interface else _no_way(lane, RTN_UNICAST), _guard(lane)]
    was = action.was if isinstance(action, Replace) else None
    if isinstance(was, Lane) and _rule_of(was) == _rule_of(lane):
        return made
    return [*made, *(_no_rule(lane) if was else ()), _rule(lane)]


def _rule_of(lane: Lane) -> Lane:
    return replace(lane, interface="", gateway=None)


def _rule(lane: Lane) -> NetlinkRequest:
    header = RTMSG.pack(AF_INET, HOST, HOST, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
    ends = attribute(FRA_SRC, lane.local.packed) + attribute(FRA_DST, lane.remote.packed)
    body = header + _named(lane) + ends + u32_attribute(FRA_TABLE, lane.table)
    return NetlinkRequest(message(RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE, body))


def _no_rule(lane: Lane) -> list[NetlinkRequest]:
    body = RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0) + _named(lane)
    return [NetlinkRequest(message(RTM_DELRULE, NLM_F_ACK, body), GONE)] * ATTEMPTS


def _named(lane: Lane) -> bytes:
    """Return what tells the rule from all others."""
    return u32_attribute(FRA_PRIORITY, lane.priority) + attribute(FRA_PROTOCOL, bytes([PROTOCOL]))


def _way_out(lane: Lane, indexes: Mapping[str, int]) -> NetlinkRequest:
    index = indexes.get(lane.interface, 0)
    body = _by_interface(HOST, _place(lane, ROUTE_METRIC), index, lane.gateway, table=0)
    return NetlinkRequest(message(RTM_NEWROUTE, CHANGE | NLM_F_CREATE, body))


def _guard(lane: Lane) -> NetlinkRequest:
    body = route_header(HOST, kind=RTN_UNREACHABLE, table=0) + _place(lane, GUARD_METRIC)
    return NetlinkRequest(message(RTM_NEWROUTE, CHANGE | NLM_F_CREATE, body))


def _no_way(lane: Lane, kind: int) -> NetlinkRequest:
    """Return the request for the end of the way in a lane's table, or of the guard."""
    place = _place(lane, GUARD_METRIC if kind == RTN_UNREACHABLE else ROUTE_METRIC)
    body = route_header(HOST, scope=RT_SCOPE_NOWHERE, kind=kind, table=0) + place
    return NetlinkRequest(message(RTM_DELROUTE, NLM_F_ACK, body), GONE)


def _place(lane: Lane, metric: int) -> bytes:
    table = attribute(RTA_DST, lane.remote.packed) + u32_attribute(RTA_TABLE, lane.table)
    return table + (u32_attribute(RTA_PRIORITY, metric) if metric else b"")


def lane_rule(body: bytes) -> FibRule | None:
    """Read an RTM_NEWRULE; None for one that is not ours."""
    rule = fib_rule(body)
    ours = rule is not None and rule.protocol == PROTOCOL and rule.priority in LANE_PRIORITIES
    return rule if ours else None


def lane_way(body: bytes) -> RouteRow | None:
    """Read an RTM_NEWROUTE of a table of ours."""
    row = RouteRow(body)
    return row if row.protocol == PROTOCOL else None


def lane_of(
    priority: int, rules: Sequence[FibRule], ways: Sequence[RouteRow], names: Mapping[int, str]
) -> Lane | None:
    """Return what the rules of its priority and the ways in its table make of a lane; None: nothing."""
    if not rules and not ways:
        return None
    rule = rules[0] if len(rules) == 1 and _is_as_made(rules[0]) else None
    remote = ways[0].prefix.network_address if ways else NOBODY
    local = NOBODY
    if rule is not None:
        local, remote = rule.source.network_address, rule.destination.network_address
    lane = Lane(priority=priority, local=local, remote=remote)
    host = IPv4Network(remote)
    out = [way for way in ways if (way.prefix, way.metric, way.kind) == (host, ROUTE_METRIC, RTN_UNICAST)]
    guard = (host, GUARD_METRIC, RTN_UNREACHABLE)
    guarded = any((way.prefix, way.metric, way.kind) == guard for way in ways)
    if out:
        interface = names.get(out[0].interface_index, "?")
        lane = replace(lane, interface=interface, gateway=out[0].gateway)
    whole = rule is not None and rule.table == lane.table and guarded and len(ways) == 1 + len(out)
    return replace(lane, whole=whole)


def _is_as_made(rule: FibRule) -> bool:
    lengths = rule.source.prefixlen, rule.destination.prefixlen
    return (*lengths, rule.action, rule.flags) == (HOST, HOST, FR_ACT_TO_TBL, 0)
