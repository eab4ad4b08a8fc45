"""Others' routes that matter to the tunnels, out of netlink's answers. Pure.

Of the main table only what lies within a remote network counts: a wider route loses to ours. Of another
table, which a rule may put before the main one, everything counts that meets one.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network

from vpnagent.checks.observation import Route
from vpnagent.netlink.rtnetlink import LOCAL_TABLE, MAIN_TABLE, PROTOCOL, RTN_UNICAST, RouteRow


def is_default(route: Route) -> bool:
    """Whether it is a default route of the main table."""
    return route.table == MAIN_TABLE and not route.prefix.prefixlen


def route_row(body: bytes, names: Mapping[int, str], networks: Sequence[IPv4Network]) -> Route | None:
    """Read an RTM_NEWROUTE that counts, or that is a default route; else None."""
    row = RouteRow(body)
    if not row.plain or row.protocol == PROTOCOL or row.table == LOCAL_TABLE:
        return None
    prefix, table = row.prefix, row.table
    counts = not row.length or any(_counts(prefix, network, table) for network in networks)
    return _route(row, names) if counts else None


def lan_row(body: bytes, names: Mapping[int, str], networks: Sequence[IPv4Network]) -> Route | None:
    """Read an RTM_NEWROUTE that leads to part of a local network, other than by default."""
    row = RouteRow(body)
    if not row.plain or not row.length or row.protocol == PROTOCOL or row.kind != RTN_UNICAST:
        return None
    if row.table != MAIN_TABLE:
        return None
    prefix = row.prefix
    return _route(row, names) if any(prefix.overlaps(network) for network in networks) else None


def _counts(prefix: IPv4Network, network: IPv4Network, table: int) -> bool:
    return prefix.subnet_of(network) if table == MAIN_TABLE else prefix.overlaps(network)


def _route(row: RouteRow, names: Mapping[int, str]) -> Route:
    return Route(
        table=row.table,
        prefix=row.prefix,
        kind=row.kind,
        interface=names.get(row.interface_index, ""),
        metric=row.metric,
        protocol=row.protocol,
    )
