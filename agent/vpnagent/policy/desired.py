"""What the kernel and charon should have, given the configuration and the verdicts.

``desired()`` is total and pure, and the only place where policy becomes objects: ``vpnagent plan`` calls
it on a laptop, the reconciler in the daemon. Ids are derived from names, so that a restart adopts what
its predecessor left.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType

from vpnagent.config import values as config
from vpnagent.config.values import Config, TrafficSelectors, Tunnel, TunnelKey
from vpnagent.ipsec.actions import CharonConnection
from vpnagent.pair.roles import moves
from vpnagent.policy.selection import Verdicts, select_shared
from vpnagent.policy.walls import leak_guard
from vpnagent.routing.objects import (
    GROUP_IDS,
    GUARD_METRIC,
    LANE_PRIORITIES,
    NEXTHOP_IDS,
    FilterTable,
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
from vpnagent.routing.uplinks import Pin, Steering
from vpnagent.secret import Secret

SYSCTLS = (
    Sysctl(key="net.ipv4.ip_forward", value="1"),
    # Layer 4 hash: with the default, all flows between two hosts share one tunnel.
    Sysctl(key="net.ipv4.fib_multipath_hash_policy", value="1"),
    # Without compatibility notifications a group replace costs the same for 1 and for 10,000 routes.
    Sysctl(key="net.ipv4.nexthop_compat_mode", value="0"),
    # Replies come back on the tunnel that the cloud prefers: strict reverse-path filtering drops them.
    Sysctl(key="net.ipv4.conf.all.rp_filter", value="2"),
)
NOT_ASKED: Mapping[Pin, Steering] = MappingProxyType({})
TCP_IP_HEADERS = 40  #: bytes of IPv4 and TCP headers without options (RFC 6691)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The whole desired state."""

    kernel: KernelObjects
    connections: dict[str, CharonConnection]  #: by VICI name


def desired(
    conf: Config,
    verdicts: Verdicts,
    carrying: Collection[TunnelKey] = (),
    steering: Mapping[Pin, Steering] = NOT_ASKED,
) -> Desired:
    """Return what there should be. Never raises for a valid configuration.

    ``carrying`` are the tunnels that carry traffic at present, if that is known; ``steering`` is how the
    pinned peers can be held to their uplinks: for those that are not in it, nothing is made.
    """
    nexthops = nexthop_ids(conf)
    groups, routes = _groups_and_routes(conf, verdicts, carrying, nexthops)
    clamps = sorted(
        (t.interface, connection.mtu - TCP_IP_HEADERS)
        for connection in conf.connections
        for t in connection.tunnels
    )
    return Desired(
        kernel=KernelObjects(
            sysctls={s.key: s for s in (*SYSCTLS, *_forwarding(conf), *_lines(conf))},
            links={link.name: link for link in _links(conf)},
            filter_table=FilterTable(maximum=tuple(clamps), guard=leak_guard(conf)) if clamps else None,
            nexthops={id_: Nexthop(id=id_, interface=interface) for interface, id_ in nexthops.items()},
            groups=groups,
            routes={**routes, **{route.key: route for route in _peer_routes(conf, steering)}},
            lanes={lane.priority: lane for lane in _lanes(conf, steering)},
        ),
        connections=ipsec_connections(conf),
    )


def nexthop_ids(conf: Config) -> dict[str, int]:
    """Return the nexthop id of each interface."""
    ids = assign_ids((str(t.key) for t in conf.tunnels()), NEXTHOP_IDS)
    return {t.interface: ids[str(t.key)] for t in conf.tunnels()}


def assign_ids(names: Iterable[str], ids: range) -> dict[str, int]:
    """Return an id for each name: its hash, or the next free one; the same in every process."""
    assigned: dict[str, int] = {}
    taken: set[int] = set()
    for name in sorted(set(names)):
        offset = zlib.crc32(name.encode()) % len(ids)
        while ids[offset] in taken:
            offset = (offset + 1) % len(ids)
        taken.add(ids[offset])
        assigned[name] = ids[offset]
    return assigned


def sharers(conf: Config) -> dict[IPv4Network, tuple[str, ...]]:
    """Return, for each remote network, the names of the connections that carry it together."""
    names: dict[IPv4Network, list[str]] = {}
    for connection in conf.connections:
        for prefix in connection.remote_networks:
            names.setdefault(prefix, []).append(connection.name)
    return {prefix: tuple(sorted(sharing)) for prefix, sharing in names.items()}


def group_ids(conf: Config) -> dict[tuple[str, ...], int]:
    """Return the group id of each set of connections that share a remote network."""
    sets = set(sharers(conf).values())
    ids = assign_ids(("+".join(names) for names in sets), GROUP_IDS)
    return {names: ids["+".join(names)] for names in sets}


def _groups_and_routes(
    conf: Config, verdicts: Verdicts, carrying: Collection[TunnelKey], nexthops: dict[str, int]
) -> tuple[dict[int, NexthopGroup], dict[RouteKey, Route]]:
    connections = {c.name: c for c in conf.connections}
    ids = group_ids(conf)
    groups: dict[int, NexthopGroup] = {}
    routes: dict[RouteKey, Route] = {}
    for prefix, names in sharers(conf).items():
        routes[prefix, GUARD_METRIC] = Route(prefix=prefix, group=None, source=None)
        tunnels = select_shared([connections[name] for name in names], verdicts, carrying)
        if not tunnels:
            continue
        id_ = ids[names]
        groups[id_] = NexthopGroup(
            id=id_, members=tuple(sorted((nexthops[t.interface], t.weight) for t in tunnels))
        )
        route = network_route(conf, connections[names[0]], prefix, id_)
        routes[route.key] = route
    return groups, routes


def network_route(conf: Config, sharer: config.Connection, prefix: IPv4Network, group: int) -> Route:
    """Return the route of a remote network into its group; ``sharer`` is any of its connections."""
    return Route(prefix=prefix, group=group, source=conf.source_of(sharer), metric=sharer.route_metric)


def route_metrics(conf: Config) -> dict[IPv4Network, int]:
    """Return the metric of the route of each remote network."""
    return {prefix: c.route_metric for c in conf.connections for prefix in c.remote_networks}


def whole_groups(conf: Config) -> dict[int, NexthopGroup]:
    """Return every group with all tunnels that it may ever have, whoever is to write it."""
    nexthops = nexthop_ids(conf)
    tunnels = {c.name: c.tunnels for c in conf.connections}
    return {
        id_: NexthopGroup(
            id=id_,
            members=tuple(sorted((nexthops[t.interface], t.weight) for n in names for t in tunnels[n])),
        )
        for names, id_ in group_ids(conf).items()
    }


def pins_of(conf: Config) -> dict[TunnelKey, Pin]:
    """Return the peer and uplink of each tunnel that names one.

    Where tunnels reach one peer by several ways, a host route cannot tell them apart: their pins have the
    local address.
    """
    ways: dict[IPv4Address, set[tuple[str | None, IPv4Address | None]]] = {}
    for t in conf.tunnels():
        ways.setdefault(t.remote_address, set()).add((t.uplink, t.uplink_gateway))
    return {
        t.key: Pin(
            t.remote_address,
            t.uplink,
            t.uplink_gateway,
            t.local_address if len(ways[t.remote_address]) > 1 else None,
        )
        for t in conf.tunnels()
        if t.uplink is not None
    }


def pins(conf: Config) -> frozenset[Pin]:
    """Return the peers that are held to an uplink."""
    return frozenset(pins_of(conf).values())


def peers(conf: Config) -> Iterator[Peer]:
    """Return the peers whose way out is to be known."""
    return (Peer(tunnel.remote_address, tunnel.local_address) for tunnel in conf.tunnels())


def _peer_routes(conf: Config, steering: Mapping[Pin, Steering]) -> Iterator[Route]:
    """Yield, for each pinned peer, the route by its uplink and the guard beneath.

    Pinned means pinned: by another provider the packets would have an address that the cloud does not know,
    or one that the provider refuses. Without the uplink they are answered with unreachable, and the other
    tunnel carries.
    """
    for pin in sorted((p for p in pins(conf) & steering.keys() if p.local is None), key=str):
        if route := steering[pin].route:
            yield route
        yield Route(prefix=IPv4Network(pin.remote), group=None, source=None)


def _lanes(conf: Config, steering: Mapping[Pin, Steering]) -> Iterator[Lane]:
    """Yield the ways of lines that share a peer, each by its local address."""
    by_address = {f"{pin.local} {pin.remote}": pin for pin in pins(conf) if pin.local}
    for name, priority in assign_ids(by_address, LANE_PRIORITIES).items():
        pin = by_address[name]
        if pin in steering and pin.local:
            route = steering[pin].route
            lane = Lane(priority=priority, local=pin.local, remote=pin.remote)
            yield replace(lane, interface=route.interface, gateway=route.gateway) if route else lane


def _forwarding(conf: Config) -> Iterator[Sysctl]:
    """Yield that our interfaces forward: new ones inherit conf.default, whatever ip_forward says."""
    for tunnel in conf.tunnels():
        name = tunnel.interface.replace(".", "/")
        yield Sysctl(key=f"net.ipv4.conf.{name}.forwarding", value="1", own=True)


def _lines(conf: Config) -> Iterator[Sysctl]:
    """Yield that a line's routes go with its carrier where ours are to be there at once.

    Else the kernel goes on to use a route of an interface whose cable is out.
    """
    for name in sorted({name for c in conf.connections if c.route_metric for name in c.exits}):
        key = f"net.ipv4.conf.{name.replace('.', '/')}.ignore_routes_with_linkdown"
        yield Sysctl(key=key, value="1")


def with_source_as_hint(objects: KernelObjects, state: KernelState) -> KernelObjects:
    """Return the objects with a source in the routes only where it is an address of this machine now.

    The kernel refuses a route with a source that is not: a VIP that has moved would cost every network.
    """
    here = state.addresses
    if here is None or all(route.source in here or not route.source for route in objects.routes.values()):
        return objects
    routes = {
        key: replace(route, source=None) if route.group and route.source not in here else route
        for key, route in objects.routes.items()
    }
    return replace(objects, routes=routes)


def _links(conf: Config) -> Iterator[XfrmLink]:
    for connection in conf.connections:
        for tunnel in connection.tunnels:
            yield XfrmLink(
                name=tunnel.interface,
                if_id=tunnel.if_id,
                alias=tunnel.key.owner,
                mtu=connection.mtu,
                address=tunnel.inside_address,
            )


def ipsec_connections(conf: Config) -> dict[str, CharonConnection]:
    """Return what charon should have, by VICI name: no verdict changes it, and no route is made for it."""
    made = (_ipsec_connection(conf, c, tunnel) for c in conf.connections for tunnel in c.tunnels)
    ambiguous = ambiguous_peers(conf)
    return {c.name: replace(c, psk_by_pair=c.remote_id.casefold() in ambiguous) for c in made}


def ambiguous_peers(conf: Config) -> frozenset[str]:
    """Return the identities of the cloud's ends, case-folded, that have another key for each of ours."""
    keys: dict[str, set[Secret]] = {}
    for tunnel in conf.tunnels():
        if tunnel.psk is not None:
            keys.setdefault(tunnel.remote_id.casefold(), set()).add(tunnel.psk)
    return frozenset(identity for identity, different in keys.items() if len(different) > 1)


def _ipsec_connection(conf: Config, connection: config.Connection, tunnel: Tunnel) -> CharonConnection:
    if connection.traffic_selectors is TrafficSelectors.ANY:
        local_ts: tuple[str, ...] = ("0.0.0.0/0",)
        remote_ts = local_ts
    else:
        local_ts = tuple(str(n) for n in conf.local_networks_of(connection))
        remote_ts = tuple(str(n) for n in connection.remote_networks)
    return CharonConnection(
        key=tunnel.key,
        local_address=str(tunnel.local_address or "%any"),
        remote_address=str(tunnel.remote_address),
        local_id=tunnel.local_id,
        remote_id=tunnel.remote_id,
        ike=connection.ike_of(tunnel),
        esp=connection.esp_of(tunnel),
        udp_encapsulation=connection.udp_encapsulation_of(tunnel),
        local_ts=local_ts,
        remote_ts=remote_ts,
        if_id=tunnel.if_id,
        psk=tunnel.psk,
        certificates=tunnel.certificates,
        initial_contact=moves(tunnel, conf),
    )
