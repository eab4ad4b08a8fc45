"""Documents are told apart by their keys, and what is none says what it is."""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.commands.import_ import sdk_models
from tests.commands.import_.importing import assembled, document, problems

from vpnagent.commands.import_.assemble import Answers, Assembly
from vpnagent.commands.import_.imported import yaml_of
from vpnagent.commands.import_.json_object import DocumentFacts, DocumentValue
from vpnagent.commands.import_.views import NOT_USED
from vpnagent.errors import ConfigError


def test_both_views_in_one_list_are_read_each_from_its_own_side() -> None:
    together = [document("download-single.json"), document("describe-single.json")]
    assert problems({"both": together}) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (7, "$: must be an object, not a number"),
        ([[], "x"], "$[1]: must be an object, not a text"),
        ([], "$: holds no connection"),
        ({"VpnConnections": {"VpnConnection": []}, "TotalCount": 0}, "$: holds no connection"),
        ({"VpnConnections": 3}, "$.VpnConnections: must be a list, not a number"),
        ({"VpnConnections": [3]}, "$.VpnConnections[0]: must be an object, not a number"),
        ({"Code": "Forbidden.RAM", "Message": "no"}, "$: is an error of the API: 'Forbidden.RAM'"),
        ({"Local": "a", "VpnConnectionId": "b"}, "$: is neither the answer of "),
        ({}, "$: is neither the answer of "),
    ],
)
def test_what_is_no_document_of_a_connection_is_refused(value: Any, reason: str) -> None:
    found = problems({"file": value})
    assert found
    assert found[0].startswith(f"file: {reason}")


def test_a_tunnel_without_an_id_is_refused() -> None:
    tree = document("download-dual-bgp.json")
    del tree["VpnConnectionConfig"]["TunnelsConfig"]["TunnelConfig"][1]["TunnelId"]
    path = "$.VpnConnectionConfig.TunnelsConfig.TunnelConfig[1].TunnelId"
    assert problems({"file": tree}) == [f"file: {path}: is missing"]


NETWORKS = Answers(
    attachment="vpn-gateway", local_networks=("10.1.0.0/16",), remote_networks=("172.16.0.0/16",)
)


@pytest.mark.parametrize("name", sdk_models.DOCUMENTS)
def test_every_field_of_the_sdks_is_used_compared_or_listed_as_not_used(name: str) -> None:
    assembly = assembled({"file": sdk_models.DOCUMENTS[name]}, replace(NETWORKS, attachment=None))
    assert assembly.notes == ()


def test_the_fields_that_are_not_used_are_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/import.md").read_text()
    listed = page.partition("## What is not used")[2].partition("\n\n(")[0]
    assert set(re.findall(r"`([A-Z][A-Za-z]+)`", listed)) == NOT_USED


@pytest.mark.parametrize("value", ["", None, [], {}])
def test_an_unknown_key_is_told_unless_it_is_empty(value: Any) -> None:
    tree = document("describe-dual-bgp.json") | {"IkeKeyShare": value}
    assert assembled({"file": tree}).notes == ()
    tree["TunnelOptionsSpecification"]["TunnelOptions"][1]["Mtu"] = {"Psk": "Hush"}
    place = "$.TunnelOptionsSpecification.TunnelOptions[1].Mtu"
    assert assembled({"file": tree}).notes == (
        f"file {place} is passed over: vpnagent knows no use for it here.",
    )


def test_what_is_told_beside_tunnels_and_not_used_is_told() -> None:
    tree = document("describe-dual-bgp.json") | {"IkeConfig": {"Psk": "Hush"}}
    assert assembled({"file": tree}).notes == (
        "file $.IkeConfig is passed over: vpnagent knows no use for it here.",
    )


def page(number: int, *connections: Any, total: int | str) -> Any:
    return {"TotalCount": total, "PageNumber": number, "VpnConnections": {"VpnConnection": list(connections)}}


def several(count: int) -> list[Any]:
    """Return answers of that many connections with nothing in common."""
    trees = []
    for number in range(count):
        tree = document("describe-single.json")
        tree |= {
            "VpnConnectionId": f"vco-{number}",
            "Name": f"n{number}",
            "InternetIp": f"203.0.113.{number}",
        }
        tree["IkeConfig"] |= {"LocalId": f"203.0.113.{number}"}
        trees.append(tree)
    return trees


def test_a_list_that_has_more_pages_says_so() -> None:
    one, two, three = several(3)
    [note] = assembled({"first": page(1, one, two, total=3)}).notes
    assert note.startswith("first $.TotalCount: 3 connections, and 2 are here")
    both = {"first": page(1, one, two, total="3"), "second": page(2, three, total="3")}
    assert assembled(both).notes == ()
    assert assembled({"all": [page(1, one, two, total=3), page(2, three, total=3)]}).notes == ()


def renamed(tree: Any, spell: Callable[[str], str]) -> Any:
    """Return a tree with its keys in another spelling."""
    if isinstance(tree, list):
        return [renamed(item, spell) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {spell(key): renamed(value, spell) for key, value in tree.items()}


def snake(key: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "camelCase": lambda key: key[:1].lower() + key[1:],
    "snake_case": snake,
    "lowercase": str.lower,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["download-dual-bgp", "describe-dual-bgp", "describe-single"])
def test_keys_may_be_spelt_as_sdks_print_them(name: str, spelling: str) -> None:
    tree = document(f"{name}.json")
    other = renamed(tree, SPELLINGS[spelling])
    wrapped = {"headers": {}, "statusCode": 200, "body": other}
    assert values(assembled({"file": other})) == values(assembled({"file": tree}))
    assert values(assembled({"file": wrapped})) == values(assembled({"file": tree}))
    assert assembled({"file": wrapped}).notes == ()


def values(assembly: Assembly) -> Any:
    """Return what is told, without the places."""
    return [
        (
            connection.name.value,
            told(connection.facts),
            [(t.name.value, told(t.facts)) for t in connection.tunnels],
        )
        for connection in assembly.connections
    ]


def told(facts: DocumentFacts) -> dict[str, DocumentValue]:
    return {key: fact.value for key, fact in facts.items()}


def test_a_place_is_told_in_the_spelling_of_the_document() -> None:
    tree = {"body": renamed(document("describe-single.json"), SPELLINGS["camelCase"])}
    tree["body"]["ikeConfig"]["ikePfs"] = "group99"
    assert problems({"file": tree})[0].startswith("file: $.body.ikeConfig.ikePfs: unknown value 'group99'")


def test_two_spellings_of_one_key_are_refused() -> None:
    tree = document("describe-single.json")
    tree["IkeConfig"]["psk"] = "other-Hush-1"
    assert problems({"file": tree}) == ["file: $.IkeConfig.psk: is the key Psk once more"]


def test_json_in_a_text_is_read() -> None:
    tree = document("describe-single.json")
    for holder in ({"statusCode": 200, "body": json.dumps(tree)}, json.dumps(tree)):
        assert values(assembled({"file": holder})) == values(assembled({"file": tree}))
    assert problems({"file": {"body": "{'Psk': 'Hush'"}}) == [
        "file: $.body: is not JSON: Expecting property name enclosed in double quotes in line 1, column 2"
    ]


@pytest.mark.parametrize("name", ["body", "Body", "data", "Response"])
def test_an_answer_may_be_in_whatever_is_the_only_thing_that_can_hold_it(name: str) -> None:
    tree = document("describe-single.json")
    holder = {"headers": {"x-acs-request-id": "r"}, "statusCode": 200, "success": True, name: tree}
    assert values(assembled({"file": {"result": holder}})) == values(assembled({"file": tree}))
    assert assembled({"file": holder}).notes == ()
    [problem] = problems({"file": {"one": tree, "other": tree}})
    assert problem.startswith("file: $: is neither the answer of")


@pytest.mark.parametrize("wrap", [lambda tree: [tree], lambda tree: {"body": tree}, json.dumps])
def test_wrappers_have_an_end(wrap: Callable[[Any], Any]) -> None:
    tree: Any = document("describe-single.json") if wrap is json.dumps else 7
    for _ in range(12 if wrap is json.dumps else 900):
        tree = wrap(tree)
        if len(str(tree)) > 1 << 22:
            break
    assert len(problems({"file": tree})) <= 1


def listed(tree: Any) -> Any:
    """Return a tree in which every object is a list of one, as Terraform and XML have them."""
    if isinstance(tree, list):
        return [listed(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {key: [listed(value)] if isinstance(value, dict) else listed(value) for key, value in tree.items()}


def unlisted(tree: Any) -> Any:
    """Return a tree in which every list of one is what is in it."""
    if isinstance(tree, list):
        return unlisted(tree[0]) if len(tree) == 1 else [unlisted(item) for item in tree]
    return {key: unlisted(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


@pytest.mark.parametrize("name", sdk_models.DOCUMENTS)
def test_a_list_of_one_is_what_is_in_it(name: str) -> None:
    tree = sdk_models.DOCUMENTS[name]
    expected = values(assembled({"file": tree}))
    for other in (listed(tree), unlisted(tree)):
        assert values(assembled({"file": other})) == expected
    networks = {"LocalSubnet": ["10.2.0.0/16", "10.3.0.0/16"], "RemoteSubnet": ["172.16.0.0/16"]}
    several_networks = document("download-single.json")
    several_networks["VpnConnectionConfig"] |= networks
    facts = assembled({"file": several_networks}).connections[0].facts
    assert facts["local_networks"].value == ("10.2.0.0/16", "10.3.0.0/16")


def test_a_list_that_is_not_where_it_belongs_is_refused() -> None:
    tree = document("describe-dual-bgp.json")
    tree["TunnelOptionsSpecification"] = {"Tunnels": tree["TunnelOptionsSpecification"]["TunnelOptions"]}
    assert "file: $.TunnelOptionsSpecification.TunnelId: is missing" in problems({"file": tree})


def test_words_may_be_in_any_case() -> None:
    tree = document("describe-dual-bgp.json")
    for tunnel in tree["TunnelOptionsSpecification"]["TunnelOptions"]:
        tunnel["TunnelIkeConfig"] |= {"IkeVersion": "IKEv2", "IkeEncAlg": "AES256", "IkePfs": "Group14"}
        tunnel["EnableNatTraversal"] = "True"
    assert values(assembled({"file": tree})) == values(
        assembled({"file": document("describe-dual-bgp.json")})
    )


@pytest.mark.parametrize("directory", [None, "psk"])
def test_three_tunnels_are_refused_whatever_is_asked_for(directory: str | None) -> None:
    tree = document("describe-dual-bgp.json")
    tunnels = tree["TunnelOptionsSpecification"]["TunnelOptions"]
    third = copy.deepcopy(tunnels[0]) | {"TunnelId": "tun-aaa3", "InternetIp": "203.0.113.3"}
    third["TunnelIkeConfig"] |= {"LocalId": "203.0.113.3"}
    third["TunnelBgpConfig"] = {}
    tunnels.append(third)
    with pytest.raises(ConfigError) as refused:
        yaml_of(assembled({"file": tree}), ["file"], directory)
    [problem] = refused.value.problems
    assert str(problem).startswith(
        "file: $.TunnelOptionsSpecification.TunnelOptions[2]: is tunnel 3 of the connection"
    )


@pytest.mark.parametrize("directory", [None, "psk"])
@pytest.mark.parametrize("version", ["ikev1", "ikev2"])
def test_masked_identities_are_refused_whatever_is_asked_for(directory: str | None, version: str) -> None:
    tree = document("describe-single.json")
    tree["IkeConfig"] |= {"IkeVersion": version, "LocalId": "8.xx.xx.192", "RemoteId": "8.**.**.146"}
    with pytest.raises(ConfigError) as refused:
        yaml_of(assembled({"file": tree}), ["file"], directory)
    found = [str(problem) for problem in refused.value.problems]
    for key in ("LocalId", "RemoteId"):
        assert any(line.startswith(f"file: $.IkeConfig.{key}: is masked") for line in found)
