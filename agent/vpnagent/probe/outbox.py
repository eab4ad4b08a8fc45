"""What follows from facts and time, between those who find it out and those who act on it."""

from typing import NamedTuple

from vpnagent.config.values import TunnelKey
from vpnagent.probe.actions import Action, Cause
from vpnagent.probe.detector import StateChange
from vpnagent.probe.path import Path


class PathTransition(NamedTuple):
    """A path of the domain changed its state."""

    path: Path
    transition: StateChange


class Trigger(NamedTuple):
    """Something else that selection depends on changed."""

    cause: Cause
    tunnel: TunnelKey | None
    reason: str


class Outbox(NamedTuple):
    """Where a domain leaves what follows from facts and time; the core empties it."""

    actions: list[Action]
    changes: list[PathTransition]
    triggers: list[Trigger]
