"""How a tunnel's own packets are held to its uplink: what others' routes say, and what follows.

A peer that is pinned gets a host route of ours in the main table: the uplink's own way to it, narrowed to the
one address. The way is the most specific route through that interface that is not ours, in the main table
before any other: what the kernel would take if the uplink were all it had. Our own route answers only when
nothing else does, so that a default route that flaps costs nothing.

``steer`` decides; ``steering`` and ``beside`` ask.
"""

import errno
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from vpnagent.errors import NetlinkError
from vpnagent.netlink.message import AF_INET, u32_attribute
from vpnagent.netlink.rtnetlink import (
    HOST,
    LINKS,
    MAIN_TABLE,
    NEXTHOPS,
    PROTOCOL,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_VIA,
    RTN_UNICAST,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    RouteRow,
    link_row,
    nexthop_row,
    routes,
)
from vpnagent.netlink.socket import NetlinkSocket
from vpnagent.routing.objects import LANE_TABLES, ROUTE_METRIC, Route, RouteKey


class Pin(NamedTuple):
    """A peer, and the uplink by which its IKE and ESP leave."""

    remote: IPv4Address
    interface: str
    gateway: IPv4Address | None = None  #: None: as the uplink's own routes have it
    local: IPv4Address | None = (
        None  #: for the packets of this address only, as others take another way there
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What can be done about a pin, and what is wrong with it."""

    route: Route | None  #: None: there is no way, or the operator's own host route leads there already
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkRoute:
    """A route through an uplink, whosever it is."""

    prefix: IPv4Network
    table: int
    metric: int
    protocol: int
    gateway: IPv4Address | None = None  #: None: the destination is a neighbour
    source: IPv4Address | None = None
    nexthop: int = 0  #: id of the nexthop object that knows the gateway; 0: it is known


class Leg(NamedTuple):
    """A nexthop object, whosever it is."""

    interface_index: int
    gateway: IPv4Address | None
    members: tuple[int, ...] = ()  #: ids; of a group


def uplink_route(body: bytes, index: int, remotes: Iterable[int]) -> UplinkRoute | None:
    """Read an RTM_NEWROUTE; None unless it takes packets to one of the peers, through the interface.

    An IPv6 gateway (RTA_VIA) is no way that we could copy. The peers are numbers, and looked at first: an
    uplink may have the Internet's table (some 7 us a route).
    """
    row = RouteRow(body)
    if not row.plain or row.flags & RTNH_F_DEAD:
        return None
    network, host_bits = row.number, HOST - row.length
    if all((remote ^ network) >> host_bits for remote in remotes):
        return None
    leg = row.found if row.interface_index == index else None
    leg = leg or next((found for out, found in row.legs() if out == index), None)
    nexthop = row.nexthop if leg is None else 0
    if (leg is None and not nexthop) or RTA_VIA in (leg or row.found):
        return None
    gateway = (leg or {}).get(RTA_GATEWAY)
    return UplinkRoute(
        prefix=row.prefix,
        table=row.table,
        metric=row.metric,
        protocol=row.protocol,
        gateway=IPv4Address(gateway) if gateway else None,
        source=row.source,
        nexthop=nexthop,
    )


def nexthop_leg(body: bytes) -> tuple[int, Leg] | None:
    """Read an RTM_NEWNEXTHOP: its id, and where it leads; None for one that IPv4 packets cannot take."""
    row = nexthop_row(body)
    if row.gateway and row.family != AF_INET:
        return None
    gateway = IPv4Address(row.gateway) if row.gateway else None
    return row.id, Leg(row.interface_index, gateway, tuple(id_ for id_, _ in row.members))


def beside_ours(body: bytes, networks: Collection[IPv4Network]) -> RouteKey | None:
    """Read an RTM_NEWROUTE of others: to which of these networks, by which metric, if it can be used."""
    row = RouteRow(body)
    unusable = row.flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)
    if not row.plain or row.protocol == PROTOCOL or unusable or row.kind != RTN_UNICAST:
        return None
    return row.key if row.table == MAIN_TABLE and row.prefix in networks else None


def resolved(route: UplinkRoute, legs: Mapping[int, Leg], index: int) -> UplinkRoute | None:
    """Return the route with the gateway that its nexthop object has on the interface, if it has one there."""
    if not route.nexthop:
        return route
    named = legs.get(route.nexthop)
    for id_ in (named.members or (route.nexthop,)) if named else ():
        leg = legs.get(id_)
        if leg and leg.interface_index == index:
            return replace(route, gateway=leg.gateway, nexthop=0)
    return None


def steer(pin: Pin, *, up: bool | None, routes: Iterable[UplinkRoute]) -> Steering:
    """Return the route that holds a peer to its uplink, given all routes through that interface.

    ``up`` is whether the interface is administratively up; None: there is none of that name.
    """
    if up is None:
        return Steering(route=None, problem=f"there is no interface {pin.interface}")
    if not up:
        return Steering(route=None, problem=f"{pin.interface} is down")
    if pin.gateway:
        return Steering(route=_host_route(pin, pin.gateway, None))
    host = IPv4Network(pin.remote)
    ways = sorted((route for route in routes if pin.remote in route.prefix), key=_preference)
    ours = [way for way in ways if _is_ours(way)]
    others = [way for way in ways if not _is_ours(way)]
    if pin.local is None and any(
        (way.prefix, way.table, way.metric) == (host, MAIN_TABLE, ROUTE_METRIC) for way in others
    ):
        return Steering(route=None)
    if others:
        return Steering(route=_host_route(pin, others[0].gateway, others[0].source))
    problem = f"no route through {pin.interface} leads to {pin.remote}"
    if not ours:
        return Steering(route=None, problem=problem)
    gateway = f"the last known gateway {ours[0].gateway}" if ours[0].gateway else "the last known way"
    route = _host_route(pin, ours[0].gateway, ours[0].source)
    return Steering(route=route, problem=f"{problem} any more: {gateway} stays in use")


def _host_route(pin: Pin, gateway: IPv4Address | None, source: IPv4Address | None) -> Route:
    host = IPv4Network(pin.remote)
    return Route(prefix=host, group=0, source=source, interface=pin.interface, gateway=gateway)


def _preference(way: UplinkRoute) -> tuple[bool, int, int, int]:
    return way.table != MAIN_TABLE, -way.prefix.prefixlen, way.metric, way.table


def _is_ours(way: UplinkRoute) -> bool:
    return way.protocol == PROTOCOL and (way.table == MAIN_TABLE or way.table in LANE_TABLES)


async def steering(route: NetlinkSocket, pins: Iterable[Pin]) -> dict[Pin, Steering]:
    """Return the way of each pin. Raises NetlinkError when the kernel cannot be asked; needs no privilege."""
    wanted = set(pins)
    if not wanted:
        return {}
    links = {row.name: row for row in await route.dump(LINKS, link_row)}
    found: dict[Pin, Steering] = {}
    for name in {pin.interface for pin in wanted}:
        link = links.get(name)
        here = [pin for pin in wanted if pin.interface == name]
        remotes = [int(pin.remote) for pin in here if pin.gateway is None]
        through = await _routes_through(route, link.index, remotes) if link and link.up and remotes else []
        for pin in here:
            found[pin] = steer(pin, up=link.up if link else None, routes=through)
    return found


async def beside(
    route: NetlinkSocket, names: Collection[str], networks: Collection[IPv4Network]
) -> dict[str, frozenset[RouteKey]]:
    """Return others' routes to exactly these networks, by interface. Raises NetlinkError."""
    if not names:
        return {}
    links = {row.name: row for row in await route.dump(LINKS, link_row)}
    decode = functools.partial(beside_ours, networks=networks)
    found: dict[str, frozenset[RouteKey]] = {}
    for name in names:
        if (link := links.get(name)) is not None and link.up:
            try:
                found[name] = frozenset(await route.dump(_through(link.index), decode))
            except NetlinkError as error:
                if error.errno != errno.ENODEV:
                    raise
    return found


async def _routes_through(route: NetlinkSocket, index: int, remotes: Sequence[int]) -> list[UplinkRoute]:
    """Return the routes through an interface to any of these peers."""
    decode = functools.partial(uplink_route, index=index, remotes=remotes)
    try:
        rows = await route.dump(_through(index), decode)
    except NetlinkError as error:
        if error.errno == errno.ENODEV:  # it has gone meanwhile
            return []
        raise
    if not any(row.nexthop for row in rows):
        return rows
    legs = dict(await route.dump(NEXTHOPS, nexthop_leg))
    whole = (resolved(row, legs, index) for row in rows)
    return [row for row in whole if row]


def _through(index: int) -> bytes:
    """Return the question for all unicast routes through an interface, of all tables."""
    return routes(u32_attribute(RTA_OIF, index), kind=RTN_UNICAST)
