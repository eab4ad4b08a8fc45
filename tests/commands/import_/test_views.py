"""Each view is turned into this gateway's, and what it does not tell stays untold."""

import copy
import re
from typing import Any

import pytest
from tests.commands.import_ import sdk_models
from tests.commands.import_.importing import assembled, document, problems, yaml_text

from vpnagent.commands.import_.assemble import Answers
from vpnagent.commands.import_.peers import ImportedTunnel

DOWNLOAD = document("download-dual-bgp.json")
SINGLE = document("download-single.json")
DESCRIBE = document("describe-single.json")

NETWORKS = Answers(local_networks=("10.1.0.0/16",), remote_networks=("172.16.0.0/16",))


def tunnel(tree: Any) -> ImportedTunnel:
    return assembled({"file": tree}).connections[0].tunnels[0]


def with_asns(local: str, peer: str) -> Any:
    tree = copy.deepcopy(DOWNLOAD)
    for session in tree["VpnConnectionConfig"]["BgpConfigs"]["BgpConfig"]:
        session.update(LocalAsn=local, PeerAsn=peer)
    return tree


@pytest.mark.parametrize(
    ("local", "peer", "inside"),
    [("65010", "45104", "169.254.10.2/30"), ("45104", "65010", "169.254.10.1/30")],
)
@pytest.mark.parametrize("asdot", [False, True])
def test_the_end_with_alibabas_as_number_is_the_cloud(
    local: str, peer: str, inside: str, asdot: bool
) -> None:
    if asdot:
        local, peer = (f"0.{number}" for number in (local, peer))
    assert tunnel(with_asns(local, peer)).facts["inside_address"].value == inside


@pytest.mark.parametrize(("local", "peer"), [("65010", "64999"), ("45104", "45104"), ("", "")])
def test_where_no_as_number_tells_the_end_is_asked_for(local: str, peer: str) -> None:
    tree = with_asns(local, peer)
    assert "inside_address" not in tunnel(tree).facts
    assert "169.254.10.1/30 or 169.254.10.2/30: which is this gateway's end" in yaml_text({"file": tree})


def test_an_inside_address_outside_its_network_is_refused() -> None:
    tree = copy.deepcopy(DOWNLOAD)
    tree["VpnConnectionConfig"]["BgpConfigs"]["BgpConfig"][0]["PeerBgpIp"] = "169.254.10.9"
    path = "$.VpnConnectionConfig.BgpConfigs.BgpConfig[0].PeerBgpIp"
    assert f"file: {path}: 169.254.10.9 is not in TunnelCidr, 169.254.10.0/30" in problems({"file": tree})


def test_bgp_that_is_off_tells_nothing_of_the_inside() -> None:
    tree = document("describe-dual-bgp.json") | {"EnableTunnelsBgp": "false"}
    assert "inside_address" not in tunnel(tree).facts
    assert "BGP" not in yaml_text({"file": tree})


@pytest.mark.parametrize("status", ["success", "false"])
def test_the_list_answer_has_no_switch_for_bgp_its_addresses_tell(status: str) -> None:
    tree = sdk_models.listing(dual=False)
    tree["VpnConnections"]["VpnConnection"][0]["VpnBgpConfig"]["Status"] = status
    text = yaml_text({"file": tree}, NETWORKS)
    assert "inside_address: 169.254.10.2/30" in text
    place = "file $.VpnConnections.VpnConnection[0].VpnBgpConfig.TunnelCidr"
    assert f"NOTE: BGP is on ({place})" in unwrapped(text)
    assert "Hush" not in text


@pytest.mark.parametrize("dual", [False, True])
def test_where_bgp_has_no_addresses_it_is_neither_on_nor_off(dual: bool) -> None:
    tree = sdk_models.connection(dual=dual) | {"EnableTunnelsBgp": None, "VpnBgpConfig": {"AuthKey": ""}}
    for tunnel in tree["TunnelOptionsSpecification"]["TunnelOptions"]:
        tunnel["TunnelBgpConfig"] = {}
    assert "bgp" not in assembled({"file": tree}).connections[0].facts


GUOMI: dict[str, dict[str, Any]] = {
    "sm4": {"RemoteCaCertificate": "", "IkeEncAlg": "sm4", "IpsecEncAlg": "sm4"},
    "sm3": {"RemoteCaCertificate": "", "IkeAuthAlg": "sm3", "IpsecAuthAlg": "sm3"},
    "certificate": {"RemoteCaCertificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"},
}


def unwrapped(text: str) -> str:
    """Return a YAML with each comment in one line."""
    return re.sub(r"\n +# (?!NOTE|TO FILL IN)", " ", text)


def guomi(kind: str, **ike: Any) -> Any:
    """Return a connection with one of the marks of Guomi, and without a key."""
    tree, changes = document("describe-dual-bgp.json"), GUOMI[kind]
    for tunnel in tree["TunnelOptionsSpecification"]["TunnelOptions"]:
        tunnel["RemoteCaCertificate"] = changes["RemoteCaCertificate"]
        for section in (tunnel["TunnelIkeConfig"], tunnel["TunnelIpsecConfig"]):
            section.update({key: value for key, value in changes.items() if key in section})
        tunnel["TunnelIkeConfig"] |= {"IkeVersion": "ikev1", "Psk": "", **ike}
    return tree


@pytest.mark.parametrize("kind", GUOMI)
@pytest.mark.parametrize("identity", ["198.51.100.10", "CN=gw,O=Example,C=CN"])
def test_guomi_is_told_as_such_and_no_pre_shared_key_is_asked_for(kind: str, identity: str) -> None:
    text = yaml_text({"file": guomi(kind, RemoteId=identity)}, NETWORKS)
    assert "# NOTE: this is a Guomi connection (file $." in unwrapped(text)
    assert "pre-shared key?" not in text
    assert text.count("# certificate: {certificate:") == 2
    assert "psk_file" not in text
    assert "MIIB" not in text


def test_where_the_document_has_a_key_guomi_is_told_too() -> None:
    text = yaml_text({"file": guomi("sm4", Psk="key-Hush-7")}, NETWORKS)
    assert "# NOTE: this is a Guomi connection" in text
    assert text.count("        psk_file: ") == 2


def test_with_guomi_the_group_that_its_form_lacks_is_still_not_assumed() -> None:
    lines = problems({"file": guomi("certificate", IkePfs="")}, NETWORKS)
    assert all("IkePfs: is missing" in line for line in lines)
    assert len(lines) == 2


@pytest.mark.parametrize("identity", ["", None, "leftId-not-exist"])
def test_without_an_identity_of_the_cloud_its_address_is_expected_and_that_is_said(identity: Any) -> None:
    tree = copy.deepcopy(DESCRIBE)
    tree["IkeConfig"]["LocalId"] = identity
    text = yaml_text({"file": tree})
    assert "remote_id:" not in text
    assert "NOTE: file $.IkeConfig.LocalId tells no identity of the cloud's end" in text


def test_the_customer_gateways_address_is_our_identity_where_none_is_told() -> None:
    tree = copy.deepcopy(SINGLE)
    del tree["VpnConnectionConfig"]["IkeConfig"]["LocalId"]
    assert tunnel(tree).facts["local_id"].value == "198.51.100.10"


def test_a_customer_gateway_with_another_address_than_the_identity_is_told() -> None:
    tree = copy.deepcopy(SINGLE)
    assert "expects this gateway's packets" not in unwrapped(yaml_text({"file": tree}))
    tree["VpnConnectionConfig"]["Local"] = "198.51.100.77"
    text = unwrapped(yaml_text({"file": tree}))
    assert "NOTE: file $.VpnConnectionConfig.Local has 198.51.100.77: that is where the cloud expects" in text


def test_the_customer_gateways_id_is_not() -> None:
    tree = copy.deepcopy(SINGLE)
    del tree["VpnConnectionConfig"]["IkeConfig"]["LocalId"]
    tree["VpnConnectionConfig"]["Local"] = "cgw-bp1"
    assert "local_id" not in tunnel(tree).facts
    assert "TO FILL IN: what does the cloud know this gateway by" in yaml_text({"file": tree})


def test_networks_at_one_end_only_are_refused() -> None:
    tree = copy.deepcopy(SINGLE)
    tree["VpnConnectionConfig"]["RemoteSubnet"] = "0.0.0.0/0"
    [problem] = problems({"file": tree})[:1]
    assert problem.startswith("file: $.VpnConnectionConfig.RemoteSubnet: is 0.0.0.0/0 at one end only")


def test_a_missing_list_of_networks_is_refused() -> None:
    tree = copy.deepcopy(SINGLE)
    del tree["VpnConnectionConfig"]["RemoteSubnet"]
    assert any("0.0.0.0/0 at both ends, or networks at both" in one for one in problems({"file": tree}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"AttachType": "VPNGW"}, "attachment: vpn-gateway"),
        ({"AttachType": "CEN"}, "attachment: transit-router"),
        ({"AttachType": "", "VpnGatewayId": "vpn-1"}, "attachment: vpn-gateway"),
        ({"AttachType": "NO_ASSOCIATED"}, "# attachment: vpn-gateway"),
        ({"TunnelBandwidth": "Standard"}, "bandwidth: 1Gbps"),
        ({"EnableNatTraversal": "true"}, "udp_encapsulation: always"),
        ({"EnableNatTraversal": None}, "# TO FILL IN"),
    ],
)
def test_what_the_cloud_view_says_of_the_connection(change: dict[str, Any], expected: str) -> None:
    lines = yaml_text({"file": DESCRIBE | change}).splitlines()
    assert any(line.strip().startswith(expected) for line in lines)


def test_the_mode_is_of_ikev1_only() -> None:
    tree = copy.deepcopy(SINGLE)
    tree["VpnConnectionConfig"]["IkeConfig"]["IkeMode"] = "aggressive"
    assert "mode:" not in yaml_text({"file": tree})
    tree["VpnConnectionConfig"]["IkeConfig"]["IkeVersion"] = "ikev1"
    assert "mode: aggressive" in yaml_text({"file": tree})


@pytest.mark.parametrize("half", [".65010", "0.", ".", "0.x"])
def test_half_an_as_number_is_refused_by_name(half: str) -> None:
    [problem] = problems({"file": with_asns(half, "45104")})[:1]
    assert "LocalAsn: must be" in problem
