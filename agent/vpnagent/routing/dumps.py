"""Read the kernel's tables: dump requests that the kernel itself filters, and what their answers say.

No I/O. The answers come every second: they are read with struct, and only as far as they concern us.
"""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from vpnagent.netlink.message import AF_INET, AF_UNSPEC, NLM_F_DUMP, attributes, message, string
from vpnagent.routing.objects import (
    GROUP_IDS,
    MAIN_TABLE,
    NEXTHOP_IDS,
    PROTOCOL,
    LinkCounters,
    Route,
    RouteKey,
)

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEXTHOP = 18, 22, 26, 106

IFINFOMSG = struct.Struct("=BxHiII")  #: family, type, index, flags, change
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_STATS64, IFLA_AF_SPEC = 3, 4, 18, 20, 23, 26
IFLA_INET_CONF = 1  #: an array of conf.IF's settings, forwarding first (linux/ip.h)
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_XFRM_IF_ID = 2
IFF_UP = 1
STATS64 = struct.Struct("=4Q")  #: the first of rtnl_link_stats64: rx_packets, tx_packets, rx_bytes, tx_bytes

IFADDRMSG = struct.Struct("=BBBBI")  #: family, prefixlen, flags, scope, index
IFA_LOCAL = 2

RTMSG = struct.Struct("=BBBBBBBBI")  #: family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY = 1, 2, 4, 5
RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH, RTA_TABLE = 6, 7, 8, 9, 15
RTA_VIA, RTA_NH_ID = 18, 30
RTN_UNICAST, RTN_UNREACHABLE = 1, 7
RTM_F_CLONED = 0x200
RTNH_F_DEAD, RTNH_F_LINKDOWN = 1, 16  #: of a route with one next hop

NHMSG = struct.Struct("=BBBBI")  #: family, scope, protocol, reserved, flags
NHA_ID, NHA_GROUP, NHA_GROUP_TYPE, NHA_BLACKHOLE, NHA_OIF, NHA_GATEWAY = 1, 2, 3, 4, 5, 6
NEXTHOP_GRP = struct.Struct("=IBBH")  #: id, weight - 1, its high byte, reserved

U32 = struct.Struct("=I")

LINKS = message(RTM_GETLINK, NLM_F_DUMP, IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0))
ADDRESSES = message(RTM_GETADDR, NLM_F_DUMP, IFADDRMSG.pack(AF_INET, 0, 0, 0, 0))
NEXTHOPS = message(RTM_GETNEXTHOP, NLM_F_DUMP, NHMSG.pack(AF_UNSPEC, 0, 0, 0, 0))
OUR_ROUTES = message(
    RTM_GETROUTE, NLM_F_DUMP, RTMSG.pack(AF_INET, 0, 0, 0, MAIN_TABLE, PROTOCOL, 0, 0, 0)
)  #: the kernel filters by table and protocol for a socket with NETLINK_GET_STRICT_CHK
MAIN_ROUTES = message(RTM_GETROUTE, NLM_F_DUMP, RTMSG.pack(AF_INET, 0, 0, 0, MAIN_TABLE, 0, 0, 0, 0))


Place = tuple[bytes, int, int]  #: a prefix as the wire has it, address and length, and a metric


@dataclass(frozen=True, slots=True)
class LinkRow:
    """An interface, whosever it is."""

    index: int
    name: str
    alias: str
    kind: str  #: of rtnl_link_ops: xfrm, veth, …; empty for hardware
    if_id: int  #: 0 where there is none
    mtu: int
    up: bool  #: administratively
    counters: LinkCounters


@dataclass(frozen=True, slots=True)
class ForwardingRow:
    """An interface, and whether packets that come by it are forwarded."""

    index: int
    name: str
    forwarding: bool


@dataclass(frozen=True, slots=True)
class NexthopRow:
    """A nexthop or a group whose id is of our ranges."""

    id: int
    protocol: int
    interface_index: int  #: 0: none, or not a plain way out of an interface
    members: tuple[tuple[int, int], ...] | None  #: None: not a group; empty: not a multipath group


def link_row(body: bytes) -> LinkRow:
    """Read an RTM_NEWLINK."""
    _, _, index, flags, _ = IFINFOMSG.unpack_from(body)
    found = attributes(body, IFINFOMSG.size)
    info = attributes(found.get(IFLA_LINKINFO, b""))
    kind = string(info.get(IFLA_INFO_KIND, b""))
    data = attributes(info.get(IFLA_INFO_DATA, b"")) if kind == "xfrm" else {}
    rx_packets, tx_packets, rx_bytes, tx_bytes = STATS64.unpack_from(
        found.get(IFLA_STATS64, bytes(STATS64.size))
    )
    return LinkRow(
        index=index,
        name=string(found.get(IFLA_IFNAME, b"")),
        alias=string(found.get(IFLA_IFALIAS, b"")),
        kind=kind,
        if_id=u32(data.get(IFLA_XFRM_IF_ID)),
        mtu=u32(found.get(IFLA_MTU)),
        up=bool(flags & IFF_UP),
        counters=LinkCounters(
            rx_bytes=rx_bytes,
            tx_bytes=tx_bytes,
            rx_packets=rx_packets,
            tx_packets=tx_packets,
            index=index,
        ),
    )


def forwarding_row(body: bytes) -> ForwardingRow:
    """Read conf.IF.forwarding of an RTM_NEWLINK; true where IPv4 has not looked at the interface yet."""
    index = IFINFOMSG.unpack_from(body)[2]
    found = attributes(body, IFINFOMSG.size)
    inet = attributes(found.get(IFLA_AF_SPEC, b"")).get(AF_INET, b"")
    conf = attributes(inet).get(IFLA_INET_CONF, b"")
    forwarding = not conf or bool(U32.unpack_from(conf)[0])
    return ForwardingRow(index, string(found.get(IFLA_IFNAME, b"")), forwarding)


def address_row(body: bytes) -> tuple[int, IPv4Interface] | None:
    """Read an RTM_NEWADDR: interface index and address."""
    family, length, _, _, index = IFADDRMSG.unpack_from(body)
    local = attributes(body, IFADDRMSG.size).get(IFA_LOCAL)
    if family != AF_INET or local is None:
        return None
    return index, IPv4Interface((local, length))


def nexthop_row(body: bytes) -> NexthopRow | None:
    """Read an RTM_NEWNEXTHOP; None outside of our ranges."""
    _, _, protocol, _, _ = NHMSG.unpack_from(body)
    found = attributes(body, NHMSG.size)
    id_ = u32(found.get(NHA_ID))
    if id_ not in NEXTHOP_IDS and id_ not in GROUP_IDS:
        return None
    plain = NHA_GATEWAY not in found and NHA_BLACKHOLE not in found
    return NexthopRow(
        id=id_,
        protocol=protocol,
        interface_index=u32(found.get(NHA_OIF)) if plain else 0,
        members=_members(found) if NHA_GROUP in found else None,
    )


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route of ours."""

    route: Route  #: the interface is not in it yet
    interface_index: int  #: 0: a group's, the guard's, or not a plain way out of an interface


@lru_cache(maxsize=1 << 16)
def our_route(body: bytes) -> RouteRow | None:
    """Read an RTM_NEWROUTE of ours. Cached by its bytes: 10,000 routes come again every second."""
    family, length, _, tos, _, protocol, _, kind, flags = RTMSG.unpack_from(body)
    if family != AF_INET or protocol != PROTOCOL or tos or flags & RTM_F_CLONED:
        return None
    found = attributes(body, RTMSG.size)
    if u32(found.get(RTA_TABLE)) != MAIN_TABLE:
        return None
    source, gateway = found.get(RTA_PREFSRC), found.get(RTA_GATEWAY)
    nexthop = u32(found.get(RTA_NH_ID)) if kind == RTN_UNICAST else 0
    plain = kind == RTN_UNICAST and not nexthop and RTA_VIA not in found
    route = Route(
        prefix=IPv4Network((found.get(RTA_DST, bytes(4)), length)),
        group=None if kind == RTN_UNREACHABLE else nexthop,
        source=IPv4Address(source) if source else None,
        metric=u32(found.get(RTA_PRIORITY)),
        gateway=IPv4Address(gateway) if plain and gateway else None,
    )
    return RouteRow(route, u32(found.get(RTA_OIF)) if plain else 0)


def foreign_route(body: bytes, places: Mapping[Place, IPv4Network]) -> IPv4Network | None:
    """Read an RTM_NEWROUTE: the prefix, if a route of others holds one of these places."""
    family, length, _, tos, _, protocol, _, _, flags = RTMSG.unpack_from(body)
    if family != AF_INET or protocol == PROTOCOL or tos or flags & RTM_F_CLONED:
        return None
    found = attributes(body, RTMSG.size)
    if u32(found.get(RTA_TABLE)) != MAIN_TABLE:
        return None
    return places.get((found.get(RTA_DST, bytes(4)), length, u32(found.get(RTA_PRIORITY))))


def beside_ours(body: bytes, networks: Collection[IPv4Network]) -> RouteKey | None:
    """Read an RTM_NEWROUTE of others: to which of these networks, by which metric, if it can be used."""
    family, length, _, tos, _, protocol, _, kind, flags = RTMSG.unpack_from(body)
    unusable = flags & (RTM_F_CLONED | RTNH_F_DEAD | RTNH_F_LINKDOWN)
    if family != AF_INET or protocol == PROTOCOL or tos or unusable or kind != RTN_UNICAST:
        return None
    found = attributes(body, RTMSG.size)
    if u32(found.get(RTA_TABLE)) != MAIN_TABLE:
        return None
    prefix = IPv4Network((found.get(RTA_DST, bytes(4)), length))
    return (prefix, u32(found.get(RTA_PRIORITY))) if prefix in networks else None


def _members(found: dict[int, bytes]) -> tuple[tuple[int, int], ...]:
    if any(found.get(NHA_GROUP_TYPE, b"")):
        return ()
    legs = NEXTHOP_GRP.iter_unpack(found[NHA_GROUP])
    return tuple(sorted((id_, (low | high << 8) + 1) for id_, low, high, _ in legs))


def u32(value: bytes | None) -> int:
    """Read an attribute that is a number; 0 for one that is missing, or of another size."""
    return U32.unpack(value)[0] if value is not None and len(value) == U32.size else 0
