"""What must hold between addresses and networks. Pure; see ``rules``.

Three spaces must not mix: the underlay (``remote_address``, ``local_address``), which must never be routed
into a tunnel; the inside of the tunnels (``inside_address``); and what the tunnels carry.
"""

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from vpnagent.config.values import Config, Connection, Forwarding, TrafficSelectors
from vpnagent.config.wording import KeyPath, Place, Violation, connections, listed, repeated, said, tunnels

SLASH_30 = 30  #: prefix length of the network inside a tunnel
MAX_ECMP_CONNECTIONS = 16  #: of one transit router, for one destination (Alibaba Cloud, CEN quotas)


def prefixes_stand_once(config: Config) -> Iterator[Violation]:
    """A network is written once in its list."""
    lists: list[tuple[KeyPath, tuple[IPv4Network, ...]]] = [
        (("gateway", "local_networks"), config.gateway.local_networks),
        *(
            ((*path, key), networks)
            for path, connection in connections(config)
            for key, networks in (
                ("remote_networks", connection.remote_networks),
                ("local_networks", connection.local_networks),
            )
        ),
    ]
    for path, networks in lists:
        for index, network, first in repeated(enumerate(networks)):
            yield Violation((*path, index), said("must be unique: {} is entry {} too", network, first))


def remote_and_local_are_apart(config: Config) -> Iterator[Violation]:
    """What is behind the cloud is not behind us."""
    for path, network in _remote_networks(config):
        for local in config.local_networks():
            if network.overlaps(local):
                yield Violation(path, said("{} must not overlap the local network {}", network, local))


def underlay_stays_outside(config: Config) -> Iterator[Violation]:
    """IKE and ESP packets routed into a tunnel would never leave; nor may our own addresses be remote."""
    own = [("the source_address", config.gateway.source_address)]
    own += [(f"the source_address of {c.name}", c.source_address) for c in config.connections]
    for place in tunnels(config):
        own.append((f"the remote_address of {place.tunnel.key}", place.tunnel.remote_address))
        own.append((f"the local_address of {place.tunnel.key}", place.tunnel.local_address))
    remote: dict[IPv4Network, list[KeyPath]] = {}
    for path, network in _remote_networks(config):
        remote.setdefault(network, []).append(path)
    for name, address in own:
        for network in _networks_around(address) if address else ():
            for path in remote.get(network, ()):
                yield Violation(path, said("{} must not cover {}, {}", network, address, name))


def _networks_around(address: IPv4Address) -> Iterator[IPv4Network]:
    """Return each network that an address can be in: 33 look-ups, however many networks there are."""
    for length in range(address.max_prefixlen + 1):
        yield IPv4Network((int(address), length), strict=False)


def outer_addresses_are_apart(config: Config) -> Iterator[Violation]:
    """A pair of outer addresses is how charon tells peers apart; %any pairs with every local address."""
    for one, two in _pairs_to_one_address(config):
        locals_ = {one.tunnel.local_address, two.tunnel.local_address}
        if len(locals_) > 1 and None not in locals_:
            continue
        if one.tunnel.local_id and two.tunnel.local_id and one.tunnel.local_id != two.tunnel.local_id:
            # Two lines: each is known to the cloud by an address of its own.
            yield Violation(
                two.key("local_address"),
                said(
                    "must be another than that of {}, and neither may be %any: tunnels to one "
                    "remote_address, {}, are told apart by it",
                    one.tunnel.key,
                    two.tunnel.remote_address,
                ),
            )
        else:
            text = "{} must differ from that of {}, or each needs its own local_address"
            if one.connection is not two.connection:  # as the cloud has them for IKE version 1
                text += "; for more networks to one peer write one connection with all of them in its lists"
            yield Violation(two.key("remote_address"), said(text, two.tunnel.remote_address, one.tunnel.key))
    for place in tunnels(config):
        if place.tunnel.remote_address == place.tunnel.local_address:
            text = said("must not be the local_address, {}", place.tunnel.remote_address)
            yield Violation(place.key("remote_address"), text)


def _pairs_to_one_address(config: Config) -> Iterator[tuple[Place, Place]]:
    """Return each pair of tunnels to the same remote address."""
    peers: dict[IPv4Address, list[Place]] = {}
    for place in tunnels(config):
        peers.setdefault(place.tunnel.remote_address, []).append(place)
    for places in peers.values():
        yield from combinations(places, 2)


def inside_addresses_are_apart(config: Config) -> Iterator[Violation]:
    """Each /30 belongs to one tunnel, and its connected route must not meet a route of ours."""
    inside = [
        (place, place.tunnel.inside_address.network)
        for place in tunnels(config)
        if place.tunnel.inside_address
    ]
    for place, network, other in repeated(inside):
        text = said("{} must not be the /30 of {} too", network, other.tunnel.key)
        yield Violation(place.key("inside_address"), text)
    # A wider remote network is fine, and needed for selectors: the connected /30 is more specific.
    narrow = [network for _, network in _remote_networks(config) if network.prefixlen >= SLASH_30]
    for place, network in inside:
        for local in config.local_networks():
            if network.overlaps(local):
                text = said("{} must not overlap the local network {}", network, local)
                yield Violation(place.key("inside_address"), text)
        for remote in narrow:
            if remote.subnet_of(network):
                text = said("{} must not be or hold a remote network, as it does {}", network, remote)
                yield Violation(place.key("inside_address"), text)


def probes_have_targets(config: Config) -> Iterator[Violation]:
    """Every tunnel can be probed."""
    for path, connection in connections(config):
        lacking = [t.name for t in connection.tunnels if not t.probe.targets]
        if lacking:
            yield Violation(
                (*path, "probe", "targets"),
                said(
                    "is required, for lack of targets and inside_address in {}: an address behind the "
                    "tunnels that answers, such as 100.100.2.136",
                    listed(lacking, "and"),
                ),
            )


def probes_fit_the_selectors(config: Config) -> Iterator[Violation]:
    """With the networks as traffic selectors, nothing else passes: neither a probe nor its source."""
    narrow = [
        place for place in tunnels(config) if place.connection.traffic_selectors is TrafficSelectors.NETWORKS
    ]
    for place in narrow:
        yield from _source_outside(config, place)
        for target in place.tunnel.probe.targets:
            if not _within(target, place.connection.remote_networks):
                text = said(
                    f"its probes' target {{}} must be in a remote network, as {_ONLY_NETWORKS}", target
                )
                yield Violation(place.path, text)


def _source_outside(config: Config, place: Place) -> Iterator[Violation]:
    connection, source = place.connection, config.source_of(place.connection)
    if source is None or _within(source, config.local_networks_of(connection)):
        return
    path: KeyPath = ("gateway", "source_address")
    text = said(f"{{}} must be in a local network, as {_ONLY_NETWORKS}", source)
    if connection.source_address:
        path = (*place.path[:2], "source_address")
    elif connection.local_networks:
        path = (*place.path[:2], "source_address")
        rule = f"is required: the gateway's, {{}}, is in none of its local_networks, and {_ONLY_NETWORKS}"
        text = said(rule, source)
    yield Violation(path, text)


def sharers_have_one_route(config: Config) -> Iterator[Violation]:
    """One route has one source and one metric."""
    first: dict[IPv4Network, Connection] = {}
    for path, connection in connections(config):
        for network in connection.remote_networks:
            other = first.setdefault(network, connection)
            differing = [
                (key, mine, its)
                for key, mine, its in (
                    ("source_address", config.source_of(connection), config.source_of(other)),
                    ("route_metric", connection.route_metric, other.route_metric),
                )
                if mine != its
            ]
            for key, mine, its in differing:
                rule = "must be that of {}, {}, not {}: they share {}, and one route leads there"
                text = said(rule, other.name, _or_none(its), _or_none(mine), network)
                yield Violation((*path, key), text)
            if differing:
                break


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)


_ONLY_NETWORKS = "traffic_selectors networks let nothing else through"


def _within(address: IPv4Address, networks: tuple[IPv4Network, ...]) -> bool:
    return any(address in network for network in networks)


def shared_prefixes_are_ecmp(config: Config) -> Iterator[Violation]:
    """A prefix has one route: only ECMP lets several connections share it."""
    sharing: dict[IPv4Network, dict[str, tuple[KeyPath, Connection]]] = {}
    for path, connection in connections(config):
        for index, network in enumerate(connection.remote_networks):
            where = (*path, "remote_networks", index)
            sharing.setdefault(network, {}).setdefault(connection.name, (where, connection))
    for network, users in sharing.items():
        last, _ = [*users.values()][-1]
        equal = Counter(connection.priority for _, connection in users.values())
        if any(c.forwarding is not Forwarding.ECMP and equal[c.priority] > 1 for _, c in users.values()):
            rule = "{} is in {}: connections share a network only if all are ecmp, or differ in priority"
            yield Violation(last, said(rule, network, listed(users, "and")))
        if len(users) > MAX_ECMP_CONNECTIONS:
            text = said(
                f"{{}} must not be in more than {MAX_ECMP_CONNECTIONS} connections, not {{}}",
                network,
                len(users),
            )
            yield Violation(last, text)


def _remote_networks(config: Config) -> Iterator[tuple[KeyPath, IPv4Network]]:
    for path, connection in connections(config):
        for index, network in enumerate(connection.remote_networks):
            yield (*path, "remote_networks", index), network


ADDRESS_RULES = (
    prefixes_stand_once,
    remote_and_local_are_apart,
    underlay_stays_outside,
    outer_addresses_are_apart,
    inside_addresses_are_apart,
    probes_have_targets,
    probes_fit_the_selectors,
    shared_prefixes_are_ecmp,
    sharers_have_one_route,
)
