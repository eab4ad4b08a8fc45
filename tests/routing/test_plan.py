import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fake_kernel import FakeKernel, render
from tests.routing.kernel_states import (
    GROUPS,
    NEXTHOPS,
    PEERS,
    SYSCTLS,
    by_uplink,
    crowded_kernels,
    desired_objects,
    dirty_kernels,
    guard,
    link,
    objects,
    remade_kernels,
    route,
)

from vpnagent.routing.actions import Add, KernelAction, Remove, Replace
from vpnagent.routing.objects import (
    GUARD_METRIC,
    FilterTable,
    KernelObjects,
    Nexthop,
    NexthopGroup,
    Route,
    RouteKey,
    Sysctl,
    XfrmLink,
)
from vpnagent.routing.plan import (
    RP_FILTER,
    Difference,
    attainable,
    conflicts,
    diff,
    plan,
    sysctl_differences,
    without_groups,
    without_links,
    without_nexthops,
)

A, B, C = NEXTHOPS
G, H = GROUPS
FAULTS = st.lists(st.sampled_from([0, errno.ENOMEM]), max_size=30)

law = settings(max_examples=40)


def converge(kernel: FakeKernel, desired: KernelObjects, *, rounds: int = 3, prune: bool = True) -> None:
    async def run() -> None:
        for _ in range(kernel.faults_left + rounds):
            state = await kernel.observe(desired)
            await kernel.apply_all(plan(desired, state, prune=prune, manage_sysctls=True))

    asyncio.run(run())


def planned(desired: KernelObjects, kernel: FakeKernel, *, prune: bool = True) -> list[KernelAction]:
    state = asyncio.run(kernel.observe(desired))
    return plan(desired, state, prune=prune, manage_sysctls=True)


def settled(desired: KernelObjects, kernel: FakeKernel) -> KernelObjects:
    """What converging must have led to: rp_filter alone may differ, where it is off."""
    return replace(attainable(desired, asyncio.run(kernel.observe(desired))), sysctls=kernel.objects.sysctls)


def is_guard(action: KernelAction) -> bool:
    return isinstance(action.object, Route) and action.object.metric == GUARD_METRIC


@law
@given(desired_objects(), dirty_kernels())
def test_any_state_becomes_the_desired_one(desired: KernelObjects, kernel: FakeKernel) -> None:
    converge(kernel, desired)

    assert kernel.render() == render(settled(desired, kernel))
    assert planned(desired, kernel) == []


@law
@given(desired_objects(), dirty_kernels())
def test_without_faults_one_round_is_enough(desired: KernelObjects, kernel: FakeKernel) -> None:
    converge(kernel, desired, rounds=1)

    assert planned(desired, kernel) == []


@law
@given(desired_objects(), dirty_kernels(), FAULTS)
def test_rounds_converge_after_any_failures(
    desired: KernelObjects, kernel: FakeKernel, faults: list[int]
) -> None:
    kernel.fail(*faults)

    converge(kernel, desired)

    assert planned(desired, kernel) == []


@law
@given(desired_objects())
def test_what_is_as_desired_is_left_alone(desired: KernelObjects) -> None:
    assert planned(desired, FakeKernel(desired)) == []


@law
@given(desired_objects(), crowded_kernels(), FAULTS)
def test_what_is_foreign_is_never_touched_and_the_rest_converges(
    desired: KernelObjects, kernel: FakeKernel, faults: list[int]
) -> None:
    links, nexthops = set(kernel.foreign_links), set(kernel.foreign_nexthops)
    taken = {key for key in desired.routes if key in kernel.foreign_routes}
    kernel.fail(*faults)

    converge(kernel, desired)

    touched = [action.object for action in kernel.applied]
    assert not links & {o.name for o in touched if isinstance(o, XfrmLink)}
    made = [a.object for a in kernel.applied if isinstance(a, Add)]
    assert not kernel.foreign_if_ids.keys() & {o.if_id for o in made if isinstance(o, XfrmLink)}
    assert not nexthops & {o.id for o in touched if isinstance(o, Nexthop | NexthopGroup)}
    assert not taken & {
        a.object.key for a in kernel.applied if isinstance(a.object, Route) and isinstance(a, Replace)
    }
    assert planned(desired, kernel) == []


def covered(prefix: IPv4Network, kernel: FakeKernel) -> bool:
    return any(
        prefix.subnet_of(held.prefix)
        for held in kernel.objects.routes.values()
        if held.metric == GUARD_METRIC
    )


@law
@given(desired_objects(), dirty_kernels(), FAULTS)
def test_a_prefix_that_is_guarded_stays_guarded(
    desired: KernelObjects, kernel: FakeKernel, faults: list[int]
) -> None:
    prefixes = {r.prefix for r in desired.routes.values()}
    guarded = {prefix for prefix in prefixes if covered(prefix, kernel)}

    def check() -> None:
        for prefix in prefixes:
            if covered(prefix, kernel):
                guarded.add(prefix)
            assert covered(prefix, kernel) or prefix not in guarded

    watch(kernel, check)
    kernel.fail(*faults)

    converge(kernel, desired)

    assert guarded == prefixes


@law
@given(desired_objects(), dirty_kernels(), FAULTS)
def test_a_guard_outlives_the_routes_of_its_prefix(
    desired: KernelObjects, kernel: FakeKernel, faults: list[int]
) -> None:
    guarded: set[IPv4Network] = set()

    def check() -> None:
        for prefix, metric in kernel.objects.routes:
            if metric != GUARD_METRIC and covered(prefix, kernel) and prefix not in PEERS:
                guarded.add(prefix)
            assert prefix not in guarded or covered(prefix, kernel)

    kernel.fail(*faults)
    watch(kernel, check)
    check()

    converge(kernel, desired)


@law
@given(desired_objects(), dirty_kernels())
def test_every_prefix_is_guarded_before_it_is_routed(desired: KernelObjects, kernel: FakeKernel) -> None:
    def check() -> None:
        last = kernel.applied[-1]
        if isinstance(last, Add) and isinstance(last.object, Route) and last.object.group:
            assert covered(last.object.prefix, kernel)

    watch(kernel, check)

    converge(kernel, desired)


@law
@given(st.one_of(remade_kernels(), st.tuples(desired_objects(), dirty_kernels())), FAULTS)
def test_a_route_keeps_a_live_nexthop_while_a_desired_one_exists(
    case: tuple[KernelObjects, FakeKernel], faults: list[int]
) -> None:
    """What is desired and exists carries the traffic at every step, once it did."""
    desired, kernel = case
    stable = {
        id_
        for id_, nexthop in kernel.objects.nexthops.items()
        if nexthop == desired.nexthops.get(id_)
        and kernel.objects.links[nexthop.interface].if_id == desired.links[nexthop.interface].if_id
    }
    legs = {
        key: {id_ for id_, _ in desired.groups[wanted.group].members} & stable
        for key, wanted in desired.routes.items()
        if wanted.group
    }
    carried: set[RouteKey] = set()

    def check() -> None:
        have = kernel.objects
        carried.update(key for key in legs if key in have.routes)
        for key in carried:
            assert key in have.routes or not legs[key] & have.nexthops.keys()

    kernel.fail(*faults)
    watch(kernel, check)
    check()

    converge(kernel, desired)


@law
@given(desired_objects(), dirty_kernels())
def test_a_peer_that_can_be_reached_is_not_cut_off_by_its_guard(
    desired: KernelObjects, kernel: FakeKernel
) -> None:
    def cut_off() -> set[IPv4Network]:
        routes = kernel.objects.routes
        return {peer for peer in PEERS if (peer, GUARD_METRIC) in routes and (peer, 0) not in routes}

    allowed = cut_off() | {
        prefix for prefix, metric in desired.routes if metric and (prefix, 0) not in desired.routes
    }

    def check() -> None:
        assert cut_off() <= allowed

    watch(kernel, check)

    converge(kernel, desired)


@law
@given(desired_objects(), dirty_kernels(), FAULTS)
def test_a_nexthop_stays_while_a_group_that_stays_names_it(
    desired: KernelObjects, kernel: FakeKernel, faults: list[int]
) -> None:
    remade = {
        name
        for name, have in kernel.objects.links.items()
        if name not in desired.links or have != desired.links[name]
    }
    before = dict(kernel.objects.groups)

    def check() -> None:
        last = kernel.applied[-1]
        if (
            isinstance(last, Remove)
            and isinstance(last.object, Nexthop)
            and last.object.interface not in remade
        ):
            legs = {id_ for id_ in desired.groups if id_ in before for id_, _ in before[id_].members}
            assert last.object.id not in legs
        before.clear()
        before.update(kernel.objects.groups)

    watch(kernel, check)
    kernel.fail(*faults)

    converge(kernel, desired)


@law
@given(desired_objects(), dirty_kernels())
def test_without_prune_nothing_is_removed_but_what_is_remade(
    desired: KernelObjects, kernel: FakeKernel
) -> None:
    have = kernel.objects
    if_ids = {wanted.if_id for wanted in desired.links.values()}

    removed = [a.object for a in planned(desired, kernel, prune=False) if isinstance(a, Remove)]

    for object_ in removed:
        name = object_.name if isinstance(object_, XfrmLink) else getattr(object_, "interface", "")
        assert have.links[name].if_id in if_ids or name in desired.links


def watch(kernel: FakeKernel, check: Callable[[], None]) -> None:
    kernel.after_each = check


def carrying(*prefixes: str) -> KernelObjects:
    return objects(
        link("vpn-a", 1),
        Nexthop(id=A, interface="vpn-a"),
        NexthopGroup(id=G, members=((A, 1),)),
        *(route(prefix, G) for prefix in prefixes),
        *(guard(prefix) for prefix in prefixes),
    )


def test_a_thousand_prefixes_are_withdrawn_with_one_message() -> None:
    prefixes = [str(IPv4Network((0x64400000 + n * 256, 24))) for n in range(1000)]
    desired = objects(link("vpn-a", 1), Nexthop(id=A, interface="vpn-a"), *(guard(p) for p in prefixes))

    [action] = planned(desired, FakeKernel(carrying(*prefixes)))

    assert str(action) == f"ip nexthop delete id {G}"


def test_the_order_of_building_and_of_tearing_down() -> None:
    desired = replace(carrying("100.64.0.0/10"), filter_table=FilterTable(maximum=(("vpn-a", 1359),)))

    built = planned(desired, FakeKernel())
    torn_down = planned(KernelObjects(), FakeKernel(desired))

    assert [type(action.object).__name__ for action in built] == [
        "Route", "XfrmLink", "FilterTable", "Nexthop", "NexthopGroup", "Route",
    ]  # fmt: skip
    assert is_guard(built[0])
    assert [type(action.object).__name__ for action in torn_down] == [
        "NexthopGroup", "Nexthop", "FilterTable", "XfrmLink", "Route",
    ]  # fmt: skip
    assert is_guard(torn_down[-1])


def test_an_interface_whose_if_id_changes_is_left_first() -> None:
    """The standing nexthop takes over, and only then the interface is made anew."""
    have = objects(
        link("vpn-a", 1), link("vpn-b", 2),
        Nexthop(id=A, interface="vpn-a"), Nexthop(id=B, interface="vpn-b"),
        NexthopGroup(id=G, members=((A, 1),)), route("100.64.0.0/10", G), guard("100.64.0.0/10"),
    )  # fmt: skip
    desired = replace(
        have,
        links={**have.links, "vpn-a": link("vpn-a", 9)},
        groups={G: NexthopGroup(id=G, members=((A, 1), (B, 1)))},
    )

    assert [str(action) for action in planned(desired, FakeKernel(have))] == [
        f"ip nexthop replace id {G} group {B} protocol 86",
        f"ip nexthop delete id {A}",
        "ip link delete dev vpn-a",
        "ip link add name vpn-a mtu 1399 type xfrm if_id 0x9"
        " && ip link set dev vpn-a alias vpnagent.c.9 addrgenmode none up",
        f"ip nexthop add id {A} dev vpn-a protocol 86",
        f"ip nexthop replace id {G} group {A}/{B} protocol 86",
    ]


def test_interfaces_may_swap_their_if_ids() -> None:
    kernel = FakeKernel(objects(link("vpn-a", 1), link("vpn-b", 2)))
    desired = objects(link("vpn-a", 2), link("vpn-b", 1))

    converge(kernel, desired, rounds=1)

    assert kernel.objects.links == desired.links


def test_mtu_and_address_change_in_place() -> None:
    kernel = FakeKernel(objects(link("vpn-a", 1)))
    desired = objects(link("vpn-a", 1, mtu=1300))

    [action] = planned(desired, kernel)

    assert str(action) == "ip link set dev vpn-a mtu 1300"


def test_a_group_that_is_not_multipath_is_made_anew_with_its_routes() -> None:
    desired = carrying("100.64.0.0/10")
    kernel = FakeKernel(replace(desired, groups={G: NexthopGroup(id=G, members=())}))

    assert [str(action) for action in planned(desired, kernel)] == [
        f"ip nexthop delete id {G}",
        f"ip nexthop add id {G} group {A} protocol 86",
        f"ip route add 100.64.0.0/10 nhid {G} protocol 86",
    ]


def test_a_foreign_interface_of_our_name_is_a_conflict_and_costs_one_leg() -> None:
    desired = objects(
        link("vpn-a", 1), link("vpn-b", 2),
        Nexthop(id=A, interface="vpn-a"), Nexthop(id=B, interface="vpn-b"),
        NexthopGroup(id=G, members=((A, 1), (B, 1))), route("100.64.0.0/10", G),
    )  # fmt: skip
    kernel = FakeKernel()
    kernel.foreign_links = {"vpn-a"}

    converge(kernel, desired, rounds=1)

    assert kernel.objects.groups[G].members == ((B, 1),)
    [conflict] = conflicts(desired, asyncio.run(kernel.observe(desired)))
    assert conflict.text == "interface vpn-a exists and is not ours"


def test_an_if_id_of_others_is_a_conflict_and_costs_one_leg() -> None:
    desired = objects(
        link("vpn-a", 1), link("vpn-b", 2),
        Nexthop(id=A, interface="vpn-a"), Nexthop(id=B, interface="vpn-b"),
        NexthopGroup(id=G, members=((A, 1), (B, 1))), route("100.64.0.0/10", G),
    )  # fmt: skip
    kernel = FakeKernel()
    kernel.foreign_if_ids = {1: "ipsec9"}

    converge(kernel, desired, rounds=1)

    assert kernel.objects.groups[G].members == ((B, 1),)
    [conflict] = conflicts(desired, asyncio.run(kernel.observe(desired)))
    assert conflict.text == "if_id 0x1 is that of interface ipsec9, which is not ours"


def test_an_interface_that_cannot_get_its_new_if_id_stays_as_it_is() -> None:
    kernel = FakeKernel(objects(link("vpn-a", 1)))
    kernel.foreign_if_ids = {9: "ipsec9"}

    assert planned(objects(link("vpn-a", 9)), kernel) == []


def test_an_interface_that_cannot_get_its_new_if_id_gives_the_old_one_to_who_needs_it() -> None:
    kernel = FakeKernel(objects(link("vpn-a", 1)))
    kernel.foreign_if_ids = {9: "ipsec9"}

    converge(kernel, objects(link("vpn-a", 9), link("vpn-b", 1)))

    assert kernel.objects.links == {"vpn-b": link("vpn-b", 1)}


@pytest.mark.parametrize("network", ["100.64.0.0/10", "203.0.113.2/32"], ids=["remote network", "peer"])
def test_a_foreign_route_in_our_place_is_a_conflict_and_is_not_replaced(network: str) -> None:
    pinned = objects(by_uplink("203.0.113.2/32"), guard("203.0.113.2/32"))
    desired = pinned if network == "203.0.113.2/32" else carrying(network)
    kernel = FakeKernel()
    kernel.foreign_routes = {(IPv4Network(network), 0)}

    converge(kernel, desired, rounds=1)

    assert [str(r) for r in kernel.objects.routes.values()] == [str(guard(network))]
    [conflict] = conflicts(desired, asyncio.run(kernel.observe(desired)))
    assert conflict.text == f"a route to {network} of the same metric exists and is not ours"


def test_our_route_beside_a_foreign_one_is_left_as_it_is() -> None:
    """A replacement might hit the other: the kernel tells them apart by nothing that we may name."""
    desired = carrying("100.64.0.0/10")
    kernel = FakeKernel(desired)
    kernel.foreign_routes = {(IPv4Network("100.64.0.0/10"), 0)}
    changed = {r.key: replace(r, source=IPv4Address("10.1.0.1")) for r in desired.routes.values() if r.group}

    assert planned(replace(desired, routes={**desired.routes, **changed}), kernel) == []


def test_a_nexthop_id_that_is_taken_is_a_conflict() -> None:
    desired = carrying("100.64.0.0/10")
    kernel = FakeKernel()
    kernel.foreign_nexthops = {A}

    state = asyncio.run(kernel.observe(desired))

    assert [c.text for c in conflicts(desired, state)] == [f"nexthop id {A} exists and is not ours"]
    assert not [a for a in planned(desired, kernel) if isinstance(a.object, Nexthop | NexthopGroup)]


def test_a_new_gateway_is_taken_in_place() -> None:
    desired = objects(by_uplink("203.0.113.2/32", gateway="198.51.100.9"), guard("203.0.113.2/32"))
    kernel = FakeKernel(objects(by_uplink("203.0.113.2/32"), guard("203.0.113.2/32")))
    kernel.uplinks = {"eth1": True}

    [action] = planned(desired, kernel)

    assert str(action) == "ip route replace 203.0.113.2/32 via 198.51.100.9 dev eth1 onlink protocol 86"


def test_a_peer_is_steered_before_it_is_guarded_and_let_go_after() -> None:
    desired = objects(by_uplink("203.0.113.2/32", gateway=None), guard("203.0.113.2/32"))

    steered = planned(desired, FakeKernel())
    let_go = planned(KernelObjects(), FakeKernel(desired))

    assert [str(action) for action in (*steered, *let_go)] == [
        "ip route add 203.0.113.2/32 dev eth1 protocol 86",
        "ip route add unreachable 203.0.113.2/32 metric 4278198272 protocol 86",
        "ip route delete unreachable 203.0.113.2/32 metric 4278198272 protocol 86",
        "ip route delete 203.0.113.2/32 dev eth1 protocol 86",
    ]


def test_a_clamp_that_cannot_be_read_is_left_alone() -> None:
    desired = replace(carrying(), filter_table=FilterTable(maximum=(("vpn-a", 1359),)))
    state = replace(asyncio.run(FakeKernel(carrying()).observe(desired)), filter_table_readable=False)

    assert plan(desired, state, prune=True, manage_sysctls=True) == []


@pytest.mark.parametrize(
    ("observed", "differs"), [("0", False), ("1", True), ("2", False)], ids=["off", "strict", "loose"]
)
def test_only_strict_reverse_path_filtering_is_loosened(observed: str, differs: bool) -> None:
    desired = objects(Sysctl(key=RP_FILTER, value="2"))
    kernel = FakeKernel(objects(Sysctl(key=RP_FILTER, value=observed)))

    assert bool(planned(desired, kernel)) is differs


def test_sysctls_that_are_not_managed_are_told_and_left() -> None:
    desired = objects(*SYSCTLS)
    kernel = FakeKernel(objects(*(replace(s, value="1") for s in SYSCTLS)))
    state = asyncio.run(kernel.observe(desired))

    assert plan(desired, state, prune=True, manage_sysctls=False) == []
    assert [s.key for s in sysctl_differences(desired, state)] == ["net.ipv4.nexthop_compat_mode", RP_FILTER]


def test_a_sysctl_that_the_kernel_lacks_is_not_asked_for() -> None:
    assert planned(objects(*SYSCTLS), FakeKernel()) == []


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


tables = st.dictionaries(st.integers(0, 9), st.integers(0, 3))
Table = dict[int, int]


def applied(difference: Difference[int, int], table: Table) -> Table:
    changed = {key: value for key, (value, _) in difference.changed.items()}
    table = table | dict(difference.missing) | changed
    return {key: value for key, value in table.items() if key not in difference.surplus}


@given(tables, tables)
def test_applying_the_difference_leads_to_the_desired(desired: Table, actual: Table) -> None:
    assert applied(diff(desired, actual), actual) == desired


@given(tables)
def test_equal_tables_do_not_differ(table: Table) -> None:
    assert not diff(table, dict(table))
    assert not diff(table, table)


@given(tables, tables)
def test_tables_that_differ_are_told_apart(desired: Table, actual: Table) -> None:
    assert bool(diff(desired, actual)) is (desired != actual)


@given(tables, tables)
def test_a_key_is_in_one_of_the_three_at_most(desired: Table, actual: Table) -> None:
    difference = diff(desired, actual)
    keys = [*difference.missing, *difference.changed, *difference.surplus]
    assert len(keys) == len(set(keys))


@given(tables, tables)
def test_what_was_there_is_told_with_what_changes(desired: Table, actual: Table) -> None:
    for key, (value, was) in diff(desired, actual).changed.items():
        assert (value, was) == (desired[key], actual[key])
