"""Strategies: what may be desired of a small kernel, and what states it may be found in."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hypothesis import strategies as st
from tests.fake_kernel import FakeKernel

from vpnagent.routing.objects import (
    GROUP_IDS,
    GUARD_METRIC,
    LANE_PRIORITIES,
    NEXTHOP_IDS,
    FilterTable,
    KernelObjects,
    Lane,
    Nexthop,
    NexthopGroup,
    Route,
    Sysctl,
    XfrmLink,
)
from vpnagent.routing.plan import RP_FILTER

NAMES = ("vpn-a", "vpn-b", "vpn-c")
NEXTHOPS = tuple(NEXTHOP_IDS[:3])
GROUPS = tuple(GROUP_IDS[:2])
PREFIXES = tuple(IPv4Network(n) for n in ("100.64.0.0/10", "100.64.0.0/11", "100.96.0.0/11", "172.16.0.0/12"))
PEERS = tuple(IPv4Network(n) for n in ("203.0.113.1/32", "203.0.113.2/32"))
UPLINKS = ("eth1", "eth2")
SYSCTLS = (
    Sysctl(key="net.ipv4.ip_forward", value="1"),
    Sysctl(key="net.ipv4.nexthop_compat_mode", value="0"),
    Sysctl(key=RP_FILTER, value="2"),
)


def link(name: str, if_id: int, **changes: object) -> XfrmLink:
    made = XfrmLink(name=name, if_id=if_id, alias=f"vpnagent.c.{if_id}", mtu=1399, address=None)
    return replace(made, **changes)  # type: ignore[arg-type]


def guard(prefix: str) -> Route:
    return Route(prefix=IPv4Network(prefix), group=None, source=None)


def route(prefix: str, group: int) -> Route:
    return Route(prefix=IPv4Network(prefix), group=group, source=None)


def by_uplink(peer: str, interface: str = "eth1", gateway: str | None = "198.51.100.1") -> Route:
    return Route(
        prefix=IPv4Network(peer),
        group=0,
        source=None,
        interface=interface,
        gateway=IPv4Address(gateway) if gateway else None,
    )


def objects(*made: XfrmLink | FilterTable | Nexthop | NexthopGroup | Route | Lane | Sysctl) -> KernelObjects:
    """Put objects where they belong."""
    clamps = [o for o in made if isinstance(o, FilterTable)]
    return KernelObjects(
        sysctls={o.key: o for o in made if isinstance(o, Sysctl)},
        links={o.name: o for o in made if isinstance(o, XfrmLink)},
        filter_table=clamps[0] if clamps else None,
        nexthops={o.id: o for o in made if isinstance(o, Nexthop)},
        groups={o.id: o for o in made if isinstance(o, NexthopGroup)},
        routes={o.key: o for o in made if isinstance(o, Route)},
        lanes={o.priority: o for o in made if isinstance(o, Lane)},
    )


@st.composite
def desired_objects(draw: st.DrawFn) -> KernelObjects:
    """Draw what a configuration and verdicts may ask for: whole, and naming only what it has."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    if_ids = draw(st.permutations([1, 2, 3]))
    addresses = st.sampled_from([None, IPv4Interface("169.254.10.2/30"), IPv4Interface("169.254.10.1/30")])
    links = [
        link(name, if_id, mtu=draw(st.sampled_from([1399, 1300])), address=draw(addresses))
        for name, if_id in zip(names, if_ids, strict=False)
    ]
    nexthops = [Nexthop(id=id_, interface=name) for id_, name in zip(NEXTHOPS, names, strict=False)]
    groups: list[NexthopGroup] = draw(_groups(tuple(n.id for n in nexthops)))
    prefixes = draw(st.lists(st.sampled_from(PREFIXES), unique=True))
    sources = st.sampled_from([None, IPv4Address("10.1.0.1")])
    routed = draw(st.sets(st.sampled_from(prefixes))) if prefixes and groups else set()
    routes = [
        Route(
            prefix=prefix,
            group=draw(st.sampled_from(groups)).id,
            source=draw(sources),
            metric=draw(st.sampled_from([0, 500])),
        )
        for prefix in sorted(routed)
    ]
    clamp = [FilterTable(maximum=tuple((name, 1359) for name in sorted(names)))] if names else []
    guards = [Route(prefix=prefix, group=None, source=None) for prefix in prefixes]
    pinned, apart = draw(peer_routes()), draw(lanes())
    return objects(*SYSCTLS, *links, *clamp, *nexthops, *groups, *routes, *guards, *pinned, *apart)


@st.composite
def lanes(draw: st.DrawFn) -> list[Lane]:
    """Draw what is desired of lines that share a peer: the way, or only the guard."""
    made = []
    for priority in draw(st.lists(st.sampled_from(LANE_PRIORITIES[:3]), unique=True)):
        interface = draw(st.sampled_from(["", *UPLINKS]))
        gateway = IPv4Address("198.51.100.1") if interface and draw(st.booleans()) else None
        local = IPv4Address("192.0.2.0") + priority % 100
        peer = PEERS[0].network_address
        made.append(Lane(priority=priority, local=local, remote=peer, interface=interface, gateway=gateway))
    return made


@st.composite
def peer_routes(draw: st.DrawFn) -> list[Route]:
    """Draw what is desired of peers that are held to an uplink: a guard, and the route if there is a way."""
    made = []
    for peer in draw(st.lists(st.sampled_from(PEERS), unique=True)):
        made.append(Route(prefix=peer, group=None, source=None))
        gateway = draw(st.sampled_from(["198.51.100.1", "198.51.100.9", None, ""]))
        if gateway != "":
            made.append(by_uplink(str(peer), draw(st.sampled_from(UPLINKS)), gateway))
    return made


@st.composite
def _groups(draw: st.DrawFn, nexthops: tuple[int, ...]) -> list[NexthopGroup]:
    if not nexthops:
        return []
    legs = st.lists(st.sampled_from(nexthops), min_size=1, unique=True)
    ids = draw(st.lists(st.sampled_from(GROUPS), unique=True))
    weights = st.integers(1, 3)
    groups = []
    for id_ in ids:
        members = sorted((leg, draw(weights)) for leg in draw(legs))
        groups.append(NexthopGroup(id=id_, members=tuple(members)))
    return groups


@st.composite
def dirty_kernels(draw: st.DrawFn) -> FakeKernel:
    """Draw a kernel as a predecessor with another configuration, and then somebody's hands, left it."""
    before = draw(desired_objects())
    values = {s.key: replace(s, value=draw(st.sampled_from(["0", "1"]))) for s in SYSCTLS}
    strays = draw(st.lists(st.sampled_from(STRAYS), unique=True))
    routes = {**before.routes, **{stray.key: stray for stray in strays}}
    kernel = FakeKernel(replace(before, sysctls=values, routes=routes))
    kernel.uplinks = dict.fromkeys(UPLINKS, True)
    for _ in range(draw(st.integers(0, 4))):
        _damage(draw, kernel)
    return kernel


@st.composite
def remade_kernels(draw: st.DrawFn) -> tuple[KernelObjects, FakeKernel]:
    """Draw what is desired, and a kernel before that: all on one tunnel, whose if_id is about to change."""
    desired = draw(desired_objects().filter(lambda o: len(o.links) > 1 and len(o.groups) < len(o.routes)))
    moved = draw(st.sampled_from(sorted(desired.nexthops.values(), key=str)))
    links = {**desired.links, moved.interface: replace(desired.links[moved.interface], if_id=9)}
    groups = {id_: NexthopGroup(id=id_, members=((moved.id, 1),)) for id_ in desired.groups}
    kernel = FakeKernel(replace(desired, links=links, groups=groups))
    kernel.uplinks = dict.fromkeys(UPLINKS, True)
    return desired, kernel


STRAYS = (
    Route(prefix=PREFIXES[0], group=None, source=None, metric=77),
    Route(prefix=PREFIXES[3], group=0, source=None),
    Route(prefix=IPv4Network("192.0.2.0/24"), group=None, source=None),
)


def _damage(draw: st.DrawFn, kernel: FakeKernel) -> None:
    have = kernel.objects
    victims = [
        *((kernel.delete_link, name) for name in have.links),
        *((kernel.set_link_down, name) for name in have.links),
        *((kernel.delete_nexthop, id_) for id_ in have.nexthops),
        *((kernel.delete_group, id_) for id_ in have.groups),
        *((kernel.delete_route, key) for key in have.routes),
        *((kernel.flap_uplink, name) for name in kernel.uplinks),
    ]
    if victims:
        verb, victim = draw(st.sampled_from(victims))
        verb(victim)  # type: ignore[operator]


@st.composite
def crowded_kernels(draw: st.DrawFn) -> FakeKernel:
    """Draw a dirty kernel in which foreign objects hold some of our places."""
    kernel = draw(dirty_kernels())
    have = kernel.objects
    kernel.foreign_links = draw(st.sets(st.sampled_from(NAMES))) - have.links.keys() | {"eth0"}
    kernel.foreign_if_ids = dict.fromkeys(
        draw(st.sets(st.sampled_from([1, 2, 3]))) - {link.if_id for link in have.links.values()}, "ipsec9"
    )
    kernel.foreign_nexthops = (
        draw(st.sets(st.sampled_from([*NEXTHOPS, *GROUPS]))) - have.nexthops.keys() - have.groups.keys()
    )
    places = [(prefix, metric) for prefix in PREFIXES for metric in (0, GUARD_METRIC + 1)]
    places += [(peer, 0) for peer in PEERS]
    kernel.foreign_routes = draw(st.sets(st.sampled_from(places)))
    return kernel
