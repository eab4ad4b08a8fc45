import pytest
from tests.routing.kernel_states import GROUPS, NEXTHOPS, guard, link, route

from vpnagent.errors import NetlinkError
from vpnagent.routing.actions import Add, KernelAction, Remove, Replace
from vpnagent.routing.failures import Failures
from vpnagent.routing.objects import Nexthop, NexthopGroup

A, B, C = NEXTHOPS
G, H = GROUPS
REFUSED = NetlinkError("it", 12, "Cannot allocate memory")


def group(*legs: int, id_: int = G) -> NexthopGroup:
    return NexthopGroup(id=id_, members=tuple((leg, 1) for leg in legs))


def after(*failed: KernelAction) -> Failures:
    failures = Failures()
    for action in failed:
        failures.note(action, REFUSED)
    return failures


@pytest.mark.parametrize(
    ("failed", "removal"),
    [
        (Replace(route("100.64.0.0/10", H), route("100.64.0.0/10", G)), Remove(group(A))),
        (Remove(route("100.64.0.0/10", G)), Remove(group(A))),
        (Remove(route("100.64.0.0/10", G)), Remove(guard("100.64.0.0/10"))),
        (Remove(group(A)), Remove(guard("100.64.0.0/10"))),
        (Remove(Nexthop(id=A, interface="vpn-a")), Remove(guard("100.64.0.0/10"))),
        (Remove(link("vpn-a", 1)), Remove(guard("100.64.0.0/10"))),
        (Replace(group(B), group(A)), Remove(Nexthop(id=A, interface="vpn-a"))),
        (Remove(group(A)), Remove(Nexthop(id=A, interface="vpn-a"))),
        (
            Replace(Nexthop(id=A, interface="vpn-b"), Nexthop(id=A, interface="vpn-a")),
            Remove(link("vpn-a", 1)),
        ),
        (Remove(Nexthop(id=A, interface="vpn-a")), Remove(link("vpn-a", 1))),
        (Add(guard("100.64.0.0/11")), Remove(guard("100.64.0.0/10"))),
        (Add(guard("100.64.0.0/10")), Remove(guard("100.64.0.0/11"))),
    ],
)
def test_what_a_failed_action_left_in_use_stays(failed: KernelAction, removal: Remove) -> None:
    failures = after(failed)

    assert failures.permitted(removal) is None
    assert failures.failed[-1][0] is removal


@pytest.mark.parametrize(
    ("failed", "removal"),
    [
        (Replace(group(B), group(A)), Remove(Nexthop(id=C, interface="vpn-c"))),
        (Remove(route("100.64.0.0/10", G)), Remove(group(A, id_=H))),
        (Remove(route("100.64.0.0/10", G)), Remove(guard("172.16.0.0/12"))),
        (Add(guard("172.16.0.0/12")), Remove(guard("100.64.0.0/10"))),
        (Add(link("vpn-b", 2)), Remove(link("vpn-a", 1))),
    ],
)
def test_what_has_nothing_to_do_with_a_failure_goes(failed: KernelAction, removal: Remove) -> None:
    assert after(failed).permitted(removal) is removal


def test_what_is_withheld_withholds_what_it_rests_on() -> None:
    failures = after(Replace(route("100.64.0.0/10", H), route("100.64.0.0/10", G)))

    for removal in (Remove(group(A)), Remove(Nexthop(id=A, interface="vpn-a")), Remove(link("vpn-a", 1))):
        assert failures.permitted(removal) is None


def test_a_group_is_made_without_the_nexthop_that_could_not_be_made_and_that_is_told() -> None:
    failures = after(Add(Nexthop(id=A, interface="vpn-a")))
    action = Replace(group(A, B), group(C))

    assert failures.permitted(action) == Replace(group(B), group(C))
    assert failures.failed[-1][0] is action


def test_a_group_none_of_whose_nexthops_could_be_made_keeps_its_old_legs() -> None:
    failures = after(Add(Nexthop(id=A, interface="vpn-a")))

    assert failures.permitted(Replace(group(A), group(C))) is None
    assert failures.permitted(Remove(Nexthop(id=C, interface="vpn-c"))) is None


def test_without_failures_everything_is_permitted() -> None:
    action = Remove(guard("100.64.0.0/10"))

    assert Failures().permitted(action) is action
