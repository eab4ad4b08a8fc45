"""Which tunnels carry a connection's traffic, and which of several connections that share a network.

Total and pure: the whole policy of choosing among tunnels is here, shared by the control daemon, the
prober and ``vpnagent plan``. An empty answer means fail closed: the guard answers with unreachable.

A tunnel without a CHILD_SA is never chosen, a drained one only while there is no other. Among the rest
the better path wins, and at equal paths the role:

    up > degraded, elsewhere, unprobed > suspected > hold-down > init > down

* What carries the traffic already is not left for a path that nobody has heard, nor because it has not
  been heard *yet*: a restarted prober moves nothing before it knows better.
* A suspected path is left only for one that is heard, and gets its traffic back when it is heard itself.
* Congestion and a dead probe target move nothing: the other tunnel would be no better.
* Connections that share a network have a priority as tunnels have a role: the best connection wins, and at
  equal paths the first. Those of one priority share the traffic.
* Where the best path is not up, neither counts against what carries already: two bad tunnels do
  not take turns. When every path is down the last choice stays (fail static).
"""

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from vpnagent.config.values import Forwarding, Role, TunnelKey
from vpnagent.record import record


class PathState(enum.Enum):
    """What is known of the path through a tunnel, in the words of the status contract."""

    INIT = "init"
    UP = "up"
    DEGRADED = "degraded"
    ELSEWHERE = "elsewhere"  #: replies come by an interface of others: only our direction is proven
    UNPROBED = "unprobed"  #: probes cannot be sent: nothing is known
    HOLD_DOWN = "hold-down"
    DOWN = "down"


@record(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of one tunnel now."""

    child_sa_installed: bool
    drained: bool = False
    path: PathState = PathState.INIT
    blameless: bool = False  #: degraded by what is not its own fault: no other would be better
    suspected: bool = (
        False  #: probes in a row are unanswered, and another tunnel is heard: not yet known to be down
    )


Verdicts = Mapping[TunnelKey, Verdict]

UNKNOWN = Verdict(child_sa_installed=False)


class Candidate(Protocol):
    """A tunnel, as configured or as the prober was told of it."""

    @property
    def key(self) -> TunnelKey: ...  # noqa: D102
    @property
    def role(self) -> Role: ...  # noqa: D102
    @property
    def weight(self) -> int: ...  # noqa: D102


T = TypeVar("T", bound=Candidate)
T_co = TypeVar("T_co", bound=Candidate, covariant=True)


class Bundle(Protocol[T_co]):
    """A connection, as configured or as the prober was told of it."""

    @property
    def forwarding(self) -> Forwarding: ...  # noqa: D102
    @property
    def priority(self) -> int: ...  # noqa: D102
    @property
    def tunnels(self) -> Sequence[T_co]: ...  # noqa: D102


def usable(verdict: Verdict) -> bool:
    """Whether packets may be sent into the tunnel at all."""
    return verdict.child_sa_installed and not verdict.drained


def select(connection: Bundle[T], verdicts: Verdicts, carrying: Collection[TunnelKey] = ()) -> tuple[T, ...]:
    """Return the tunnels that carry the connection's traffic now, in the order of the file.

    ``carrying`` are those that do at present, if that is known.
    """
    return choose(connection.forwarding, connection.tunnels, verdicts, carrying)


def select_shared(
    connections: Iterable[Bundle[T]], verdicts: Verdicts, carrying: Collection[TunnelKey] = ()
) -> tuple[T, ...]:
    """Return the members of the nexthop group that these connections share.

    Each connection brings its own choice; then one whose paths are down, drained or not yet trusted
    gives way to the others of its priority, just as a tunnel does within an ecmp connection, and all of one
    priority to those of another, just as an active tunnel does to its standby.
    """
    levels: dict[int, list[T]] = {}
    for connection in connections:
        levels.setdefault(connection.priority, []).extend(select(connection, verdicts, carrying))
    chosen = [choose(Forwarding.ECMP, levels[level], verdicts, carrying) for level in sorted(levels)]
    return _preferred([level for level in chosen if level], verdicts, carrying)


def _preferred(
    levels: Sequence[tuple[T, ...]], verdicts: Verdicts, carrying: Collection[TunnelKey]
) -> tuple[T, ...]:
    """Return the level that carries, of those that can; the first is preferred."""
    candidates = [t for t in levels if not all(verdicts[one.key].drained for one in t)] or list(levels)
    if len(candidates) < 2:  # noqa: PLR2004 - nothing to choose
        return candidates[0] if candidates else ()
    ranks = [min(rank(verdicts[t.key], carrying=t.key in carrying) for t in level) for level in candidates]
    best = min(ranks)
    candidates = [level for level, of_level in zip(candidates, ranks, strict=True) if of_level == best]
    standing = [level for level in candidates if any(t.key in carrying for t in level)]
    return (standing or candidates)[0] if best != _UP else candidates[0]


def choose(
    forwarding: Forwarding, tunnels: Sequence[T], verdicts: Verdicts, carrying: Collection[TunnelKey]
) -> tuple[T, ...]:
    """Return those of ``tunnels`` that are to carry traffic, in their order."""
    installed = [t for t in tunnels if verdicts.get(t.key, UNKNOWN).child_sa_installed]
    candidates = [t for t in installed if not verdicts[t.key].drained] or installed
    ranks = {t.key: rank(verdicts[t.key], carrying=t.key in carrying) for t in candidates}
    best = min(ranks.values(), default=DOWN)
    if best == DOWN:
        candidates = [t for t in candidates if t.key in carrying] or candidates
    elif forwarding is Forwarding.ECMP and best == _UP:
        candidates = _up_or_degraded(candidates, ranks)
    else:
        candidates = [t for t in candidates if ranks[t.key] == best]
    if forwarding is Forwarding.ECMP:
        return tuple(candidates)
    sticky = carrying if best != _UP else ()
    return tuple(sorted(candidates, key=lambda t: (t.key not in sticky, t.role is not Role.ACTIVE))[:1])


def _up_or_degraded(candidates: Sequence[T], ranks: Mapping[TunnelKey, int]) -> list[T]:
    """Leave degraded members out only while that takes no more than half of the capacity away.

    Otherwise their traffic would degrade the rest, and so on, one by one.
    """
    up = [t for t in candidates if ranks[t.key] == _UP]
    both = [t for t in candidates if ranks[t.key] <= _DEGRADED]
    return up if 2 * sum(t.weight for t in up) >= sum(t.weight for t in both) else both


_RANKS = {
    PathState.UP: (_UP := 0),
    PathState.DEGRADED: (_DEGRADED := 1),
    PathState.ELSEWHERE: _DEGRADED,
    PathState.UNPROBED: _DEGRADED,
    PathState.HOLD_DOWN: 3,
    PathState.INIT: 4,
    PathState.DOWN: (DOWN := 5),
}
_SUSPECTED = 2


def rank(verdict: Verdict, *, carrying: bool) -> int:
    """Return how good a tunnel's path is to choose: 0 is best; ``carrying``: it carries traffic already."""
    if verdict.suspected:
        return max(_RANKS[verdict.path], _SUSPECTED)
    if verdict.blameless or (carrying and verdict.path is PathState.INIT):
        return _UP
    return _RANKS[verdict.path]
