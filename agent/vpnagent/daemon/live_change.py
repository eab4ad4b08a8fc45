"""What a reload does to the SAs of each tunnel, and to the kernel, told before it happens. Pure.

The same judgement as `ipsec.plan` takes when it happens; interruptions are what the lab has seen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from vpnagent.config.values import Config, TunnelKey
from vpnagent.finding import Severity
from vpnagent.ipsec.actions import CharonConnection
from vpnagent.ipsec.plan import negotiable_beside
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.policy.desired import desired, ipsec_connections
from vpnagent.policy.naming import FormerKeys, former_keys
from vpnagent.policy.selection import Verdict
from vpnagent.routing.objects import KernelState
from vpnagent.routing.plan import plan

ADDED = "is added"
RENAMED = "is the {} of before: its SAs stay"
REMOVED = "is removed: its SAs end"
RENEWED = "gets new SAs beside the present ones, which go when the new ones stand"
TAKEN_DOWN = "is taken down and negotiated again: another key, certificate, interface id, or IKEv1"

NOTHING = "no interruption"
INBOUND = "inbound: less than a round trip"
MOVED = "its traffic moves to the other tunnels meanwhile, in some milliseconds"
ALONE = "interrupted for one negotiation, usually below a second; until the cloud's end has changed as well"
REPLACED = "interrupted until a tunnel that is added is up; with its interface and if_id it would stay"
ENDED = "interrupted for good: no tunnel of the connection is left"

_SEVERITIES = {NOTHING: Severity.INFO, INBOUND: Severity.INFO, MOVED: Severity.WARNING}


@dataclass(frozen=True, slots=True)
class TunnelChange:
    """What happens to one tunnel."""

    tunnel: TunnelKey
    change: str
    interruption: str

    def __str__(self) -> str:
        return f"{self.tunnel} {self.change} ({self.interruption})"

    @property
    def severity(self) -> Severity:
        """How grave it is: a warning where traffic moves, critical where it is interrupted."""
        return _SEVERITIES.get(self.interruption, Severity.CRITICAL)


def tunnel_changes(old: Config, new: Config) -> Iterator[TunnelChange]:
    """Yield what a reload from one configuration to another does to SAs; what is not named is not touched."""
    before = {connection.key: connection for connection in ipsec_connections(old).values()}
    after = {connection.key: connection for connection in ipsec_connections(new).values()}
    for key, was in former_keys(old, new).items():
        before[key] = replace(before.pop(was), key=key)
        yield TunnelChange(key, RENAMED.format(was), NOTHING)
    for key in before.keys() - after.keys():
        left = {other for other in after if other.connection == key.connection}
        yield TunnelChange(key, REMOVED, MOVED if left & before.keys() else REPLACED if left else ENDED)
    for key, connection in after.items():
        if key not in before:
            yield TunnelChange(key, ADDED, NOTHING)
        elif (change := _change(before[key], connection)) is not None:
            others = any(other.connection == key.connection and other != key for other in after)
            yield TunnelChange(key, change, INBOUND if change == RENEWED else MOVED if others else ALONE)


def _change(old: CharonConnection, new: CharonConnection) -> str | None:
    if replace(old, psk_by_pair=new.psk_by_pair) == new:
        return None
    return RENEWED if negotiable_beside(old, new) else TAKEN_DOWN


def preview(old: Config, new: Config) -> dict[str, Any]:
    """Return what a reload does to SAs as ``vpnagent plan`` has it, and how grave the worst of it is."""
    changes = list(tunnel_changes(old, new))
    worst = max((list(Severity).index(change.severity) for change in changes), default=0)
    tunnels = sorted(map(str, changes))
    return {"refused": None, "tunnels": tunnels, "severity": list(Severity)[worst].value}


def kernel_changes(old: Config, new: Config) -> list[str]:
    """Return what would change in a kernel that has all that the old one wants, with all tunnels up."""
    have, want = (
        desired(config, {t.key: Verdict(child_sa_installed=True) for t in config.tunnels()}).kernel
        for config in (old, new)
    )
    state = KernelState(objects=have, foreign_links=frozenset(), foreign_routes=frozenset(), counters={})
    return [str(action) for action in plan(want, state, prune=True, manage_sysctls=new.agent.manage_sysctls)]


# What is known of a tunnel goes with it to its new name, or traffic would wait until it is learnt again.

ChangedValue = TypeVar("ChangedValue")


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


def _under_present_keys(
    values: Mapping[TunnelKey, ChangedValue], former: FormerKeys
) -> dict[TunnelKey, ChangedValue]:
    present = {was: key for key, was in former.items()}
    return {present.get(key, key): value for key, value in values.items()}
