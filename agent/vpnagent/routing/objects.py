"""The kernel objects that carry the traffic, as values, and whose they are.

One set of classes for what is desired and for what the kernel has, so that a comparison is honest.
An object's ``command`` and ``str()`` are ``ip``'s own notation: the log of a mutation can be typed into
a shell. Ownership is explicit: protocol number 86, nexthop ids of our range, an alias on our interfaces.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import ClassVar, NamedTuple

from vpnagent.netlink.rtnetlink import PROTOCOL, LinkCounters

NEXTHOP_IDS = range(0x56500000, 0x56580000)  #: ids of our nexthops, one per tunnel
GROUP_IDS = range(0x56580000, 0x56600000)  #: ids of our nexthop groups, one per set of connections
GUARD_METRIC = 4278198272  #: of the unreachable guards: worse than any route that an operator would write
ROUTE_METRIC = 0  #: of the routes into the tunnels unless configured, and of those to the peers
LANE_PRIORITIES = range(8600, 8700)  #: of our ip rules
LANE_TABLES = range(0x56500000, 0x56500000 + len(LANE_PRIORITIES))  #: of theirs, in the same order


@dataclass(frozen=True, slots=True, kw_only=True)
class XfrmLink:
    """An XFRM interface, administratively up. ``alias`` is the owner mark."""

    command: ClassVar[str] = "ip link"

    name: str
    if_id: int
    alias: str
    mtu: int  #: bytes
    address: IPv4Interface | None  #: the inside address
    up: bool = True  #: False is only ever observed: the interface was set down by hand

    def __str__(self) -> str:
        address = f" address {self.address}" if self.address else ""
        down = "" if self.up else " down"
        return f"{self.name} type xfrm if_id {self.if_id:#x} mtu {self.mtu} alias {self.alias}{address}{down}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nexthop:
    """A nexthop object out of one of our interfaces; named by interface, as indexes change."""

    command: ClassVar[str] = "ip nexthop"

    id: int
    interface: str  #: empty is only ever observed: it has a gateway or is a blackhole

    def __str__(self) -> str:
        return f"id {self.id} dev {self.interface} protocol {PROTOCOL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NexthopGroup:
    """A multipath group; ``members`` are (nexthop id, weight 1-255), sorted, never empty."""

    command: ClassVar[str] = "ip nexthop"

    id: int
    members: tuple[tuple[int, int], ...]  #: empty is only ever observed: a group that is not multipath

    def __str__(self) -> str:
        legs = "/".join(
            f"{member},{weight}" if weight != 1 else f"{member}" for member, weight in self.members
        )
        return f"id {self.id} group {legs} protocol {PROTOCOL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of ours in the main table: through a group, by an uplink, or the unreachable guard."""

    command: ClassVar[str] = "ip route"

    prefix: IPv4Network
    group: int | None  #: nexthop group id; 0: by an uplink (or, only ever observed, odd); None: unreachable
    source: IPv4Address | None
    metric: int = -1  #: RTA_PRIORITY; the default is the guard's or the others', as ``group`` says
    interface: str = ""  #: the uplink's name
    gateway: IPv4Address | None = None  #: a neighbour on the uplink; None: the destination is one

    def __post_init__(self) -> None:
        if self.metric < 0:
            metric = GUARD_METRIC if self.group is None else ROUTE_METRIC
            object.__setattr__(self, "metric", metric)

    @property
    def key(self) -> "RouteKey":
        """What can exist only once in the table."""
        return self.prefix, self.metric

    def __str__(self) -> str:
        kind = "unreachable " if self.group is None else ""
        nexthop = f" nhid {self.group}" if self.group else ""
        via, onlink = (f" via {self.gateway}", " onlink") if self.gateway else ("", "")
        nexthop += f"{via} dev {self.interface}{onlink}" if self.interface else ""
        source = f" src {self.source}" if self.source else ""
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{kind}{self.prefix}{nexthop}{source}{metric} protocol {PROTOCOL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The way of one line's IKE and ESP to a peer that other lines reach too: an ip rule and its own table.

    In the table is the way, and beneath it an unreachable guard: by this line or not at all.
    """

    command: ClassVar[str] = "ip rule"

    priority: int  #: of the rule
    local: IPv4Address
    remote: IPv4Address
    interface: str = ""  #: empty: no way is known
    gateway: IPv4Address | None = None  #: None: the peer is a neighbour
    whole: bool = True  #: False is only ever observed: a part of it is missing, or not as it should be

    @property
    def table(self) -> int:
        """The table that the rule leads to."""
        return LANE_TABLES[self.priority - LANE_PRIORITIES[0]]

    def __str__(self) -> str:
        rule = f"from {self.local} to {self.remote} lookup {self.table} priority {self.priority}"
        return f"{rule} protocol {PROTOCOL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakGuardRules:
    """What of the cloud's traffic may leave by which interface; all else is stopped, or only counted."""

    drops: bool  #: False: it only counts
    tunnels: tuple[str, ...]  #: interfaces, sorted
    networks: tuple[IPv4Network, ...]  #: the remote networks, sorted, none within or beside another
    exits: tuple[tuple[str, tuple[IPv4Network, ...]], ...] = ()  #: interface, and what may leave by it too
    local_side: tuple[str, ...] | None = None  #: where it may go from a tunnel, sorted; None: not known
    local_by_default: bool = False  #: the local side is where the default route leads

    def __str__(self) -> str:
        side = "anywhere" if self.local_side is None else " ".join(("tunnels", *self.local_side))
        networks = f"{len(self.networks)} network{'s' if len(self.networks) != 1 else ''}"
        exits = "".join(f" exit {name}" for name, _ in self.exits)
        return f"leak guard {'drop' if self.drops else 'count'} {networks}{exits} from-tunnels-to {side}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterTable:
    """Our nftables table: the TCP MSS of connections through our interfaces, and the leak guard."""

    command: ClassVar[str] = "nft table"

    maximum: tuple[tuple[str, int], ...]  #: (interface, bytes), sorted by interface, never empty
    guard: LeakGuardRules | None = None  #: None: switched off

    def __str__(self) -> str:
        guard = f", {self.guard}" if self.guard else ""
        return "inet vpnagent maxseg " + ", ".join(f"{name} {size}" for name, size in self.maximum) + guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """One setting below /proc/sys. Host-wide: set or only checked, never removed."""

    command: ClassVar[str] = "sysctl"

    key: str  #: dotted, as sysctl(8) prints it; a dot in an interface's name is a slash there
    value: str
    own: bool = False  #: of an interface of ours: set whatever ``manage_sysctls`` says

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


KernelObject = XfrmLink | Nexthop | NexthopGroup | Route | Lane | FilterTable | Sysctl

RouteKey = tuple[IPv4Network, int]  #: prefix and metric


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelObjects:
    """A whole set of objects: what is desired, or what the kernel has of ours."""

    sysctls: Mapping[str, Sysctl] = field(default_factory=dict)
    links: Mapping[str, XfrmLink] = field(default_factory=dict)  #: by name
    filter_table: FilterTable | None = None
    nexthops: Mapping[int, Nexthop] = field(default_factory=dict)
    groups: Mapping[int, NexthopGroup] = field(default_factory=dict)
    routes: Mapping[RouteKey, Route] = field(default_factory=dict)
    lanes: Mapping[int, Lane] = field(default_factory=dict)  #: by priority


class Peer(NamedTuple):
    """Where a tunnel's IKE and ESP go."""

    remote: IPv4Address
    local: IPv4Address | None  #: None: the kernel chooses


class LocalWays(NamedTuple):
    """Where the local networks are, as far as the kernel tells."""

    interfaces: frozenset[str] = frozenset()  #: with a route to, or a network that meets, any of them
    default_interfaces: frozenset[str] = frozenset()  #: of the default routes


class Diversion(NamedTuple):
    """Packets for a remote network that go neither into a tunnel nor to the guard, by an exit or astray."""

    prefix: IPv4Network
    asker: str  #: whose packets, in words
    interface: str  #: by which they leave
    table: int  #: that decides so
    entry: IPv4Network | None = None  #: the route in it; None: not told
    protocol: int = 0  #: of that route
    meant: bool = False  #: by one of the exits


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelState:
    """One observation of the kernel: what is ours, and what of others' stands in our way."""

    objects: KernelObjects
    foreign_links: frozenset[str]  #: names of interfaces that are not ours
    foreign_routes: frozenset[
        IPv4Network
    ]  #: prefixes that a foreign route holds at our own's metric, main table
    counters: Mapping[str, LinkCounters]  #: by name of our interfaces
    foreign_if_ids: Mapping[int, str] = field(
        default_factory=dict
    )  #: of XFRM interfaces not ours: their names
    foreign_nexthops: frozenset[int] = frozenset()  #: ids of our range that another protocol took
    addresses: frozenset[IPv4Address] | None = None  #: of interfaces that are up; None: not told
    outgoing: Mapping[Peer, str] = field(default_factory=dict)  #: interface by which a peer is reached
    filter_table_readable: bool = True  #: nftables tells nothing without CAP_NET_ADMIN
    stopped: Mapping[str, int] = field(default_factory=dict)  #: packets by direction, since the counter began
