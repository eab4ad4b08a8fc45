from tests.fake_kernel import render
from tests.routing.kernel_states import GROUPS, NEXTHOPS, guard, link, objects, route

from vpnagent.routing.cascade import without_groups, without_links, without_nexthops
from vpnagent.routing.objects import Nexthop, NexthopGroup

A, B, _ = NEXTHOPS
G, H = GROUPS
WHOLE = objects(
    link("vpn-a", 1), link("vpn-b", 2),
    Nexthop(id=A, interface="vpn-a"), Nexthop(id=B, interface="vpn-b"),
    NexthopGroup(id=G, members=((A, 1), (B, 2))), NexthopGroup(id=H, members=((A, 1),)),
    route("100.64.0.0/10", G), route("172.16.0.0/12", H), route("192.0.2.0/24", A), guard("172.16.0.0/12"),
)  # fmt: skip


def test_an_interface_takes_along_all_that_rests_on_it_alone() -> None:
    left = objects(
        link("vpn-b", 2),
        Nexthop(id=B, interface="vpn-b"),
        NexthopGroup(id=G, members=((B, 2),)),
        route("100.64.0.0/10", G),
        guard("172.16.0.0/12"),
    )

    assert render(without_links(WHOLE, ["vpn-a"])) == render(left)


def test_a_nexthop_takes_along_the_same_but_its_interface() -> None:
    left = without_nexthops(WHOLE, [A])

    assert left.links == WHOLE.links
    assert (left.groups, left.routes) == (
        without_links(WHOLE, ["vpn-a"]).groups,
        without_links(WHOLE, ["vpn-a"]).routes,
    )


def test_a_group_takes_along_its_routes_and_uncovers_the_guard() -> None:
    left = without_groups(WHOLE, [H])

    assert left.groups.keys() == {G}
    assert {str(r.prefix) for r in left.routes.values() if r.group} == {"100.64.0.0/10", "192.0.2.0/24"}
    assert guard("172.16.0.0/12").key in left.routes


def test_nothing_goes_with_nothing() -> None:
    assert without_links(WHOLE, []) is WHOLE
    assert without_nexthops(WHOLE, []) is WHOLE
    assert without_groups(WHOLE, []) is WHOLE
