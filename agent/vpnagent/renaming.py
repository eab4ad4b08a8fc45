"""What is known of a tunnel goes with it to its new name, or traffic would wait until it is learnt again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from vpnagent.config.values import TunnelKey
from vpnagent.knowledge import Knowledge
from vpnagent.naming import FormerKeys

Value = TypeVar("Value")


def carry_over(known: Knowledge, former: FormerKeys) -> None:
    """Have what is known of tunnels under their former names known under the present ones."""
    if not former:
        return
    known.charon.verdicts = _under_present_keys(known.charon.verdicts, former)
    known.charon.statuses = _under_present_keys(known.charon.statuses, former)
    paths = _under_present_keys(known.probe.paths, former)
    known.probe.paths = {key: replace(path, tunnel=key) for key, path in paths.items()}
    known.drained = frozenset(_under_present_keys(dict.fromkeys(known.drained), former))
    carrying = _under_present_keys(dict.fromkeys(known.carrying()), former)
    known.kernel.selected = {
        connection.name: tuple(t.name for t in connection.tunnels if t.key in carrying)
        for connection in known.config.connections
    }


def _under_present_keys(values: Mapping[TunnelKey, Value], former: FormerKeys) -> dict[TunnelKey, Value]:
    present = {was: key for key, was in former.items()}
    return {present.get(key, key): value for key, value in values.items()}
