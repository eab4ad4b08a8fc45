"""What must hold between values: one rule a function, all of them reported together. Pure.

A rule takes the configuration and yields what violates it. Each key by itself is already of its kind
(``field_types``). Rules on addresses and networks are in ``address_rules``.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Final

from vpnagent.config.places import Place, connections, repeated, tunnels
from vpnagent.config.values import Config, Connection, Forwarding, Role, TrafficSelectors
from vpnagent.config.wording import Path, Violation, listed, said, shown

# What must hold between addresses and networks. Pure; see ``rules``.
# Three spaces must not mix: the underlay (``remote_address``, ``local_address``), which must never be
# routed into a tunnel; the inside of the tunnels (``inside_address``); and what the tunnels carry.

SLASH_30 = 30  #: prefix length of the network inside a tunnel
MAX_ECMP_CONNECTIONS = 16  #: of one transit router, for one destination (Alibaba Cloud, CEN quotas)


def prefixes_stand_once(config: Config) -> Iterator[Violation]:
    """A network is written once in its list."""
    lists: list[tuple[Path, tuple[IPv4Network, ...]]] = [
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
    remote: dict[IPv4Network, list[Path]] = {}
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
            yield Violation(
                two.key("remote_address"),
                said(
                    "{} must differ from that of {}, or each needs its own local_address",
                    two.tunnel.remote_address,
                    one.tunnel.key,
                ),
            )
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
    path: Path = ("gateway", "source_address")
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
    sharing: dict[IPv4Network, dict[str, tuple[Path, Connection]]] = {}
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
    sharers_have_one_route,
)


IKEV1: Final = 1
MAX_LANES: Final = 100  #: as many priorities as our ip rules have

Rule = Callable[[Config], Iterator[Violation]]


def violations(config: Config) -> list[Violation]:
    """Return everything that is wrong between the values; nothing for a configuration that can be used."""
    # Tunnels that share what is wrong say so of one place.
    return list(dict.fromkeys(violation for rule in RULES for violation in rule(config)))


def names_are_unique(config: Config) -> Iterator[Violation]:
    """Connections by name; tunnels by name within their connection."""
    names = [((*path, "name"), connection.name) for path, connection in connections(config)]
    for path, name, _ in repeated(names):
        yield Violation(path, said("must be unique: another connection is named {}", name))
    for path, connection in connections(config):
        for index, name, _ in repeated((index, t.name) for index, t in enumerate(connection.tunnels)):
            text = said("must be unique in its connection: another tunnel is named {}", name)
            yield Violation((*path, "tunnels", index, "name"), text)


def interfaces_are_unique(config: Config) -> Iterator[Violation]:
    """Each tunnel has an XFRM interface and an id of its own, and none is an uplink."""
    # Tunnels of one name derive the same ones: that is said of their names.
    places = list({place.tunnel.key: place for place in tunnels(config)}.values())
    for place, name, other in repeated((place, place.tunnel.interface) for place in places):
        text = said("must be unique: {} is the interface of {} too", name, other.tunnel.key)
        yield Violation(place.key("interface"), text)
    for place, if_id, other in repeated((place, place.tunnel.if_id) for place in places):
        yield Violation(
            place.key("if_id"), said("must be unique: {} is the if_id of {} too", if_id, other.tunnel.key)
        )
    uplinks = {place.tunnel.uplink for place in places}
    for place in places:
        if place.tunnel.interface in uplinks:
            text = said("must not be an uplink, as {} is", place.tunnel.interface)
            yield Violation(place.key("interface"), text)


def sides_are_no_tunnels(config: Config) -> Iterator[Violation]:
    """What leaves by a tunnel is no leak: whoever names one as the LAN, or as an exit, means another."""
    tunnel_of = {tunnel.interface: tunnel.key for tunnel in config.tunnels()}
    named: list[tuple[Path, tuple[str, ...]]] = [
        (("gateway", "local_interfaces"), config.gateway.local_interfaces),
        *(((*path, "exits"), connection.exits) for path, connection in connections(config)),
    ]
    for path, names in named:
        for index, name in enumerate(names):
            if name in tunnel_of:
                text = said("must not be a tunnel, as {} is the interface of {}", name, tunnel_of[name])
                yield Violation((*path, index), text)


def uplinks_fit_together(config: Config) -> Iterator[Violation]:
    """A gateway is one of an uplink; for several uplinks to one address there are so many ip rules."""
    ways: dict[IPv4Address, set[tuple[str | None, IPv4Address | None]]] = {}
    for place in tunnels(config):
        tunnel = place.tunnel
        if tunnel.uplink_gateway and not tunnel.uplink:
            yield Violation(place.key("uplink_gateway"), said("has no meaning without uplink"))
        ways.setdefault(tunnel.remote_address, set()).add((tunnel.uplink, tunnel.uplink_gateway))
    apart = [p for p in tunnels(config) if len(ways[p.tunnel.remote_address]) > 1 and p.tunnel.uplink]
    for place in apart[MAX_LANES:]:
        text = said(f"must not be one of more than {MAX_LANES} to shared addresses")
        yield Violation(place.key("uplink"), text)


def one_tunnel_is_active(config: Config) -> Iterator[Violation]:
    """Active-standby has exactly one active tunnel, as the cloud has."""
    for path, connection in connections(config):
        active = [t.name for t in connection.tunnels if t.role is Role.ACTIVE]
        if connection.forwarding is Forwarding.ACTIVE_STANDBY and len(active) != 1:
            but = listed(active or ["none"], "and")
            text = said("active-standby needs exactly one tunnel with role active, not {}", but)
            yield Violation((*path, "tunnels"), text)


def weights_have_a_meaning(config: Config) -> Iterator[Violation]:
    """Only ECMP shares by weight."""
    for place in tunnels(config):
        if place.connection.forwarding is Forwarding.ACTIVE_STANDBY and place.tunnel.weight != 1:
            yield Violation(
                place.key("weight"),
                said("has no meaning with forwarding active-standby: must be 1, not {}", place.tunnel.weight),
            )


def ike_fits_together(config: Config) -> Iterator[Violation]:
    """What the versions of IKE lack."""
    for place in tunnels(config):
        ike, own = place.ike, place.path if place.tunnel.ike else place.path[:2]
        if ike.version != IKEV1 and ike.mode != "main":
            text = said("IKE version 2 has no modes: must be main, not {}", ike.mode)
            yield Violation((*own, "ike", "mode"), text)
        if ike.version == IKEV1 and "gcm" in ike.encryption:
            yield Violation(
                (*own, "ike", "encryption"),
                said(
                    "{} needs IKE version 2: version 1 has no AES-GCM for itself (RFC 5282)", ike.encryption
                ),
            )
    for path, connection in connections(config):
        networks = (config.local_networks_of(connection), connection.remote_networks)
        if (
            any(connection.ike_of(tunnel).version == IKEV1 for tunnel in connection.tunnels)
            and connection.traffic_selectors is TrafficSelectors.NETWORKS
            and any(len(several) > 1 for several in networks)
        ):
            yield Violation(
                (*path, "traffic_selectors"),
                said(
                    "IKE version 1 negotiates one local and one remote network: networks needs IKE version 2 "
                    "for more, or use any (the cloud's destination routing mode)"
                ),
            )


def identities_are_known(config: Config) -> Iterator[Violation]:
    """Both ends have one; in IKEv1's main mode a key is found by the address only (RFC 2409 §5.4)."""
    for place in tunnels(config):
        if not place.tunnel.local_id:
            yield Violation(place.key("local_id"), said("is required, as local_address is %any"))
        ike = place.ike
        if ike.version != IKEV1 or ike.mode != "main" or place.tunnel.certificates:
            continue
        for key in ("local_id", "remote_id"):
            identity = getattr(place.tunnel, key)
            if identity and not _is_address(identity):
                yield Violation(
                    place.key(key),
                    said(
                        "must be an IPv4 address in IKE version 1, main mode, with a pre-shared key, not {}",
                        shown(identity),
                    ),
                )


def ends_are_not_swapped(config: Config) -> Iterator[Violation]:
    """Neither end has the other's address for an identity: the document was read from the wrong side."""
    cloud = {str(t.remote_address): t.key for t in config.tunnels()}
    here = {str(t.local_address): t.key for t in reversed(config.tunnels()) if t.local_address}
    for place in tunnels(config):
        local, remote = place.tunnel.local_id, place.tunnel.remote_id
        if local in cloud and local != str(place.tunnel.local_address):
            text = "must be this gateway's: {} is the cloud's, the remote_address of {}"
            yield Violation(place.key("local_id"), said(text, local, cloud[local]))
        if remote in here and remote != str(place.tunnel.remote_address):
            text = "must be the cloud's: {} is this gateway's, the local_address of {}"
            yield Violation(place.key("remote_id"), said(text, remote, here[remote]))


def keys_are_told_apart(config: Config) -> Iterator[Violation]:
    """Charon finds a pre-shared key by the identities of both ends: one pair, one key."""
    keyed = [place for place in tunnels(config) if place.tunnel.psk and place.tunnel.remote_id]
    pairs = ((p, (p.tunnel.remote_id.casefold(), p.tunnel.local_id.casefold())) for p in keyed)
    for place, _, other in repeated(pairs):
        if place.tunnel.psk != other.tunnel.psk:
            yield Violation(
                place.key("remote_id"),
                said(
                    "{} is the remote_id of {} too, with the same local_id and another key: charon finds a "
                    "pre-shared key by the two ids",
                    shown(place.tunnel.remote_id),
                    other.tunnel.key,
                ),
            )


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def recovery_outlasts_detection(config: Config) -> Iterator[Violation]:
    """A path held down for less than it takes to notice its loss would come back dead."""
    for path, connection in connections(config):
        probe = connection.tunnels[0].probe  # the tunnels differ in targets only
        if round(probe.detection_time - probe.hold_down, 9) > 0:  # 3 * 0.1 is more than 0.3 in floats
            yield Violation(
                (*path, "probe", "hold_down"),
                said(
                    "{:g}s must not be shorter than the detection time, interval x detect_multiplier = {:g}s",
                    probe.hold_down,
                    probe.detection_time,
                ),
            )


RULES: Final[tuple[Rule, ...]] = (
    names_are_unique,
    interfaces_are_unique,
    sides_are_no_tunnels,
    uplinks_fit_together,
    one_tunnel_is_active,
    weights_have_a_meaning,
    ike_fits_together,
    identities_are_known,
    ends_are_not_swapped,
    keys_are_told_apart,
    recovery_outlasts_detection,
    *ADDRESS_RULES,
)
