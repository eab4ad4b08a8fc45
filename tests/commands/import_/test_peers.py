"""The cloud's connections to one peer, for each pair of networks as IKE version 1 has them, become one."""

import copy
from typing import Any

import pytest
from tests.commands.import_.importing import NO_ANSWERS, assembled, document, loaded, problems, yaml_text
from tests.commands.import_.test_drift import found, present

from vpnagent.commands.import_.assemble import Answers
from vpnagent.policy.desired import ipsec_connections

PAIRS = document("describe-pairs.json")
DOWNLOAD = document("download-single.json")
SECOND = "file: $.VpnConnections.VpnConnection[1]"


def changed(*changes: dict[str, Any], of: Any = PAIRS) -> dict[str, Any]:
    """Return the document with one more connection for each change, and the last one changed by the first."""
    tree = copy.deepcopy(of)
    listed = tree["VpnConnections"]["VpnConnection"]
    for number, change in enumerate(changes):
        if number:
            listed.append(
                copy.deepcopy(listed[-1]) | {"VpnConnectionId": f"vco-{number}", "Name": f"n{number}"}
            )
        for key, value in change.items():
            if isinstance(value, dict):
                listed[-1][key] |= value
            else:
                listed[-1][key] = value
    return {"file": tree}


def downloads(*subnets: str) -> dict[str, Any]:
    """Return a download for each of the cloud's networks."""
    trees = {}
    for number, subnet in enumerate(subnets):
        tree = copy.deepcopy(DOWNLOAD)
        config = tree["VpnConnectionConfig"]
        config |= {"RemoteSubnet": subnet, "LocalSubnet": "10.1.0.0/16"}
        config["IkeConfig"] |= {"IkeVersion": "ikev1", "IkeMode": "main", "RemoteId": config["Remote"]}
        config["IkeConfig"]["LocalId"] = "198.51.100.10"
        trees[f"{number}.json"] = tree
    return trees


def networks(
    documents: dict[str, Any], answers: Answers = NO_ANSWERS
) -> list[tuple[str, list[str], list[str]]]:
    config = loaded(documents, answers)
    return [
        (c.name, list(map(str, config.local_networks_of(c))), list(map(str, c.remote_networks)))
        for c in config.connections
    ]


def test_connections_between_the_same_two_ends_are_one_with_all_networks_and_every_origin() -> None:
    assert networks({"file": PAIRS}) == [("shops", ["10.1.0.0/16"], ["172.18.0.0/16", "172.19.0.0/16"])]
    [line] = (line for line in yaml_text({"file": PAIRS}).splitlines() if "remote_networks:" in line)
    assert "VpnConnection[0].LocalSubnet" in line
    assert "VpnConnection[1].LocalSubnet" in line
    assert "NOTE: in the cloud it is shops and stock" in yaml_text({"file": PAIRS})


def test_charon_is_told_of_all_their_networks_in_one_connection() -> None:
    [connection] = ipsec_connections(loaded({"file": PAIRS})).values()
    assert connection.remote_ts == ("172.18.0.0/16", "172.19.0.0/16")


def test_one_of_them_can_be_taken_by_id() -> None:
    assert networks({"file": PAIRS}, Answers(only=("vco-pair2",))) == [
        ("stock", ["10.1.0.0/16"], ["172.19.0.0/16"])
    ]


def test_downloads_which_have_no_ids_are_told_apart_by_their_networks() -> None:
    [(_, ours, clouds)] = networks(downloads("172.18.0.0/16", "172.19.0.0/16"))
    assert (ours, clouds) == (["10.1.0.0/16"], ["172.18.0.0/16", "172.19.0.0/16"])


def test_a_download_goes_with_the_description_of_its_networks() -> None:
    described = changed({})["file"]
    for each in described["VpnConnections"]["VpnConnection"]:
        each["InternetIp"] = each["IkeConfig"]["LocalId"] = DOWNLOAD["VpnConnectionConfig"]["Remote"]
        each["IkeConfig"]["Psk"] = DOWNLOAD["VpnConnectionConfig"]["IkeConfig"]["Psk"]
        each["IkeConfig"] |= {"LocalId": each["InternetIp"]}
    both = {"described": described, **downloads("172.19.0.0/16", "172.18.0.0/16")}
    for tree in list(both.values())[1:]:
        ike, esp = tree["VpnConnectionConfig"]["IkeConfig"], tree["VpnConnectionConfig"]["IpsecConfig"]
        listed = described["VpnConnections"]["VpnConnection"][0]
        ike |= {k: listed["IkeConfig"][k] for k in ("IkeEncAlg", "IkeAuthAlg", "IkePfs", "IkeLifetime")}
        esp |= listed["IpsecConfig"]
    [connection] = assembled(both).connections
    assert len(connection.parts) == 2


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ([{"IkeConfig": {"Psk": "another-Hush-0000"}}], f"{SECOND}.IkeConfig.Psk: is another key than"),
        (
            [{"IpsecConfig": {"IpsecEncAlg": "aes256"}}],
            f"{SECOND}.IpsecConfig.IpsecEncAlg: means esp.encryption aes256, but file "
            "$.VpnConnections.VpnConnection[0].IpsecConfig.IpsecEncAlg means aes128: the two have the same "
            "two ends, and one IKE_SA serves both",
        ),
        (
            [{"LocalSubnet": "172.18.0.0/16"}],
            f"{SECOND}: is for 10.1.0.0/16 and 172.18.0.0/16, as connection",
        ),
        (
            [{"RemoteSubnet": "10.2.0.0/16"}],
            "shops and stock have the same two ends, and none of them is for 10.1.0.0/16 with 172.19.0.0/16 "
            "or 10.2.0.0/16 with 172.18.0.0/16",
        ),
        (
            [{"IkeConfig": {"IkeVersion": "ikev2"}}],
            f"{SECOND}: has the same two ends as connection shops: that can be one connection here only in "
            "IKE version 1",
        ),
        ([{"LocalSubnet": "0.0.0.0/0", "RemoteSubnet": "0.0.0.0/0"}], "destination routing mode"),
    ],
)
def test_what_cannot_be_one_connection_is_refused_in_words(
    changes: list[dict[str, Any]], problem: str
) -> None:
    told = problems(changed(*changes))
    assert any(problem in line for line in told), told
    assert not any("Hush" in line for line in told)


def test_all_four_pairs_of_two_networks_at_each_end_are_one_connection() -> None:
    four = changed({}, {"RemoteSubnet": "10.2.0.0/16"}, {"LocalSubnet": "172.18.0.0/16"})
    [(_, ours, clouds)] = networks(four)
    assert (len(ours), len(clouds)) == (2, 2)


def test_a_document_of_one_pair_is_no_drift_of_the_others() -> None:
    there = present({"file": PAIRS}, NO_ANSWERS)
    assert found({"file": PAIRS}, there) == []
    assert found({"file": PAIRS["VpnConnections"]["VpnConnection"][1]}, there) == []
    other = changed({"LocalSubnet": "172.20.0.0/16"})
    assert any("172.20.0.0/16" in line for line in found(other, there))
