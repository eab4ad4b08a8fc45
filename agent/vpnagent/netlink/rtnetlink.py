"""Interfaces, addresses, routes, rules and nexthop objects as rtnetlink has them. Pure.

linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/nexthop.h, linux/fib_rules.h. What is read every
second and what is written by the thousand goes through here, and all of the prober's: a message takes some
3 us to read, where a message class of pyroute2 takes 60. What is written rarely is pyroute2's to encode
(``routing.requests``). A row says what a message says; what follows from it is the reader's to decide.
"""

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from vpnagent.netlink.message import (
    AF_INET,
    AF_UNSPEC,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    U32,
    attribute,
    attributes,
    message,
    string,
    u32,
    u32_attribute,
)
from vpnagent.record import record

PROTOCOL = 86  #: of what is ours: of routes, rules and nexthop objects; ``vpnagent`` in rt_protos.d
MAIN_TABLE, LOCAL_TABLE = 254, 255

RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_NEXTHOP = 1, 5, 7, 8, 32

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWSTATS, RTM_GETSTATS = 92, 94
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106

IFINFOMSG = struct.Struct("=BxHiII")  #: family, type, index, flags, change
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_STATS64, IFLA_AF_SPEC = 3, 4, 18, 20, 23, 26
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_XFRM_IF_ID = 2
IFLA_INET_CONF = 1  #: an array of conf.IF's settings, forwarding first (linux/ip.h)
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IF_STATS_MSG = struct.Struct("=BxHII")  #: family, index, filter mask
IFLA_STATS_LINK_64 = 1
STATS64 = struct.Struct("=4Q")  #: the first of rtnl_link_stats64: rx_packets, tx_packets, rx_bytes, tx_bytes

IFADDRMSG = struct.Struct("=BBBBI")  #: family, prefixlen, flags, scope, index
IFA_LOCAL = 2

RTMSG = struct.Struct("=BBBBBBBBI")  #: family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY = 1, 2, 3, 4, 5
RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH, RTA_TABLE, RTA_MARK = 6, 7, 8, 9, 15, 16
RTA_VIA, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT, RTA_NH_ID = 18, 27, 28, 29, 30
RTAX_MTU = 2
RTN_UNSPEC, RTN_UNICAST, RTN_LOCAL, RTN_UNREACHABLE = 0, 1, 2, 7
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTM_F_CLONED, RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x200, 0x1000, 0x2000
RTNH = struct.Struct("=HBBi")  #: rtnexthop: length, flags, weight - 1, interface index
RTNH_F_DEAD, RTNH_F_ONLINK, RTNH_F_LINKDOWN = 1, 4, 16
HOST = 32  #: length of the prefix of one address

NHMSG = struct.Struct("=BBBBI")  #: family, scope, protocol, reserved, flags
NHA_ID, NHA_GROUP, NHA_GROUP_TYPE, NHA_BLACKHOLE, NHA_OIF, NHA_GATEWAY = 1, 2, 3, 4, 5, 6
NEXTHOP_GRP = struct.Struct("=IBBH")  #: id, weight - 1, its high byte (since Linux 6.12), reserved
NEXTHOP_GRP_TYPE_RES = 1  #: resilient: buckets; 0 is multipath, by hash-threshold
U16 = struct.Struct("=H")


def routes(*parts: bytes, table: int = 0, protocol: int = 0, kind: int = 0) -> bytes:
    """Return the question for routes; the kernel filters for a socket with NETLINK_GET_STRICT_CHK."""
    body = RTMSG.pack(AF_INET, 0, 0, 0, table, protocol, 0, kind, 0)
    return message(RTM_GETROUTE, NLM_F_DUMP, body + b"".join(parts))


LINKS = message(RTM_GETLINK, NLM_F_DUMP, IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0))
LINKS_ALONE = message(
    RTM_GETLINK,
    NLM_F_DUMP,
    IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + u32_attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS),
)  #: without counters, a link looks the same in every dump
ADDRESSES = message(RTM_GETADDR, NLM_F_DUMP, IFADDRMSG.pack(AF_INET, 0, 0, 0, 0))
NEXTHOPS = message(RTM_GETNEXTHOP, NLM_F_DUMP, NHMSG.pack(AF_UNSPEC, 0, 0, 0, 0))
RULES = message(RTM_GETRULE, NLM_F_DUMP, RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
ALL_ROUTES = routes()
MAIN_ROUTES = routes(table=MAIN_TABLE)
OUR_ROUTES = routes(table=MAIN_TABLE, protocol=PROTOCOL)


@record(frozen=True, slots=True, kw_only=True)
class LinkCounters:
    """What passed an interface since it was made; of one of ours, inside the tunnel."""

    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int
    index: int = 0  #: of the interface: one that is made again has another; 0: not told


@record(frozen=True, slots=True)
class LinkRow:
    """An interface, whosever it is."""

    family: int  #: 0; else it is a bridge's or IPv6's view of the interface
    index: int
    name: str
    alias: str
    kind: str  #: of rtnl_link_ops: xfrm, veth, …; empty for hardware
    if_id: int  #: 0 where there is none
    mtu: int
    up: bool  #: administratively
    carrier: bool
    forwarding: bool  #: of IPv4 packets that come by it; true where IPv4 has not looked at it yet
    counters: LinkCounters


@record(frozen=True, slots=True)
class NexthopRow:
    """A nexthop object or a group of them, whosever it is."""

    id: int
    family: int
    protocol: int
    interface_index: int  #: 0: none
    gateway: bytes  #: of the family; empty: none
    blackhole: bool
    members: tuple[tuple[int, int], ...]  #: nexthop id and weight; empty: not a group
    group_type: int


def link_row(body: bytes) -> LinkRow:
    """Read an RTM_NEWLINK or RTM_DELLINK."""
    family, _, index, flags, _ = IFINFOMSG.unpack_from(body)
    found = attributes(body, IFINFOMSG.size)
    info = attributes(found.get(IFLA_LINKINFO, b""))
    kind = string(info.get(IFLA_INFO_KIND, b""))
    data = attributes(info.get(IFLA_INFO_DATA, b"")) if kind == "xfrm" else {}
    inet = attributes(found.get(IFLA_AF_SPEC, b"")).get(AF_INET, b"")
    conf = attributes(inet).get(IFLA_INET_CONF, b"")
    return LinkRow(
        family=family,
        index=index,
        name=string(found.get(IFLA_IFNAME, b"")),
        alias=string(found.get(IFLA_IFALIAS, b"")),
        kind=kind,
        if_id=u32(data.get(IFLA_XFRM_IF_ID)),
        mtu=u32(found.get(IFLA_MTU)),
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        forwarding=not conf or bool(U32.unpack_from(conf)[0]),
        counters=_counters(index, found.get(IFLA_STATS64, bytes(STATS64.size))),
    )


def counters(body: bytes) -> LinkCounters:
    """Read an RTM_NEWSTATS."""
    _, _, index, _ = IF_STATS_MSG.unpack_from(body)
    return _counters(index, attributes(body, IF_STATS_MSG.size).get(IFLA_STATS_LINK_64, b""))


def _counters(index: int, stats: bytes) -> LinkCounters:
    rx_packets, tx_packets, rx_bytes, tx_bytes = STATS64.unpack_from(stats)
    return LinkCounters(
        rx_bytes=rx_bytes, tx_bytes=tx_bytes, rx_packets=rx_packets, tx_packets=tx_packets, index=index
    )


def address_row(body: bytes) -> tuple[int, IPv4Interface] | None:
    """Read an RTM_NEWADDR or RTM_DELADDR: interface index and address; None for another family's."""
    family, length, _, _, index = IFADDRMSG.unpack_from(body)
    local = attributes(body, IFADDRMSG.size).get(IFA_LOCAL)
    if family != AF_INET or local is None:
        return None
    return index, IPv4Interface((local, length))


def nexthop_row(body: bytes) -> NexthopRow:
    """Read an RTM_NEWNEXTHOP or RTM_DELNEXTHOP."""
    family, _, protocol, _, _ = NHMSG.unpack_from(body)
    found = attributes(body, NHMSG.size)
    legs = NEXTHOP_GRP.iter_unpack(found.get(NHA_GROUP, b""))
    return NexthopRow(
        id=u32(found.get(NHA_ID)),
        family=family,
        protocol=protocol,
        interface_index=u32(found.get(NHA_OIF)),
        gateway=found.get(NHA_GATEWAY, b""),
        blackhole=NHA_BLACKHOLE in found,
        members=tuple((id_, (low | high << 8) + 1) for id_, low, high, _ in legs),
        group_type=U16.unpack_from(found.get(NHA_GROUP_TYPE, bytes(U16.size)))[0],
    )


class RouteRow:
    """An RTM_NEWROUTE, whosever it is: the header, and of the rest what is asked for.

    Whoever reads the Internet's table looks at the header first. ``kind`` is rtm_type.
    """

    __slots__ = ("_body", "_found", "_table", "family", "flags", "kind", "length", "protocol", "tos")

    def __init__(self, body: bytes) -> None:
        header = RTMSG.unpack_from(body)
        self.family, self.length, _, self.tos, self._table, self.protocol, _, self.kind, self.flags = header
        self._body = body
        self._found: dict[int, bytes] | None = None

    @property
    def found(self) -> dict[int, bytes]:
        """The attributes."""
        if self._found is None:
            self._found = attributes(self._body, RTMSG.size)
        return self._found

    @property
    def plain(self) -> bool:
        """Whether it is for IPv4 packets of any type of service, and no memory of a look-up."""
        return self.family == AF_INET and not self.tos and not self.flags & RTM_F_CLONED

    @property
    def table(self) -> int:
        """Its table; the header has no room for a number above 255."""
        return u32(self.found.get(RTA_TABLE)) or self._table

    @property
    def number(self) -> int:
        """The address of the destination's prefix as a number: comparing is all that most are read for."""
        return int.from_bytes(self.found.get(RTA_DST, b""))

    @property
    def prefix(self) -> IPv4Network:
        """The destination."""
        return IPv4Network((self.found.get(RTA_DST, bytes(4)), self.length))

    @property
    def metric(self) -> int:
        """RTA_PRIORITY."""
        return u32(self.found.get(RTA_PRIORITY))

    @property
    def key(self) -> tuple[IPv4Network, int]:
        """What can exist only once in the table."""
        return self.prefix, self.metric

    @property
    def source(self) -> IPv4Address | None:
        """The preferred source address."""
        return _address(self.found.get(RTA_PREFSRC))

    @property
    def interface_index(self) -> int:
        """The interface by which packets leave; 0: none, several, or a nexthop object's."""
        return u32(self.found.get(RTA_OIF))

    @property
    def gateway(self) -> IPv4Address | None:
        """The neighbour to which packets go."""
        return _address(self.found.get(RTA_GATEWAY))

    @property
    def nexthop(self) -> int:
        """The id of the nexthop object; 0: none."""
        return u32(self.found.get(RTA_NH_ID))

    def legs(self) -> Iterator[tuple[int, dict[int, bytes]]]:
        """Yield interface index and attributes of each leg of a multipath route that is alive."""
        multipath = self.found.get(RTA_MULTIPATH, b"")
        offset = 0
        while offset + RTNH.size <= len(multipath):
            length, flags, _, index = RTNH.unpack_from(multipath, offset)
            if length < RTNH.size:
                return
            if not flags & RTNH_F_DEAD:
                yield index, attributes(multipath[offset : offset + length], RTNH.size)
            offset += length + -length % 4


def _address(value: bytes | None) -> IPv4Address | None:
    return IPv4Address(value) if value else None


def group_replace(
    group: int, members: Iterable[tuple[int, int]], *, resilient: bool = False, create: bool = True
) -> bytes:
    """Return the request that makes the group what ``members`` (nexthop id, weight 1-65536) say.

    Without ``create`` one that is not there is refused. The kernel refuses an empty group, and a whole group
    when one member does not exist.
    """
    legs = b"".join(NEXTHOP_GRP.pack(id_, (w - 1) & 0xFF, (w - 1) >> 8, 0) for id_, w in members)
    if not legs:
        raise ValueError(f"nexthop group {group} must have a member")
    body = NHMSG.pack(AF_UNSPEC, 0, PROTOCOL, 0, 0) + u32_attribute(NHA_ID, group)
    body += attribute(NHA_GROUP, legs)
    if resilient:
        body += attribute(NHA_GROUP_TYPE, U16.pack(NEXTHOP_GRP_TYPE_RES))
    return message(RTM_NEWNEXTHOP, NLM_F_ACK | NLM_F_REPLACE | (NLM_F_CREATE if create else 0), body)


def nexthop_delete(id_: int) -> bytes:
    """Return the request that deletes a nexthop or a group, and its routes with it."""
    return message(RTM_DELNEXTHOP, NLM_F_ACK, NHMSG.pack(0, 0, 0, 0, 0) + u32_attribute(NHA_ID, id_))


def nexthop(id_: int) -> bytes:
    """Return the question for one nexthop or group."""
    return message(RTM_GETNEXTHOP, NLM_F_ACK, NHMSG.pack(0, 0, 0, 0, 0) + u32_attribute(NHA_ID, id_))


def link_counters(index: int) -> bytes:
    """Return the question for one interface's counters, and for nothing else of it."""
    return message(RTM_GETSTATS, NLM_F_ACK, IF_STATS_MSG.pack(0, 0, index, 1 << IFLA_STATS_LINK_64 - 1))


def route_header(
    length: int,
    *,
    scope: int = RT_SCOPE_UNIVERSE,
    kind: int = RTN_UNICAST,
    flags: int = 0,
    table: int = MAIN_TABLE,
) -> bytes:
    """Return the header of a route of ours."""
    return RTMSG.pack(AF_INET, length, 0, 0, table, PROTOCOL, scope, kind, flags)


def route_add(prefix: bytes, length: int, group: int, source: bytes | None, metric: int = 0) -> bytes:
    """Return the request for a route through a group, where nothing is in its place.

    Only a refusal is answered.
    """
    body = route_header(length)
    if length:
        body += attribute(RTA_DST, prefix)
    if source:
        body += attribute(RTA_PREFSRC, source)
    if metric:
        body += u32_attribute(RTA_PRIORITY, metric)
    return message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body + u32_attribute(RTA_NH_ID, group))
