"""Ask the kernel for the way to an address, as ``ip route get`` does: the request, and its answers. No I/O.

Two questions: the way itself, and the route that gives it (RTM_F_FIB_MATCH, since Linux 4.13).
net/ipv4/route.c, inet_rtm_getroute().
"""

import errno
import functools
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from vpnagent.errors import NetlinkError
from vpnagent.netlink.message import AF_INET, NLM_F_ACK, NLM_F_DUMP, attribute, attributes, message
from vpnagent.netlink.socket import NetlinkSocket
from vpnagent.routing import dumps
from vpnagent.routing.dumps import (
    RTA_DST,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_SRC,
    RTA_TABLE,
    RTM_F_CLONED,
    RTM_GETROUTE,
    RTMSG,
    RTN_UNICAST,
    U32,
    u32,
)
from vpnagent.routing.objects import PROTOCOL, Diversion, LocalWays
from vpnagent.routing.uplinks import RTNH, RTNH_F_DEAD, Leg, nexthop_leg

RTA_IIF, RTA_IP_PROTO = 3, 27
RTAX_MTU = 2
RTN_LOCAL = 2
RTM_F_LOOKUP_TABLE = 0x1000
RTM_F_FIB_MATCH = 0x2000
RTA_IIF, RTA_MARK, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT = 3, 16, 27, 28, 29
PORT = struct.Struct("!H")
HOST = 32  #: prefix length


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One RTM_NEWROUTE in answer to a question."""

    prefix: IPv4Network
    interface_index: int  #: 0: a multipath route
    gateway: IPv4Address | None
    source: IPv4Address | None
    mtu: int  #: bytes; 0: the interface's
    local: bool
    table: int
    protocol: int


def request(
    destination: IPv4Address,
    *,
    source: IPv4Address | None = None,
    incoming: int = 0,
    ip_protocol: int = 0,
    fib_match: bool = False,
) -> bytes:
    """Return the question for the way to an address, or for the route in the table that gives it.

    ``incoming`` is the interface by which the packet would come, 0: from here; ``ip_protocol`` 1, 6 or 17.
    """
    flags = RTM_F_LOOKUP_TABLE | (RTM_F_FIB_MATCH if fib_match else 0)
    body = RTMSG.pack(AF_INET, HOST, HOST if source else 0, 0, 0, 0, 0, 0, flags)
    body += attribute(RTA_DST, destination.packed)
    if source:
        body += attribute(RTA_SRC, source.packed)
    if incoming:
        body += attribute(RTA_IIF, struct.pack("=I", incoming))
    if ip_protocol:
        body += attribute(RTA_IP_PROTO, bytes([ip_protocol]))
    return message(RTM_GETROUTE, NLM_F_ACK, body)


def way(body: bytes) -> Way | None:
    """Read an RTM_NEWROUTE; None for what is not of IPv4."""
    family, length, _, _, table, protocol, _, kind, _ = RTMSG.unpack_from(body)
    if family != AF_INET:
        return None
    found = attributes(body, RTMSG.size)
    metrics = attributes(found.get(RTA_METRICS, b""))
    return Way(
        prefix=IPv4Network((found.get(RTA_DST, bytes(4)), length)),
        interface_index=u32(found.get(RTA_OIF)),
        gateway=_address(found.get(RTA_GATEWAY)),
        source=_address(found.get(RTA_PREFSRC)),
        mtu=u32(metrics.get(RTAX_MTU)),
        local=kind == RTN_LOCAL,
        table=u32(found.get(RTA_TABLE)) or table,
        protocol=protocol,
    )


def _address(value: bytes | None) -> IPv4Address | None:
    return IPv4Address(value) if value else None


class Flow(NamedTuple):
    """What policy routing may ask of a packet, beside its addresses; 0: as a plain packet."""

    mark: int = 0
    tos: int = 0
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0

    def __str__(self) -> str:
        names = ("mark", "TOS", "protocol", "source port", "port")
        shown = (f"{self.mark:#x}", f"{self.tos:#x}", *map(str, self[2:]))
        return ", ".join(f"{n} {text}" for n, text, value in zip(names, shown, self, strict=True) if value)


PLAIN = Flow()


class Found(NamedTuple):
    """One answer, as far as it says where a packet goes."""

    interface_index: int  #: 0: none, or several
    table: int
    length: int  #: of the prefix: of the entry where that was asked for, else 32
    local: bool


def question(
    destination: IPv4Address, *, source: IPv4Address | None, incoming: int, flow: Flow, entry: bool
) -> bytes:
    """Return the question for the way of a packet; an answer or a refusal comes, and no acknowledgement.

    ``incoming`` is the index of the interface by which it comes; 0: it is this machine's own. ``entry``: not
    the way but the route in the table is asked for.
    """
    flags = RTM_F_LOOKUP_TABLE | (RTM_F_FIB_MATCH if entry else 0)
    body = RTMSG.pack(AF_INET, HOST, HOST if source else 0, flow.tos, 0, 0, 0, 0, flags)
    body += attribute(RTA_DST, destination.packed)
    if source:
        body += attribute(RTA_SRC, source.packed)
    for kind, number in ((RTA_IIF, incoming), (RTA_MARK, flow.mark)):
        if number:
            body += attribute(kind, U32.pack(number))
    if flow.protocol:
        body += attribute(RTA_IP_PROTO, bytes([flow.protocol]))
    for kind, port in ((RTA_SPORT, flow.source_port), (RTA_DPORT, flow.destination_port)):
        if port:
            body += attribute(kind, PORT.pack(port))
    return message(RTM_GETROUTE, 0, body)


def found(body: bytes) -> Found:
    """Read an RTM_NEWROUTE that answers a question."""
    _, length, _, _, table, _, _, kind, _ = RTMSG.unpack_from(body)
    told = attributes(body, RTMSG.size)
    return Found(u32(told.get(RTA_OIF)), u32(told.get(RTA_TABLE)) or table, length, kind == RTN_LOCAL)


# By which interfaces the kernel reaches the local networks: routes of any table, and networks of its own.
# An address counts although its interface is down: that is where the LAN was, and is going to be. An
# address of a single host says nothing of a network. Routes of ours lead into tunnels and are left out.

ALL_ROUTES = message(RTM_GETROUTE, NLM_F_DUMP, RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
LOOPBACK = "lo"

Number = tuple[int, int]  #: a network's address, and the length of its prefix


class WayRow(NamedTuple):
    """A route of others that meets a local network, or a default route."""

    prefix: Number
    indexes: tuple[int, ...]  #: interfaces
    nexthop: int  #: id of the nexthop object that knows them; 0: they are known


def way_row(body: bytes, networks: Sequence[Number]) -> WayRow | None:
    """Read an RTM_NEWROUTE; None unless it may lead to one of these networks.

    Destinations are compared as numbers, before anything else is read: there may be the Internet's table.
    """
    family, length, _, tos, _, protocol, _, kind, flags = RTMSG.unpack_from(body)
    if family != AF_INET or kind != RTN_UNICAST or protocol == PROTOCOL or tos or flags & RTM_F_CLONED:
        return None
    found = attributes(body, RTMSG.size)
    prefix = int.from_bytes(found.get(RTA_DST, b"")), length
    if length and not any(meets(prefix, network) for network in networks):
        return None
    if index := u32(found.get(RTA_OIF)):
        return WayRow(prefix, (index,), 0)
    return WayRow(prefix, _legs(found.get(RTA_MULTIPATH, b"")), u32(found.get(RTA_NH_ID)))


def meets(one: Number, other: Number) -> bool:
    """Whether two networks have an address in common."""
    shift = HOST - min(one[1], other[1])
    return one[0] >> shift == other[0] >> shift


def number(network: IPv4Network) -> Number:
    """Return a network as a number."""
    return int(network.network_address), network.prefixlen


def ways_of(
    networks: Iterable[IPv4Network],
    rows: Iterable[WayRow],
    own: Iterable[tuple[int, Number]],
    legs: Mapping[int, Leg],
    names: Mapping[int, str],
) -> LocalWays:
    """Return the ways, of routes and of the machine's own networks by interface index."""
    routes: set[tuple[Number, str]] = set()
    for row in rows:
        indexes = (*row.indexes, *_resolved(row.nexthop, legs))
        routes.update(
            (row.prefix, names[index]) for index in indexes if names.get(index, LOOPBACK) != LOOPBACK
        )
    places = {(place, names[i]) for i, place in own if names.get(i, LOOPBACK) != LOOPBACK and place[1] < HOST}
    wanted = [number(network) for network in networks]
    return LocalWays(
        interfaces=frozenset(
            name
            for place, name in routes | places
            if place[1] and any(meets(place, network) for network in wanted)
        ),
        default_interfaces=frozenset(name for place, name in routes if not place[1]),
    )


async def local_ways(
    route: NetlinkSocket, names: Mapping[int, str], networks: Sequence[IPv4Network]
) -> LocalWays:
    """Return the ways to the local networks; ``names`` are the interfaces by index. Raises NetlinkError."""
    decode = functools.partial(way_row, networks=[number(network) for network in networks])
    rows = await route.dump(ALL_ROUTES, decode)
    addresses = await route.dump(dumps.ADDRESSES, dumps.address_row)
    own = [(index, number(address.network)) for index, address in addresses]
    legs = dict(await route.dump(dumps.NEXTHOPS, nexthop_leg)) if any(row.nexthop for row in rows) else {}
    return ways_of(networks, rows, own, legs, names)


def _legs(multipath: bytes) -> tuple[int, ...]:
    found: list[int] = []
    offset = 0
    while offset + RTNH.size <= len(multipath):
        length, flags, _, index = RTNH.unpack_from(multipath, offset)
        if length < RTNH.size:
            break
        if not flags & RTNH_F_DEAD:
            found.append(index)
        offset += length + -length % 4
    return tuple(found)


def _resolved(nexthop: int, legs: Mapping[int, Leg]) -> list[int]:
    leg = legs.get(nexthop)
    if leg is None:
        return []
    return [legs[id_].interface_index for id_ in leg.members or (nexthop,) if id_ in legs]


# Where packets for a remote network really go, by the kernel's own look-up, and which of them go
# elsewhere.
# That our route stands says nothing while a rule with an interface, a source or a protocol, or another's
# route, comes before it. The kernel is asked for one host of the network, once as the gateway itself and
# once as a host of each local network. Marks are not tried, as who sets them is not known here.

RTM_GETRULE = 34
FRA_IP_PROTO = 22
ASKED_RULES = message(RTM_GETRULE, NLM_F_DUMP, struct.pack("=BBBBBBBBI", AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP"}  #: those with which the kernel can be asked
HOSTS = 8  #: local networks as whose hosts it is asked
POINT_TO_POINT = 31  #: prefix length from which on every address is a host
NO_WAY = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EINVAL, errno.EACCES, errno.EXDEV, errno.EAGAIN}
)  #: refused, or not a packet that could come so


class Asker(NamedTuple):
    """Who sends."""

    source: IPv4Address | None  #: None: the kernel picks
    interface: int  #: index of the one by which it comes; 0: from here
    protocol: int = 0  #: 0: none in particular

    def __str__(self) -> str:
        who = "of the gateway itself" if not self.interface else f"of hosts like {self.source}"
        return f"{who} ({PROTOCOLS[self.protocol]})" if self.protocol else who


def first_host(network: IPv4Network) -> IPv4Address:
    """Return the first address of a network that a host can have."""
    return network.network_address + (network.prefixlen < POINT_TO_POINT)


def diversion(
    prefix: IPv4Network,
    answers: Mapping[Asker, Way | None],
    permitted: Collection[str],
    names: Mapping[int, str],
) -> Diversion | None:
    """Return the first of these answers that leads out by another interface than the permitted."""
    for asker, way in answers.items():
        if way is None or way.local:
            continue
        name = names.get(way.interface_index, f"interface {way.interface_index}")
        if name != LOOPBACK and name not in permitted:
            return Diversion(prefix=prefix, asker=str(asker), interface=name, table=way.table)
    return None


async def diversions(
    route: NetlinkSocket,
    names: Mapping[int, str],
    askers: Sequence[Asker],
    tunnels: Mapping[IPv4Network, Collection[str]],
    exits: Mapping[IPv4Network, Collection[str]],
) -> dict[IPv4Network, Diversion]:
    """Return the networks whose packets go elsewhere than into the tunnels; by their exits they may.

    Raises NetlinkError when the kernel cannot be asked.
    """
    found: dict[IPv4Network, Diversion] = {}
    for prefix, interfaces in tunnels.items():
        host, ways_out = first_host(prefix), exits.get(prefix, ())
        answers = {asker: await _way(route, host, asker) for asker in askers}
        if (astray := diversion(prefix, answers, {*interfaces, *ways_out}, names)) is not None:
            entry = await _entry(route, host, next(a for a in askers if str(a) == astray.asker))
            found[prefix] = astray._replace(entry=entry.prefix, protocol=entry.protocol) if entry else astray
        elif ways_out and (meant := diversion(prefix, answers, interfaces, names)) is not None:
            found[prefix] = meant._replace(meant=True)
    return found


async def askers(
    route: NetlinkSocket, source: IPv4Address | None, networks: Iterable[IPv4Network]
) -> list[Asker]:
    """Return the gateway and a host of each local network, also with each protocol that an ip rule names."""
    plain = [Asker(source, 0)]
    for network in list(networks)[:HOSTS]:
        for host in (first_host(network) + 1, first_host(network)):
            way = await _way(route, host, Asker(None, 0)) if host in network else None
            if way is not None and not way.local and way.interface_index:
                plain.append(Asker(host, way.interface_index))
                break
    protocols = {found for found in await route.dump(ASKED_RULES, _protocol) if found in PROTOCOLS}
    return [asker._replace(protocol=number) for number in (0, *sorted(protocols)) for asker in plain]


def _protocol(body: bytes) -> int | None:
    return int.from_bytes(attributes(body, RTMSG.size).get(FRA_IP_PROTO, b"")) or None


async def _way(route: NetlinkSocket, host: IPv4Address, asker: Asker) -> Way | None:
    return await _ask(route, _question(host, asker, fib_match=False))


async def _entry(route: NetlinkSocket, host: IPv4Address, asker: Asker) -> Way | None:
    return await _ask(route, _question(host, asker, fib_match=True))


def _question(host: IPv4Address, asker: Asker, *, fib_match: bool) -> bytes:
    return request(
        host,
        source=asker.source,
        incoming=asker.interface,
        ip_protocol=asker.protocol,
        fib_match=fib_match,
    )


async def _ask(route: NetlinkSocket, question: bytes) -> Way | None:
    try:
        found = await route.dump(question, way)
    except NetlinkError as error:
        if error.errno not in NO_WAY:
            raise
        return None
    return found[0] if found else None
