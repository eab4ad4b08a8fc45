"""Ask the kernel for others' routes by an interface; what follows is decided in ``uplinks`` and ``lines``."""

import errno
import functools
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Network

from vpnagent.errors import NetlinkError
from vpnagent.routing import dumps, uplinks
from vpnagent.routing.netlink_socket import NetlinkSocket
from vpnagent.routing.objects import RouteKey
from vpnagent.routing.uplinks import Pin, Steering, UplinkRoute


async def steering(route: NetlinkSocket, pins: Iterable[Pin]) -> dict[Pin, Steering]:
    """Return the way of each pin. Raises NetlinkError when the kernel cannot be asked; needs no privilege."""
    wanted = set(pins)
    if not wanted:
        return {}
    links = {row.name: row for row in await route.dump(dumps.LINKS, dumps.link_row)}
    found: dict[Pin, Steering] = {}
    for name in {pin.interface for pin in wanted}:
        link = links.get(name)
        here = [pin for pin in wanted if pin.interface == name]
        remotes = [int(pin.remote) for pin in here if pin.gateway is None]
        through = await _routes_through(route, link.index, remotes) if link and link.up and remotes else []
        for pin in here:
            found[pin] = uplinks.steer(pin, up=link.up if link else None, routes=through)
    return found


async def beside(
    route: NetlinkSocket, names: Collection[str], networks: Collection[IPv4Network]
) -> dict[str, frozenset[RouteKey]]:
    """Return others' routes to exactly these networks, by interface. Raises NetlinkError."""
    if not names:
        return {}
    links = {row.name: row for row in await route.dump(dumps.LINKS, dumps.link_row)}
    decode = functools.partial(dumps.beside_ours, networks=networks)
    found: dict[str, frozenset[RouteKey]] = {}
    for name in names:
        if (link := links.get(name)) is not None and link.up:
            try:
                found[name] = frozenset(await route.dump(uplinks.request(link.index), decode))
            except NetlinkError as error:
                if error.errno != errno.ENODEV:
                    raise
    return found


async def _routes_through(route: NetlinkSocket, index: int, remotes: Sequence[int]) -> list[UplinkRoute]:
    """Return the routes through an interface to any of these peers."""
    decode = functools.partial(uplinks.uplink_route, index=index, remotes=remotes)
    try:
        rows = await route.dump(uplinks.request(index), decode)
    except NetlinkError as error:
        if error.errno == errno.ENODEV:  # it has gone meanwhile
            return []
        raise
    if not any(row.nexthop for row in rows):
        return rows
    legs = dict(await route.dump(dumps.NEXTHOPS, uplinks.nexthop_leg))
    whole = (uplinks.resolved(row, legs, index) for row in rows)
    return [row for row in whole if row]
