"""Read from the kernel what is ours, and what of others' stands in our way.

Ours is a link by its alias, a nexthop by its id and protocol, a route by its protocol, the nftables table
by its name. The kernel filters the routes for us, so that an observation costs what we have, not what a
router has.
"""

import errno
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import NamedTuple, TypeVar

from vpnagent.config.values import OWNER_PREFIX
from vpnagent.errors import NetlinkError
from vpnagent.netlink.message import u32_attribute
from vpnagent.netlink.rtnetlink import (
    ADDRESSES,
    LINKS,
    MAIN_ROUTES,
    MAIN_TABLE,
    NEXTHOPS,
    OUR_ROUTES,
    PROTOCOL,
    RTA_TABLE,
    RTA_VIA,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RULES,
    LinkRow,
    NexthopRow,
    RouteRow,
    address_row,
    link_row,
    nexthop_row,
    routes,
)
from vpnagent.netlink.socket import NetlinkSocket
from vpnagent.routing.fib import FibRule, lane_of, lane_rule, lane_way
from vpnagent.routing.filter_table import FilterTableReader
from vpnagent.routing.objects import (
    GROUP_IDS,
    GUARD_METRIC,
    LANE_PRIORITIES,
    LANE_TABLES,
    NEXTHOP_IDS,
    KernelObjects,
    KernelState,
    Lane,
    Nexthop,
    NexthopGroup,
    Route,
    RouteKey,
    Sysctl,
    XfrmLink,
)
from vpnagent.routing.plan import RP_FILTER, STRICT, diff
from vpnagent.routing.ways import InterfaceAddress

PROC_SYS = Path("/proc/sys")
OFF = "0"
SWAPPED = str.maketrans("./", "/.")  #: sysctl(8): a slash stands for a dot within a name

T = TypeVar("T")


class ObservedKernel(NamedTuple):
    """What was read."""

    state: KernelState
    indexes: Mapping[str, int]  #: of all interfaces, by name
    places: frozenset[InterfaceAddress]  #: of all addresses


async def observe(
    route: NetlinkSocket, filter_table: FilterTableReader, desired: KernelObjects, *, link_kind: str
) -> ObservedKernel:
    """Return what there is. Raises NetlinkError. Unprivileged, all but our nftables table can be read."""
    links = await route.dump(LINKS, link_row)
    ours = [row for row in links if row.alias.startswith(OWNER_PREFIX) and row.kind == link_kind]
    addresses = await route.dump(ADDRESSES, address_row)
    nexthops = await route.dump(NEXTHOPS, our_nexthop)
    names = {row.index: row.name for row in links}
    rows = await _of_table(route, OUR_ROUTES, our_route)
    found: Mapping[RouteKey, Route] = _routes(rows, names)
    found = desired.routes if found == desired.routes else found
    table = await filter_table.read()
    up = {row.index for row in links if row.up}
    state = KernelState(
        objects=KernelObjects(
            sysctls=read_sysctls(desired.sysctls),
            links=_links(ours, addresses),
            filter_table=table.table,
            nexthops=nexthops_of(nexthops, names),
            groups=groups_of(nexthops),
            routes=found,
            lanes=await _lanes(route, desired, names),
        ),
        foreign_links=frozenset(row.name for row in links) - {row.name for row in ours},
        foreign_routes=await _foreign_routes(route, desired.routes, found),
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


def our_nexthop(body: bytes) -> NexthopRow | None:
    """Read an RTM_NEWNEXTHOP; None outside of our ranges."""
    row = nexthop_row(body)
    return row if row.id in NEXTHOP_IDS or row.id in GROUP_IDS else None


def nexthops_of(rows: Iterable[NexthopRow], names: Mapping[int, str]) -> dict[int, Nexthop]:
    """Return our nexthops; one that is not a plain way out of an interface has none."""
    plain = {row.id: row.interface_index for row in rows if not row.gateway and not row.blackhole}
    return {
        row.id: Nexthop(id=row.id, interface=names.get(plain.get(row.id, 0), ""))
        for row in rows
        if row.protocol == PROTOCOL and not row.members
    }


def groups_of(rows: Iterable[NexthopRow]) -> dict[int, NexthopGroup]:
    """Return our groups; one that is not multipath has no members."""
    return {
        row.id: NexthopGroup(id=row.id, members=() if row.group_type else tuple(sorted(row.members)))
        for row in rows
        if row.protocol == PROTOCOL and row.members
    }


@lru_cache(maxsize=1 << 16)
def our_route(body: bytes) -> tuple[Route, int] | None:
    """Read an RTM_NEWROUTE of ours: the route, and the index of its interface, which is not in it yet.

    0: a group's, the guard's, or not a plain way out of an interface. Cached by its bytes: 10,000 routes come
    again every second.
    """
    row = RouteRow(body)
    if not row.plain or row.protocol != PROTOCOL or row.table != MAIN_TABLE:
        return None
    nexthop = row.nexthop if row.kind == RTN_UNICAST else 0
    by_interface = row.kind == RTN_UNICAST and not nexthop and RTA_VIA not in row.found
    route = Route(
        prefix=row.prefix,
        group=None if row.kind == RTN_UNREACHABLE else nexthop,
        source=row.source,
        metric=row.metric,
        gateway=row.gateway if by_interface else None,
    )
    return route, row.interface_index if by_interface else 0


def foreign_route(body: bytes, places: Mapping[tuple[int, int, int], IPv4Network]) -> IPv4Network | None:
    """Read an RTM_NEWROUTE: the prefix, if a route of others holds one of these places.

    They are numbers (address, prefix length, metric), as there may be the Internet's table.
    """
    row = RouteRow(body)
    if not row.plain or row.protocol == PROTOCOL or row.table != MAIN_TABLE:
        return None
    return places.get((row.number, row.length, row.metric))


def _routes(rows: Sequence[tuple[Route, int]], names: Mapping[int, str]) -> dict[RouteKey, Route]:
    """Return the routes by key; of two, the first counts."""
    found = {}
    for route, index in reversed(rows):
        found[route.key] = replace(route, interface=names.get(index, "")) if index else route
    return found


async def _lanes(route: NetlinkSocket, desired: KernelObjects, names: Mapping[int, str]) -> dict[int, Lane]:
    """Return the lanes that there are, in part too, and what is in the tables of those that should be."""
    rules: dict[int, list[FibRule]] = {priority: [] for priority in desired.lanes}
    for rule in await route.dump(RULES, lane_rule):
        rules.setdefault(rule.priority, []).append(rule)
    found = {}
    for priority, of_lane in rules.items():
        table = u32_attribute(RTA_TABLE, LANE_TABLES[priority - LANE_PRIORITIES[0]])
        ways = await _of_table(route, routes(table, protocol=PROTOCOL), lane_way)
        if lane := lane_of(priority, of_lane, ways, names):
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
        (int(prefix.network_address), prefix.prefixlen, metric): prefix
        for prefix, metric in desired
        if metric != GUARD_METRIC
    }
    decode = functools.partial(foreign_route, places=places)
    return frozenset(await _of_table(route, MAIN_ROUTES, decode))


async def _of_table(route: NetlinkSocket, request: bytes, decode: Callable[[bytes], T | None]) -> list[T]:
    try:
        return await route.dump(request, decode)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:  # no route was ever made in that table
            return []
        raise


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
