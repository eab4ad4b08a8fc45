"""By which interfaces the kernel reaches the local networks: routes of any table, and networks of its own.

An address counts although its interface is down: that is where the LAN was, and is going to be. An address
of a single host says nothing of a network. Routes of ours lead into tunnels and are left out.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import NamedTuple

from vpnagent.routing import dumps
from vpnagent.routing.dumps import (
    RTA_DST,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTM_F_CLONED,
    RTM_GETROUTE,
    RTMSG,
    RTN_UNICAST,
    u32,
)
from vpnagent.routing.message import AF_INET, NLM_F_DUMP, attributes, message
from vpnagent.routing.netlink_socket import NetlinkSocket
from vpnagent.routing.objects import PROTOCOL, LocalWays
from vpnagent.routing.uplinks import RTNH, RTNH_F_DEAD, Leg, nexthop_leg

ALL_ROUTES = message(RTM_GETROUTE, NLM_F_DUMP, RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
LOOPBACK = "lo"
HOST = 32  #: prefix length

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
