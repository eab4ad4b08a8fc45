"""What must hold between addresses and networks. Pure; see ``rules``.

Three spaces must not mix: the underlay (``remote_address``, ``local_address``), which must never be routed
into a tunnel; the inside of the tunnels (``inside_address``); and what the tunnels carry.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from vpnagent.config.places import connections, repeated, tunnels
from vpnagent.config.values import Config, Connection, Forwarding, TrafficSelectors
from vpnagent.config.wording import Path, Violation, listed

MAX_ECMP_CONNECTIONS = 16  #: of one transit router, for one destination (Alibaba Cloud, CEN quotas)


def prefixes_stand_once(config: Config) -> Iterator[Violation]:
    """A network is written once in its list."""
    lists: list[tuple[Path, tuple[IPv4Network, ...]]] = [
        (("gateway", "local_networks"), config.gateway.local_networks),
        *(
            ((*path, "remote_networks"), connection.remote_networks)
            for path, connection in connections(config)
        ),
    ]
    for path, networks in lists:
        for index, network, first in repeated(enumerate(networks)):
            yield Violation((*path, index), f"must be unique: {network} is entry {first} too")


def remote_and_local_are_apart(config: Config) -> Iterator[Violation]:
    """What is behind the cloud is not behind us."""
    for path, network in _remote_networks(config):
        for local in config.gateway.local_networks:
            if network.overlaps(local):
                yield Violation(path, f"{network} must not overlap the local network {local}")


def underlay_stays_outside(config: Config) -> Iterator[Violation]:
    """IKE and ESP packets routed into a tunnel would never leave; nor may our own addresses be remote."""
    own = [("the source_address", config.gateway.source_address)]
    for place in tunnels(config):
        own.append((f"the remote_address of {place.tunnel.key}", place.tunnel.remote_address))
        own.append((f"the local_address of {place.tunnel.key}", place.tunnel.local_address))
    for path, network in _remote_networks(config):
        for name, address in own:
            if address and address in network:
                yield Violation(path, f"{network} must not cover {address}, {name}")


def outer_addresses_are_apart(config: Config) -> Iterator[Violation]:
    """A pair of outer addresses is how charon tells peers apart; %any pairs with every local address."""
    for one, two in combinations(tunnels(config), 2):
        locals_ = {one.tunnel.local_address, two.tunnel.local_address}
        if one.tunnel.remote_address == two.tunnel.remote_address and (len(locals_) == 1 or None in locals_):
            yield Violation(
                two.key("remote_address"),
                f"{two.tunnel.remote_address} must differ from that of {one.tunnel.key}, "
                "or each needs its own local_address",
            )
    for place in tunnels(config):
        if place.tunnel.remote_address == place.tunnel.local_address:
            yield Violation(
                place.key("remote_address"), f"must not be the local_address, {place.tunnel.remote_address}"
            )


def inside_addresses_are_apart(config: Config) -> Iterator[Violation]:
    """Each /30 belongs to one tunnel, and its connected route must not meet a route of ours."""
    inside = [
        (place, place.tunnel.inside_address.network)
        for place in tunnels(config)
        if place.tunnel.inside_address
    ]
    for (one, network), (two, other) in combinations(inside, 2):
        if network == other:
            yield Violation(two.key("inside_address"), f"{other} must not be the /30 of {one.tunnel.key} too")
    for place, network in inside:
        for local in config.gateway.local_networks:
            if network.overlaps(local):
                yield Violation(
                    place.key("inside_address"), f"{network} must not overlap the local network {local}"
                )
        # A wider remote network is fine, and needed for selectors: the connected /30 is more specific.
        for _, remote in _remote_networks(config):
            if remote.subnet_of(network):
                yield Violation(
                    place.key("inside_address"),
                    f"{network} must not be or hold a remote network, as it does {remote}",
                )


def probes_have_targets(config: Config) -> Iterator[Violation]:
    """Every tunnel can be probed, and no probe stays at home."""
    for path, connection in connections(config):
        lacking = [t.name for t in connection.tunnels if not t.probe.targets]
        if lacking:
            yield Violation(
                (*path, "probe", "targets"),
                f"is required, for lack of targets and inside_address in {listed(lacking, 'and')}: "
                "an address behind the tunnels that answers, such as 100.100.2.136",
            )


def probes_fit_the_selectors(config: Config) -> Iterator[Violation]:
    """With the networks as traffic selectors, nothing else passes: neither a probe nor its source."""
    narrow = [
        place for place in tunnels(config) if place.connection.traffic_selectors is TrafficSelectors.NETWORKS
    ]
    source = config.gateway.source_address
    if narrow and source and not _within(source, config.gateway.local_networks):
        yield Violation(
            ("gateway", "source_address"), f"{source} must be in a local network, as {_ONLY_NETWORKS}"
        )
    for place in narrow:
        for target in place.tunnel.probe.targets:
            if not _within(target, place.connection.remote_networks):
                yield Violation(
                    place.path,
                    f"its probes' target {target} must be in a remote network, as {_ONLY_NETWORKS}",
                )


_ONLY_NETWORKS = "traffic_selectors networks let nothing else through"


def _within(address: IPv4Address, networks: tuple[IPv4Network, ...]) -> bool:
    return any(address in network for network in networks)


def shared_prefixes_are_ecmp(config: Config) -> Iterator[Violation]:
    """A prefix has one route: only ECMP lets several connections share it."""
    sharing: dict[IPv4Network, list[tuple[Path, Connection]]] = {}
    for path, connection in connections(config):
        for network in dict.fromkeys(connection.remote_networks):
            index = connection.remote_networks.index(network)
            sharing.setdefault(network, []).append(((*path, "remote_networks", index), connection))
    for network, users in sharing.items():
        names = [connection.name for _, connection in users]
        last = users[-1][0]
        if len(users) > 1 and any(c.forwarding is not Forwarding.ECMP for _, c in users):
            yield Violation(
                last, f"{network} is in {', '.join(names)}: connections share a network only if all are ecmp"
            )
        if len(users) > MAX_ECMP_CONNECTIONS:
            yield Violation(
                last,
                f"{network} must not be in more than {MAX_ECMP_CONNECTIONS} connections, not {len(users)}",
            )


def _remote_networks(config: Config) -> Iterator[tuple[Path, IPv4Network]]:
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
)
