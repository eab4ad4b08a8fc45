"""What becomes of a document that an API version, an SDK, an editor or a mistake has changed."""

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.commands.import_ import sdk_models
from tests.commands.import_.importing import document, problems, yaml_text

from vpnagent.commands.import_.assemble import Answers
from vpnagent.commands.import_.imported import assembly_of, yaml_of
from vpnagent.commands.import_.json_object import DocumentFacts
from vpnagent.commands.import_.views import NO_IDENTITY, NOT_USED
from vpnagent.errors import ConfigError

NAMES = [
    "download-single",
    "describe-single",
    "download-dual-bgp",
    "describe-dual-bgp",
    "describe-dual-defaults",
    "describe-pairs",
]
EXAMPLES = int(os.environ.get("VPNAGENT_FUZZ_EXAMPLES", "200"))
DOCUMENTS = {name: document(f"{name}.json") for name in NAMES}

Json = Any


def places(tree: Json) -> Iterator[tuple[Json, Any]]:
    """Return every container with each of its keys or indexes."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from places(tree[key])


def retyped(tree: Json, chance: random.Random) -> Json:
    """Return a tree with some numbers and truth values as texts, or the other way about."""
    for holder, key in places(tree):
        value = holder[key]
        if chance.random() < 0.5 or isinstance(value, dict | list):
            continue
        if isinstance(value, bool):
            holder[key] = str(value).lower()
        elif isinstance(value, int):
            holder[key] = str(value)
        elif value in ("true", "false"):
            holder[key] = value == "true"
        elif isinstance(value, str) and value.isdecimal() and key != "Psk":
            holder[key] = int(value)
    return tree


def shuffled(tree: Json, chance: random.Random) -> Json:
    """Return a tree with the keys of its objects in another order."""
    if isinstance(tree, list):
        return [shuffled(item, chance) for item in tree]
    if not isinstance(tree, dict):
        return tree
    keys = chance.sample(list(tree), len(tree))
    return {key: shuffled(tree[key], chance) for key in keys}


def adorned(tree: Json, chance: random.Random) -> Json:
    """Return a tree with keys that no version of the API has, and with what is not set left out."""
    for holder, key in list(places(tree)):
        if isinstance(holder, dict) and holder[key] == "" and chance.random() < 0.5:
            holder[key] = None
        if isinstance(holder, dict) and chance.random() < 0.1:
            holder[f"{key}Next"] = chance.choice([0, "x", None, {}, [], {"Psk": 7}])
    return tree


def respaced(tree: Json, chance: random.Random) -> Json:
    """Return a tree with lists of networks as an operator would type them."""
    for holder, key in places(tree):
        if isinstance(key, str) and key.endswith("Subnet"):
            holder[key] = " , ".join(holder[key].split(",")) + " " * chance.randint(0, 1)
    return tree


def wrapped(tree: Json, chance: random.Random) -> Json:
    """Return what an SDK, the list API or ``jq -s`` makes of an answer."""
    inner = tree.get("VpnConnectionConfig", tree)
    several = {"VpnConnections": {"VpnConnection": [tree]}, "TotalCount": 1, "PageNumber": 1}
    shapes = [tree, inner, [tree], {"headers": {}, "statusCode": 200, "body": tree}]
    return chance.choice(
        shapes if {"VpnConnectionConfig", "VpnConnections"} & tree.keys() else [*shapes, several]
    )


def respelt(tree: Json, chance: random.Random) -> Json:
    """Return a tree with its keys as one of the SDKs spells them, and some words in capitals."""
    if isinstance(tree, list):
        return [respelt(item, chance) for item in tree]
    if not isinstance(tree, dict):
        return tree.upper() if tree in ("aes256", "group14", "sha256", "ikev2") else tree
    spell = chance.choice([str.lower, lambda key: key[:1].lower() + key[1:], snake])
    return {spell(key): respelt(value, chance) for key, value in tree.items()}


def snake(key: str) -> str:
    return (
        "".join(f"_{character}" if character.isupper() else character for character in key).lower().strip("_")
    )


def as_text(tree: Json, chance: random.Random) -> Json:
    """Return what a program makes of an answer that keeps the body as it came."""
    return {"statusCode": 200, "body": json.dumps(tree)} if chance.random() < 0.5 else json.dumps(tree)


HARMLESS: list[Callable[[Json, random.Random], Json]] = [
    *(retyped, shuffled, adorned, respaced, wrapped, respelt, as_text)
]


def values(facts: DocumentFacts) -> dict[str, Any]:
    return {key: told.value for key, told in facts.items()}


def meaning(tree: Json) -> Any:
    """Return everything that a document tells, without the places."""
    assembly = assembly_of({"document": json.dumps(tree).encode()}, Answers())
    return values(assembly.gateway), [
        (one.name.value, values(one.facts), [(t.name.value, values(t.facts)) for t in one.tunnels])
        for one in assembly.connections
    ]


@settings(max_examples=100)
@given(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(HARMLESS), unique=True),
    st.randoms(use_true_random=False),
)
def test_types_order_wrappers_and_unknown_keys_change_nothing(
    name: str, mutations: list[Callable[[Json, random.Random], Json]], chance: random.Random
) -> None:
    tree = copy.deepcopy(DOCUMENTS[name])
    for mutation in sorted(mutations, key=HARMLESS.index):
        tree = mutation(tree, chance)
    assert meaning(tree) == meaning(DOCUMENTS[name])


ODD: list[Json] = [
    None, True, False, 0, -1, 86401, 2**64, 1.5, "", " ", "\x00", "\ud800", "\u2028", "é" * 200, "aes512",
    "ikev3", "group99", "disabled", "sm4", "sm3", "0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/8",
    "10.0.0.0/8,10.1.0.0/16", "2001:db8::1", "leftId-not-exist", "203.0.113.1", "cgw-1", "# no comment",
    "a: b", "'", '"', "{", "*", "%any", "1e3", "null", "yes", "CN=test,OU=test", "aggressive", "ikev1",
    "master", "NO_ASSOCIATED", "CEN", "45104", "123.456", "9" * 5000, [], {}, [[]], [None], {"Psk": "x"},
]  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(ODD)), max_size=4),
)
def test_whatever_is_in_a_document_it_imports_or_is_refused_by_name_without_a_secret(
    names: list[str], changes: list[tuple[int, Json]]
) -> None:
    trees = {f"{name}.json": copy.deepcopy(DOCUMENTS[name]) for name in names}
    for position, value in changes:
        everywhere = list(places(trees))
        holder, key = everywhere[position % len(everywhere)]
        holder[key] = copy.deepcopy(value)
    documents = {name: json.dumps(tree).encode() for name, tree in trees.items()}
    blamed: set[str] = set()
    try:
        assembly = assembly_of(documents, Answers())
        result = yaml_of(assembly, documents, "psk")
        said = "\n".join((result.text, *result.remarks, *assembly.notes))
    except ConfigError as error:
        said = str(error) if all(problem.text for problem in error.problems) else "Hush"
        blamed = {problem.file for problem in error.problems} or {"nobody"}
    assert "Hush" not in said
    assert blamed <= documents.keys()


@settings(max_examples=100)
@given(
    st.sampled_from(NAMES), st.integers(0, 10_000), st.sampled_from(["\n", " ", "é", "\x7f", 7, ["x"], {}])
)
def test_a_secret_that_cannot_be_one_is_refused_and_not_shown(name: str, position: int, spoil: Json) -> None:
    tree = copy.deepcopy(DOCUMENTS[name])
    keys = [(holder, key) for holder, key in places(tree) if key == "Psk"]
    holder, key = keys[position % len(keys)]
    holder[key] = holder[key] + spoil if isinstance(spoil, str) else spoil
    found = problems({"document": tree})
    assert len(found) == 1
    assert ".Psk: must be a key of visible ASCII characters" in found[0]
    assert "Hush" not in found[0]


def test_a_masked_key_is_asked_for() -> None:
    tree = copy.deepcopy(DOCUMENTS["download-single"])
    tree["VpnConnectionConfig"]["IkeConfig"]["Psk"] = "******"
    assert "TO FILL IN: where is the pre-shared key? Put it into a file" in yaml_text({"document": tree})


#: An example in a question, an address or none, for matching views, told by being there.
OF_LITTLE_USE = {"Enable", "Sip", "Local", "VpnConnectionId", "TotalCount", "RemoteCaCertificate"}


INSIDE = {"LocalBgpIp", "PeerBgpIp", "TunnelCidr"}


def leaves(tree: Json) -> Iterator[tuple[Json, Any]]:
    """Return every place of a text that is of use, however deep."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        if key in NOT_USED or key in OF_LITTLE_USE:
            continue
        if isinstance(tree[key], dict | list):
            yield from leaves(tree[key])
        elif tree[key] not in ("", None, NO_IDENTITY):
            yield tree, key


def outcome(tree: Json) -> Any:
    """Return all that a user learns of a document."""
    documents = {"document": json.dumps(tree).encode()}
    try:
        assembly = assembly_of(documents, Answers())
        result = yaml_of(assembly, documents, "psk")
    except ConfigError as error:
        return str(error)
    keys = [tunnel.psk for connection in assembly.connections for tunnel in connection.tunnels]
    return result.text, result.remarks, assembly.notes, keys


FULL = {**DOCUMENTS, **sdk_models.DOCUMENTS}


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.sampled_from(sorted(FULL)), st.integers(0, 10_000), st.sampled_from(["{}x", "x", 7, None, [], "9{}"])
)
def test_no_member_of_use_can_change_unnoticed(name: str, position: int, change: Json) -> None:
    tree = copy.deepcopy(FULL[name])
    found = list(leaves(tree))
    holder, key = found[position % len(found)]
    assume(key != "EnableTunnelsBgp" or name.endswith("dual"))  # the switch of tunnels, where there are none
    # In protected data flows the addresses inside are left out, which is told once for all of them.
    assume(key not in INSIDE or name not in ("describe-single", "describe-dual-defaults"))
    assume(key != "EnableNatTraversal" or change is not None)  # the other tunnel tells it for both
    before = holder[key]
    holder[key] = change.format(before) if isinstance(change, str) else change
    if holder[key] != before:
        assert outcome(tree) != outcome(FULL[name]), key
