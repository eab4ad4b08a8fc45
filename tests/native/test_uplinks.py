"""Two providers: a pinned peer is reached by its uplink or not at all, whatever the default routes do."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from tests.config_examples import make_config
from tests.native.two_providers import FIRST, PINNED, SECOND, World, compared, one_round, two_providers

from vpnagent.daemon.planning import planned
from vpnagent.policy.desired import pins_of
from vpnagent.routing.actions import Add
from vpnagent.routing.kernel import NetlinkKernel
from vpnagent.routing.objects import KernelObjects, Peer
from vpnagent.routing.plan import Conflict, conflicts, plan

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

NOTHING = KernelObjects()


@pytest.fixture
def world() -> Iterator[World]:
    with two_providers() as made:
        yield made


def test_a_pinned_peer_leaves_by_its_uplink_and_the_other_by_the_default_route(world: World) -> None:
    assert (world.provider_of(FIRST), world.provider_of(SECOND)) == ("a", "a")

    actions = world.converge()

    assert (world.provider_of(FIRST), world.provider_of(SECOND)) == ("a", "b")
    assert world.way() == f"{SECOND} via 198.51.100.1 dev eth1 onlink"
    assert str(actions[0]) == f"ip route add {SECOND}/32 via 198.51.100.1 dev eth1 onlink protocol 86"
    assert world.problem() == ""


def test_the_logged_command_does_the_same(world: World) -> None:
    made = [str(action) for action in world.converge() if SECOND in str(action)]
    assert len(made) == 2
    world.gateway.ip("route flush proto 86")

    for command in made:
        world.gateway.run(command)

    assert not [action for action in world.converge() if SECOND in str(action)]


def test_another_default_route_is_heard_of_and_followed(world: World) -> None:
    """There is no period: only what the kernel tells can have woken it."""
    world.converge()

    async def work() -> None:
        changed = asyncio.Event()
        kernel = NetlinkKernel(on_change=changed.set)
        with contextlib.closing(kernel):
            async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(kernel.monitor())
                await asyncio.sleep(0)
                for gateway in (9, 1):
                    change = f"route replace default via 198.51.100.{gateway} metric 200"
                    await asyncio.to_thread(world.gateway.ip, change)
                    while f"via 198.51.100.{gateway} " not in world.way():
                        await changed.wait()
                        changed.clear()
                        await one_round(kernel, PINNED)
                listening.cancel()

    with world.gateway.entered():
        asyncio.run(work())
    assert world.provider_of(SECOND) == "b"


def test_a_pinned_peer_takes_no_other_way_while_its_uplink_is_down(world: World) -> None:
    world.converge()

    world.gateway.ip("link set eth1 down")

    for _ in range(2):
        assert world.provider_of(SECOND) == "No route to host"
        assert world.problem() == "eth1 is down"
        world.converge()
    world.gateway.ip("link set eth1 up")
    world.converge()
    assert world.provider_of(SECOND) == "No route to host"
    assert world.problem() == f"no route through eth1 leads to {SECOND}"
    world.gateway.ip("route add default via 198.51.100.1 metric 200")
    world.converge()
    assert (world.provider_of(SECOND), world.problem()) == ("b", "")


def test_a_configured_gateway_needs_no_route_and_comes_back_with_the_link(world: World) -> None:
    config = make_config(backup={"uplink": "eth1", "uplink_gateway": IPv4Address("198.51.100.9")})
    world.gateway.ip("route delete default metric 200")

    for state in ("up", "down", "up"):
        world.gateway.ip(f"link set eth1 {state}")
        world.converge(config)
        assert world.provider_of(SECOND) == ("b" if state == "up" else "No route to host")


def test_a_default_route_that_is_lost_leaves_the_known_gateway_in_use(world: World) -> None:
    world.converge()
    world.gateway.ip("route delete default metric 200")

    assert not world.converge()

    assert world.provider_of(SECOND) == "b"
    assert world.problem().endswith("any more: the last known gateway 198.51.100.1 stays in use")


def test_an_interface_that_is_not_there_is_told_and_a_new_one_is_taken(world: World) -> None:
    world.converge()
    world.gateway.ip("link set eth1 down")
    world.gateway.ip("link set eth1 name eth9")
    world.converge()
    assert (world.provider_of(SECOND), world.problem()) == ("No route to host", "there is no interface eth1")


WAYS = {
    "another table": (
        "route delete default metric 200",
        "route add default via 198.51.100.1 dev eth1 table 100",
        "rule add from 198.51.100.2 lookup 100",
    ),
    "one leg of two": (
        "route delete default metric 200",
        "route replace default nexthop via 192.0.2.1 nexthop via 198.51.100.1",
    ),
    "a nexthop object": (
        "route delete default metric 200",
        "nexthop add id 12 via 198.51.100.1 dev eth1",
        "route add default nhid 12 metric 200",
    ),
    "a group of nexthop objects": (
        "route delete default metric 200",
        "nexthop add id 12 via 198.51.100.1 dev eth1",
        "nexthop add id 13 via 192.0.2.1 dev eth0",
        "nexthop add id 14 group 13/12",
        "route add default nhid 14 metric 200",
    ),
    "a gateway outside of the subnet": (
        "route delete default metric 200",
        "address flush dev eth1",
        "address add 198.51.100.2/32 dev eth1",
        "route add default via 198.51.100.1 dev eth1 onlink metric 200",
    ),
}


@pytest.mark.parametrize("compatible", ["0", "1"])
@pytest.mark.parametrize("commands", WAYS.values(), ids=WAYS)
def test_the_gateway_is_found_wherever_it_is_written(
    world: World, commands: tuple[str, ...], compatible: str
) -> None:
    """With nexthop_compat_mode off, as the daemon has it, a route tells no more than the object's id."""
    world.gateway.run(f"sysctl -qw net.ipv4.nexthop_compat_mode={compatible}")
    for command in commands:
        world.gateway.ip(command)

    world.converge()

    assert world.way().startswith(f"{SECOND} via 198.51.100.1 dev eth1")
    assert world.provider_of(SECOND) == "b"


def test_a_peer_in_the_subnet_of_its_uplink_needs_no_gateway(world: World) -> None:
    world.gateway.ip("address add 203.0.113.3/29 dev eth1")
    world.gateway.ip("route add 203.0.113.2 dev eth0 metric 9")  # leads astray, and is worse than ours
    world.converge()
    assert world.way() == f"{SECOND} dev eth1 scope link src 203.0.113.3"
    assert world.provider_of(SECOND) == "b"


def test_a_default_route_without_a_gateway_is_one_to_follow(world: World) -> None:
    world.gateway.ip("route replace default dev eth1 metric 200")
    world.converge()
    assert world.way() == f"{SECOND} dev eth1 scope link"


def test_what_is_removed_by_hand_is_heard_of_and_put_back(world: World) -> None:
    world.converge()
    for command in (f"route delete {SECOND} dev eth1", f"route delete unreachable {SECOND}"):
        world.gateway.ip(command)
        [repair] = world.converge()
        assert (type(repair), SECOND in str(repair)) == (Add, True)


def test_a_successor_finds_nothing_to_do_and_down_removes_everything(world: World) -> None:
    before = world.gateway.ip("route show table all")
    world.converge()
    assert not world.converge()

    async def down(kernel: NetlinkKernel) -> None:
        actions = plan(NOTHING, await kernel.observe(NOTHING), prune=True, manage_sysctls=False)
        assert not await kernel.apply_all(actions)

    world.run(down)

    assert world.gateway.ip("route show table all") == before
    assert world.provider_of(SECOND) == "a"


def test_a_foreign_host_route_elsewhere_is_a_conflict_and_is_left(world: World) -> None:
    world.gateway.ip(f"route add {SECOND} via 192.0.2.1")
    world.converge()

    async def found(kernel: NetlinkKernel) -> tuple[Conflict, ...]:
        return conflicts(*await compared(kernel, PINNED))

    [conflict] = world.run(found)
    assert conflict.text == f"a route to {SECOND}/32 of the same metric exists and is not ours"
    assert (world.way(), world.provider_of(SECOND)) == ("", "a")


def test_the_operators_own_host_route_by_the_uplink_is_left_and_is_enough(world: World) -> None:
    world.gateway.ip(f"route add {SECOND} via 198.51.100.9")

    async def found(kernel: NetlinkKernel) -> tuple[Conflict, ...]:
        return conflicts(*await compared(kernel, PINNED))

    world.converge()

    assert world.run(found) == ()
    assert (world.way(), world.problem(), world.provider_of(SECOND)) == ("", "", "b")


def test_where_a_rule_leads_a_pinned_peer_is_known(world: World) -> None:
    world.converge()
    peer = Peer(IPv4Address(SECOND), None)

    async def taken(kernel: NetlinkKernel) -> dict[Peer, str]:
        await kernel.observe(NOTHING)
        return await kernel.outgoing([peer])

    assert world.run(taken) == {peer: "eth1"}
    world.gateway.ip("route add default via 192.0.2.1 table 100")
    world.gateway.ip(f"rule add to {SECOND} lookup 100")
    assert world.run(taken) == {peer: "eth0"}


def test_the_way_is_known_without_privilege(world: World) -> None:
    pin = pins_of(PINNED)[PINNED.tunnels()[1].key]
    program = (
        "import asyncio; from ipaddress import IPv4Address;"
        "from vpnagent.routing.kernel import NetlinkKernel; from vpnagent.routing.uplinks import Pin;"
        "kernel = NetlinkKernel(on_change=print);"
        f"[found] = asyncio.run(kernel.steering([{pin!r}])).values(); print(found.route)"
    )

    printed = world.gateway.without("net_admin", program)

    assert printed == f"{SECOND}/32 via 198.51.100.1 dev eth1 onlink protocol 86\n"


def test_plan_shows_the_way_and_the_guard(world: World) -> None:
    with world.gateway.entered():
        lines = asyncio.run(planned(PINNED, {}, ()))

    assert [line for line in lines if SECOND in line] == [
        f"ip route add {SECOND}/32 via 198.51.100.1 dev eth1 onlink protocol 86",
        f"ip route add unreachable {SECOND}/32 metric 4278198272 protocol 86",
    ]
