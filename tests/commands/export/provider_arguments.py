"""The arguments of terraform-provider-alicloud 1.276 that can be set, by block: its documentation's names."""

_PHASE_1 = "ike_version ike_mode ike_enc_alg ike_auth_alg ike_pfs ike_lifetime psk"
_PHASE_2 = "ipsec_enc_alg ipsec_auth_alg ipsec_pfs ipsec_lifetime"
_BGP = "local_asn local_bgp_ip tunnel_cidr"
_TUNNEL = "customer_gateway_id enable_dpd enable_nat_traversal"
_SINGLE = f"{_TUNNEL} bgp_config effect_immediately health_check_config ike_config ipsec_config"
_CONNECTION = (
    f"{_SINGLE} enable_tunnels_bgp local_subnet remote_subnet network_type tunnel_options_specification"
)
_DUAL = f"{_TUNNEL} role tunnel_bgp_config tunnel_ike_config tunnel_ipsec_config"

_ARGUMENTS = {
    "alicloud_vpn_customer_gateway": "asn customer_gateway_name description ip_address",
    "alicloud_vpn_connection": f"{_CONNECTION} auto_config_route vpn_connection_name vpn_gateway_id",
    "alicloud_vpn_connection.tunnel_options_specification": _DUAL,
    "alicloud_vpn_connection.ike_config": f"{_PHASE_1} ike_local_id ike_remote_id",
    "alicloud_vpn_connection.ipsec_config": _PHASE_2,
    "alicloud_vpn_connection.bgp_config": f"enable {_BGP}",
    "alicloud_vpn_gateway_vpn_attachment": f"{_CONNECTION} tunnel_bandwidth vpn_attachment_name",
    "alicloud_vpn_gateway_vpn_attachment.tunnel_options_specification": f"{_DUAL} tunnel_index",
    "alicloud_vpn_gateway_vpn_attachment.ike_config": f"{_PHASE_1} local_id remote_id",
    "alicloud_vpn_gateway_vpn_attachment.ipsec_config": _PHASE_2,
    "alicloud_vpn_gateway_vpn_attachment.bgp_config": f"enable {_BGP}",
    "tunnel_options_specification.tunnel_ike_config": f"{_PHASE_1} local_id remote_id",
    "tunnel_options_specification.tunnel_ipsec_config": _PHASE_2,
    "tunnel_options_specification.tunnel_bgp_config": _BGP,
    "alicloud_vpn_route_entry": "vpn_gateway_id next_hop publish_vpc route_dest weight",
    "alicloud_vpn_gateway_vco_route": "weight next_hop vpn_connection_id route_dest overlay_mode",
    "alicloud_cen_transit_router_vpn_attachment": "auto_publish_route_enabled cen_id charge_type order_type "
    "transit_router_attachment_description transit_router_id transit_router_vpn_attachment_name vpn_id zone",
    "alicloud_cen_transit_router_vpn_attachment.zone": "zone_id",
    "alicloud_cen_transit_router_route_table_association": "dry_run transit_router_attachment_id "
    "transit_router_route_table_id",
    "alicloud_cen_transit_router_route_table_propagation": "dry_run transit_router_attachment_id "
    "transit_router_route_table_id",
    "alicloud_cen_transit_router_route_entry": "transit_router_route_table_id dry_run "
    "transit_router_route_entry_destination_cidr_block transit_router_route_entry_next_hop_type "
    "transit_router_route_entry_name transit_router_route_entry_description "
    "transit_router_route_entry_next_hop_id",
}

ARGUMENTS = {block: frozenset(names.split()) for block, names in _ARGUMENTS.items()}
