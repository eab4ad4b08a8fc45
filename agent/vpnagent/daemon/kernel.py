"""Keep the kernel as it should be: observe, plan, apply, report; again on every event and every second.

The policy is ``desired()``, the order is ``routing.plan``; what stands here is when to act. Nothing is
removed and no group is touched before charon has been observed once: a restart adopts what its
predecessor left.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from vpnagent.checks.host import source_missing, sysctl_differs
from vpnagent.checks.underlay import no_gateway, not_taken
from vpnagent.config.values import Config, TunnelKey
from vpnagent.errors import NetlinkError
from vpnagent.finding import Finding
from vpnagent.knowledge.counters import leaks
from vpnagent.knowledge.knowledge import Failover, Knowledge, rung
from vpnagent.policy import lines
from vpnagent.policy.choice import choices
from vpnagent.policy.desired import (
    desired,
    group_ids,
    network_route,
    peers,
    pins,
    route_metrics,
    sharers,
    whole_groups,
    with_source_as_hint,
)
from vpnagent.policy.selection import Verdict
from vpnagent.policy.walls import walled
from vpnagent.probe.actions import Cause
from vpnagent.routing.actions import KernelAction, Remove, kind_of
from vpnagent.routing.failures import conflict_finding, refused_finding, root_causes
from vpnagent.routing.objects import (
    Diversion,
    FilterTable,
    KernelObject,
    KernelObjects,
    KernelState,
    Lane,
    LocalWays,
    Nexthop,
    NexthopGroup,
    Peer,
    Route,
    RouteKey,
    Sysctl,
    XfrmLink,
)
from vpnagent.routing.plan import conflicts, plan, sysctl_differences
from vpnagent.routing.uplinks import Pin, Steering
from vpnagent.status.document import carries, diverted, in_turn

log = logging.getLogger(__name__)

PERIOD = 1.0  #: seconds between comparisons when nothing happens: the kernel removes some objects silently


class Kernel(Protocol):
    """What the reconciler needs of the kernel."""

    async def observe(self, desired: KernelObjects) -> KernelState:
        """Return what is ours and what of others' stands in the way of what is desired."""

    async def outgoing(self, peers: Iterable[Peer]) -> dict[Peer, str]:
        """Return by which interface each peer is reached, without those whose interface proves nothing."""

    async def beside(
        self, names: Collection[str], networks: Collection[IPv4Network]
    ) -> Mapping[str, Collection[RouteKey]]:
        """Return others' routes to exactly these networks, by interface."""

    async def local_ways(self, networks: Sequence[IPv4Network]) -> LocalWays:
        """Return by which interfaces the local networks are reached."""

    async def diversions(
        self,
        source: IPv4Address | None,
        local_networks: Sequence[IPv4Network],
        tunnels: Mapping[IPv4Network, Collection[str]],
        exits: Mapping[IPv4Network, Collection[str]],
    ) -> dict[IPv4Network, Diversion]:
        """Return the networks whose packets leave by other interfaces than the tunnels; by exits they may."""

    async def steering(self, pins: Iterable[Pin]) -> dict[Pin, Steering]:
        """Return how each peer can be held to its uplink."""

    async def apply_all(self, actions: Sequence[KernelAction]) -> list[tuple[KernelAction, NetlinkError]]:
        """Carry out all actions in order; return those that the kernel refused."""


class KernelReconciler:
    """One round after another. ``known.kernel`` is its to write."""

    def __init__(self, kernel: Kernel, known: Knowledge) -> None:
        self._kernel = kernel
        self._known = known
        self._stood = KernelObjects()  #: what was there, or should have been, after the last round
        self._refused: frozenset[KernelAction] = frozenset()
        self._turn = 0  #: of looking remote networks up
        self.observed = asyncio.Event()  #: set by the first round
        self.converged = asyncio.Event()  #: set by a round that had nothing left to do

    async def run(self) -> None:
        """Run rounds until cancelled."""
        while True:
            self._known.kernel_dirty.clear()
            await self.round()
            await rung(self._known.kernel_dirty, PERIOD)

    async def round(self) -> None:
        """Observe, plan, apply and report once. Raises NetlinkError when the kernel cannot be observed."""
        known = self._known
        config = known.config
        decided = time.monotonic()
        verdicts = known.verdicts()
        steering = await self._kernel.steering(pins(config))
        decision = desired(config, verdicts, known.carrying(), steering).kernel
        # As of the last round, so that the observation need not look for others' routes in every round.
        want = with_source_as_hint(decision, known.kernel.state) if known.kernel.state else decision
        state, ways = await self._observe(config, want)
        give_way = await self._giving_way(config, verdicts, state.objects)
        decision = give_way(with_source_as_hint(decision, state))
        want = walled(decision, state.objects, ways)
        if known.charon.state is None and known.config.connections:
            want = adopting(want, state.objects)
        elif known.probe.writes_groups(decided):
            want = with_groups_of_the_prober(config, want, state.objects)
            want = give_way(with_source_as_hint(want, state))
        if parting := is_parting(known):
            want = with_ways_that_stand(want, state.objects)
        manage = known.config.agent.manage_sysctls
        # Going down, nothing is configured, and there is nothing to wait for.
        prune = known.charon.state is not None or not known.config.connections
        actions = plan(want, state, prune=prune, manage_sysctls=manage)
        refused = dict(await self._kernel.apply_all(actions) if actions else [])
        acknowledged = time.monotonic()
        self._log(actions, refused)
        if actions:
            self._count_repairs(action for action in actions if action not in refused)
            state = await self._kernel.observe(want)
        if known.charon.state is not None and not known.probe.writes_groups(decided):
            self._note_selection(verdicts, decided, acknowledged)
        state = replace(state, outgoing=await self._kernel.outgoing(peers(config)))
        if known.kernel.state is None or known.kernel.state.outgoing != state.outgoing:
            known.probe_dirty.set()  # whose loss is which tunnel's
        self._stood = standing(self._stood, decision, state.objects)
        await self._look_for_diversions(config, state.objects)
        self._publish(want, state, refused, (*no_gateway(config, steering), *self._astray(config, state)))
        known.witness_dirty.set()
        self.observed.set()
        # Else the round was about what is no longer wanted, or something waits for charon.
        if not actions and not parting and known.config is config:
            self.converged.set()

    async def _observe(self, config: Config, want: KernelObjects) -> tuple[KernelState, LocalWays]:
        """Look, and take in what counts: what is about to be changed may take its counters along."""
        state = await self._kernel.observe(want)
        self._known.take_addresses(state.addresses or frozenset())
        self._known.kernel.traffic.update(state)
        self._known.kernel.stopped.update(state.stopped, time.monotonic())
        return state, await self._kernel.local_ways(config.local_networks())

    async def _giving_way(
        self, config: Config, verdicts: Mapping[TunnelKey, Verdict], have: KernelObjects
    ) -> Callable[[KernelObjects], KernelObjects]:
        """Return what leaves out the routes that keep packets from a line behind dead tunnels."""
        unheard = lines.unheard(config, verdicts, have)
        beside = await self._kernel.beside(frozenset().union(*unheard.values()), unheard)
        return lambda wanted: lines.given_way(config, wanted, unheard, beside)

    def _astray(self, config: Config, state: KernelState) -> Iterator[Finding]:
        """Yield what does not go where it should, for a reason outside of our objects."""
        yield from not_taken(config, state.outgoing)
        yield from source_missing(config, state.addresses)
        yield from diverted(self._known.kernel.diversions)
        yield from lines.not_used(config, self._known.kernel.by_exit)
        yield from leaks(config, self._known.kernel.stopped)

    async def _look_for_diversions(self, config: Config, have: KernelObjects) -> None:
        """Look some of the remote networks up, the others in rounds to come."""
        asked = in_turn(config, have, self._turn)
        self._turn += 1
        source = config.gateway.source_address
        found = await self._kernel.diversions(source, config.local_networks(), asked, lines.exits(config))
        known = self._known.kernel
        before = {**known.diversions, **known.by_exit}
        found = {p: d for p, d in before.items() if p not in asked and carries(config, p)} | found
        known.diversions = {p: d for p, d in found.items() if not d.meant}
        known.by_exit = {p: d for p, d in found.items() if d.meant}

    def _log(self, actions: Iterable[KernelAction], refused: Mapping[KernelAction, NetlinkError]) -> None:
        """Log what was applied, and what was refused when it was not so the last time."""
        for action in actions:
            if action not in refused:
                log.info("applied %s", action)
            elif action not in self._refused:
                log.warning("refused %s error=%r", action, refused[action].reason)
        self._refused = frozenset(refused)

    def _count_repairs(self, actions: Iterable[KernelAction]) -> None:
        """Count what stood as it should at the end of the last round, and had to be done again."""
        repairs = self._known.kernel.repairs
        for action in actions:
            if not isinstance(action, Remove) and holds(self._stood, action.object):
                kind = kind_of(action)
                repairs[kind] = repairs.get(kind, 0) + 1

    def _note_selection(
        self, verdicts: Mapping[TunnelKey, Verdict], decided: float, acknowledged: float
    ) -> None:
        known = self._known
        carrying = known.carrying()
        selected = {c.name: tuple(c.carries) for c in choices(known.config, verdicts, carrying)}
        for name, new in selected.items():
            old = known.kernel.selected.get(name, ())
            if old and old != new:
                self._note_failover(name, old, new, decided, acknowledged)
        known.kernel.selected = selected

    def _note_failover(
        self, name: str, old: tuple[str, ...], new: tuple[str, ...], decided: float, acknowledged: float
    ) -> None:
        known = self._known
        lost = [TunnelKey(name, tunnel) for tunnel in old if tunnel not in new]
        reason = reason_of(lost, known)
        signalled = known.charon.signalled_at
        at = time.time() - (time.monotonic() - decided)
        failover = Failover(
            at=at,
            acknowledged_at=at + (acknowledged - decided),
            old=old,
            new=new,
            reason=reason,
            detection_seconds=max(0.0, decided - signalled) if signalled is not None else 0.0,
            switch_seconds=acknowledged - decided,
        )
        known.kernel.note(name, failover)
        log.warning(
            "failover connection=%s from=%s to=%s reason=%s switch_seconds=%.6f",
            name,
            "+".join(old),
            "+".join(new) or "none",
            reason,
            failover.switch_seconds,
        )

    def _places(self, want: KernelObjects) -> KernelObjects:
        """Return what is wanted, and the groups that a prober writes, or that no tunnel needs yet."""
        return replace(want, groups={**whole_groups(self._known.config), **want.groups})

    def _publish(
        self,
        want: KernelObjects,
        state: KernelState,
        refused: Mapping[KernelAction, NetlinkError],
        astray: Iterable[Finding],
    ) -> None:
        known = self._known.kernel
        known.state = state
        known.traffic.update(state)
        known.stopped.update(state.stopped, time.monotonic())
        known.rates.update(time.monotonic(), state.counters)
        metrics = route_metrics(self._known.config)
        known.missing = frozenset(p for p, m in metrics.items() if (p, m) not in state.objects.routes)
        managed = self._known.config.agent.manage_sysctls
        differing = () if managed else (s for s in sysctl_differences(want, state) if not s.own)
        self._note_obstructed(obstructed(self._known.config, want, state))
        known.findings = (
            *(refused_finding(action, error) for action, error in root_causes(refused).items()),
            *(conflict_finding(conflict) for conflict in conflicts(self._places(want), state)),
            *(sysctl_differs(sysctl) for sysctl in differing),
            *astray,
        )

    def _note_obstructed(self, obstructed: frozenset[TunnelKey]) -> None:
        """Have no tunnel negotiated that has no interface: the cloud would return the traffic on it."""
        known = self._known.kernel
        if obstructed != known.without_interface:
            known.without_interface = obstructed
            self._known.charon_dirty.set()


def obstructed(config: Config, want: KernelObjects, state: KernelState) -> frozenset[TunnelKey]:
    """Return the tunnels whose interface cannot be made; one that stands beside a namesake is none."""
    refused = {c.object.name for c in conflicts(want, state) if isinstance(c.object, XfrmLink)}
    return frozenset(t.key for t in config.tunnels() if t.interface in refused - state.objects.links.keys())


def adopting(want: KernelObjects, have: KernelObjects) -> KernelObjects:
    """Return what is wanted while charon is unknown: the groups and routes that are there stay."""
    return KernelObjects(
        sysctls=want.sysctls,
        links=want.links,
        filter_table=want.filter_table,
        nexthops=want.nexthops,
        groups=have.groups,
        routes={**have.routes, **want.routes},
        lanes={**have.lanes, **want.lanes},
    )


def with_groups_of_the_prober(config: Config, want: KernelObjects, have: KernelObjects) -> KernelObjects:
    """Return what is wanted while the prober alone writes the groups: theirs as they are, routes to match.

    Until a network's group is there, the way that its packets take now stays, with all that it rests on.
    """
    ids = group_ids(config)
    connections = {connection.name: connection for connection in config.connections}
    ours = set(ids.values())
    groups = {id_: group for id_, group in have.groups.items() if id_ in ours}
    routes = {key: route for key, route in want.routes.items() if not route.group}
    nexthops = dict(want.nexthops)
    for prefix, names in sharers(config).items():
        route = network_route(config, connections[names[0]], prefix, ids[names])
        if route.group in groups:
            routes[route.key] = route
        elif way := way_that_stands(route.key, want, have):
            routes[route.key], group, members = way
            groups[group.id] = group
            nexthops.update((member.id, member) for member in members)
    return replace(want, groups=groups, routes=routes, nexthops=nexthops)


def way_that_stands(
    key: RouteKey, want: KernelObjects, have: KernelObjects
) -> tuple[Route, NexthopGroup, list[Nexthop]] | None:
    """Return a wanted route as it is, if its group rests on interfaces that are to stay, with all of that."""
    route = have.routes.get(key)
    if key not in want.routes or route is None or route.group is None or route.group not in have.groups:
        return None
    group = have.groups[route.group]
    members = [have.nexthops[id_] for id_, _ in group.members if id_ in have.nexthops]
    stays = len(members) == len(group.members) and all(m.interface in want.links for m in members)
    return (route, group, members) if members and stays else None


def is_parting(known: Knowledge) -> bool:
    """Whether charon has still to say goodbye to the peer of a tunnel that is configured no more."""
    state = known.charon.state if known.charon.connected else None
    owners = {tunnel.key.owner for tunnel in known.config.tunnels()}
    return any(sa.connection not in owners and not sa.deleting for sa in (state.sas if state else ()))


def with_ways_that_stand(want: KernelObjects, have: KernelObjects) -> KernelObjects:
    """Return what is wanted, and the ways to peers by uplinks: a DELETE is to leave as all before it."""
    peers = {route.prefix for route in have.routes.values() if route.interface}
    ways = {key: route for key, route in have.routes.items() if route.prefix in peers}
    return replace(want, routes={**ways, **want.routes}, lanes={**have.lanes, **want.lanes})


def standing(stood: KernelObjects, wanted: KernelObjects, have: KernelObjects) -> KernelObjects:
    """Return what stands, and the routes that should: they went with a group that the prober puts back."""
    lost = {key: route for key, route in stood.routes.items() if wanted.routes.get(key) == route}
    return replace(have, routes={**lost, **have.routes})


def holds(objects: KernelObjects, wanted: KernelObject) -> bool:
    """Return whether a set has exactly this object; the host's settings are nobody's."""
    match wanted:
        case XfrmLink():
            return objects.links.get(wanted.name) == wanted
        case Nexthop():
            return objects.nexthops.get(wanted.id) == wanted
        case NexthopGroup():
            return objects.groups.get(wanted.id) == wanted
        case Route():
            return objects.routes.get(wanted.key) == wanted
        case Lane():
            return objects.lanes.get(wanted.priority) == wanted
        case FilterTable():
            return objects.filter_table == wanted
        case Sysctl():
            return False


def reason_of(lost: list[TunnelKey], known: Knowledge) -> str:
    """Return why traffic left these tunnels, in the prober's words."""
    if not lost:
        return Cause.RECOVERED.value
    if any(key in known.drained for key in lost):
        return Cause.DRAIN.value
    verdicts = known.verdicts()
    if any(key in verdicts and not verdicts[key].child_sa_installed for key in lost):
        return Cause.CHILD_SA.value
    return Cause.RECOVERED.value
