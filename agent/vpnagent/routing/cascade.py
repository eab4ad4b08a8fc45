"""What the kernel takes away by itself, and mostly without a word, when one object goes.

A nexthop goes with its interface (also when that is set down or loses its carrier), a leg of a group with
its nexthop, a group with its last leg, and a route with its group. Plans reckon with it, and the fake
kernel of the tests behaves so; that the real one does is tested against it (tests/native).
"""

from collections.abc import Collection
from dataclasses import replace

from vpnagent.routing.objects import KernelObjects


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
