"""docs/status.md explains every field and every state of the status object."""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tools.screens import NOW, document

from vpnagent.config.values import Forwarding
from vpnagent.knowledge.tunnels import ChildStatus, IkeStatus, TunnelState
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause

PAGE = (pathlib.Path(__file__).parents[2] / "docs/status.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
WORDS = {word for name in NAMED for word in re.split(r"[.\[\]]+", name)}


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from keys(part)
    elif isinstance(value, list):
        for part in value:
            yield from keys(part)


@pytest.mark.parametrize("field", sorted({key for name in NOW for key in keys(document(name))}))
def test_every_field_is_explained(field: str) -> None:
    assert field in WORDS


@pytest.mark.parametrize("kind", [TunnelState, PathState, IkeStatus, ChildStatus, Forwarding, Cause])
def test_every_word_is_explained(kind: Any) -> None:
    assert {member.value for member in kind} <= WORDS


def test_the_states_of_routes_are_explained() -> None:
    assert {"installed", "guarded", "missing"} <= WORDS
