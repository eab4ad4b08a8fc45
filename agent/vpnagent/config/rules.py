"""What must hold between values: one rule a function, all of them reported together. Pure.

A rule takes the configuration and yields what violates it. Each key by itself is already of its kind
(``kinds``). Rules on addresses and networks are in ``address_rules``.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Final

from vpnagent.config.address_rules import ADDRESS_RULES
from vpnagent.config.values import Config, Forwarding, Role, TrafficSelectors
from vpnagent.config.wording import KeyPath, Violation, connections, listed, repeated, said, shown, tunnels

IKEV1: Final = 1
MAX_PAIRS: Final = 100  #: more than a VPN gateway has connections, and each is a CHILD_SA to negotiate
MAX_LANES: Final = 100  #: as many priorities as our ip rules have

ConfigRule = Callable[[Config], Iterator[Violation]]


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
    named: list[tuple[KeyPath, tuple[str, ...]]] = [
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


def pairs_of_networks_are_few(config: Config) -> Iterator[Violation]:
    """IKE version 1 negotiates each local network with each remote one (RFC 2409 §5.5)."""
    for path, connection in connections(config):
        if connection.traffic_selectors is TrafficSelectors.ANY:
            continue
        if all(connection.ike_of(tunnel).version != IKEV1 for tunnel in connection.tunnels):
            continue
        here, there = len(config.local_networks_of(connection)), len(connection.remote_networks)
        if here * there > MAX_PAIRS:
            rule = f"with IKE version 1 must make at most {MAX_PAIRS} pairs with the local networks, not {{}}"
            yield Violation((*path, "remote_networks"), said(rule, here * there))


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


def nodes_are_two(config: Config) -> Iterator[Violation]:
    """The gateways of a pair are told apart by everything that names them."""
    pair = config.gateway.pair
    for key in ("host", "address", "name") if pair else ():
        same = getattr(pair.a, key) if pair else None
        if pair and same == getattr(pair.b, key):
            text = said("must be another than that of a, {}", same)
            yield Violation(("gateway", "pair", "nodes", "b", key), text)


def virtual_addresses_are_of_the_lan(config: Config) -> Iterator[Violation]:
    """What the hosts have for a gateway is theirs to reach, and nobody's own."""
    pair = config.gateway.pair
    for index, address in enumerate(pair.virtual_addresses if pair else ()):
        path: KeyPath = ("gateway", "pair", "virtual_addresses", index)
        if config.gateway.local_networks and not any(address in n for n in config.gateway.local_networks):
            yield Violation(path, said("must be in one of the local_networks, not {}", address))
        if pair and address in (pair.a.address, pair.b.address):
            yield Violation(path, said("must be one that moves, not {}, the address of a node", address))
        if pair and address in pair.virtual_addresses[:index]:
            yield Violation(path, said("must be unique: {} stands there twice", address))


def tunnels_have_a_gateway(config: Config) -> Iterator[Violation]:
    """Of two gateways, one has a tunnel at any time: the one that is named, or that has its address."""
    pair = config.gateway.pair
    for place in tunnels(config):
        tunnel = place.tunnel
        if pair and not tunnel.device and not tunnel.local_address:
            text = said("is required, or local_address: else both gateways of the pair would negotiate it")
            yield Violation(place.key("device"), text)
        # A gateway that has faults of its own has no pair either.
        if not pair and tunnel.device and config.gateway.local_networks:
            yield Violation(place.key("device"), said("has no meaning without gateway.pair"))
        for node in (pair.a, pair.b) if pair and not tunnel.device else ():
            if tunnel.local_address == node.address:
                text = said("must be one that moves, not {}, or device is required", node.address)
                yield Violation(place.key("local_address"), text)


def confirmation_is_no_slower_than_probing(config: Config) -> Iterator[Violation]:
    """A burst whose probes lie further apart than the others confirms nothing."""
    for path, connection in connections(config):
        probe = connection.tunnels[0].probe
        if probe.confirm_interval > probe.interval:
            yield Violation(
                (*path, "probe", "confirm", "interval"),
                said(
                    "{:g}s must not be longer than the interval of the probes, {:g}s",
                    probe.confirm_interval,
                    probe.interval,
                ),
            )


RULES: Final[tuple[ConfigRule, ...]] = (
    names_are_unique,
    interfaces_are_unique,
    sides_are_no_tunnels,
    uplinks_fit_together,
    one_tunnel_is_active,
    weights_have_a_meaning,
    ike_fits_together,
    pairs_of_networks_are_few,
    identities_are_known,
    ends_are_not_swapped,
    keys_are_told_apart,
    recovery_outlasts_detection,
    nodes_are_two,
    virtual_addresses_are_of_the_lan,
    tunnels_have_a_gateway,
    confirmation_is_no_slower_than_probing,
    *ADDRESS_RULES,
)
