"""From what there is to what there should be, in the order in which the kernel may be touched.

    build        sysctls, guards, links, clamp, nexthops, groups, routes
    tear down    routes, groups, nexthops, clamp, links, guards

Laws: a prefix that is guarded stays guarded; nothing is withdrawn before its replacement stands; a nexthop
stays as long as a group that stays names it; a group takes its routes with it, so that withdrawing 10,000
prefixes is one message. What is foreign is never replaced: it is told as a conflict, and whatever would
need its place is left out, so that the rest works.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from vpnagent.diff import Difference, K, diff
from vpnagent.routing.actions import Action, Add, Remove, Replace
from vpnagent.routing.cascade import without_groups, without_links, without_nexthops
from vpnagent.routing.objects import (
    GUARD_METRIC,
    ROUTE_METRIC,
    KernelObject,
    KernelObjects,
    KernelState,
    MssClamp,
    Nexthop,
    NexthopGroup,
    Route,
    Sysctl,
    XfrmLink,
)

RP_FILTER = "net.ipv4.conf.all.rp_filter"
STRICT = "1"

Kind = TypeVar("Kind", bound=KernelObject)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something foreign in a place that we need."""

    object: KernelObject  #: ours, that cannot be made
    text: str


def plan(desired: KernelObjects, actual: KernelState, *, prune: bool, manage_sysctls: bool) -> list[Action]:
    """Return the actions, in order; none when there is nothing to do.

    Without ``prune`` nothing is removed but what stands in the way of its own replacement.
    """
    want = attainable(desired, actual)
    have = actual.objects
    links = _links_to_remake(want.links, have.links)
    groups = [id_ for id_, group in have.groups.items() if not group.members and id_ in want.groups]
    bridges = _bridges(want, have, links)
    bridged = replace(have, groups={**have.groups, **bridges}) if bridges else have
    left = without_groups(without_links(bridged, links), groups)
    routes = diff(want.routes, left.routes)

    actions: list[Action] = []
    if manage_sysctls:
        actions += [Replace(s, have.sysctls[s.key]) for s in sysctl_differences(desired, actual)]
    actions += [action for action in _built(routes) if _is_guard(action.object)]
    actions += [Replace(bridge, have.groups[id_]) for id_, bridge in bridges.items()]
    actions += [Remove(have.links[name]) for name in links]
    actions += _built(diff(want.links, left.links))
    if actual.mss_clamp_readable:
        actions += _built(diff(_clamps(want), _clamps(have)))
    actions += _built(diff(want.nexthops, left.nexthops))
    actions += [Remove(have.groups[id_]) for id_ in groups]
    actions += _built(diff(want.groups, left.groups))
    actions += [action for action in _built(routes) if not _is_guard(action.object)]
    if prune:
        actions += _torn_down(want, left, routes.surplus.values(), clamp_readable=actual.mss_clamp_readable)
    return actions


def attainable(desired: KernelObjects, actual: KernelState) -> KernelObjects:
    """Return what of the desired can be had beside what is foreign.

    The kernel refuses a whole group for one missing leg: a group is asked for without it. A route of ours
    that stands beside a foreign one stays as it is: a replacement might hit the other.
    """
    if (
        not actual.foreign_routes
        and not actual.foreign_nexthops
        and not actual.foreign_links & desired.links.keys()
    ):
        return desired
    links = desired.links.keys() & actual.foreign_links
    nexthops = {n.id for n in desired.nexthops.values() if n.id in actual.foreign_nexthops}
    groups = desired.groups.keys() & actual.foreign_nexthops
    want = without_groups(without_nexthops(without_links(desired, links), nexthops), groups)
    routes = dict(want.routes)
    for prefix in actual.foreign_routes:
        key = prefix, ROUTE_METRIC
        routes.pop(key, None)
        if key in desired.routes and key in actual.objects.routes:
            routes[key] = actual.objects.routes[key]
    return replace(want, routes=routes)


def conflicts(desired: KernelObjects, actual: KernelState) -> tuple[Conflict, ...]:
    """Return what of the desired cannot be had, and why."""
    numbered: tuple[Nexthop | NexthopGroup, ...] = (*desired.nexthops.values(), *desired.groups.values())
    return (
        *(
            Conflict(link, f"interface {link.name} exists and is not ours")
            for link in desired.links.values()
            if link.name in actual.foreign_links
        ),
        *(
            Conflict(nexthop, f"nexthop id {nexthop.id} exists and is not ours")
            for nexthop in numbered
            if nexthop.id in actual.foreign_nexthops
        ),
        *(
            Conflict(route, f"a route to {route.prefix} of the same metric exists and is not ours")
            for route in desired.routes.values()
            if route.metric == ROUTE_METRIC and route.prefix in actual.foreign_routes
        ),
    )


def sysctl_differences(desired: KernelObjects, actual: KernelState) -> tuple[Sysctl, ...]:
    """Return the desired settings that the kernel has and that are not so.

    ``all.rp_filter`` is observed as strict when any interface filters strictly; off is as good as loose.
    """
    values = {key: sysctl.value for key, sysctl in actual.objects.sysctls.items()}
    return tuple(
        sysctl
        for key, sysctl in desired.sysctls.items()
        if key in values and values[key] != sysctl.value and (key != RP_FILTER or values[key] == STRICT)
    )


def _built(difference: Difference[K, Kind]) -> Iterator[Action]:
    yield from (Add(missing) for missing in difference.missing.values())
    yield from (Replace(value, was) for value, was in difference.changed.values())


def _torn_down(
    want: KernelObjects, have: KernelObjects, routes: Collection[Route], *, clamp_readable: bool
) -> Iterator[Action]:
    groups = diff(want.groups, have.groups).surplus
    yield from (Remove(route) for route in routes if not _is_guard(route) and route.group not in groups)
    yield from (Remove(group) for group in groups.values())
    yield from (Remove(nexthop) for nexthop in diff(want.nexthops, have.nexthops).surplus.values())
    if clamp_readable:
        yield from (Remove(clamp) for clamp in diff(_clamps(want), _clamps(have)).surplus.values())
    yield from (Remove(link) for link in diff(want.links, have.links).surplus.values())
    yield from (Remove(route) for route in routes if _is_guard(route))


def _bridges(want: KernelObjects, have: KernelObjects, links: Collection[str]) -> dict[int, NexthopGroup]:
    """Return groups on their surviving legs, to be there before the interfaces under all the others go.

    Without it a group whose only leg is remade would vanish although another desired nexthop stands.
    """
    left = without_links(have, links)
    bridges = {}
    for id_ in want.groups.keys() & (have.groups.keys() - left.groups.keys()):
        members = tuple(member for member in want.groups[id_].members if member[0] in left.nexthops)
        if members:
            bridges[id_] = NexthopGroup(id=id_, members=members)
    return bridges


def _links_to_remake(want: Mapping[str, XfrmLink], have: Mapping[str, XfrmLink]) -> list[str]:
    """Return the interfaces of ours to remove first: their if_id changes, or another of ours needs it."""
    holders = {link.if_id: link.name for link in have.values() if link.if_id}
    remade = {name for name in want.keys() & have.keys() if want[name].if_id != have[name].if_id}
    in_the_way = {
        holders[link.if_id]
        for link in want.values()
        if link.if_id in holders and holders[link.if_id] != link.name
    }
    return sorted(remade | in_the_way)


def _is_guard(object_: KernelObject) -> bool:
    return isinstance(object_, Route) and object_.metric == GUARD_METRIC


def _clamps(objects: KernelObjects) -> dict[str, MssClamp]:
    return {"inet vpnagent": objects.mss_clamp} if objects.mss_clamp else {}
