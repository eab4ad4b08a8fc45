"""Our algorithms in the words of the cloud's API, and what it has no word for. Pure.

CreateVpnConnection and CreateVpnAttachment (2016-04-28), as the validation of terraform-provider-alicloud
1.276 has them.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import product

from vpnagent.commands.export.hcl import Attribute, Block, Expression, HclValue, attributes, entry, identifier
from vpnagent.config.build import inside_peer
from vpnagent.config.kinds import PRIVATE
from vpnagent.config.notation import sent_as
from vpnagent.config.rules import IKEV1
from vpnagent.config.values import (
    Attachment,
    Config,
    Connection,
    Esp,
    Ike,
    Role,
    TrafficSelectors,
    Tunnel,
    UdpEncapsulation,
)
from vpnagent.config.wording import Place, Violation, tunnels, without_values

ENCRYPTION = {"aes128": "aes", "aes192": "aes192", "aes256": "aes256", "des": "des", "3des": "3des"}
INTEGRITY = frozenset({"md5", "sha1", "sha256", "sha384", "sha512"})
#: group24 is documented for both phases by the provider (1.161, 1.181), and no longer by the API.
GROUPS = frozenset({1, 2, 5, 14, 24})
NO_PFS = "disabled"


def group(number: int | None) -> str:
    """Return a Diffie-Hellman group; None: no PFS."""
    return NO_PFS if number is None else f"group{number}"


def unspeakable(config: Config) -> list[Violation]:
    """Return what the provider cannot say, each with the key that says it here."""
    return list(dict.fromkeys(found for place in tunnels(config) for found in _in(place)))


def _in(place: Place) -> Iterator[Violation]:
    for phase, proposal in (("ike", place.ike), ("esp", place.esp)):
        for key, text in _of_phase(proposal):
            yield Violation(place.setting(phase, key), without_values(text))
    if place.tunnel.certificates:
        text = "the provider has no argument for certificates: make this connection in the console"
        yield Violation(place.key("certificate"), without_values(text))


def _of_phase(proposal: Ike | Esp) -> Iterator[tuple[str, str]]:
    if proposal.encryption not in ENCRYPTION:
        known = ", ".join(ENCRYPTION)
        yield "encryption", f"the provider has no word for {proposal.encryption}, only for {known}"
    elif proposal.integrity not in INTEGRITY:
        known = ", ".join(sorted(INTEGRITY))
        yield "integrity", f"the provider has no word for {proposal.integrity}, only for {known}"
    key = "dh_group" if isinstance(proposal, Ike) else "pfs_group"
    number = proposal.dh_group if isinstance(proposal, Ike) else proposal.pfs_group
    if number is not None and number not in GROUPS:
        known = ", ".join(str(known) for known in sorted(GROUPS))
        yield key, f"the provider has no word for group {number}, only for {known}"


# A connection as the cloud has it: a VPN gateway's IPsec connection, or a VPN attachment. Pure.
# The cloud's perspective is the reverse of ours: its ``local_subnet`` is our remote networks, its
# ``local_id`` our ``remote_id``. alicloud_vpn_connection and alicloud_vpn_gateway_vpn_attachment differ
# in how they write networks, identities and the order of tunnels. CreateVpnConnection,
# CreateVpnAttachment (2016-04-28).

VPN_CONNECTION = "alicloud_vpn_connection"
VPN_ATTACHMENT = "alicloud_vpn_gateway_vpn_attachment"

DUAL = 2  #: tunnels of a connection in dual-tunnel mode
ANY = IPv4Network("0.0.0.0/0")
STANDARD_BANDWIDTH = 1e9  #: bits per second of a tunnel whose tunnel_bandwidth is Standard


def known_address(tunnel: Tunnel) -> IPv4Address | None:
    """Return the address by which the cloud knows our end of the tunnel, if the configuration tells it.

    A private one is, where the cloud's is private too: elsewhere it is one behind NAT.
    """
    try:
        address = IPv4Address(tunnel.local_id)
    except ValueError:
        return None
    return address if not _is_private(address) or _is_private(tunnel.remote_address) else None


def _is_private(address: IPv4Address) -> bool:
    return any(address in network for network in PRIVATE)


def customer_gateway_label(tunnel: Tunnel) -> str:
    """Return the label, by identity alone: if it moved, Terraform would make the gateway anew."""
    if address := known_address(tunnel):
        return "gw-" + str(address).replace(".", "-")
    return f"gw-{zlib.crc32(tunnel.local_id.encode()):08x}"


def resource_id(connection: Connection) -> Expression:
    """Return the reference to the connection's id."""
    kind = VPN_CONNECTION if connection.attachment is Attachment.VPN_GATEWAY else VPN_ATTACHMENT
    return Expression(f"{kind}.{identifier(connection.name)}.id")


def vpn_gateway_id(connection: Connection) -> HclValue:
    """Return the id of the connection's VPN gateway: as configured, or a variable of its own."""
    name = connection.tunnels[0].key.connection  # its own is another, where it is one of several pairs
    return connection.gateway_id or Expression(f"var.vpn_gateway_id_{name}")


def by_pair(config: Config, connection: Connection) -> list[Connection]:
    """Return the cloud's connections: in IKE version 1 one for each pair of networks, the first as here."""
    versions = {connection.ike_of(tunnel).version for tunnel in connection.tunnels}
    if connection.traffic_selectors is TrafficSelectors.ANY or IKEV1 not in versions:
        return [connection]
    pairs = product(config.local_networks_of(connection), connection.remote_networks)
    return [
        replace(
            connection,
            name=connection.name if number == 1 else f"{connection.name}-{number}",
            local_networks=(here,),
            remote_networks=(cloud,),
        )
        for number, (here, cloud) in enumerate(pairs, start=1)
    ]


def vpn_connection(config: Config, connection: Connection) -> Block:
    """Return the connection of a VPN gateway."""
    cloud, here = _subnets(config, connection)
    automatic = connection.traffic_selectors is TrafficSelectors.NETWORKS
    body = attributes(
        vpn_connection_name=connection.name,
        vpn_gateway_id=vpn_gateway_id(connection),
        local_subnet=tuple(cloud),
        remote_subnet=tuple(here),
        # Protected data flows have policy routes, which the cloud can make; destination routes stand below.
        auto_config_route=automatic,
        effect_immediately=False,
    )
    if len(connection.tunnels) == DUAL:
        master_first = sorted(connection.tunnels, key=lambda t: t.role is not Role.ACTIVE)
        roles = zip(("master", "slave"), master_first, strict=True)
        return _resource(connection, body, _dual(connection, (("role", r, t) for r, t in roles)))
    return _resource(connection, body, _single(connection, id_prefix="ike_"))


def vpn_attachment(config: Config, connection: Connection) -> Block:
    """Return the VPN attachment for a transit router."""
    cloud, here = _subnets(config, connection)
    body = attributes(
        vpn_attachment_name=connection.name,
        network_type=connection.network_type.value,
        local_subnet=",".join(cloud),
        remote_subnet=",".join(here),
        tunnel_bandwidth="Standard" if connection.bandwidth <= STANDARD_BANDWIDTH else "Large",
        effect_immediately=False,
    )
    if len(connection.tunnels) == DUAL:
        numbered = enumerate(connection.tunnels, start=1)
        return _resource(connection, body, _dual(connection, (("tunnel_index", n, t) for n, t in numbered)))
    return _resource(connection, body, _single(connection, id_prefix=""))


def address_check(connection: Connection) -> Block:
    """Return the check that the cloud's tunnels have the addresses that the configuration knows."""
    expected = " ".join(sorted(str(t.remote_address) for t in connection.tunnels))
    options = f"{resource_id(connection).text.removesuffix('.id')}.tunnel_options_specification"
    found = f'join(" ", sort([for tunnel in {options} : tunnel.internet_ip]))'
    text = f"{connection.name}: the tunnels' addresses are not the remote_address of {expected} here."
    condition = Expression(f'{found} == "{expected}"')
    assertion = Block("assert", (), attributes(condition=condition, error_message=text))
    return Block("check", (f"addresses_{connection.name}",), (assertion,))


Items = tuple[Attribute | Block, ...]


def _subnets(config: Config, connection: Connection) -> tuple[list[str], list[str]]:
    """Return the cloud's networks and this data centre's, as phase 2 has them."""
    if connection.traffic_selectors is TrafficSelectors.ANY:
        return [str(ANY)], [str(ANY)]
    here = config.local_networks_of(connection)
    return [str(n) for n in connection.remote_networks], [str(n) for n in here]


def _resource(connection: Connection, body: Items, tunnels: Items) -> Block:
    kind, label, _ = resource_id(connection).text.split(".")
    bgp = any(t.inside_address for t in connection.tunnels)
    switch = attributes(enable_tunnels_bgp=bgp) if len(connection.tunnels) == DUAL else ()
    return Block("resource", (kind, label), (*body, *switch, *tunnels))


def _dual(connection: Connection, tunnels: Iterable[tuple[str, HclValue, Tunnel]]) -> Items:
    return tuple(
        Block(
            "tunnel_options_specification",
            (),
            (
                *_switches(connection, tunnel),
                Attribute(key, value),
                *_phases(connection, tunnel, prefix="tunnel_"),
                *_bgp("tunnel_bgp_config", tunnel),
            ),
        )
        for key, value, tunnel in tunnels
    )


def _single(connection: Connection, *, id_prefix: str) -> Items:
    [tunnel] = connection.tunnels
    enabled = attributes(enable=True)
    return (
        *_switches(connection, tunnel),
        *_phases(connection, tunnel, id_prefix=id_prefix),
        *_bgp("bgp_config", tunnel, enabled),
    )


def _switches(connection: Connection, tunnel: Tunnel) -> tuple[Attribute, ...]:
    gateway = f"alicloud_vpn_customer_gateway.{customer_gateway_label(tunnel)}.id"
    return attributes(
        customer_gateway_id=Expression(gateway),
        enable_dpd=connection.ike_of(tunnel).dpd,
        enable_nat_traversal=connection.udp_encapsulation_of(tunnel) is not UdpEncapsulation.NEVER,
    )


def _phases(
    connection: Connection, tunnel: Tunnel, *, prefix: str = "", id_prefix: str = ""
) -> Iterator[Block]:
    ike, esp = connection.ike_of(tunnel), connection.esp_of(tunnel)
    phase1 = attributes(
        ike_version=f"ikev{ike.version}",
        ike_mode=ike.mode,
        ike_enc_alg=ENCRYPTION[ike.encryption],
        ike_auth_alg=ike.integrity,
        ike_pfs=group(ike.dh_group),
        ike_lifetime=round(ike.lifetime),
        psk=entry("psks", str(tunnel.key)),
    )
    identities = (
        Attribute(f"{id_prefix}local_id", sent_as(tunnel.remote_id)),
        Attribute(f"{id_prefix}remote_id", sent_as(tunnel.local_id)),
    )
    yield Block(f"{prefix}ike_config", (), phase1 + identities)
    phase2 = attributes(
        ipsec_enc_alg=ENCRYPTION[esp.encryption],
        ipsec_auth_alg=esp.integrity,
        ipsec_pfs=group(esp.pfs_group),
        ipsec_lifetime=round(esp.lifetime),
    )
    yield Block(f"{prefix}ipsec_config", (), phase2)


def _bgp(kind: str, tunnel: Tunnel, enabled: tuple[Attribute, ...] = ()) -> Iterator[Block]:
    """Yield the BGP section: nowhere else does the cloud have addresses inside a tunnel."""
    if tunnel.inside_address is None:
        return
    inside = attributes(
        local_asn=Expression("var.cloud_asn"),
        tunnel_cidr=str(tunnel.inside_address.network),
        local_bgp_ip=str(inside_peer(tunnel.inside_address)),
    )
    yield Block(kind, (), enabled + inside)
