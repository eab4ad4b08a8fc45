"""Answers complete what documents tell, and never override it; what must not be assumed is not."""

import copy
from typing import Any

import pytest
from tests.commands.import_.importing import assembled, document, loaded, problems, to_another_end

from vpnagent.commands.import_.assemble import Answers

DOWNLOAD = document("download-dual-bgp.json")
DESCRIBE = document("describe-dual-bgp.json")
SINGLE = document("download-single.json")


def roles(documents: dict[str, Any], answers: Answers) -> list[Any]:
    [connection] = assembled(documents, answers).connections
    return [t.facts["role"].value if "role" in t.facts else None for t in connection.tunnels]


@pytest.mark.parametrize("word", ["tun-aaa2", "file/tun-aaa2", "203.0.113.2"])
def test_the_active_tunnel_is_named_by_id_path_or_address(word: str) -> None:
    assert roles({"file": DOWNLOAD}, Answers(active=(word,))) == ["standby", "active"]


def test_a_name_of_no_tunnel_is_answered_with_those_there_are() -> None:
    expected = "--active: primary is the name of no tunnel: there are file/tun-aaa1 and file/tun-aaa2"
    assert problems({"file": DOWNLOAD}, Answers(active=("primary",))) == [expected]


def test_a_name_of_several_tunnels_is_refused() -> None:
    other = copy.deepcopy(SINGLE)
    config = other["VpnConnectionConfig"]
    config["Remote"] = config["IkeConfig"]["RemoteId"] = "203.0.113.9"
    found = problems({"a": SINGLE, "b": other}, Answers(active=("tunnel",)))
    assert found == ["--active: tunnel is the name of several tunnels: there are a/tunnel and b/tunnel"]


def test_an_active_tunnel_that_the_document_calls_standby_is_refused() -> None:
    found = problems({"file": DESCRIBE}, Answers(active=("tun-aaa2",)))
    role = "$.TunnelOptionsSpecification.TunnelOptions[0].Role"
    assert found[0] == f"--active: means role active, but file {role} means standby"


def test_at_a_transit_router_no_tunnel_has_a_role() -> None:
    tree = DESCRIBE | {"AttachType": "CEN", "VpnGatewayId": ""}
    assert roles({"file": tree}, Answers()) == [None, None]
    assert problems({"file": tree}, Answers(active=("tun-aaa1",))) == [
        "--active: has no meaning with a transit router: all tunnels are active"
    ]


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (
            Answers(attachment="vpn-gateway"),
            "--attachment: means attachment vpn-gateway, but file $.AttachType means transit-router",
        ),
        (
            Answers(remote_networks=("10.9.0.0/16",)),
            "--remote-network: means remote_networks 10.9.0.0/16, "
            "but file $.LocalSubnet means 192.168.0.0/16",
        ),
        (
            Answers(remote_networks=("vco-single=10.9.0.0/16",)),
            "--remote-network: means remote_networks 10.9.0.0/16, "
            "but file $.LocalSubnet means 192.168.0.0/16",
        ),
        (
            Answers(local_networks=("10.9.0.0/16",)),
            "--local-network: means local_networks 10.9.0.0/16, but file $.RemoteSubnet means 10.0.0.0/8",
        ),
    ],
)
def test_an_answer_against_the_document_is_refused(answers: Answers, problem: str) -> None:
    assert problems({"file": document("describe-single.json")}, answers) == [problem]


def two(*subnets: tuple[str, str]) -> dict[str, Any]:
    """Return a list answer of connections a, b, ... with these networks: the cloud's, ours."""
    connections = []
    for number, (cloud, ours) in enumerate(subnets):
        one = copy.deepcopy(document("describe-single.json"))
        name, address = "abc"[number], f"203.0.113.{20 + number}"
        one |= {"VpnConnectionId": f"vco-{name}", "Name": name, "LocalSubnet": cloud, "RemoteSubnet": ours}
        one |= {"InternetIp": address, "AttachType": "VPNGW", "VpnGatewayId": f"vpn-{name}"}
        one["IkeConfig"] |= {"LocalId": address, "Psk": f"key-Hush-{name}"}
        one.pop("VpnBgpConfig", None)
        connections.append(one)
    return {"file": {"VpnConnections": {"VpnConnection": connections}}}


ANY = ("0.0.0.0/0", "0.0.0.0/0")
A, B = ("192.168.0.0/16", "10.1.0.0/16"), ("172.20.0.0/16", "10.2.0.0/16")


def networks_of(documents: dict[str, Any], answers: Answers) -> dict[str, tuple[str, str]]:
    """Return by connection its remote and its local networks."""
    config = loaded(documents, answers)
    return {
        c.name: (" ".join(map(str, c.remote_networks)), " ".join(map(str, config.local_networks_of(c))))
        for c in config.connections
    }


@pytest.mark.parametrize(
    ("subnets", "answers", "expected"),
    [
        ((A, B), {}, {"a": A, "b": B}),
        ((A, B), {"only": ("vco-b",)}, {"b": B}),
        ((A, B), {"only": ("a",)}, {"a": A}),
        (
            (A, ANY),
            {"remote_networks": (B[0],), "local_networks": (B[1],)},
            {"a": A, "b": B},
        ),
        (
            (A, ANY),
            {"remote_networks": (f"b={B[0]}", "b=172.21.0.0/16"), "local_networks": (f"b={B[1]}",)},
            {"a": A, "b": (f"{B[0]} 172.21.0.0/16", B[1])},
        ),
        (
            (ANY, ANY),
            {"remote_networks": (A[0], f"b={B[0]}"), "local_networks": (A[1], f"vco-b={B[1]}")},
            {"a": A, "b": B},
        ),
    ],
)
def test_connections_may_have_networks_of_their_own(
    subnets: tuple[tuple[str, str], ...], answers: dict[str, Any], expected: dict[str, tuple[str, str]]
) -> None:
    assert networks_of(two(*subnets), Answers(**answers)) == expected


def test_two_lines_to_one_address_are_asked_for_what_tells_them_apart() -> None:
    documents = two(ANY, ANY)
    first, second = documents["file"]["VpnConnections"]["VpnConnection"]
    second["InternetIp"] = second["IkeConfig"]["LocalId"] = first["InternetIp"]
    second["IkeConfig"]["RemoteId"] = "198.51.100.20"
    config = loaded(documents, Answers(local_networks=(A[1],), remote_networks=(A[0],)))
    assert [c.priority for c in config.connections] == [0, 1]
    assert len({t.local_address for t in config.tunnels()}) == 2
    assert len({t.remote_address for t in config.tunnels()}) == 1
    assert [t.local_id for t in config.tunnels()] == [first["IkeConfig"]["RemoteId"], "198.51.100.20"]


def test_the_local_networks_of_all_connections_stand_once_and_others_in_their_connection() -> None:
    assembly = assembled(two(A, B, (A[0], B[1])), Answers(only=("b", "c")))
    assert assembly.gateway["local_networks"].value == (B[1],)
    config = loaded(two(A, B))
    assert [str(n) for n in config.gateway.local_networks] == [A[1], B[1]]
    assert [c.local_networks for c in loaded(two(B, (A[0], B[1]))).connections] == [(), ()]


@pytest.mark.parametrize(
    ("answers", "option"),
    [
        (Answers(only=("d",)), "--connection"),
        (Answers(remote_networks=("d=10.9.0.0/16",)), "--remote-network"),
        (Answers(local_networks=("d=10.9.0.0/16",)), "--local-network"),
    ],
)
def test_an_answer_for_no_connection_is_refused_with_those_there_are(answers: Answers, option: str) -> None:
    assert problems(two(A, B), answers) == [f"{option}: d is the name of no connection: there are a and b"]


def test_an_answer_that_the_configuration_refuses_is_blamed_on_the_option() -> None:
    [problem] = problems({"file": DOWNLOAD}, Answers(local_networks=("10.1.2.3/16",)))
    assert problem.startswith("--local-network: 10.1.2.3/16 has host bits set: the network is 10.1.0.0/16")


@pytest.mark.parametrize(
    "key", ["IkeVersion", "IkeEncAlg", "IkeAuthAlg", "IkePfs", "IkeLifetime", "IpsecEncAlg", "IpsecPfs"]
)
@pytest.mark.parametrize("value", ["", None])
def test_no_algorithm_is_assumed(key: str, value: Any) -> None:
    tree = copy.deepcopy(SINGLE)
    section = "IpsecConfig" if key.startswith("Ipsec") else "IkeConfig"
    tree["VpnConnectionConfig"][section][key] = value
    [problem] = problems({"file": tree})
    assert problem.startswith(
        f"file: $.VpnConnectionConfig.{section}.{key}: is missing, and nothing is assumed"
    )


def test_the_mode_of_ikev1_is_not_assumed() -> None:
    tree = copy.deepcopy(SINGLE)
    tree["VpnConnectionConfig"]["IkeConfig"] |= {"IkeVersion": "ikev1", "IkeMode": ""}
    [problem] = problems({"file": tree})
    assert problem.startswith("file: $.VpnConnectionConfig.IkeConfig.IkeMode: is missing")


def test_what_tunnels_do_not_share_stands_in_each_of_them() -> None:
    tree = copy.deepcopy(DOWNLOAD)
    tree["VpnConnectionConfig"]["TunnelsConfig"]["TunnelConfig"][1]["IkeConfig"]["IkePfs"] = "group5"
    assembly = assembled({"file": tree})
    [connection] = assembly.connections
    assert "ike.dh_group" not in connection.facts
    assert connection.facts["ike.encryption"].value == "aes256"
    assert [t.facts["ike.dh_group"].value for t in connection.tunnels] == [14, 5]
    made = loaded({"file": tree}).connections[0]
    assert [made.ike_of(tunnel).dh_group for tunnel in made.tunnels] == [14, 5]


def test_a_document_that_calls_the_clouds_address_ours_is_refused() -> None:
    tree = copy.deepcopy(SINGLE)
    ike = tree["VpnConnectionConfig"]["IkeConfig"]
    ike["LocalId"], ike["RemoteId"] = ike["RemoteId"], ike["LocalId"]
    assert problems({"file": tree}) == [
        "file: $.VpnConnectionConfig.IkeConfig.LocalId: must be this gateway's: 203.0.113.1 is the cloud's, "
        "the remote_address of file/tunnel (the key connections[0].tunnels[0].local_id)"
    ]


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("Remote",), "203.0.113", "connections[0].tunnels[0].remote_address"),
        (("RemoteSubnet",), "192.168.0.1/16", "connections[0].remote_networks[0]"),
        (("IkeConfig", "IkeLifetime"), "0", "connections[0].ike.lifetime"),
        (("IkeConfig", "IkeLifetime"), 86401, "connections[0].ike.lifetime"),
        (("IkeConfig", "RemoteId"), "%any", "connections[0].tunnels[0].remote_id"),
        (("RemoteSubnet",), "10.2.0.0/16", "connections[0].remote_networks[0]"),
    ],
)
def test_what_the_configuration_refuses_is_refused_at_its_json_path(
    path: tuple[str, ...], value: Any, key: str
) -> None:
    tree = copy.deepcopy(SINGLE)
    holder = tree["VpnConnectionConfig"]
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    [problem] = problems({"file": tree}, Answers(attachment="vpn-gateway"))
    assert problem.startswith(f"file: $.VpnConnectionConfig.{'.'.join(path)}: ")
    assert problem.endswith(f"(the key {key})")


def test_guomi_is_taken_by_name() -> None:
    tree = copy.deepcopy(SINGLE)
    tree["VpnConnectionConfig"]["IkeConfig"] |= {"IkeEncAlg": "sm4", "IkeAuthAlg": "sm3"}
    [connection] = loaded({"file": tree}).connections
    assert (connection.ike.encryption, connection.ike.integrity) == ("sm4", "sm3")


def test_what_only_the_example_of_a_question_breaks_is_no_fault_of_the_document() -> None:
    tree = copy.deepcopy(document("describe-dual-bgp.json"))
    answers = Answers(remote_networks=("10.0.0.0/8", "172.16.0.0/12"))  # the example is 10.1.0.0/16
    assert problems({"file": tree}, answers) == []


def test_what_is_wrong_is_told_while_something_else_is_to_be_filled_in() -> None:
    tree = copy.deepcopy(document("describe-single.json"))
    tree |= {"InternetIp": "", "LocalSubnet": "172.16.0.1/16", "RemoteSubnet": "10.0.0.0/8"}
    tree["IkeConfig"] |= {"IkeVersion": "ikev1", "RemoteId": "office.example.com"}
    found = problems({"file": tree})
    assert any(line.startswith("file: $.LocalSubnet: 172.16.0.1/16 has host bits set") for line in found)
    tree["LocalSubnet"] = "172.16.0.0/16"
    [line] = problems({"file": tree})
    assert line.startswith("file: $.IkeConfig.RemoteId: must be an IPv4 address in IKE version 1, main mode")


# Views of one connection become one connection, and what does not fit is named at both ends.


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


# Names are the cloud's own, in our characters, and no two are the same.

DESCRIBED = document("describe-single.json")


def names(*changes: dict[str, Any], file: str = "file.json") -> list[Any]:
    answer = {"VpnConnections": {"VpnConnection": [DESCRIBED | change for change in changes]}}
    return [connection.name.value for connection in assembled({file: answer}).connections]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hangzhou-1", "hangzhou-1"),
        (" hang zhou (prod) ", "hang-zhou-prod"),
        ("杭州", "vco-single"),
        ("x" * 40, "x" * 32),
        ("", "vco-single"),
    ],
)
def test_a_connection_has_its_name_or_its_id(name: str, expected: str) -> None:
    assert names({"Name": name}) == [expected]


def test_connections_of_one_name_have_their_ids() -> None:
    both = [{"Name": "same", "VpnConnectionId": identity} for identity in ("vco-1", "vco-2")]
    assert names(*both) == ["vco-1", "vco-2"]


def test_a_connection_without_either_has_the_documents_name() -> None:
    download = document("download-single.json")
    for file, expected in (("site 7.json", "site-7"), ("-", "connection")):
        assert assembled({file: download}).connections[0].name.value == expected


def test_documents_of_one_name_make_two_names() -> None:
    dual = document("download-dual-bgp.json")
    documents = {"a/x.json": to_another_end("download-single.json"), "b/x.json": dual}
    assert [connection.name.value for connection in assembled(documents).connections] == ["x", "x-2"]
