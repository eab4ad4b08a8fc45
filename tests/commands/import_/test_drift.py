"""Drift is what the cloud says and the configuration does not; neither names nor what is untold."""

import copy
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from tests.commands.import_ import sdk_models
from tests.commands.import_.importing import NO_ANSWERS, answered, assembled, document, loaded
from tests.commands.import_.models import CLOUD, OURS, Model, describe, download, models

from vpnagent.commands.import_.assemble import Answers
from vpnagent.commands.import_.drift import Present, drift, not_compared
from vpnagent.commands.import_.imported import yaml_of
from vpnagent.config.values import (
    Attachment,
    Config,
    Connection,
    NetworkType,
    TrafficSelectors,
    Tunnel,
    UdpEncapsulation,
)
from vpnagent.config.yaml_positions import read
from vpnagent.secret import Secret

ANSWERS = Answers(local_networks=(OURS,), remote_networks=(CLOUD,))
DESCRIBE = document("describe-dual-bgp.json")


def present(documents: dict[str, Any], answers: Answers = ANSWERS) -> Present:
    """Return the configuration that was once imported from documents."""
    text = answered(yaml_of(assembled(documents, answers), documents, "psk"))
    return Present("vpnagent.yaml", read(text.encode()), loaded(documents, answers))


def found(documents: dict[str, Any], there: Present, answers: Answers = NO_ANSWERS) -> list[str]:
    return [str(problem) for problem in drift(assembled(documents, answers), there)]


def changed(config: Config, connection: dict[str, Any], tunnel: dict[str, Any]) -> Config:
    """Return a configuration with another first connection and another first tunnel in it."""
    old: Connection = config.connections[0]
    first: Tunnel = replace(old.tunnels[0], **tunnel)
    new = replace(old, **{"tunnels": (first, *old.tunnels[1:]), **connection})
    return replace(config, connections=(new, *config.connections[1:]))


@settings(max_examples=40)
@given(models())
def test_what_was_imported_has_not_drifted_in_either_view(model: Model) -> None:
    there = present({"describe": describe(model)})
    assert found({"describe": describe(model)}, there) == []
    assert found({"download": download(model)}, there) == []


def test_names_are_ours() -> None:
    there = present({"file": DESCRIBE})
    tunnel = there.config.connections[0].tunnels[0]
    key = tunnel.key._replace(connection="prod", tunnel="primary")
    config = changed(there.config, {"name": "prod", "gateway_id": None}, {"key": key})
    assert found({"file": DESCRIBE}, replace(there, config=config)) == []


@pytest.mark.parametrize(
    ("connection", "tunnel", "expected"),
    [
        (
            {"attachment": Attachment.TRANSIT_ROUTER},
            {},
            "attachment: transit-router, but vpn-gateway in",
        ),
        (
            {"traffic_selectors": TrafficSelectors.NETWORKS},
            {},
            "traffic_selectors: networks, but any in",
        ),
        ({"udp_encapsulation": UdpEncapsulation.NEVER}, {}, "udp_encapsulation: never, but always in file"),
        ({"gateway_id": "vpn-y"}, {}, "gateway_id: vpn-y, but vpn-x in file $.VpnGatewayId"),
        (
            {"network_type": NetworkType.PRIVATE},
            {},
            "network_type: private, but public in file $.NetworkType",
        ),
        ({}, {"local_id": "@gateway"}, "tunnels[0].local_id: @gateway, but 198.51.100.10 in file"),
        ({}, {"inside_address": None}, "tunnels[0].inside_address: none, but 169.254.10.6/30 in file"),
        ({}, {"psk": Secret(b"another-Hush")}, "tunnels[0].psk_file: is another key than file $."),
    ],
)
def test_what_differs_is_told_with_both_places(
    connection: dict[str, Any], tunnel: dict[str, Any], expected: str
) -> None:
    there = present({"file": DESCRIBE})
    [line] = found({"file": DESCRIBE}, replace(there, config=changed(there.config, connection, tunnel)))
    place, _, text = line.partition(": ")
    assert text.startswith(f"connections[0].{expected}")
    number = int(place.removeprefix("vpnagent.yaml:"))
    key = expected.partition(":")[0].rpartition(".")[2]
    there_text = answered(yaml_of(assembled({"file": DESCRIBE}, ANSWERS), ["file"], "psk")).splitlines()
    assert there_text[number - 1].strip().startswith(key)
    assert "Hush" not in line


@pytest.mark.parametrize("kind", [UdpEncapsulation.ALWAYS, UdpEncapsulation.AUTO])
def test_both_ways_of_encapsulation_agree_to_nat_traversal(kind: UdpEncapsulation) -> None:
    there = present({"file": DESCRIBE})
    config = changed(there.config, {"udp_encapsulation": kind}, {})
    assert found({"file": DESCRIBE}, replace(there, config=config)) == []


def test_proposals_and_bandwidth_are_compared() -> None:
    old = document("describe-single.json")
    new = copy.deepcopy(old) | {"TunnelBandwidth": "Standard"}
    new["IkeConfig"]["IkeEncAlg"] = "aes256"
    new["IpsecConfig"]["IpsecPfs"] = "disabled"
    lines = [line.partition(": ")[2] for line in found({"new": new}, present({"old": old}, NO_ANSWERS))]
    assert lines == [
        "connections[0].bandwidth: 3000Mbps, but 1Gbps in new $.TunnelBandwidth",
        "connections[0].ike.encryption: aes128, but aes256 in new $.IkeConfig.IkeEncAlg",
        "connections[0].esp.pfs_group: 2, but disabled in new $.IpsecConfig.IpsecPfs",
    ]


OPTIONS = "$.TunnelOptionsSpecification.TunnelOptions"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            ("TunnelIkeConfig", "IkePfs"),
            "group5",
            f"ike.dh_group: 14, but 5 in file {OPTIONS}[0].TunnelIkeConfig.IkePfs",
        ),
        (
            ("TunnelIpsecConfig", "IpsecEncAlg"),
            "3des",
            f"esp.encryption: aes256, but 3des in file {OPTIONS}[0].TunnelIpsecConfig.IpsecEncAlg",
        ),
        (("EnableDpd",), "false", f"ike.dpd: true, but false in file {OPTIONS}[0].EnableDpd"),
        (
            ("EnableNatTraversal",),
            "false",
            f"udp_encapsulation: always, but never in file {OPTIONS}[0].EnableNatTraversal",
        ),
    ],
)
@pytest.mark.parametrize("both", [False, True])
def test_drift_of_one_tunnel_is_told_of_it_and_of_both_once(
    path: tuple[str, ...], value: str, expected: str, both: bool
) -> None:
    new = copy.deepcopy(DESCRIBE)
    for option in new["TunnelOptionsSpecification"]["TunnelOptions"][: 2 if both else 1]:
        holder = option
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value
    there = present({"file": DESCRIBE})
    [line] = found({"file": new}, there)
    place = "connections[0]" if both else "connections[0].tunnels[0]"
    assert line.partition(": ")[2] == f"{place}.{expected}"
    # Once it is taken over it is no drift, in the very same place.
    taken = present({"file": new})
    assert found({"file": new}, taken) == []
    [line] = found({"file": DESCRIBE}, taken)
    assert line.partition(": ")[2].startswith(f"{place}.{expected.partition(':')[0]}: ")


def test_of_two_lines_to_one_address_each_is_held_against_its_own() -> None:
    dual = copy.deepcopy(DESCRIBE)
    options = dual["TunnelOptionsSpecification"]["TunnelOptions"]
    for option, ours in zip(options, ("198.51.100.10", "198.51.100.20"), strict=True):
        option["InternetIp"] = option["TunnelIkeConfig"]["LocalId"] = "203.0.113.7"
        option["TunnelIkeConfig"]["RemoteId"] = ours
    there = present({"file": dual})
    options.reverse()
    assert found({"file": dual}, there) == []
    options[0]["TunnelIpsecConfig"]["IpsecPfs"] = "disabled"
    [line] = found({"file": dual}, there)
    assert "tunnels[1].esp.pfs_group" in line


def test_local_networks_are_compared_where_they_stand() -> None:
    tree = document("describe-single.json")
    there = present({"file": tree}, NO_ANSWERS)
    old = {"file": copy.deepcopy(tree) | {"RemoteSubnet": "10.3.0.0/16"}}
    [line] = found(old, there)
    text = "local_networks: 10.0.0.0/8, but 10.3.0.0/16 in file $.RemoteSubnet"
    assert line.partition(": ")[2] == f"gateway.{text}"
    own = changed(there.config, {"local_networks": there.config.gateway.local_networks}, {})
    other = replace(own, gateway=replace(own.gateway, local_networks=(IPv4Network("10.3.0.0/16"),)))
    [line] = found(old, replace(there, config=other))
    assert line.partition(": ")[2] == f"connections[0].{text}"


def test_the_upgrade_to_two_tunnels_is_one_tunnel_more() -> None:
    dual = document("describe-dual-bgp.json")
    [one, other] = dual["TunnelOptionsSpecification"]["TunnelOptions"]
    single = {key: value for key, value in dual.items() if key != "TunnelOptionsSpecification"}
    told = {key: value for key, value in other.items() if key not in ("TunnelId", "Role")}
    single |= {key.removeprefix("Tunnel"): value for key, value in told.items()}
    single["VpnBgpConfig"] = single.pop("BgpConfig") | {"EnableBgp": "true"}
    there = present({"single": single})
    [line] = found({"dual": dual}, there)
    assert line.endswith(
        "connections[0].tunnels: there is no tunnel to 203.0.113.2, as in dual "
        "$.TunnelOptionsSpecification.TunnelOptions[0]"
    )
    [line] = found({"single": single}, present({"dual": dual}))
    assert line.endswith("connections[0].tunnels[0]: tun-aaa2, to 203.0.113.2, is not in single $")
    assert one["InternetIp"] == "203.0.113.2"


def test_a_connection_that_only_the_cloud_has_is_drift_and_one_that_only_we_have_is_not() -> None:
    there = present({"file": DESCRIBE})
    new = {"new.json": document("download-dual-bgp.json")}
    for number, tunnel in enumerate(new["new.json"]["VpnConnectionConfig"]["TunnelsConfig"]["TunnelConfig"]):
        tunnel["Remote"] = tunnel["IkeConfig"]["RemoteId"] = f"203.0.113.{101 + number}"
    [line] = found(new, there)
    assert line.endswith("connections: there is no connection new, as in new.json $.VpnConnectionConfig")
    assert not_compared(assembled(new), there.config) == ["hang-zhou-prod"]


def test_a_moved_tunnel_is_known_by_its_name() -> None:
    new = copy.deepcopy(DESCRIBE)
    for tunnel in new["TunnelOptionsSpecification"]["TunnelOptions"]:
        tunnel["InternetIp"] = tunnel["InternetIp"].replace("203.0.113", "198.51.100")
    lines = found({"file": new}, present({"file": DESCRIBE}))
    assert [line.split(": ")[1] for line in lines] == [
        "connections[0].tunnels[0].remote_address",
        "connections[0].tunnels[1].remote_address",
    ]


def test_an_address_says_more_than_a_name() -> None:
    there = present({"file": DESCRIBE})
    [connection] = there.config.connections
    one, other = connection.tunnels
    swapped = (replace(one, key=other.key), replace(other, key=one.key))
    config = changed(there.config, {"tunnels": swapped}, {})
    assert found({"file": DESCRIBE}, replace(there, config=config)) == []


def test_networks_have_no_order() -> None:
    old = document("describe-single.json") | {"LocalSubnet": "192.168.0.0/16,172.16.0.0/16"}
    new = old | {"LocalSubnet": "172.16.0.0/16,192.168.0.0/16"}
    assert found({"file": new}, present({"file": old}, NO_ANSWERS)) == []


def test_bgp_that_was_turned_off_while_ours_is_on_is_drift_of_every_tunnel() -> None:
    there = present({"file": DESCRIBE})
    lines = found({"file": DESCRIBE | {"EnableTunnelsBgp": False}}, there)
    assert [line.partition(": ")[2] for line in lines] == [
        f"connections[0].tunnels[{number}].inside_address: {ours}, but BGP is off in file "
        "$.EnableTunnelsBgp: the cloud has no address inside the tunnel"
        for number, ours in enumerate(("169.254.10.6/30", "169.254.10.2/30"))
    ]
    without = changed(there.config, {}, {"inside_address": None})
    [line] = found({"file": DESCRIBE | {"EnableTunnelsBgp": False}}, replace(there, config=without))
    assert "tunnels[1].inside_address" in line


def test_bgp_of_the_list_answer_is_compared_without_a_switch() -> None:
    single = sdk_models.listing(dual=False)
    there = present({"list": single})
    bgp = single["VpnConnections"]["VpnConnection"][0]["VpnBgpConfig"]
    bgp |= {"Status": "false", "TunnelCidr": "169.254.11.0/30"}
    bgp |= {"LocalBgpIp": "169.254.11.1", "PeerBgpIp": "169.254.11.2"}
    [line] = found({"list": single}, there)
    path = "$.VpnConnections.VpnConnection[0].VpnBgpConfig.PeerBgpIp"
    assert line.endswith(f"inside_address: 169.254.10.2/30, but 169.254.11.2/30 in list {path}")
