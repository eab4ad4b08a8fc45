"""Each view is turned into this gateway's, and what it does not tell stays untold."""

import copy
from typing import Any

import pytest
from tests.cloud_document.importing import assembled, document, problems, yaml_text

from vpnagent.cloud_document.assemble import Tunnel

DOWNLOAD = document("download-dual-bgp.json")
SINGLE = document("download-single.json")
DESCRIBE = document("describe-single.json")


def tunnel(tree: Any) -> Tunnel:
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
