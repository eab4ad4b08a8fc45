"""The kernel: observe what there is, carry out actions, hear of changes. A shell.

What there is, is read and never remembered; all that is kept between calls is the indexes and addresses of
the last observation, for the actions that were planned from it and for the ways out. No program is run: what
ip(8) and nft(8) do is done over netlink. The kernel is silent where it removes nexthops, groups and routes
with their link: the link's own event tells, and the periodic comparison.
"""

import errno
import itertools
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from vpnagent.errors import NetlinkError
from vpnagent.netlink.message import NLM_F_ACK, Ack, NetlinkMessage, NetlinkRequest, message, wants_answer
from vpnagent.netlink.nft import NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, TABLE
from vpnagent.netlink.rtnetlink import (
    NHMSG,
    PROTOCOL,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEXTHOP,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEXTHOP,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV4_RULE,
    RTNLGRP_LINK,
    RTNLGRP_NEXTHOP,
    RouteRow,
)
from vpnagent.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, listen
from vpnagent.routing import filter_table
from vpnagent.routing.actions import Add, KernelAction, Remove, Replace
from vpnagent.routing.failures import Failures
from vpnagent.routing.fib import lane_requests, lane_rule, route_request
from vpnagent.routing.filter_table import UNPRIVILEGED, FilterTableReader
from vpnagent.routing.objects import (
    GUARD_METRIC,
    Diversion,
    FilterTable,
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
from vpnagent.routing.observe import PROC_SYS, observe, sysctl_path
from vpnagent.routing.uplinks import Pin, Steering, beside, steering
from vpnagent.routing.ways import (
    InterfaceAddress,
    Number,
    askers,
    diversions,
    lan_route,
    local_ways,
    number,
    outgoing,
)

GROUPS = {
    NETLINK_ROUTE: (
        RTNLGRP_LINK,
        RTNLGRP_IPV4_IFADDR,
        RTNLGRP_IPV4_ROUTE,
        RTNLGRP_IPV4_RULE,
        RTNLGRP_NEXTHOP,
    ),
    NETLINK_NETFILTER: (NFNLGRP_NFTABLES,),
}  #: of events
LINK_INDEXES = range(0x56000000, 0x57000000)  #: of the interfaces that we make; the kernel counts from 1
QUICK = 0.05  #: seconds in which all routes of an ordinary router are read
REST = 20  #: times as long as a longer reading took, it is not repeated
BATCH = 256  #: routes to encode, send and check before others get their turn on the loop: some 5 ms


class NetlinkKernel:
    """What is ours in the kernel, in the network namespace in which it is first used.

    ``link_kind`` is the kind of the interfaces that are made and recognised: where the kernel has no XFRM
    interfaces, another kind that needs no parameters can stand in, with if_id 0.
    """

    def __init__(self, *, on_change: Callable[[], None], link_kind: str = "xfrm") -> None:
        self._on_change = on_change
        self._link_kind = link_kind
        self._route = NetlinkSocket(NETLINK_ROUTE)
        self._netfilter = NetlinkSocket(NETLINK_NETFILTER)
        self._filter_table = FilterTableReader(self._netfilter)
        self._indexes: dict[str, int] = {}
        self._ways = LocalWays()
        self._ways_to: tuple[IPv4Network, ...] = ()
        self._ways_read_again = 0.0  #: monotonic
        self._places: frozenset[InterfaceAddress] = frozenset()

    async def open(self) -> None:
        """Check that the kernel can do what we need and lets us. Raises NetlinkError.

        It looks at the capability before it looks at the request: this one names no nexthop.
        """
        probe = message(RTM_DELNEXTHOP, NLM_F_ACK, NHMSG.pack(0, 0, 0, 0, 0))
        [answered] = await self._route.execute([probe])
        if answered.errno in UNPRIVILEGED:
            raise NetlinkError("open", answered.errno, "not permitted: CAP_NET_ADMIN is missing")
        if answered.errno == errno.EOPNOTSUPP:
            raise NetlinkError("open", answered.errno, "it has no nexthop objects: Linux 5.3 is needed")

    async def monitor(self) -> None:
        """Call ``on_change`` after every change that may concern us, until cancelled. Raises NetlinkError."""
        await listen(GROUPS, self._interest, self._on_change)

    def _interest(self) -> Callable[[NetlinkMessage], bool]:
        networks = [number(network) for network in self._ways_to]
        return lambda event: concerns_us(event, networks)

    def close(self) -> None:
        """Close the sockets. What was made stays."""
        self._route.close()
        self._netfilter.close()

    async def observe(self, desired: KernelObjects) -> KernelState:
        """Return all that is ours, and what stands in the way of the desired. Raises NetlinkError."""
        observation = await observe(self._route, self._filter_table, desired, link_kind=self._link_kind)
        self._indexes = dict(observation.indexes)
        self._places = observation.places
        return observation.state

    async def outgoing(self, peers: Iterable[Peer]) -> dict[Peer, str]:
        """Return by which interface each peer is reached, of the interfaces of the last observation.

        Without those whose interface proves nothing. Raises NetlinkError.
        """
        names = {index: name for name, index in self._indexes.items()}
        return await outgoing(self._route, names, self._places, peers)

    async def steering(self, pins: Iterable[Pin]) -> dict[Pin, Steering]:
        """Return how each peer can be held to its uplink. Raises NetlinkError."""
        return await steering(self._route, pins)

    async def beside(
        self, names: Collection[str], networks: Collection[IPv4Network]
    ) -> dict[str, frozenset[RouteKey]]:
        """Return others' routes to exactly these networks, by interface. Raises NetlinkError."""
        return await beside(self._route, names, networks)

    async def local_ways(self, networks: Sequence[IPv4Network]) -> LocalWays:
        """Return by which interfaces, of the last observation, local networks are reached.

        A table of routes so large that reading it takes long is read at most for a part of the time, and what
        was read is told again. Raises NetlinkError.
        """
        began = time.monotonic()
        networks = tuple(networks)
        if began >= self._ways_read_again or networks != self._ways_to:
            names = {index: name for name, index in self._indexes.items()}
            self._ways, self._ways_to = await local_ways(self._route, names, networks), networks
            took = time.monotonic() - began
            self._ways_read_again = began + took * REST if took > QUICK else began
        return self._ways

    async def diversions(
        self,
        source: IPv4Address | None,
        local_networks: Sequence[IPv4Network],
        tunnels: Mapping[IPv4Network, Collection[str]],
        exits: Mapping[IPv4Network, Collection[str]],
    ) -> dict[IPv4Network, Diversion]:
        """Return the remote networks whose packets leave by other interfaces than the tunnels.

        Raises NetlinkError.
        """
        names = {index: name for name, index in self._indexes.items()}
        who = await askers(self._route, source, local_networks)
        return await diversions(self._route, names, who, tunnels, exits)

    async def apply(self, action: KernelAction) -> None:
        """Carry out one action that was planned from the last observation. Raises NetlinkError."""
        for _, error in await self.apply_all([action]):
            raise error

    async def apply_all(self, actions: Iterable[KernelAction]) -> list[tuple[KernelAction, NetlinkError]]:
        """Carry out actions in order, and go on after failures; return what failed, and why.

        Routes go in batches: 10,000 one by one would hold the loop for seconds.
        """
        failures = Failures()
        for is_route, run in itertools.groupby(actions, _batch):
            if is_route:
                while batch := list(itertools.islice(run, BATCH)):
                    await self._apply_routes(batch, failures)
            else:
                await self._apply_singly(run, failures)
        return failures.failed

    async def _apply_singly(self, actions: Iterable[KernelAction], failures: Failures) -> None:
        for action in actions:
            permitted = failures.permitted(action)
            if permitted is None:
                continue
            try:
                await self._apply(permitted)
            except NetlinkError as error:
                failures.note(action, NetlinkError(str(action), error.errno, error.reason))

    async def _apply_routes(self, actions: Sequence[KernelAction], failures: Failures) -> None:
        permitted = [action for action in actions if failures.permitted(action)]
        requests = [
            route_request(a, a.object, self._indexes) for a in permitted if isinstance(a.object, Route)
        ]
        try:
            answers = await self._route.execute([request.data for request in requests])
        except NetlinkError as error:
            answers = [Ack(error.errno or errno.EIO, error.reason)] * len(requests)
        for action, request, answered in zip(permitted, requests, answers, strict=True):
            if answered.errno and answered.errno not in request.harmless:
                failures.note(action, NetlinkError(str(action), answered.errno, answered.reason))

    async def _apply(self, action: KernelAction) -> None:
        match action.object:
            case Sysctl() as sysctl:
                write_sysctl(sysctl)
            case FilterTable() as table:
                await self._apply_table(action, table)
            case XfrmLink() as link:
                await self._apply_link(action, link)
            case Nexthop(interface=name) if name not in self._indexes and not isinstance(action, Remove):
                raise NetlinkError(str(action), errno.ENODEV, f"there is no interface {name}")
            case Nexthop() | NexthopGroup() as nexthop:
                from vpnagent.routing.requests import nexthop_requests  # noqa: PLC0415 - loads pyroute2

                await _execute(self._route, nexthop_requests(action, nexthop, self._indexes))
            case Route() as route:
                await _execute(self._route, [route_request(action, route, self._indexes)])
            case Lane() as lane:
                await _execute(self._route, lane_requests(action, lane, self._indexes))

    async def _apply_table(self, action: KernelAction, table: FilterTable) -> None:
        """Change the table in place, or make it anew where the kernel refuses that."""
        try:
            await _execute(self._netfilter, filter_table.requests(action, table), together=True)
        except NetlinkError:
            if not isinstance(action, Replace):
                raise
            await _execute(self._netfilter, filter_table.requests(Add(table), table), together=True)

    async def _apply_link(self, action: KernelAction, link: XfrmLink) -> None:
        index = self._free_index() if isinstance(action, Add) else self._indexes.get(link.name)
        if index is None:
            if isinstance(action, Remove):
                return
            raise NetlinkError(str(action), errno.ENODEV, f"interface {link.name} is gone")
        from vpnagent.routing.requests import link_requests  # noqa: PLC0415 - loads pyroute2

        await _execute(self._route, link_requests(action, link, index, kind=self._link_kind))
        if isinstance(action, Remove):
            del self._indexes[link.name]
        else:
            self._indexes[link.name] = index

    def _free_index(self) -> int:
        taken = self._indexes.values()
        return next(n for n in iter(lambda: secrets.choice(LINK_INDEXES), None) if n not in taken)


def _batch(action: KernelAction) -> tuple[object, ...]:
    """Return a key that consecutive actions share which may go together; empty: one by one.

    The removal of guards waits for the outcome of what is removed before it.
    """
    if not isinstance(action.object, Route):
        return ()
    return type(action), action.object.metric == GUARD_METRIC


async def _execute(
    socket: NetlinkSocket, requests: Sequence[NetlinkRequest], *, together: bool = False
) -> None:
    """Carry out the requests of one action. Raises NetlinkError for the first that was refused."""
    answers = await socket.execute([request.data for request in requests], together=together)
    wanted = [request for request in requests if wants_answer(request.data)]
    for request, answered in zip(wanted, answers, strict=True):
        if answered.errno and answered.errno not in request.harmless:
            raise NetlinkError("request", answered.errno, answered.reason)


def write_sysctl(sysctl: Sysctl, *, proc_sys: Path = PROC_SYS) -> None:
    """Change a setting. Raises NetlinkError."""
    try:
        sysctl_path(sysctl.key, proc_sys).write_text(sysctl.value)
    except OSError as error:
        raise NetlinkError(f"sysctl -w {sysctl}", error.errno or 0, os.strerror(error.errno or 0)) from error


def concerns_us(event: NetlinkMessage, networks: Sequence[Number] = ()) -> bool:
    """Whether an event may be about something of ours, in our way, or a way to one of these networks.

    The header tells, mostly: what there is, the next observation reads.
    """
    if event.type >> 8 == NFNL_SUBSYS_NFTABLES:
        return f"{TABLE}\0".encode() in event.body
    if event.type in (RTM_NEWNEXTHOP, RTM_DELNEXTHOP):
        return bool(NHMSG.unpack_from(event.body)[2] == PROTOCOL)
    if event.type in (RTM_NEWROUTE, RTM_DELROUTE):
        row = RouteRow(event.body)  # a default route, whosever it is, may be an uplink's
        return row.protocol == PROTOCOL or not row.length or lan_route(event.body, networks) is not None
    if event.type in (RTM_NEWRULE, RTM_DELRULE):
        return lane_rule(event.body) is not None
    return event.type in (RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR)
