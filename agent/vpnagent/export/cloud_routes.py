"""The routes of the cloud's half, for a VPN gateway and for a transit router. Pure.

To this data centre: destination routes of the VPN gateway, or of the VPN attachment, from which the transit
router learns them (help.aliyun.com, config-ipsec-route). To services in 100.64.0.0/10: routes of the transit
router; on a VPN gateway a custom advertised route (the seed page, 4.2.1), which is nothing that the provider
has: a destination route to 100.64.0.0/10 would have this data centre as its next hop, and breaks the
connection (CreateVpnRouteEntry, "Limits").
"""

from collections.abc import Iterator
from ipaddress import IPv4Network

from vpnagent.cloud import CLOUD_SERVICES
from vpnagent.config.values import Attachment, Config, Connection, TrafficSelectors
from vpnagent.export.cloud_connection import DUAL, resource_id, vpn_gateway_id
from vpnagent.export.hcl import Block, Expression, attributes, identifier

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
