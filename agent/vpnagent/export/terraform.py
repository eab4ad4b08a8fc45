"""The cloud's half of a configuration as a .tf file for terraform-provider-alicloud. Pure.

Argument names: the provider's documentation and schemas at 81c43b6 (2026-08-21). What only the cloud knows
is a variable, and so is every pre-shared key: a sensitive one.
"""

from collections.abc import Iterator

from vpnagent.config.values import Attachment, Config
from vpnagent.export import cloud_connection, cloud_routes
from vpnagent.export.hcl import Attribute, Block, Expression, Value, attributes, document, entry

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
    for connection in config.connections:
        if connection.attachment is Attachment.VPN_GATEWAY:
            yield cloud_connection.vpn_connection(config, connection)
            yield from cloud_routes.to_here(config, connection)
        else:
            yield cloud_connection.vpn_attachment(config, connection)
            yield from cloud_routes.by_transit_router(config, connection)
        if len(connection.tunnels) == cloud_connection.DUAL:
            yield cloud_connection.address_check(connection)
    yield from cloud_routes.to_cloud_services(config)
    if steps := cloud_routes.by_hand(config):
        yield Block("output", ("by_hand",), attributes(description="What is left to do.", value=steps))


def _requirements(comment: str) -> Block:
    # 1.276.0: the newest of the arguments used; 1.5: check blocks.
    provider: dict[str, Value] = {"source": "aliyun/alicloud", "version": ">= 1.276.0"}
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
    for name, text in cloud_routes.variables(config):
        yield _variable(name, text)


def _variable(name: str, text: str, type_: str = "string", **more: Value) -> Block:
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
