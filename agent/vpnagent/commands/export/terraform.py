"""The routes of the cloud's half, for a VPN gateway and for a transit router. Pure.

To this data centre: destination routes of the VPN gateway, or of the VPN attachment, from which the transit
router learns them (help.aliyun.com, config-ipsec-route). To services in 100.64.0.0/10: routes of the
transit router; on a VPN gateway a custom advertised route (the manual of VPN Gateway), which is nothing
that the provider has: a destination route to 100.64.0.0/10 would have this data centre as its next hop, and
breaks the connection (CreateVpnRouteEntry, "Limits").
"""

from collections.abc import Iterator
from ipaddress import IPv4Network

from vpnagent.commands.export import cloud_connection
from vpnagent.commands.export.cloud_connection import DUAL, resource_id, vpn_gateway_id
from vpnagent.commands.export.hcl import (
    Attribute,
    Block,
    Expression,
    HclValue,
    attributes,
    document,
    entry,
    identifier,
)
from vpnagent.config.values import CLOUD_SERVICES, Attachment, Config, Connection, TrafficSelectors

PREFERRED, STANDBY = 100, 0  #: the only weights that there are

BY_HAND = (
    "{name}: in the console, at {gateway}, Destination CIDR Block, Add Custom Advertised Route: {prefix}. "
    "The provider has no resource for it. Not alicloud_vpn_route_entry: its next hop is this data centre."
)


def to_here(config: Config, connection: Connection) -> Iterator[Block]:
    """Yield the VPN gateway's routes to this data centre; the cloud makes those of protected data flows."""
    if connection.traffic_selectors is TrafficSelectors.NETWORKS:
        return
    for network in config.local_networks_of(connection):
        yield Block(
            "resource",
            ("alicloud_vpn_route_entry", _label(connection, network)),
            attributes(
                vpn_gateway_id=vpn_gateway_id(connection),
                route_dest=str(network),
                next_hop=resource_id(connection),
                weight=PREFERRED if _is_first(config, connection) else STANDBY,
                publish_vpc=True,
            ),
        )


def _is_first(config: Config, connection: Connection) -> bool:
    """Return whether it is the active one of its VPN gateway: routes of one prefix share no traffic."""
    sharing = [c for c in config.connections if c.gateway_id == connection.gateway_id]
    return connection.gateway_id is None or min(sharing, key=lambda c: c.priority).name == connection.name


def by_transit_router(config: Config, connection: Connection) -> Iterator[Block]:
    """Yield the attachment of a connection to the transit router, and its routes to this data centre."""
    label = identifier(connection.name)
    zone = attributes(zone_id=Expression("var.transit_router_zone_id"))
    yield Block(
        "resource",
        ("alicloud_cen_transit_router_vpn_attachment", label),
        (
            *attributes(
                transit_router_vpn_attachment_name=connection.name,
                transit_router_id=Expression("var.transit_router_id"),
                vpn_id=resource_id(connection),
            ),
            *([] if len(connection.tunnels) == DUAL else [Block("zone", (), zone)]),
        ),
    )
    attached = f"alicloud_cen_transit_router_vpn_attachment.{label}"
    # Association: the table routes what comes from here. Propagation: it learns the routes to here.
    for kind in ("association", "propagation"):
        yield Block(
            "resource",
            (f"alicloud_cen_transit_router_route_table_{kind}", label),
            attributes(
                transit_router_route_table_id=Expression("var.transit_router_route_table_id"),
                transit_router_attachment_id=Expression(f"{attached}.id"),
            ),
        )
    for network in config.local_networks_of(connection):
        via = Expression(f"{attached}.vpn_id")  # not before the attachment is attached
        body = attributes(vpn_connection_id=via, route_dest=str(network), next_hop=via, weight=PREFERRED)
        yield Block("resource", ("alicloud_vpn_gateway_vco_route", _label(connection, network)), body)


def to_cloud_services(config: Config) -> Iterator[Block]:
    """Yield the transit router's routes to 100.64.0.0/10, or to what of it is configured."""
    for network in _service_networks(config):
        body = attributes(
            transit_router_route_table_id=Expression("var.transit_router_route_table_id"),
            transit_router_route_entry_destination_cidr_block=str(network),
            transit_router_route_entry_next_hop_type="Attachment",
            transit_router_route_entry_next_hop_id=Expression("var.service_vpc_attachment_id"),
        )
        yield Block(
            "resource", ("alicloud_cen_transit_router_route_entry", f"services-{_dashed(network)}"), body
        )


def by_hand(config: Config) -> tuple[str, ...]:
    """Return what no resource can do, one step each."""
    return tuple(
        BY_HAND.format(
            name=connection.name, gateway=connection.gateway_id or "its VPN gateway", prefix=network
        )
        for connection in config.connections
        if connection.attachment is Attachment.VPN_GATEWAY
        for network in connection.remote_networks
        if network.overlaps(CLOUD_SERVICES)
    )


def variables(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the name and the description of each variable that the transit router's resources need."""
    attached = [c for c in config.connections if c.attachment is Attachment.TRANSIT_ROUTER]
    if attached:
        yield "transit_router_id", "Id of the transit router: tr-…"
        yield "transit_router_route_table_id", "Id of its route table: vtb-…"
    if any(len(c.tunnels) != DUAL for c in attached):
        yield "transit_router_zone_id", "Zone of the attachments of connections with one tunnel."
    if _service_networks(config):
        text = "Id of the attachment of a VPC in the services' region: tr-attach-…"
        yield "service_vpc_attachment_id", text


def _service_networks(config: Config) -> list[IPv4Network]:
    """Return what transit routers are to route of 100.64.0.0/10, each network once."""
    found = {
        network: None
        for connection in config.connections
        if connection.attachment is Attachment.TRANSIT_ROUTER
        for network in connection.remote_networks
        if network.overlaps(CLOUD_SERVICES)
    }
    return list(found)


def _label(connection: Connection, network: IPv4Network) -> str:
    return f"{identifier(connection.name)}-{_dashed(network)}"


def _dashed(network: IPv4Network) -> str:
    return str(network).translate(str.maketrans("./", "--"))


# The cloud's half of a configuration as a .tf file for terraform-provider-alicloud. Pure.
# Argument names: the provider's documentation and schemas at 81c43b6 (2026-08-21). What only the cloud
# knows is a variable, and so is every pre-shared key: a sensitive one.

CLOUD_ASN = 45104  #: the cloud's, where none was chosen (CreateVpnConnection)

HEADER = """\
The cloud's half of vpnagent's configuration of {gateway}, by `vpnagent export terraform`.
Pre-shared keys are not in here: give them as TF_VAR_psks='{{"CONNECTION/TUNNEL": "…"}}'.
They will be in Terraform's state."""


def terraform(config: Config) -> str:
    """Return the text of the file. The configuration must have nothing of `cloud_terms.unspeakable`."""
    return document(_blocks(config))


def _blocks(config: Config) -> Iterator[Block]:
    yield _requirements(HEADER.format(gateway=config.gateway.name))
    yield from _variables(config)
    yield from _customer_gateways(config)
    for connection in (each for c in config.connections for each in cloud_connection.by_pair(config, c)):
        if connection.attachment is Attachment.VPN_GATEWAY:
            yield cloud_connection.vpn_connection(config, connection)
            yield from to_here(config, connection)
        else:
            yield cloud_connection.vpn_attachment(config, connection)
            yield from by_transit_router(config, connection)
        if len(connection.tunnels) == cloud_connection.DUAL:
            yield cloud_connection.address_check(connection)
    yield from to_cloud_services(config)
    if steps := by_hand(config):
        yield Block("output", ("by_hand",), attributes(description="What is left to do.", value=steps))


def _requirements(comment: str) -> Block:
    # 1.276.0: the newest of the arguments used; 1.5: check blocks.
    provider: dict[str, HclValue] = {"source": "aliyun/alicloud", "version": ">= 1.276.0"}
    providers = Block("required_providers", (), (Attribute("alicloud", provider),))
    return Block("terraform", (), (Attribute("required_version", ">= 1.5"), providers), comment)


def _variables(config: Config) -> Iterator[Block]:
    tunnels = config.tunnels()
    keys = ", ".join(str(t.key) for t in tunnels)
    yield _variable("psks", f"Pre-shared keys by tunnel: {keys}.", "map(string)", sensitive=True)
    for connection in config.connections:
        if connection.attachment is Attachment.VPN_GATEWAY and not connection.gateway_id:
            yield _variable(
                f"vpn_gateway_id_{connection.name}", f"Id of the VPN gateway of {connection.name}."
            )
    if unknown := sorted({t.local_id for t in tunnels if not cloud_connection.known_address(t)}):
        text = f"Addresses of this gateway, as the cloud sees them, by local_id: {', '.join(unknown)}."
        yield _variable("customer_gateway_addresses", text, "map(string)")
    if any(t.inside_address for t in tunnels):
        yield _variable("customer_gateway_asn", "ASN of this data centre.", "number")
        yield _variable("cloud_asn", "ASN of the cloud.", "number", default=CLOUD_ASN)
    for name, text in variables(config):
        yield _variable(name, text)


def _variable(name: str, text: str, type_: str = "string", **more: HclValue) -> Block:
    return Block("variable", (name,), attributes(description=text, type=Expression(type_), **more))


def _customer_gateways(config: Config) -> Iterator[Block]:
    """Yield a customer gateway for each identity of ours: two providers mean two."""
    gateways = {cloud_connection.customer_gateway_label(t): t for t in config.tunnels()}
    for label, tunnel in gateways.items():
        address = cloud_connection.known_address(tunnel)
        unknown = entry("customer_gateway_addresses", tunnel.local_id)
        body = attributes(
            customer_gateway_name=config.gateway.name, ip_address=str(address) if address else unknown
        )
        if any(t.inside_address for t in config.tunnels()):
            body += attributes(asn=Expression("var.customer_gateway_asn"))
        yield Block("resource", ("alicloud_vpn_customer_gateway", label), body)
