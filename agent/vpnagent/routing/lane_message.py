"""The way of one line's IKE and ESP to and from netlink: its ip rule and the table behind it. No I/O.

linux/fib_rules.h: the header of a rule is a route's, with the action in the place of the type.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from vpnagent.netlink.message import (
    AF_INET,
    GONE,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    Request,
    attribute,
    attributes,
    message,
)
from vpnagent.routing.actions import Add, Remove, Replace
from vpnagent.routing.dumps import (
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_GETROUTE,
    RTMSG,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    u32,
)
from vpnagent.routing.objects import GUARD_METRIC, LANE_PRIORITIES, PROTOCOL, ROUTE_METRIC, Lane

RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
FRA_DST, FRA_SRC, FRA_PRIORITY, FRA_TABLE, FRA_PROTOCOL = 1, 2, 6, 15, 21
FR_ACT_TO_TBL = 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTNH_F_ONLINK = 4
HOST = 32  #: prefix length
ATTEMPTS = 2  #: of one priority: a rule of ours, and one that somebody made beside it

RULES = message(RTM_GETRULE, NLM_F_DUMP, RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule that is ours by protocol and priority."""

    priority: int
    ends: tuple[IPv4Address, IPv4Address] | None  #: source and destination; None: it is not as we make it
    table: int


@dataclass(frozen=True, slots=True)
class WayRow:
    """A route of ours in the table of a rule."""

    destination: IPv4Network
    kind: int
    metric: int
    interface_index: int
    gateway: IPv4Address | None


def requests(action: Add | Replace | Remove, lane: Lane, indexes: Mapping[str, int]) -> list[Request]:
    """Return the requests: the ways before the rule that leads to them, and after it when they go.

    Where the rule stays, what is replaced is the way: no packet takes another meanwhile.
    """
    if isinstance(action, Remove):
        return [*_no_rule(lane), *_no_way(lane), _way(RTM_DELROUTE, lane, RTN_UNREACHABLE)]
    made = [_way(RTM_NEWROUTE, lane, RTN_UNREACHABLE)]
    made = [*_no_way(lane), *made] if not lane.interface else [_way_out(lane, indexes), *made]
    was = action.was if isinstance(action, Replace) else None
    if isinstance(was, Lane) and replace(was, interface="", gateway=None) == replace(
        lane, interface="", gateway=None
    ):
        return made
    return [*made, *(_no_rule(lane) if was else ()), _rule(RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE, lane)]


def _rule(kind: int, flags: int, lane: Lane) -> Request:
    priority = attribute(FRA_PRIORITY, struct.pack("=I", lane.priority))
    owner = attribute(FRA_PROTOCOL, bytes([PROTOCOL]))
    if kind == RTM_DELRULE:
        header = RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
        return Request(message(kind, flags, header + priority + owner), GONE)
    ends = attribute(FRA_SRC, lane.local.packed) + attribute(FRA_DST, lane.remote.packed)
    table = attribute(FRA_TABLE, struct.pack("=I", lane.table))
    header = RTMSG.pack(AF_INET, HOST, HOST, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
    return Request(message(kind, flags, header + priority + owner + ends + table))


def _no_rule(lane: Lane) -> list[Request]:
    return [_rule(RTM_DELRULE, NLM_F_ACK, lane)] * ATTEMPTS


def _no_way(lane: Lane) -> list[Request]:
    return [_way(RTM_DELROUTE, lane, RTN_UNICAST)]


def _way(message_type: int, lane: Lane, kind: int) -> Request:
    """Return the request for the guard of the table, or for the end of what is in it."""
    metric = GUARD_METRIC if kind == RTN_UNREACHABLE else ROUTE_METRIC
    scope = RT_SCOPE_UNIVERSE if message_type == RTM_NEWROUTE else RT_SCOPE_NOWHERE
    body = _header(scope, kind) + _destination(lane, metric)
    if message_type == RTM_DELROUTE:
        return Request(message(message_type, NLM_F_ACK, body), GONE)
    return Request(message(message_type, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body))


def _way_out(lane: Lane, indexes: Mapping[str, int]) -> Request:
    scope = RT_SCOPE_UNIVERSE if lane.gateway else RT_SCOPE_LINK
    body = _header(scope, RTN_UNICAST, RTNH_F_ONLINK if lane.gateway else 0) + _destination(
        lane, ROUTE_METRIC
    )
    body += attribute(RTA_OIF, struct.pack("=I", indexes.get(lane.interface, 0)))
    if lane.gateway:
        body += attribute(RTA_GATEWAY, lane.gateway.packed)
    return Request(message(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body))


def _header(scope: int, kind: int, flags: int = 0) -> bytes:
    return RTMSG.pack(AF_INET, HOST, 0, 0, 0, PROTOCOL, scope, kind, flags)


def _destination(lane: Lane, metric: int) -> bytes:
    found = attribute(RTA_DST, lane.remote.packed) + attribute(RTA_TABLE, struct.pack("=I", lane.table))
    return found + (attribute(RTA_PRIORITY, struct.pack("=I", metric)) if metric else b"")


def table_request(table: int) -> bytes:
    """Return the question for our routes in a table."""
    body = RTMSG.pack(AF_INET, 0, 0, 0, 0, PROTOCOL, 0, 0, 0)
    return message(RTM_GETROUTE, NLM_F_DUMP, body + attribute(RTA_TABLE, struct.pack("=I", table)))


def rule_row(body: bytes) -> RuleRow | None:
    """Read an RTM_NEWRULE; None for one that is not ours."""
    family, destination_length, source_length, _, table, _, _, action, flags = RTMSG.unpack_from(body)
    found = attributes(body, RTMSG.size)
    priority = u32(found.get(FRA_PRIORITY))
    if family != AF_INET or found.get(FRA_PROTOCOL) != bytes([PROTOCOL]) or priority not in LANE_PRIORITIES:
        return None
    source, destination = found.get(FRA_SRC), found.get(FRA_DST)
    whole = (destination_length, source_length, action, flags) == (HOST, HOST, FR_ACT_TO_TBL, 0)
    ends = (IPv4Address(source), IPv4Address(destination)) if whole and source and destination else None
    return RuleRow(priority, ends, u32(found.get(FRA_TABLE)) or table)


def way_row(body: bytes) -> WayRow | None:
    """Read an RTM_NEWROUTE of a table of ours."""
    _, length, _, _, _, protocol, _, kind, _ = RTMSG.unpack_from(body)
    if protocol != PROTOCOL:
        return None
    found = attributes(body, RTMSG.size)
    gateway = found.get(RTA_GATEWAY)
    return WayRow(
        destination=IPv4Network((found.get(RTA_DST, bytes(4)), length)),
        kind=kind,
        metric=u32(found.get(RTA_PRIORITY)),
        interface_index=u32(found.get(RTA_OIF)),
        gateway=IPv4Address(gateway) if gateway else None,
    )


NOBODY = IPv4Address(0)


def lane_of(
    priority: int, rules: Sequence[RuleRow], ways: Iterable[WayRow], names: Mapping[int, str]
) -> Lane | None:
    """Return what there is of a lane; None: nothing."""
    ways = tuple(ways)
    if not rules and not ways:
        return None
    ends = rules[0].ends if len(rules) == 1 else None
    local, remote = ends or (NOBODY, ways[0].destination.network_address if ways else NOBODY)
    lane = Lane(priority=priority, local=local, remote=remote)
    host = IPv4Network(remote)
    out = [
        way for way in ways if (way.destination, way.metric, way.kind) == (host, ROUTE_METRIC, RTN_UNICAST)
    ]
    guarded = any(
        (way.destination, way.metric, way.kind) == (host, GUARD_METRIC, RTN_UNREACHABLE) for way in ways
    )
    if out:
        lane = replace(lane, interface=names.get(out[0].interface_index, "?"), gateway=out[0].gateway)
    whole = ends is not None and rules[0].table == lane.table and guarded and len(ways) == 1 + len(out)
    return replace(lane, whole=whole)
