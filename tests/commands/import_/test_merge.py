"""Views of one connection become one connection, and what does not fit is named at both ends."""

import copy
from typing import Any

from tests.commands.import_.importing import assembled, document, problems, to_another_end

DOWNLOAD = document("download-dual-bgp.json")
DESCRIBE = document("describe-dual-bgp.json")


def test_tunnels_are_matched_by_their_id_whatever_the_order() -> None:
    [connection] = assembled({"a": DESCRIBE, "b": DOWNLOAD}).connections
    assert [
        (t.name.value, t.facts["role"].value, t.facts["remote_address"].value) for t in connection.tunnels
    ] == [
        ("tun-aaa2", "standby", "203.0.113.2"),
        ("tun-aaa1", "active", "203.0.113.1"),
    ]
    sources = connection.tunnels[1].facts["ike.encryption"].sources
    assert list(map(str, sources)) == [
        "a $.TunnelOptionsSpecification.TunnelOptions[1].TunnelIkeConfig.IkeEncAlg",
        "b $.VpnConnectionConfig.TunnelsConfig.TunnelConfig[0].IkeConfig.IkeEncAlg",
    ]


def test_what_one_view_lacks_the_other_gives() -> None:
    tree = copy.deepcopy(DESCRIBE)
    for tunnel in tree["TunnelOptionsSpecification"]["TunnelOptions"]:
        del tunnel["TunnelIkeConfig"]["IkeAuthAlg"]
        del tunnel["TunnelIkeConfig"]["Psk"]
    assert len(problems({"a": tree})) == 2
    [connection] = assembled({"a": tree, "b": DOWNLOAD}).connections
    assert connection.facts["ike.integrity"].value == "sha256"
    assert all(tunnel.psk for tunnel in connection.tunnels)


def test_connections_of_their_own_stay_apart() -> None:
    documents = {"a": DOWNLOAD, "b": to_another_end("download-single.json")}
    assert len(assembled(documents).connections) == 2


def test_single_tunnel_connections_of_one_gateway_stay_apart() -> None:
    one = document("describe-single.json")
    other = copy.deepcopy(one) | {"VpnConnectionId": "vco-other"}
    answer = {"VpnConnections": {"VpnConnection": [one, other]}}
    names = [connection.name.value for connection in assembled({"a": answer}).connections]
    assert names == ["vco-single", "vco-other"]


def test_a_single_tunnel_connection_is_known_by_the_clouds_identity_without_an_address() -> None:
    described = document("describe-single.json")
    del described["InternetIp"]
    described["IkeConfig"]["LocalId"] = "203.0.113.1"
    [connection] = assembled({"a": described, "b": document("download-single.json")}).connections
    assert connection.tunnels[0].facts["remote_address"].value == "203.0.113.1"


def test_views_of_different_tunnels_are_out_of_step() -> None:
    tree = copy.deepcopy(DESCRIBE)
    tree["TunnelOptionsSpecification"]["TunnelOptions"][0]["TunnelId"] = "tun-aaa3"
    cloud, ours = problems({"a": DOWNLOAD, "b": tree})
    assert ours.endswith("tun-aaa3 is not in a $.VpnConnectionConfig: one of them is outdated")
    assert cloud.endswith("TunnelConfig[1]: tun-aaa2 is not in b $: one of them is outdated")


def test_a_single_tunnel_view_of_a_dual_tunnel_connection_is_out_of_step() -> None:
    single: dict[str, Any] = document("describe-single.json") | {"VpnConnectionId": "vco-x"}
    assert any("the only tunnel is not in" in text for text in problems({"a": DESCRIBE, "b": single}))
