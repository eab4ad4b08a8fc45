"""What each nexthop group should hold: selection applied to the intent and the paths as they are.

Stickiness needs memory: the members that a group has now are one of selection's arguments. They are kept
here, begin as the kernel has them, and change only by ``reselect``.
"""

from collections.abc import Mapping

from vpnagent.config.values import TunnelKey
from vpnagent.probe.intent import Intent, Member
from vpnagent.selection import Verdict, select_shared


class Groups:
    """The groups of one intent."""

    __slots__ = ("_carrying", "_intent", "_members")

    def __init__(self, intent: Intent) -> None:
        keys = {t.nexthop_id: t.key for t in intent.tunnels()}
        self._carrying: dict[int, tuple[TunnelKey, ...]] = {
            g.id: tuple(keys[id_] for id_, _ in g.members if id_ in keys) for g in intent.groups
        }
        self._members: dict[int, tuple[Member, ...]] = {}
        self._intent = intent

    @property
    def members(self) -> Mapping[int, tuple[Member, ...]]:
        """What each group should hold; empty: it should not exist."""
        return self._members

    @property
    def selected(self) -> dict[str, tuple[str, ...]]:
        """By connection, the names of the tunnels that carry its traffic, in the order of the file."""
        carrying = {key for keys in self._carrying.values() for key in keys}
        return {
            c.name: tuple(t.key.tunnel for t in c.tunnels if t.key in carrying)
            for c in self._intent.connections
        }

    def replace_intent(self, intent: Intent) -> None:
        """Groups that stay keep their members until ``reselect``; new ones begin as they are told."""
        begun = Groups(intent)._carrying
        known = {t.key for t in intent.tunnels()}
        for id_, keys in self._carrying.items():
            if id_ in begun:
                begun[id_] = tuple(key for key in keys if key in known)
        self._carrying = begun
        self._members = {id_: members for id_, members in self._members.items() if id_ in begun}
        self._intent = intent

    def reselect(self, verdicts: Mapping[TunnelKey, Verdict]) -> list[int]:
        """Choose anew; return the groups that changed, or were never chosen before."""
        connections = {c.name: c for c in self._intent.connections}
        changed = []
        for group in self._intent.groups:
            sharing = [connections[name] for name in group.connections]
            chosen = select_shared(sharing, verdicts, self._carrying[group.id])
            members = tuple(sorted((t.nexthop_id, t.weight) for t in chosen))
            self._carrying[group.id] = tuple(t.key for t in chosen)
            if self._members.get(group.id) != members:
                self._members[group.id] = members
                changed.append(group.id)
        return changed
