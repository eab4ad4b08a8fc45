"""Where packets go: the kernel's look-up, who reaches the local networks, and what goes astray.

The kernel is asked as ``ip route get`` asks: for the way to an address, or for the route in the table that
gives it (RTM_F_FIB_MATCH, since Linux 4.13; net/ipv4/route.c, inet_rtm_getroute()).

Local networks are where routes of any table, or the machine's own networks, lead to. An address counts
although its interface is down: that is where the LAN was, and is going to be. An address of a single host
says nothing of a network. Routes of ours lead into tunnels and are left out.

That our route to a remote network stands says nothing while a rule with an interface, a source or a
protocol, or another's route, comes before it: the kernel is asked for one host of the network, once as the
gateway itself and once as a host of each local network. Marks are not tried, as who sets them is not known
here.
"""

import errno
import functools
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from vpnagent.errors import NetlinkError
from vpnagent.netlink.message import AF_INET, NLM_F_ACK, attribute, attributes, message, u32, u32_attribute
from vpnagent.netlink.rtnetlink import (
    ADDRESSES,
    ALL_ROUTES,
    HOST,
    NEXTHOPS,
    PROTOCOL,
    RTA_DPORT,
    RTA_DST,
    RTA_IIF,
    RTA_IP_PROTO,
    RTA_MARK,
    RTA_METRICS,
    RTA_SPORT,
    RTA_SRC,
    RTAX_MTU,
    RTM_F_FIB_MATCH,
    RTM_F_LOOKUP_TABLE,
    RTM_GETROUTE,
    RTMSG,
    RTN_LOCAL,
    RTN_UNICAST,
    RULES,
    RouteRow,
    address_row,
)
from vpnagent.netlink.socket import NetlinkSocket
from vpnagent.routing.fib import fib_rule
from vpnagent.routing.objects import Diversion, LocalWays, Peer
from vpnagent.routing.uplinks import Leg, nexthop_leg

PORT = struct.Struct("!H")
LOOPBACK = "lo"
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP"}  #: those with which the kernel can be asked
HOSTS = 8  #: local networks as whose hosts it is asked
POINT_TO_POINT = 31  #: prefix length from which on every address is a host
NO_WAY = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EINVAL, errno.EACCES, errno.EXDEV, errno.EAGAIN}
)  #: refused, or not a packet that could come so

InterfaceAddress = tuple[int, IPv4Address]  #: an interface's index and one of its addresses
Number = tuple[int, int]  #: a network's address, and the length of its prefix


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


class Found(NamedTuple):
    """One answer, as far as it says where a packet goes."""

    interface_index: int  #: 0: none, or several
    table: int
    length: int  #: of the prefix: of the entry where that was asked for, else 32
    local: bool


def question(
    destination: IPv4Address,
    *,
    source: IPv4Address | None = None,
    incoming: int = 0,
    flow: Flow = PLAIN,
    entry: bool = False,
    ack: bool = True,
) -> bytes:
    """Return the question for the way of a packet, or with ``entry`` for the route that gives it.

    ``incoming`` is the index of the interface by which it comes; 0: it is this machine's own. Without ``ack``
    no acknowledgement follows the answer.
    """
    flags = RTM_F_LOOKUP_TABLE | (RTM_F_FIB_MATCH if entry else 0)
    body = RTMSG.pack(AF_INET, HOST, HOST if source else 0, flow.tos, 0, 0, 0, 0, flags)
    body += attribute(RTA_DST, destination.packed)
    if source:
        body += attribute(RTA_SRC, source.packed)
    for kind, number in ((RTA_IIF, incoming), (RTA_MARK, flow.mark)):
        if number:
            body += u32_attribute(kind, number)
    if flow.protocol:
        body += attribute(RTA_IP_PROTO, bytes([flow.protocol]))
    for kind, port in ((RTA_SPORT, flow.source_port), (RTA_DPORT, flow.destination_port)):
        if port:
            body += attribute(kind, PORT.pack(port))
    return message(RTM_GETROUTE, NLM_F_ACK if ack else 0, body)


def way(body: bytes) -> Way | None:
    """Read an RTM_NEWROUTE; None for what is not of IPv4."""
    row = RouteRow(body)
    if row.family != AF_INET:
        return None
    return Way(
        prefix=row.prefix,
        interface_index=row.interface_index,
        gateway=row.gateway,
        source=row.source,
        mtu=u32(attributes(row.found.get(RTA_METRICS, b"")).get(RTAX_MTU)),
        local=row.kind == RTN_LOCAL,
        table=row.table,
        protocol=row.protocol,
    )


def found(body: bytes) -> Found:
    """Read an RTM_NEWROUTE that answers a question, as far as it says where a packet goes."""
    row = RouteRow(body)
    return Found(row.interface_index, row.table, row.length, row.kind == RTN_LOCAL)


async def outgoing(
    route: NetlinkSocket, names: Mapping[int, str], places: Set[InterfaceAddress], peers: Iterable[Peer]
) -> dict[Peer, str]:
    """Return the interface by which each peer is reached: its loss is the tunnel's, before a probe is missed.

    The kernel is asked, so that policy routing and the operator's own routes count. Left out are those of
    which it would prove nothing: no route, and an address of ours that is on another interface (a loopback
    address survives the loss of any). ``names`` are the interfaces by index. Raises NetlinkError when the
    kernel cannot be asked.
    """
    found: dict[Peer, str] = {}
    for peer in peers:
        try:
            [taken] = await route.dump(question(peer.remote, source=peer.local), way)
        except NetlinkError as error:
            if not error.errno:
                raise
            continue
        index = taken.interface_index
        if index in names and (peer.local is None or (index, peer.local) in places):
            found[peer] = names[index]
    return found


class LanRoute(NamedTuple):
    """A route of others that meets a local network, or a default route."""

    prefix: Number
    indexes: tuple[int, ...]  #: interfaces
    nexthop: int  #: id of the nexthop object that knows them; 0: they are known


def lan_route(body: bytes, networks: Sequence[Number]) -> LanRoute | None:
    """Read an RTM_NEWROUTE; None unless it may lead to one of these networks.

    Destinations are compared as numbers, before anything else is read: there may be the Internet's table.
    """
    row = RouteRow(body)
    if row.kind != RTN_UNICAST or row.protocol == PROTOCOL or not row.plain:
        return None
    prefix = row.number, row.length
    if row.length and not any(meets(prefix, network) for network in networks):
        return None
    if index := row.interface_index:
        return LanRoute(prefix, (index,), 0)
    return LanRoute(prefix, tuple(index for index, _ in row.legs()), row.nexthop)


def meets(one: Number, other: Number) -> bool:
    """Whether two networks have an address in common."""
    shift = HOST - min(one[1], other[1])
    return one[0] >> shift == other[0] >> shift


def number(network: IPv4Network) -> Number:
    """Return a network as a number."""
    return int(network.network_address), network.prefixlen


def ways_of(
    networks: Iterable[IPv4Network],
    rows: Iterable[LanRoute],
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
    decode = functools.partial(lan_route, networks=[number(network) for network in networks])
    rows = await route.dump(ALL_ROUTES, decode)
    addresses = await route.dump(ADDRESSES, address_row)
    own = [(index, number(address.network)) for index, address in addresses]
    legs = dict(await route.dump(NEXTHOPS, nexthop_leg)) if any(row.nexthop for row in rows) else {}
    return ways_of(networks, rows, own, legs, names)


def _resolved(nexthop: int, legs: Mapping[int, Leg]) -> list[int]:
    leg = legs.get(nexthop)
    if leg is None:
        return []
    return [legs[id_].interface_index for id_ in leg.members or (nexthop,) if id_ in legs]


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
            asker = next(a for a in askers if str(a) == astray.asker)
            entry = await _way(route, host, asker, entry=True)
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
    rules = await route.dump(RULES, fib_rule)
    protocols = {rule.ip_protocol for rule in rules} & PROTOCOLS.keys()
    return [asker._replace(protocol=number) for number in (0, *sorted(protocols)) for asker in plain]


async def _way(route: NetlinkSocket, host: IPv4Address, asker: Asker, *, entry: bool = False) -> Way | None:
    flow = Flow(protocol=asker.protocol)
    asked = question(host, source=asker.source, incoming=asker.interface, flow=flow, entry=entry)
    try:
        answers = await route.dump(asked, way)
    except NetlinkError as error:
        if error.errno not in NO_WAY:
            raise
        return None
    return answers[0] if answers else None
