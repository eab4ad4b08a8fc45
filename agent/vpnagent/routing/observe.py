"""Read from the kernel what is ours, and what of others' stands in our way.

Ours is a link by its alias, a nexthop by its id and protocol, a route by its protocol, the nftables table
by its name. The kernel filters the routes for us, so that an observation costs what we have, not what a
router has.
"""

import errno
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import NamedTuple, TypeVar

from vpnagent.config.values import OWNER_PREFIX
from vpnagent.errors import NetlinkError
from vpnagent.netlink.socket import NetlinkSocket
from vpnagent.routing import dumps, lane_message
from vpnagent.routing.dumps import LinkRow, NexthopRow, RouteRow
from vpnagent.routing.filter_table import FilterTableReader
from vpnagent.routing.objects import (
    GUARD_METRIC,
    LANE_PRIORITIES,
    LANE_TABLES,
    PROTOCOL,
    KernelObjects,
    KernelState,
    Lane,
    Nexthop,
    NexthopGroup,
    Peer,
    Route,
    RouteKey,
    Sysctl,
    XfrmLink,
)
from vpnagent.routing.plan import RP_FILTER, STRICT, diff
from vpnagent.routing.ways import request, way

PROC_SYS = Path("/proc/sys")
OFF = "0"
SWAPPED = str.maketrans("./", "/.")  #: sysctl(8): a slash stands for a dot within a name

T = TypeVar("T")

InterfaceAddress = tuple[int, IPv4Address]  #: an interface's index and one of its addresses


class ObservedKernel(NamedTuple):
    """What was read."""

    state: KernelState
    indexes: Mapping[str, int]  #: of all interfaces, by name
    places: frozenset[InterfaceAddress]  #: of all addresses


async def observe(
    route: NetlinkSocket, filter_table: FilterTableReader, desired: KernelObjects, *, link_kind: str
) -> ObservedKernel:
    """Return what there is. Raises NetlinkError. Unprivileged, all but our nftables table can be read."""
    links = await route.dump(dumps.LINKS, dumps.link_row)
    ours = [row for row in links if row.alias.startswith(OWNER_PREFIX) and row.kind == link_kind]
    addresses = await route.dump(dumps.ADDRESSES, dumps.address_row)
    nexthops = await route.dump(dumps.NEXTHOPS, dumps.nexthop_row)
    names = {row.index: row.name for row in links}
    rows = await _main_table(route, dumps.OUR_ROUTES, dumps.our_route)
    routes: Mapping[RouteKey, Route] = _routes(rows, names)
    routes = desired.routes if routes == desired.routes else routes
    table = await filter_table.read()
    up = {row.index for row in links if row.up}
    state = KernelState(
        objects=KernelObjects(
            sysctls=read_sysctls(desired.sysctls),
            links=_links(ours, addresses),
            filter_table=table.table,
            nexthops=_nexthops(nexthops, names),
            groups=_groups(nexthops),
            routes=routes,
            lanes=await _lanes(route, desired, names),
        ),
        foreign_links=frozenset(row.name for row in links) - {row.name for row in ours},
        foreign_routes=await _foreign_routes(route, desired.routes, routes),
        foreign_if_ids={row.if_id: row.name for row in links if row.if_id and row not in ours},
        foreign_nexthops=frozenset(row.id for row in nexthops if row.protocol != PROTOCOL),
        counters={row.name: row.counters for row in ours},
        filter_table_readable=table.readable,
        stopped=table.stopped,
        addresses=frozenset(interface.ip for index, interface in addresses if index in up),
    )
    places = frozenset((index, interface.ip) for index, interface in addresses)
    return ObservedKernel(state, {row.name: row.index for row in links}, places)


def _links(rows: Iterable[LinkRow], addresses: Iterable[tuple[int, IPv4Interface]]) -> dict[str, XfrmLink]:
    first: dict[int, IPv4Interface] = {}
    for index, address in addresses:
        first.setdefault(index, address)
    return {
        row.name: XfrmLink(
            name=row.name,
            if_id=row.if_id,
            alias=row.alias,
            mtu=row.mtu,
            address=first.get(row.index),
            up=row.up,
        )
        for row in rows
    }


def _nexthops(rows: Iterable[NexthopRow], names: Mapping[int, str]) -> dict[int, Nexthop]:
    return {
        row.id: Nexthop(id=row.id, interface=names.get(row.interface_index, ""))
        for row in rows
        if row.protocol == PROTOCOL and row.members is None
    }


def _groups(rows: Iterable[NexthopRow]) -> dict[int, NexthopGroup]:
    return {
        row.id: NexthopGroup(id=row.id, members=row.members)
        for row in rows
        if row.protocol == PROTOCOL and row.members is not None
    }


def _routes(rows: Sequence[RouteRow], names: Mapping[int, str]) -> dict[RouteKey, Route]:
    """Return the routes by key; of two, the first counts."""
    routes = {}
    for row in reversed(rows):
        route = row.route
        if row.interface_index:
            route = replace(route, interface=names.get(row.interface_index, ""))
        routes[route.key] = route
    return routes


async def _lanes(route: NetlinkSocket, desired: KernelObjects, names: Mapping[int, str]) -> dict[int, Lane]:
    """Return the lanes that there are, in part too, and what is in the tables of those that should be."""
    rules: dict[int, list[lane_message.RuleRow]] = {priority: [] for priority in desired.lanes}
    for row in await route.dump(lane_message.RULES, lane_message.rule_row):
        rules.setdefault(row.priority, []).append(row)
    found = {}
    for priority, rows in rules.items():
        table = LANE_TABLES[priority - LANE_PRIORITIES[0]]
        ways = await _main_table(route, lane_message.table_request(table), lane_message.way_row)
        if lane := lane_message.lane_of(priority, rows, ways, names):
            found[priority] = lane
    return found


async def _foreign_routes(
    route: NetlinkSocket, desired: Mapping[RouteKey, Route], ours: Mapping[RouteKey, Route]
) -> frozenset[IPv4Network]:
    """Look for others' routes in the places of ours, but only while ours are not all there.

    The kernel cannot filter by prefix: this reads the whole main table, which may be the Internet's.
    """
    difference = diff(desired, ours)
    if not difference.missing and not difference.changed:
        return frozenset()
    places = {
        (prefix.network_address.packed, prefix.prefixlen, metric): prefix
        for prefix, metric in desired
        if metric != GUARD_METRIC
    }
    decode = functools.partial(dumps.foreign_route, places=places)
    return frozenset(await _main_table(route, dumps.MAIN_ROUTES, decode))


async def _main_table(route: NetlinkSocket, request: bytes, decode: Callable[[bytes], T | None]) -> list[T]:
    try:
        return await route.dump(request, decode)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:  # no route was ever made in that table
            return []
        raise


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
            [taken] = await route.dump(request(peer.remote, source=peer.local), way)
        except NetlinkError as error:
            if not error.errno:
                raise
            continue
        index = taken.interface_index
        if index in names and (peer.local is None or (index, peer.local) in places):
            found[peer] = names[index]
    return found


def read_sysctls(keys: Iterable[str], *, proc_sys: Path = PROC_SYS) -> dict[str, Sysctl]:
    """Return the settings that this kernel has."""
    found = {}
    for key in keys:
        value = rp_filter(proc_sys) if key == RP_FILTER else _read(sysctl_path(key, proc_sys))
        if value is not None:
            found[key] = Sysctl(key=key, value=value)
    return found


def rp_filter(proc_sys: Path) -> str | None:
    """Return strict if any interface filters strictly, else what is set for all.

    The kernel takes the larger of conf.all and conf.<interface>: loose, 2, for all beats strict, 1, for one.
    """
    conf = proc_sys / "net/ipv4/conf"
    general = _read(conf / "all/rp_filter")
    if general != OFF:
        return general
    names = [path.name for path in conf.iterdir() if path.name not in ("all", "default", "lo")]
    return STRICT if STRICT in (_read(conf / name / "rp_filter") for name in names) else general


def sysctl_path(key: str, proc_sys: Path) -> Path:
    """Return the file of a setting, of the network namespace that we are in."""
    return proc_sys / key.translate(SWAPPED)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
