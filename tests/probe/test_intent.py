import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.probe.simulation import make_connections, make_intent

from vpnagent.probe.intent import Limits, decode, encode

INTENTS = [
    make_intent(),
    make_intent(own=False, count=3, drained=True, failed_trials=2),
    make_intent(limits=Limits(rtt_enter=0.5, rtt_leave=0.25)),
    make_connections(3),
]


@pytest.mark.parametrize("intent", INTENTS)
def test_an_intent_survives_the_wire(intent: Any) -> None:
    assert decode(json.loads(json.dumps(encode(intent)))) == intent


def document() -> Any:
    return json.loads(json.dumps(encode(make_intent())))


def test_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version must be 1"):
        decode({**document(), "version": 2})


WRONG: list[tuple[list[str | int], object, str]] = [
    (["generation"], "1", r"intent.generation: int expected, not '1'"),
    (["generation"], True, r"intent.generation: int expected, not True"),
    (["connections", 0, "tunnels", 1, "interval"], 0, r"tunnels\[1\]: 0 < interval <= 60: 0"),
    (["connections", 0, "tunnels", 1, "interval"], float("nan"), r"interval: float expected, not nan"),
    (["connections", 0, "tunnels", 0, "hold_down"], float("inf"), r"hold_down: float expected, not inf"),
    (["connections", 0, "tunnels", 0, "weight"], 256, r"weight is 1 to 255: 256"),
    (["connections", 0, "tunnels", 0, "targets"], [], r"targets must not be empty"),
    (["connections", 0, "tunnels", 0, "targets"], "x", r"targets: list expected, not"),
    (["connections", 0, "tunnels", 0, "targets", 0], "x", r"targets\[0\]: object expected, not"),
    (["connections", 0, "tunnels", 0, "remote_address"], "1.2.3", r"remote_address: "),
    (["connections", 0, "tunnels", 0, "role"], "boss", r"role: 'boss' is not a valid Role"),
    (["connections", 0, "tunnels", 0, "key"], ["hangzhou"], r"key: 2 items expected, not 1"),
    (["connections", 0, "tunnels", 0, "key"], ["b", "primary"], r"tunnel b/primary is not of: hangzhou"),
    (["connections", 0, "tunnels", 0, "surprise"], 1, r"tunnels\[0\]: unknown key surprise"),
    (["connections", 0, "tunnels", 1, "nexthop_id"], 0x56500001, r"nexthop id given twice"),
    (["connections", 0, "tunnels", 0, "limits", "loss_leave"], 0.9, r"loss_leave <= loss_enter"),
    (["groups", 0, "connections"], ["other"], r"group of unknown connections"),
]


@pytest.mark.parametrize(("where", "value", "message"), WRONG)
def test_what_is_wrong_is_named(where: list[Any], value: object, message: str) -> None:
    wrong = document()
    part = wrong
    for step in where[:-1]:
        part = part[step]
    part[where[-1]] = value
    with pytest.raises(ValueError, match=message):
        decode(wrong)


def test_a_missing_key_is_named() -> None:
    wrong = document()
    del wrong["connections"][0]["tunnels"][0]["interval"]
    with pytest.raises(ValueError, match=r"intent.connections\[0\].tunnels\[0\]: missing key interval"):
        decode(wrong)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values, st.sampled_from(["connections", "groups", "generation"]))
def test_decoding_anything_returns_or_raises_value_error(value: object, where: str) -> None:
    for wrong in (value, {**document(), where: value}, {"version": 1, where: value}):
        with contextlib.suppress(ValueError):
            decode(wrong)


def test_the_generation_is_all_that_differs_between_equal_intents() -> None:
    assert replace(INTENTS[0], generation=2) != INTENTS[0]
