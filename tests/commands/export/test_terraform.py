"""The Terraform as python-hcl2 parses it, compared with the configuration."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import hcl2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.commands.export.provider_arguments import ARGUMENTS
from tests.config_examples import BACKUP_PSK, PRIMARY_PSK, make_config, make_connection, make_tunnel
from tests.ipsec.connections import make_esp, make_ike

from vpnagent.commands.export.cloud_connection import unspeakable
from vpnagent.commands.export.hcl import expression
from vpnagent.commands.export.terraform import terraform
from vpnagent.config.values import (
    Attachment,
    CertificateFiles,
    Config,
    Connection,
    Esp,
    Forwarding,
    Ike,
    NetworkType,
    TrafficSelectors,
    Tunnel,
    TunnelKey,
    UdpEncapsulation,
)
from vpnagent.config.wording import key_path
from vpnagent.record import Json

OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)

CLOUD_ENCRYPTION = {"aes": "aes128", "aes192": "aes192", "aes256": "aes256", "des": "des", "3des": "3des"}
CLOUD_GROUPS = {"disabled": None, "group1": 1, "group2": 2, "group5": 5, "group14": 14, "group24": 24}
SERVICES = IPv4Network("100.64.0.0/10")


class Parsed:
    """A .tf file."""

    def __init__(self, text: str) -> None:
        self.tree: Json = hcl2.loads(text, serialization_options=OPTIONS)

    def resources(self, kind: str) -> dict[str, Json]:
        """Return the resources of a kind by label."""
        return {
            label: body
            for resource in self.tree.get("resource", [])
            for label, body in resource.get(kind, {}).items()
        }

    def all_resources(self) -> Iterator[tuple[str, str, Json]]:
        for resource in self.tree.get("resource", []):
            for kind, labelled in resource.items():
                for label, body in labelled.items():
                    yield kind, label, body

    def variables(self) -> dict[str, Json]:
        return {name: body for block in self.tree["variable"] for name, body in block.items()}

    def connections(self) -> dict[str, Json]:
        return {
            **self.resources("alicloud_vpn_connection"),
            **self.resources("alicloud_vpn_gateway_vpn_attachment"),
        }


def literal(text: str) -> str:
    """Return a string, whose backslashes hcl2 has read, as Terraform reads it."""
    return text.replace("$${", "${").replace("%%{", "%{")


def read_back(body: Json) -> dict[str, Any]:
    """Return by tunnel what the cloud's half says, turned into this gateway's view and words."""
    options = body.get("tunnel_options_specification", [body])
    prefix = "tunnel_" if "tunnel_options_specification" in body else ""
    return dict(_read_tunnel(option, prefix) for option in options)


def _read_tunnel(option: Json, prefix: str) -> tuple[str, Any]:
    [ike], [esp] = option[f"{prefix}ike_config"], option[f"{prefix}ipsec_config"]
    key = re.fullmatch(r'\$\{var\.psks\["(.*)"\]\}', ike["psk"])
    assert key is not None
    named = {name.removeprefix("ike_"): value for name, value in ike.items() if name.endswith("_id")}
    [bgp] = option.get(f"{prefix}bgp_config", [None])
    return key[1], (
        literal(named["remote_id"]),
        literal(named["local_id"]),
        (int(ike["ike_version"].removeprefix("ikev")), ike["ike_mode"], CLOUD_ENCRYPTION[ike["ike_enc_alg"]]),
        (ike["ike_auth_alg"], CLOUD_GROUPS[ike["ike_pfs"]], ike["ike_lifetime"]),
        (CLOUD_ENCRYPTION[esp["ipsec_enc_alg"]], esp["ipsec_auth_alg"]),
        (CLOUD_GROUPS[esp["ipsec_pfs"]], esp["ipsec_lifetime"]),
        (option["enable_dpd"], option["enable_nat_traversal"]),
        bgp and (bgp["tunnel_cidr"], bgp["local_bgp_ip"]),
    )


def expected(connection: Connection) -> dict[str, Any]:
    """Return by tunnel what the configuration says."""
    return {str(tunnel.key): _expected_tunnel(connection, tunnel) for tunnel in connection.tunnels}


def _expected_tunnel(connection: Connection, tunnel: Tunnel) -> Any:
    ike, esp, inside = connection.ike_of(tunnel), connection.esp_of(tunnel), tunnel.inside_address
    peer = inside and next(str(host) for host in inside.network.hosts() if host != inside.ip)
    return (
        tunnel.local_id,
        tunnel.remote_id,
        (ike.version, ike.mode, ike.encryption),
        (ike.integrity, ike.dh_group, ike.lifetime),
        (esp.encryption, esp.integrity),
        (esp.pfs_group, esp.lifetime),
        (ike.dpd, connection.udp_encapsulation_of(tunnel) is not UdpEncapsulation.NEVER),
        inside and (str(inside.network), peer),
    )


needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="Terraform is not installed")

encryptions = st.sampled_from(sorted(CLOUD_ENCRYPTION.values()))
integrities = st.sampled_from(["md5", "sha1", "sha256", "sha384", "sha512"])
lifetimes = st.integers(300, 86400).map(float)
identities = st.one_of(
    st.sampled_from(["198.51.100.10", "10.0.0.2", "idc.example.com"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="{@"), min_size=1),
)


@st.composite
def tunnels(draw: st.DrawFn, connection: str, number: int) -> Tunnel:
    tunnel = make_tunnel(number, local_id=draw(identities), remote_id=draw(identities))
    inside = tunnel.inside_address if draw(st.booleans()) else None
    return replace(
        tunnel,
        key=TunnelKey(connection, tunnel.name),
        inside_address=inside,
        ike=draw(st.none() | ikes),
        esp=draw(st.none() | esps),
        udp_encapsulation=draw(st.none() | st.sampled_from(UdpEncapsulation)),
    )


ikes = st.builds(
    Ike,
    version=st.sampled_from([1, 2]),
    mode=st.sampled_from(["main", "aggressive"]),
    encryption=encryptions,
    integrity=integrities,
    dh_group=st.sampled_from([1, 2, 5, 14]),
    lifetime=lifetimes,
    dpd_delay=st.just(10.0),
    dpd=st.booleans(),
)
esps = st.builds(
    Esp,
    encryption=encryptions,
    integrity=integrities,
    pfs_group=st.sampled_from([None, 1, 2, 5, 14]),
    lifetime=lifetimes,
)


@st.composite
def connections(draw: st.DrawFn, name: str) -> Connection:
    return make_connection(
        name=name,
        attachment=draw(st.sampled_from(Attachment)),
        traffic_selectors=draw(st.sampled_from(TrafficSelectors)),
        udp_encapsulation=draw(st.sampled_from(UdpEncapsulation)),
        bandwidth=draw(st.sampled_from([2e8, 1e9, 3e9])),
        gateway_id=draw(st.sampled_from([None, "vpn-bp1"])),
        ike=draw(ikes),
        esp=draw(esps),
        tunnels=tuple(draw(tunnels(name, n)) for n in range(1, draw(st.integers(1, 2)) + 1)),
    )


names = st.lists(
    st.sampled_from(["hangzhou", "1st", "_1st", "-x", "A_b"]), min_size=1, max_size=3, unique=True
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    return replace(make_config(), connections=tuple(draw(connections(name)) for name in draw(names)))


def number_of_pairs(config: Config, connection: Connection) -> int:
    """Return how many connections the cloud has for one: in IKE version 1 one for each pair of networks."""
    versions = {connection.ike_of(tunnel).version for tunnel in connection.tunnels}
    if connection.traffic_selectors is TrafficSelectors.ANY or 1 not in versions:
        return 1
    return len(config.local_networks_of(connection)) * len(connection.remote_networks)


@settings(max_examples=10, deadline=None)
@given(configs())
def test_read_back_from_the_cloud_s_side_it_is_the_configuration(config: Config) -> None:
    found = [read_back(body) for body in Parsed(terraform(config)).connections().values()]
    wanted = [expected(each) for c in config.connections for each in [c] * number_of_pairs(config, c)]
    assert sorted(found, key=str) == sorted(wanted, key=str)


@settings(max_examples=10, deadline=None)
@given(configs())
def test_every_argument_is_one_of_the_provider_s(config: Config) -> None:
    for kind, _, body in Parsed(terraform(config)).all_resources():
        check_arguments(kind, body)


def check_arguments(block: str, body: Json) -> None:
    assert body.keys() <= ARGUMENTS[block], block
    for name, value in body.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for inner in value:
                check_arguments(f"{block.rsplit('.', 1)[-1]}.{name}", inner)


@settings(max_examples=10, deadline=None)
@given(configs())
def test_every_reference_leads_somewhere(config: Config) -> None:
    text = terraform(config)
    parsed = Parsed(text)
    code = "\n".join(line for line in text.splitlines() if not re.match(r"\s*(description|#|value )", line))
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', '""', code)
    assert set(re.findall(r"\bvar\.([\w-]+)", outside)) == parsed.variables().keys()
    labels = {(kind, label) for kind, label, _ in parsed.all_resources()}
    assert set(re.findall(r"(?<!\.)\b(alicloud_\w+)\.([\w-]+)", outside)) <= labels


@settings(max_examples=10, deadline=None)
@given(configs())
def test_nothing_sends_cloud_services_to_this_data_centre(config: Config) -> None:
    parsed = Parsed(terraform(config))
    for kind in ("alicloud_vpn_route_entry", "alicloud_vpn_gateway_vco_route"):
        for route in parsed.resources(kind).values():
            assert not IPv4Network(route["route_dest"]).overlaps(SERVICES)


def test_no_pre_shared_key_is_printed_and_the_variable_is_sensitive() -> None:
    text = terraform(make_config())
    assert PRIMARY_PSK.decode() not in text
    assert BACKUP_PSK.decode() not in text
    assert Parsed(text).variables()["psks"]["sensitive"] is True


def test_of_a_vpn_gateway_s_tunnels_the_active_one_is_the_master_and_first() -> None:
    config = make_config(connection={"tunnels": (make_tunnel(2), make_tunnel(1))})
    body = Parsed(terraform(config)).connections()["hangzhou"]
    assert [t["role"] for t in body["tunnel_options_specification"]] == ["master", "slave"]
    assert list(read_back(body)) == ["hangzhou/primary", "hangzhou/backup"]


def test_in_ike_version_1_the_cloud_has_a_connection_for_each_pair_of_networks() -> None:
    config = make_config(
        connection={
            "traffic_selectors": TrafficSelectors.NETWORKS,
            "ike": replace(make_connection().ike, version=1),
            "gateway_id": None,
        }
    )
    parsed = Parsed(terraform(config))
    subnets = {name: (c["local_subnet"], c["remote_subnet"]) for name, c in parsed.connections().items()}
    assert subnets == {
        "hangzhou": (["100.64.0.0/10"], ["10.1.0.0/16"]),
        "hangzhou-2": (["172.16.0.0/16"], ["10.1.0.0/16"]),
    }
    assert [name for name in parsed.variables() if name.startswith("vpn_gateway")] == [
        "vpn_gateway_id_hangzhou"
    ]


def test_protected_data_flows_have_the_networks_the_other_way_round() -> None:
    config = make_config(connection={"traffic_selectors": TrafficSelectors.NETWORKS})
    body = Parsed(terraform(config)).connections()["hangzhou"]
    assert body["local_subnet"] == ["100.64.0.0/10", "172.16.0.0/16"]
    assert body["remote_subnet"] == ["10.1.0.0/16"]
    assert body["auto_config_route"] is True


def test_a_vpn_gateway_routes_to_this_data_centre_and_the_services_are_left_to_the_console() -> None:
    parsed = Parsed(terraform(make_config(connection={"gateway_id": "vpn-bp1"})))
    [route] = parsed.resources("alicloud_vpn_route_entry").values()
    assert (route["route_dest"], route["vpn_gateway_id"], route["weight"]) == ("10.1.0.0/16", "vpn-bp1", 100)
    assert route["publish_vpc"] is True
    [step] = parsed.tree["output"][0]["by_hand"]["value"]
    assert "vpn-bp1" in step
    assert "Add Custom Advertised Route: 100.64.0.0/10" in step


def test_of_two_connections_of_one_vpn_gateway_the_second_is_the_standby() -> None:
    first = make_connection(gateway_id="vpn-bp1", tunnels=(make_tunnel(1),))
    config = replace(make_config(), connections=(first, replace(first, name="second")))
    routes = Parsed(terraform(config)).resources("alicloud_vpn_route_entry")
    assert [route["weight"] for route in routes.values()] == [100, 0]


def attached(name: str, *tunnels: Tunnel) -> Connection:
    kind, ecmp = Attachment.TRANSIT_ROUTER, Forwarding.ECMP
    return make_connection(name=name, attachment=kind, forwarding=ecmp, tunnels=tunnels)


def test_a_transit_router_learns_the_way_here_and_has_one_route_to_the_services() -> None:
    pair = attached("pair", make_tunnel(1), make_tunnel(2)), attached("other", make_tunnel(3), make_tunnel(4))
    parsed = Parsed(terraform(replace(make_config(), connections=pair)))
    for kind in ("vpn_attachment", "route_table_association", "route_table_propagation"):
        assert parsed.resources(f"alicloud_cen_transit_router_{kind}").keys() == {"pair", "other"}
    ways = parsed.resources("alicloud_vpn_gateway_vco_route").values()
    assert [way["route_dest"] for way in ways] == ["10.1.0.0/16"] * 2
    [services] = parsed.resources("alicloud_cen_transit_router_route_entry").values()
    assert services["transit_router_route_entry_destination_cidr_block"] == "100.64.0.0/10"
    assert "output" not in parsed.tree


def test_only_a_single_tunnel_s_attachment_names_its_zone() -> None:
    config = replace(make_config(), connections=(attached("one", make_tunnel(1)),))
    [attachment] = Parsed(terraform(config)).resources("alicloud_cen_transit_router_vpn_attachment").values()
    assert attachment["zone"] == [{"zone_id": "${var.transit_router_zone_id}"}]
    config = replace(config, connections=(attached("two", make_tunnel(1), make_tunnel(2)),))
    [attachment] = Parsed(terraform(config)).resources("alicloud_cen_transit_router_vpn_attachment").values()
    assert "zone" not in attachment


@pytest.mark.parametrize(("bandwidth", "word"), [(1e9, "Standard"), (1.1e9, "Large")])
def test_more_than_the_standard_bandwidth_is_large(bandwidth: float, word: str) -> None:
    connection = replace(attached("one", make_tunnel(1)), bandwidth=bandwidth)
    config = replace(make_config(), connections=(connection,))
    assert Parsed(terraform(config)).connections()["one"]["tunnel_bandwidth"] == word


def test_each_public_identity_is_a_customer_gateway_and_a_private_one_asks_for_its_address() -> None:
    config = make_config(primary={"local_id": "198.51.100.10"}, backup={"local_id": "192.168.0.2"})
    gateways = Parsed(terraform(config)).resources("alicloud_vpn_customer_gateway").values()
    asked = '${var.customer_gateway_addresses["192.168.0.2"]}'
    assert [g["ip_address"] for g in gateways] == ["198.51.100.10", asked]


FILES = CertificateFiles(certificate="/c", private_key="/k", ca="/ca")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"connection": {"ike": make_ike(dh_group=19)}}, "ike.dh_group"),
        ({"connection": {"ike": make_ike(encryption="aes128gcm16")}}, "ike.encryption"),
        ({"connection": {"esp": make_esp(pfs_group=31)}}, "esp.pfs_group"),
        ({"connection": {"esp": make_esp(integrity="sm3")}}, "esp.integrity"),
        ({"primary": {"certificates": FILES}}, "tunnels[0].certificate"),
        ({"backup": {"ike": make_ike(dh_group=19)}}, "tunnels[1].ike.dh_group"),
        ({"backup": {"esp": make_esp(integrity="sm3")}}, "tunnels[1].esp.integrity"),
    ],
)
def test_what_the_provider_has_no_word_for_is_named(changes: Json, key: str) -> None:
    assert [key_path(path) for path, _ in unspeakable(make_config(**changes))] == [f"connections[0].{key}"]


@pytest.mark.parametrize("text", ["${a}", "$${a}", "C=${a}$"])
def test_no_template_is_read_from_a_value(text: str) -> None:
    config = make_config(primary={"local_id": text})
    assert read_back(Parsed(terraform(config)).connections()["hangzhou"])["hangzhou/primary"][0] == text


@needs_terraform
@settings(max_examples=3, deadline=None)
@given(configs())
def test_terraform_itself_reads_it_and_would_lay_it_out_no_otherwise(config: Config) -> None:
    run_terraform("fmt", "-check", "-diff", "-", standard_input=terraform(config))


@needs_terraform
def test_terraform_itself_reads_a_string_as_it_was() -> None:
    text = 'C=%{ if x } ${y $${ %%{ "z" \\ $'
    assert (
        json.loads(json.loads(run_terraform("console", standard_input=f"jsonencode({expression(text)})")))
        == text
    )


def run_terraform(*arguments: str, standard_input: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "TF_CLI_CONFIG_FILE"}
    done = subprocess.run(
        ["terraform", *arguments],
        input=standard_input,
        env={**environment, "CHECKPOINT_DISABLE": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_between_private_addresses_the_network_is_private_and_ours_is_the_customer_gateways() -> None:
    private = {"remote_address": IPv4Address("192.168.66.1"), "local_id": "10.1.0.1"}
    connection = {"attachment": Attachment.TRANSIT_ROUTER, "network_type": NetworkType.PRIVATE}
    parsed = Parsed(terraform(make_config(connection=connection | {"tunnels": (make_tunnel(1, **private),)})))
    [attachment] = parsed.connections().values()
    assert attachment["network_type"] == "private"
    [gateway] = parsed.resources("alicloud_vpn_customer_gateway").values()
    assert gateway["ip_address"] == "10.1.0.1"
    assert "customer_gateway_addresses" not in parsed.variables()
