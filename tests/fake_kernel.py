"""A kernel for tests: the interface of ``routing.netlink.Kernel``, and the real one's silent behaviours.

An interface that goes, or goes down, takes its nexthops along, these take legs of groups, the last leg its
group, a group its routes; nothing is put back. What is foreign holds its place. That it behaves so is
checked against the real kernel (tests/native/test_kernel_differential.py).
"""

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from vpnagent.errors import NetlinkError
from vpnagent.netlink.rtnetlink import MAIN_TABLE, PROTOCOL, LinkCounters
from vpnagent.routing.actions import Add, KernelAction, Remove, Replace
from vpnagent.routing.failures import Failures
from vpnagent.routing.objects import (
    GUARD_METRIC,
    ROUTE_METRIC,
    Diversion,
    FilterTable,
    KernelObject,
    KernelObjects,
    KernelState,
    Lane,
    LocalWays,
    Nexthop,
    NexthopGroup,
    Peer,
    Route,
    RouteKey,
    Sysctl,
    XfrmLink,
)
from vpnagent.routing.plan import without_groups, without_links, without_nexthops
from vpnagent.routing.uplinks import Pin, Steering, UplinkRoute, steer

EMPTY = KernelObjects()
NO_COUNTERS = LinkCounters(rx_bytes=0, tx_bytes=0, rx_packets=0, tx_packets=0)


class FakeKernel:
    """Set ``objects`` and the foreign sets freely; damage it with the verbs; ``render()`` it."""

    def __init__(
        self,
        objects: KernelObjects = EMPTY,
        *,
        on_change: Callable[[], None] = lambda: None,
        after_each: Callable[[], None] = lambda: None,
    ) -> None:
        self.objects = objects
        self.foreign_links: set[str] = set()
        self.foreign_if_ids: dict[int, str] = {}
        self.foreign_routes: set[RouteKey] = set()
        self.foreign_nexthops: set[int] = set()
        self.ways = LocalWays()  #: to the local networks
        self.lines: dict[str, set[RouteKey]] = {}  #: others' routes to remote networks, by interface
        self.astray: dict[IPv4Network, Diversion] = {}
        self.stopped: dict[str, int] = {}  #: packets, by direction, by the leak guard
        self.counters: dict[str, LinkCounters] = {}
        self.addresses: frozenset[IPv4Address] | None = None  #: of this machine; None: every source is one
        self.uplink = "eth0"  #: by which every peer is reached that is not held to another
        self.uplinks: dict[str, bool] = {}  #: whether an interface of others is up, by name
        self.uplink_routes: dict[str, list[UplinkRoute]] = {}  #: of others, by interface
        self.applied: list[KernelAction] = []  #: what was carried out, in order
        self.closed = False
        self._on_change = on_change
        self.after_each = after_each  #: called after every action that was carried out
        self._faults: list[int] = []

    # The interface of Kernel.

    async def open(self) -> None:
        pass

    async def monitor(self) -> None:
        raise NotImplementedError("a fake changes only by a test's own doing: on_change is called at once")

    def close(self) -> None:
        self.closed = True

    async def observe(self, desired: KernelObjects) -> KernelState:
        return KernelState(
            objects=self.objects,
            foreign_links=frozenset(self.foreign_links),
            foreign_if_ids=dict(self.foreign_if_ids),
            foreign_routes=self._foreign_routes(desired.routes),
            foreign_nexthops=frozenset(self.foreign_nexthops),
            counters={name: self.counters.get(name, NO_COUNTERS) for name in self.objects.links},
            stopped=dict(self.stopped),
            addresses=self.addresses,
        )

    async def local_ways(self, networks: Sequence[IPv4Network]) -> LocalWays:
        return self.ways

    async def diversions(
        self,
        source: IPv4Address | None,
        local_networks: Sequence[IPv4Network],
        tunnels: Mapping[IPv4Network, Collection[str]],
        exits: Mapping[IPv4Network, Collection[str]],
    ) -> dict[IPv4Network, Diversion]:
        by_lines = {p: line for p in tunnels if (line := self._better_line(p))}
        astray = self.astray | {p: Diversion(p, "", line, MAIN_TABLE) for p, line in by_lines.items()}
        return {
            p: d._replace(meant=d.interface in exits.get(p, ()))
            for p, d in astray.items()
            if p in tunnels and d.interface not in tunnels[p]
        }

    def _better_line(self, prefix: IPv4Network) -> str:
        """Return the interface of the others' route that goes before ours, if there is one."""
        theirs = [(m, name) for name, keys in self.lines.items() for p, m in keys if p == prefix]
        ours = [metric for p, metric in self.objects.routes if p == prefix and metric != GUARD_METRIC]
        best = min(theirs, default=None)
        return best[1] if best and best[0] < min(ours, default=GUARD_METRIC) else ""

    async def beside(
        self, names: Collection[str], networks: Collection[IPv4Network]
    ) -> dict[str, frozenset[RouteKey]]:
        return {n: frozenset(k for k in self.lines.get(n, ()) if k[0] in networks) for n in names}

    async def outgoing(self, peers: Iterable[Peer]) -> dict[Peer, str]:
        return {peer: name for peer in peers if (name := self._way_out(IPv4Network(peer.remote)))}

    async def steering(self, pins: Iterable[Pin]) -> dict[Pin, Steering]:
        return {
            pin: steer(pin, up=self.uplinks.get(pin.interface), routes=self._routes_through(pin.interface))
            for pin in pins
        }

    async def apply(self, action: KernelAction) -> None:
        for _, error in await self.apply_all([action]):
            raise error

    async def apply_all(self, actions: Iterable[KernelAction]) -> list[tuple[KernelAction, NetlinkError]]:
        failures = Failures()
        for action in actions:
            permitted = failures.permitted(action)
            if permitted is None:
                continue
            code = self._faults.pop(0) if self._faults else 0
            code = code or self._carry_out(permitted)
            if code:
                failures.note(action, NetlinkError(str(action), code, os.strerror(code)))
            else:
                self.applied.append(permitted)
                self.after_each()
                self._on_change()
        return failures.failed

    # Faults and damage.

    def fail(self, *errnos: int) -> None:
        """Have the next actions fail so, in order; 0 lets one pass."""
        self._faults += errnos

    @property
    def faults_left(self) -> int:
        return len(self._faults)

    def delete_link(self, name: str) -> None:
        self.foreign_links.discard(name)
        self._become(without_links(self.objects, [name]))

    def set_link_down(self, name: str) -> None:
        self._change_link(name, up=False)
        kept = self.objects.links
        self._become(replace(without_links(self.objects, [name]), links=kept))

    def set_addresses(self, *addresses: IPv4Address) -> None:
        """Have these addresses: routes with another source go."""
        self.addresses = frozenset(addresses)
        kept = {k: r for k, r in self.objects.routes.items() if not r.source or r.source in addresses}
        self._become(replace(self.objects, routes=kept))

    def set_link_up(self, name: str) -> None:
        self._change_link(name, up=True)

    def set_uplink(self, name: str, *, up: bool) -> None:
        """Set an interface of others up, or down: then the routes through it go, and do not come back."""
        self.uplinks[name] = up
        if not up:
            self.uplink_routes[name] = []
            kept = {key: r for key, r in self.objects.routes.items() if r.interface != name}
            lanes = {
                p: replace(lane, interface="", gateway=None) if lane.interface == name else lane
                for p, lane in self.objects.lanes.items()
            }
            self.objects = replace(self.objects, routes=kept, lanes=lanes)
        self._on_change()

    def flap_uplink(self, name: str) -> None:
        self.set_uplink(name, up=False)
        self.set_uplink(name, up=True)

    def delete_nexthop(self, id_: int) -> None:
        self._become(without_nexthops(self.objects, [id_]))

    def delete_group(self, id_: int) -> None:
        self._become(without_groups(self.objects, [id_]))

    def delete_route(self, key: RouteKey) -> None:
        self._become(replace(self.objects, routes={k: r for k, r in self.objects.routes.items() if k != key}))

    def delete_filter_table(self) -> None:
        self._become(replace(self.objects, filter_table=None))

    def __repr__(self) -> str:
        return f"FakeKernel({self.render()!r}, {[str(a) for a in self.applied]})"

    def render(self) -> str:
        """Return what there is, as ``ip`` and ``nft`` would name it, sorted."""
        return render(self.objects)

    def _become(self, objects: KernelObjects) -> None:
        self.objects = objects
        self._on_change()

    def _change_link(self, name: str, *, up: bool) -> None:
        links = dict(self.objects.links)
        links[name] = replace(links[name], up=up)
        self.objects = replace(self.objects, links=links)

    def _way_out(self, host: IPv4Network) -> str:
        routes = self.objects.routes
        if (host, ROUTE_METRIC) in routes:
            return routes[host, ROUTE_METRIC].interface
        return "" if (host, GUARD_METRIC) in routes else self.uplink

    def _routes_through(self, name: str) -> list[UplinkRoute]:
        ours = [
            UplinkRoute(
                prefix=route.prefix,
                table=MAIN_TABLE,
                metric=route.metric,
                protocol=PROTOCOL,
                gateway=route.gateway,
                source=route.source,
            )
            for route in self.objects.routes.values()
            if route.interface == name
        ]
        ours += [
            UplinkRoute(
                prefix=IPv4Network(lane.remote),
                table=lane.table,
                metric=ROUTE_METRIC,
                protocol=PROTOCOL,
                gateway=lane.gateway,
            )
            for lane in self.objects.lanes.values()
            if lane.interface == name
        ]
        return [*ours, *self.uplink_routes.get(name, ())]

    def _foreign_routes(self, desired: Mapping[RouteKey, Route]) -> frozenset[IPv4Network]:
        ours = self.objects.routes
        if all(ours.get(key) == route for key, route in desired.items()):
            return frozenset()
        return frozenset(
            prefix
            for prefix, metric in self.foreign_routes
            if metric != GUARD_METRIC and (prefix, metric) in desired
        )

    # What the kernel answers: 0 or an errno.

    def _carry_out(self, action: KernelAction) -> int:
        match action:
            case Remove(object_):
                self._remove(object_)
                return 0
            case Add(object_):
                return self._refusal(object_, may_be_there=False) or self._put(object_)
            case Replace(object_):
                return self._refusal(object_, may_be_there=True) or self._put(object_)

    def _refusal(self, object_: KernelObject, *, may_be_there: bool) -> int:
        match object_:
            case XfrmLink():
                return self._link_refusal(object_, may_be_there=may_be_there)
            case Nexthop() | NexthopGroup():
                return self._nexthop_refusal(object_, may_be_there=may_be_there)
            case Route(source=source) if (
                source and self.addresses is not None and source not in self.addresses
            ):
                return errno.EINVAL
            case Route():
                return self._route_refusal(object_, may_be_there=may_be_there)
            case Lane(interface=name) if name and not self.uplinks.get(name):
                return errno.ENETDOWN if name in self.uplinks else errno.ENODEV
            case FilterTable() | Sysctl() | Lane():
                return 0

    def _link_refusal(self, link: XfrmLink, *, may_be_there: bool) -> int:
        if may_be_there:
            return 0 if link.name in self.objects.links else errno.ENODEV
        others = {*(other.if_id for other in self.objects.links.values()), *self.foreign_if_ids}
        taken = link.name in self.objects.links or link.name in self.foreign_links
        return errno.EEXIST if taken or (link.if_id and link.if_id in others) else 0

    def _nexthop_refusal(self, nexthop: Nexthop | NexthopGroup, *, may_be_there: bool) -> int:
        ours = self.objects.nexthops.keys() | self.objects.groups.keys()
        if not may_be_there and (nexthop.id in ours or nexthop.id in self.foreign_nexthops):
            return errno.EEXIST
        if isinstance(nexthop, NexthopGroup):
            legs = {id_ for id_, _ in nexthop.members}
            if not legs or not legs <= self.objects.nexthops.keys() or nexthop.id in self.objects.nexthops:
                return errno.EINVAL
            return 0 if not may_be_there or nexthop.id in self.objects.groups else errno.ENOENT
        link = self.objects.links.get(nexthop.interface)
        if link is None:
            return errno.ENODEV
        if not link.up:
            return errno.ENETDOWN
        if nexthop.id in self.objects.groups:
            return errno.EINVAL
        return 0 if not may_be_there or nexthop.id in self.objects.nexthops else errno.ENOENT

    def _route_refusal(self, route: Route, *, may_be_there: bool) -> int:
        nexthops = self.objects.groups.keys() | self.objects.nexthops.keys()
        if route.interface and not self.uplinks.get(route.interface):
            return errno.ENETDOWN if route.interface in self.uplinks else errno.ENODEV
        if route.group is not None and not route.interface and route.group not in nexthops:
            return errno.EINVAL
        if may_be_there:
            return 0 if route.key in self.objects.routes else errno.ENOENT
        return errno.EEXIST if route.key in self.objects.routes or route.key in self.foreign_routes else 0

    def _put(self, object_: KernelObject) -> int:
        have = self.objects
        match object_:
            case XfrmLink():
                self.objects = replace(have, links={**have.links, object_.name: object_})
            case Nexthop():
                self.objects = replace(have, nexthops={**have.nexthops, object_.id: object_})
            case NexthopGroup():
                self.objects = replace(have, groups={**have.groups, object_.id: object_})
            case Route():
                self.objects = replace(have, routes={**have.routes, object_.key: object_})
            case Lane():
                self.objects = replace(have, lanes={**have.lanes, object_.priority: object_})
            case FilterTable():
                self.objects = replace(have, filter_table=object_)
            case Sysctl():
                self.objects = replace(have, sysctls={**have.sysctls, object_.key: object_})
        return 0

    def _remove(self, object_: KernelObject) -> None:
        have = self.objects
        match object_:
            case XfrmLink():
                self.objects = without_links(have, [object_.name])
            case Nexthop():
                self.objects = without_nexthops(have, [object_.id])
            case NexthopGroup():
                self.objects = without_groups(have, [object_.id])
            case Route():
                kept = {k: r for k, r in have.routes.items() if k != object_.key or r.group != object_.group}
                self.objects = replace(have, routes=kept)
            case Lane():
                kept_lanes = {p: lane for p, lane in have.lanes.items() if p != object_.priority}
                self.objects = replace(have, lanes=kept_lanes)
            case FilterTable():
                self.objects = replace(have, filter_table=None)
            case Sysctl():
                raise ValueError("a sysctl is never removed")


def render(objects: KernelObjects) -> str:
    """Return objects as lines that ``ip`` and ``nft`` would understand, sorted within their kind."""
    return "\n".join(_lines(objects))


def _lines(objects: KernelObjects) -> Iterator[str]:
    yield from sorted(f"sysctl {sysctl}" for sysctl in objects.sysctls.values())
    yield from sorted(f"link {link}" for link in objects.links.values())
    if objects.filter_table:
        yield f"table {objects.filter_table}"
    yield from sorted(f"nexthop {nexthop}" for nexthop in objects.nexthops.values())
    yield from sorted(f"nexthop {group}" for group in objects.groups.values())
    yield from sorted(f"route {route}" for route in objects.routes.values())
    yield from sorted(f"rule {lane} dev {lane.interface or 'none'}" for lane in objects.lanes.values())
