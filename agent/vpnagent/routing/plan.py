"""From what there is to what there should be, in the order in which the kernel may be touched.

    build        sysctls, routes by uplinks, lanes, guards, links, table, nexthops, groups, routes
    tear down    routes, groups, nexthops, table, links, guards, routes by uplinks, lanes

Laws: a prefix that is guarded stays guarded; nothing is withdrawn before its replacement stands; a nexthop
stays as long as a group that stays names it; a group takes its routes with it, so that withdrawing 10,000
prefixes is one message; a peer that can be reached is not cut off by the guard under its own route, which
is made after that and removed before. What is foreign is never replaced: it is told as a conflict, and
whatever would need its place is left out, so that the rest works.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from vpnagent.routing.actions import Add, KernelAction, Remove, Replace
from vpnagent.routing.objects import (
    GUARD_METRIC,
    FilterTable,
    KernelObject,
    KernelObjects,
    KernelState,
    Nexthop,
    NexthopGroup,
    Route,
    Sysctl,
    XfrmLink,
)

RP_FILTER = "net.ipv4.conf.all.rp_filter"
STRICT = "1"

K = TypeVar("K")
V = TypeVar("V")
Made = TypeVar("Made", bound=KernelObject)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something foreign in a place that we need."""

    object: KernelObject  #: ours, that cannot be made
    text: str


@dataclass(frozen=True, slots=True)
class Difference(Generic[K, V]):
    """What turns one table into another; no key stands in two of the three."""

    missing: Mapping[K, V]  #: desired, and not there
    changed: Mapping[K, tuple[V, V]]  #: there, and not as desired: (desired, actual)
    surplus: Mapping[K, V]  #: there, and not desired

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.surplus)


def plan(
    desired: KernelObjects, actual: KernelState, *, prune: bool, manage_sysctls: bool
) -> list[KernelAction]:
    """Return the actions, in order; none when there is nothing to do.

    Without ``prune`` nothing is removed but what stands in the way of its own replacement.
    """
    want = attainable(desired, actual)
    have = actual.objects
    if not actual.filter_table_readable:
        have = replace(have, filter_table=want.filter_table)
    actions: list[KernelAction] = []
    differing = sysctl_differences(desired, actual)
    actions += [Replace(s, have.sysctls[s.key]) for s in differing if manage_sysctls or s.own]
    routes = diff(want.routes, have.routes)
    actions += [action for action in _built(routes) if _is_by_uplink(action.object)]
    lanes = diff(want.lanes, have.lanes)
    actions += _built(lanes)
    actions += [action for action in _built(routes) if _is_guard(action.object)]
    remade = _links_to_remake(want.links, have.links)
    if remade:
        evasion = without_links(want, _blocked(want.links, have.links, remade))
        actions += _build(evasion, have)
        have = _overlaid(have, evasion)
        actions += [Remove(n) for n in have.nexthops.values() if n.interface in remade]
        actions += [Remove(have.links[name]) for name in remade]
        have = without_links(have, remade)
    actions += _build(want, have)
    if prune:
        actions += _tear_down(want, have)
        actions += [Remove(route) for route in routes.surplus.values() if _is_guard(route)]
        actions += [Remove(route) for route in routes.surplus.values() if _is_by_uplink(route)]
        actions += [Remove(lane) for lane in lanes.surplus.values()]
    return actions


def attainable(desired: KernelObjects, actual: KernelState) -> KernelObjects:
    """Return what of the desired can be had beside what is foreign.

    The kernel refuses a whole group for one missing leg: a group is asked for without it. A route of ours
    that stands beside a foreign one stays as it is: a replacement might hit the other. So does an interface
    of ours that is to get an if_id which another has, unless its own is needed.
    """
    taken = {name for name, link in desired.links.items() if _holder(link, actual)}
    if not actual.foreign_routes and not actual.foreign_nexthops and not taken:
        return desired
    nexthops = {n.id for n in desired.nexthops.values() if n.id in actual.foreign_nexthops}
    groups = desired.groups.keys() & actual.foreign_nexthops
    want = without_groups(without_nexthops(without_links(desired, taken), nexthops), groups)
    needed = {link.if_id for link in want.links.values()}
    have = actual.objects.links
    standing = {name: have[name] for name in taken & have.keys() if have[name].if_id not in needed}
    want = replace(want, links={**want.links, **standing})
    routes = dict(want.routes)
    for key in desired.routes:
        if key[0] in actual.foreign_routes and key[1] != GUARD_METRIC:
            routes.pop(key, None)
            if key in actual.objects.routes:
                routes[key] = actual.objects.routes[key]
    return replace(want, routes=routes)


def conflicts(desired: KernelObjects, actual: KernelState) -> tuple[Conflict, ...]:
    """Return what of the desired cannot be had, and why."""
    numbered: tuple[Nexthop | NexthopGroup, ...] = (*desired.nexthops.values(), *desired.groups.values())
    return (
        *(Conflict(link, holder) for link in desired.links.values() if (holder := _holder(link, actual))),
        *(
            Conflict(nexthop, f"nexthop id {nexthop.id} exists and is not ours")
            for nexthop in numbered
            if nexthop.id in actual.foreign_nexthops
        ),
        *(
            Conflict(route, f"a route to {route.prefix} of the same metric exists and is not ours")
            for route in desired.routes.values()
            if route.metric != GUARD_METRIC and route.prefix in actual.foreign_routes
        ),
    )


def _holder(link: XfrmLink, actual: KernelState) -> str:
    """Return what foreign thing has the name or the id of an interface; empty: nothing."""
    if link.name in actual.foreign_links:
        return f"interface {link.name} exists and is not ours"
    if link.if_id in actual.foreign_if_ids:
        other = actual.foreign_if_ids[link.if_id]
        return f"if_id {link.if_id:#x} is that of interface {other}, which is not ours"
    return ""


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


def _build(want: KernelObjects, have: KernelObjects) -> Iterator[KernelAction]:
    """Make what is missing and change what differs, each before what rests on it."""
    yield from _built(diff(want.links, have.links))
    yield from _built(diff(_tables(want), _tables(have)))
    yield from _built(diff(want.nexthops, have.nexthops))
    # The kernel refuses to change a group's type: such a group, and its routes, are made anew.
    odd = [group for group in have.groups.values() if group.id in want.groups and not group.members]
    yield from (Remove(group) for group in odd)
    left = without_groups(have, [group.id for group in odd])
    yield from _built(diff(want.groups, left.groups))
    routes = _built(diff(want.routes, left.routes))
    yield from (action for action in routes if not _stands_apart(action.object))


def _tear_down(want: KernelObjects, have: KernelObjects) -> Iterator[KernelAction]:
    """Remove what is not desired, each after what rests on it, and routes with their group."""
    groups = diff(want.groups, have.groups).surplus
    routes = diff(want.routes, have.routes).surplus.values()
    yield from (Remove(r) for r in routes if r.group not in groups and not _stands_apart(r))
    yield from (Remove(group) for group in groups.values())
    yield from (Remove(nexthop) for nexthop in diff(want.nexthops, have.nexthops).surplus.values())
    yield from (Remove(table) for table in diff(_tables(want), _tables(have)).surplus.values())
    yield from (Remove(link) for link in diff(want.links, have.links).surplus.values())


def _built(difference: Difference[K, Made]) -> Iterator[KernelAction]:
    yield from (Add(missing) for missing in difference.missing.values())
    yield from (Replace(value, was) for value, was in difference.changed.values())


def _links_to_remake(want: Mapping[str, XfrmLink], have: Mapping[str, XfrmLink]) -> list[str]:
    """Return the interfaces of ours to remove first: their if_id changes, or another of ours needs it."""
    changed = {name for name in want.keys() & have.keys() if want[name].if_id != have[name].if_id}
    needed = {link.if_id: name for name, link in want.items() if link.if_id}
    in_the_way = {name for name, link in have.items() if needed.get(link.if_id, name) != name}
    return sorted(changed | in_the_way)


def _blocked(want: Mapping[str, XfrmLink], have: Mapping[str, XfrmLink], remade: Collection[str]) -> set[str]:
    """Return the interfaces that cannot be before those to remake are gone."""
    if_ids = {have[name].if_id for name in remade}
    return {name for name, link in want.items() if name in remade or (link.if_id and link.if_id in if_ids)}


def _overlaid(have: KernelObjects, built: KernelObjects) -> KernelObjects:
    return replace(
        have,
        links={**have.links, **built.links},
        filter_table=built.filter_table or have.filter_table,
        nexthops={**have.nexthops, **built.nexthops},
        groups={**have.groups, **built.groups},
        routes={**have.routes, **built.routes},
    )


def _is_guard(object_: KernelObject) -> bool:
    return isinstance(object_, Route) and object_.metric == GUARD_METRIC


def _is_by_uplink(object_: KernelObject) -> bool:
    return isinstance(object_, Route) and bool(object_.interface)


def _stands_apart(object_: KernelObject) -> bool:
    """Whether it rests on nothing of ours, and has its own place in the order."""
    return _is_guard(object_) or _is_by_uplink(object_)


def _tables(objects: KernelObjects) -> dict[str, FilterTable]:
    return {"inet vpnagent": objects.filter_table} if objects.filter_table else {}


def diff(desired: Mapping[K, V], actual: Mapping[K, V]) -> Difference[K, V]:
    """Return what turns ``actual`` into ``desired``, the same for every kind.

    What there must not be is decided elsewhere: ``actual`` holds only what we own, so that the keys it has
    beyond ``desired`` may go.
    """
    if desired is actual:  # 10,000 routes that are as they should be are compared once, by who read them
        return Difference({}, {}, {})
    missing: dict[K, V] = {}
    changed: dict[K, tuple[V, V]] = {}
    for key, value in desired.items():
        there = actual.get(key)
        if there is None:
            missing[key] = value
        elif there != value:
            changed[key] = value, there
    surplus = {}
    if len(actual) > len(desired) - len(missing):
        surplus = {key: value for key, value in actual.items() if key not in desired}
    return Difference(missing, changed, surplus)


# What the kernel takes away by itself, and mostly without a word, when one object goes: a nexthop with its
# interface (also when that is set down or loses its carrier), a leg of a group with its nexthop, a group with
# its last leg, and a route with its group. The fake kernel of the tests behaves so; that the real one does
# is tested against it (tests/native).


def without_links(objects: KernelObjects, names: Collection[str]) -> KernelObjects:
    """Return what is left when these interfaces are gone."""
    if not names:
        return objects
    links = {name: link for name, link in objects.links.items() if name not in names}
    left = without_nexthops(objects, [n.id for n in objects.nexthops.values() if n.interface in names])
    return replace(left, links=links)


def without_nexthops(objects: KernelObjects, ids: Collection[int]) -> KernelObjects:
    """Return what is left when these nexthops are gone."""
    if not ids:
        return objects
    nexthops = {id_: nexthop for id_, nexthop in objects.nexthops.items() if id_ not in ids}
    groups = {}
    emptied = []
    for group in objects.groups.values():
        members = tuple(member for member in group.members if member[0] not in ids)
        if members or not group.members:
            groups[group.id] = replace(group, members=members)
        else:
            emptied.append(group.id)
    left = replace(objects, nexthops=nexthops, groups=groups)
    return without_groups(left, [*emptied, *ids])  # a route may also name a nexthop


def without_groups(objects: KernelObjects, ids: Collection[int]) -> KernelObjects:
    """Return what is left when these groups are gone."""
    if not ids:
        return objects
    return replace(
        objects,
        groups={id_: group for id_, group in objects.groups.items() if id_ not in ids},
        routes={key: route for key, route in objects.routes.items() if route.group not in ids},
    )
