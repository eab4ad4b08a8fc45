"""All paths and domains of an intent, and which of them is due when.

Facts and time are passed on to those whom they concern. A stall of this process shows here: the first thing
that was due is dealt with late, and all paths are told.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heappop, heappush
from ipaddress import IPv4Address
from math import inf
from typing import Generic, TypeVar

from vpnagent.config.values import Forwarding, TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause
from vpnagent.probe.detector import StateChange
from vpnagent.probe.domain import Domain
from vpnagent.probe.evidence import TargetLimit
from vpnagent.probe.intent import Intent, TunnelIntent
from vpnagent.probe.measures import Outbox, PathTransition
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import Remedy

K = TypeVar("K", bound=Hashable)

_STALLED = 0.25  #: of the shortest interval: a wake-up that much late is a stall of our own


class Scheduler:
    """Everything that has a deadline."""

    __slots__ = (
        "_domains",
        "_down",
        "_outbox",
        "_random",
        "_stall",
        "_timetable",
        "dirty",
        "limits",
        "paths",
        "watched",
    )

    def __init__(self, intent: Intent, outbox: Outbox, random: Callable[[], float], now: float) -> None:
        self._outbox = outbox
        self._random = random
        self._down: set[str] = set()  #: interfaces
        self._domains: dict[TunnelKey, Domain] = {}
        self._timetable: Timetable[Path | Domain] = Timetable()
        self._stall = 0.0  #: seconds of lateness that are a stall
        self.limits: dict[IPv4Address, TargetLimit] = {}  #: of the targets, whoever asks them
        self.paths: dict[TunnelKey, Path] = {}
        self.watched: set[Path] = set()  #: those to which a reply means more than figures
        self.dirty: dict[Domain, None] = {}  #: to be advanced at once, in this order
        self.replace_intent(intent, now)

    @property
    def deadline(self) -> float:
        """When ``advance`` is next due; infinite: only a fact can change anything."""
        return self._timetable.deadline()

    def remedy_of(self, tunnel: TunnelKey) -> Remedy:
        """Return what is being done about a tunnel."""
        return self._domains[tunnel].situation.remedies[tunnel]

    def replace_intent(self, intent: Intent, now: float) -> None:
        """Take a newer intent; what stays keeps its history."""
        tunnels = intent.tunnels()
        remedies = {key: self.remedy_of(key) for key in self._domains}
        said = {path.key: path.intent.child_sa_installed for path in self.paths.values()}
        paths: dict[TunnelKey, Path] = {}
        for address in {
            target.address for tunnel in tunnels for target in tunnel.targets
        } - self.limits.keys():
            self.limits[address] = TargetLimit()
        for number, tunnel in enumerate(tunnels):
            path = self.paths.get(tunnel.key)
            if path is None:
                first_probe = now + tunnel.interval * number / len(tunnels)
                path = Path(tunnel, self.limits, at=now, first_probe=first_probe)
                remedies[path.key] = _remedy(tunnel, self._random, now)
            else:
                path.replace_intent(tunnel, now)
            paths[path.key] = path
        for domain in self._domains.values():
            self._timetable.set(domain, inf)
        for path in self.paths.values():
            self._timetable.set(path, inf)
        self.paths = paths
        # Of an interface that no intent names nobody tells that it is back; named anew, it is told of anew.
        self._down &= {name for tunnel in tunnels for name in (tunnel.interface, tunnel.outer_interface)}
        self.watched.clear()
        self._arrange(intent, remedies)
        self._stall = _STALLED * min((t.interval for t in tunnels), default=1.0)
        for path in paths.values():
            # An intent that repeats itself tells nothing new: what we did since is newer.
            installed = path.intent.child_sa_installed
            changed = said.get(path.key, installed) != installed
            self._signal(path, now, child_sa=installed if changed else path.signals.child_sa)
        for domain in dict.fromkeys(self._domains.values()):
            self._touch_all(domain)

    def touch(self, path: Path) -> None:
        """Something happened to the path: its deadline may be another."""
        self._timetable.set(path, path.deadline)

    def failed(self, path: Path, sequence: int, error: str, at: float) -> None:
        """A probe could not be sent. When that makes a path unprobed, those in the same case are so too.

        Else traffic would be moved to one of which the same will be known in a moment.
        """
        changes = [PathTransition(path, transition) for transition in path.failed(sequence, error, at)]
        if changes:
            domain = self._domains[path.key]
            for other in domain.situation.paths.values():
                changes += [PathTransition(other, transition) for transition in other.unprobed(at)]
            self._outbox.changes.extend(changes)
            self._touch_all(domain)

    def heard(
        self, path: Path, heard_on: TunnelKey | None, transitions: Iterable[StateChange], at: float
    ) -> None:
        """A reply to a probe of the path arrived."""
        domain = self._domains[path.key]
        if domain.heard(path, heard_on, transitions, at):
            self._touch_all(domain)
        else:
            self.touch(path)
            if path in self.watched:
                self._watch(path)

    def ike_answered(self, tunnel: TunnelKey, at: float) -> None:
        """The peer's IKE daemon gave a sign of life."""
        self._domains[tunnel].ike_answered(tunnel, at)
        self._touch_all(self._domains[tunnel])

    def terminated(self, tunnel: TunnelKey, at: float, *, done: bool) -> None:
        """A reset was carried out, or was not possible."""
        self._domains[tunnel].terminated(tunnel, at, done=done)
        if done:
            self._signal(self.paths[tunnel], at, child_sa=False)
        self._touch_all(self._domains[tunnel])

    def initiated(self, tunnel: TunnelKey, at: float, *, done: bool) -> None:
        """A tunnel was brought up, or could not be."""
        if done:
            self._signal(self.paths[tunnel], at, child_sa=True)
        self._domains[tunnel].initiated(tunnel, at, done=done)
        self._touch_all(self._domains[tunnel])

    def link_changed(self, interface: str, *, usable: bool, at: float) -> None:
        """An interface can be used no longer, or again."""
        if usable:
            self._down.discard(interface)
        else:
            self._down.add(interface)
        for path in self.paths.values():
            if interface in (path.intent.interface, path.intent.outer_interface):
                self._signal(path, at, child_sa=path.signals.child_sa)
                self._touch_all(self._domains[path.key])

    def advance(self, now: float) -> None:
        """Apply the passage of time to whatever is due."""
        due = self._timetable.deadline()
        if due > now and not self.dirty:
            return
        if now - due > self._stall:
            self._stalled(due, now)
        actions, changes, _ = self._outbox
        while (item := self._timetable.pop(now)) is not None:
            if isinstance(item, Domain):
                self.dirty[item] = None
                continue
            for transition in item.advance(now, self._random, actions):
                changes.append(PathTransition(item, transition))
            self.touch(item)
            if item.silence.quiet:
                self._quiet(item, now)
        due_now, self.dirty = self.dirty, {}
        for domain in due_now:
            domain.advance(now)
            self._touch_all(domain)

    def _quiet(self, path: Path, now: float) -> None:
        """The path missed a probe and was not heard since: it may be silent now, or soon."""
        self.watched.add(path)
        domain = self._domains[path.key]
        if domain.unjudged(path):
            self.dirty[domain] = None
        else:
            domain.quieted(path, now)
            self._timetable.set(domain, domain.deadline)

    def _stalled(self, since: float, until: float) -> None:
        """Nothing of us ran in between: tell all paths, and spread their probes anew."""
        for number, path in enumerate(self.paths.values()):
            path.stalled(since, until)
            if until - path.schedule.due > path.intent.interval / 2:
                path.schedule.start(until + path.intent.interval * number / len(self.paths))
            self.touch(path)

    def _signal(self, path: Path, at: float, *, child_sa: bool) -> None:
        signals = path.signals
        was_usable = signals.usable
        cause, reason = Cause.LINK, "interface usable again"
        if signals.child_sa != child_sa:
            cause, reason = Cause.CHILD_SA, "CHILD_SA installed" if child_sa else "no CHILD_SA"
        signals.child_sa = child_sa
        signals.lost_interfaces = {
            i
            for i in (path.intent.interface, path.intent.outer_interface)
            if i is not None and i in self._down
        }
        if cause is Cause.LINK and signals.lost_interfaces:
            reason = f"interface {min(signals.lost_interfaces)} is lost"
        self._domains[path.key].signalled(path, cause, reason, at, was_usable=was_usable)

    def _touch_all(self, domain: Domain) -> None:
        for path in domain.situation.paths.values():
            self.touch(path)
            self._watch(path)
        self._timetable.set(domain, domain.deadline)
        if domain.unsettled:
            self.dirty[domain] = None

    def _watch(self, path: Path) -> None:
        settled = path.state in (PathState.UP, PathState.DEGRADED) and not path.is_filtered
        if path.silence.quiet or not settled:
            self.watched.add(path)
        else:
            self.watched.discard(path)

    def _arrange(self, intent: Intent, remedies: dict[TunnelKey, Remedy]) -> None:
        """Put the paths into domains; one whose tunnels are the same as before keeps its inquiry."""
        before = {tuple(domain.situation.paths): domain for domain in self._domains.values()}
        policies = {c.name: c.on_path_down for c in intent.connections}
        self._domains = {}
        self.dirty = {}
        for names in _sharing(intent):
            keys = tuple(t.key for c in intent.connections if c.name in names for t in c.tunnels)
            domain = before.get(keys) or Domain(self._outbox)
            for key in keys:
                domain.situation.add(self.paths[key], remedies[key], policies[key.connection])
                self._domains[key] = domain
            standby = {c.forwarding for c in intent.connections if c.name in names} == {
                Forwarding.ACTIVE_STANDBY
            }
            domain.situation.hashed = len(names) > 1 or not standby


def _remedy(tunnel: TunnelIntent, random: Callable[[], float], now: float) -> Remedy:
    remedy = Remedy(random)
    if tunnel.failed_trials is not None:
        remedy.resume(tunnel.failed_trials, now)
    return remedy


def _sharing(intent: Intent) -> Iterator[frozenset[str]]:
    """Return the connections that share a group, directly or through others, set by set."""
    sets = [frozenset({c.name}) for c in intent.connections]
    for group in intent.groups:
        touched = [s for s in sets if not s.isdisjoint(group.connections)]
        sets = [s for s in sets if s not in touched]
        sets.append(frozenset().union(*touched))
    yield from (s for s in sets if s)


class Timetable(Generic[K]):
    """What is due when; a heap whose outdated entries are dropped when they come up."""

    __slots__ = ("_due", "_entries", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._entries = 0  #: ever made: entries due at the same time come out in the order they went in

    def set(self, what: K, due: float) -> None:
        """``what`` is due then and not as was said before; infinite: not at all."""
        if self._due.get(what, inf) != due:
            self._due[what] = due
            if due != inf:
                self._entries += 1
                heappush(self._heap, (due, self._entries, what))

    def deadline(self) -> float:
        """When the first is due; infinite if none is."""
        heap, due = self._heap, self._due
        while heap and due.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else inf

    def pop(self, now: float) -> K | None:
        """Take out the first that is due, or return None."""
        heap, due = self._heap, self._due
        while heap and heap[0][0] <= now:
            at, _, what = heappop(heap)
            if due.get(what) == at:
                del due[what]
                return what
        return None
