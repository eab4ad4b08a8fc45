"""The adapter against this machine's kernel, in a namespace: on XFRM interfaces, or on what stands in."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TypeVar

import pytest
from lab.namespace import Namespace, namespace
from tests.config_examples import EXAMPLE_YAML
from tests.fake_kernel import render
from tests.native.two_links import GROUP, NAMES, NETWORK, Keeper, kept, link_kind, two_links

from vpnagent.errors import NetlinkError
from vpnagent.routing.actions import Add, Remove, Replace
from vpnagent.routing.kernel import LINK_INDEXES, NetlinkKernel
from vpnagent.routing.objects import (
    GUARD_METRIC,
    NEXTHOP_IDS,
    KernelObjects,
    KernelState,
    Nexthop,
    NexthopGroup,
    Peer,
    Route,
)
from vpnagent.routing.plan import conflicts, plan

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

T = TypeVar("T")
FIRST, SECOND = NAMES
NOTHING = KernelObjects()


@pytest.fixture
def there() -> Iterator[Namespace]:
    with namespace("kernel") as made:
        yield made


def within(there: Namespace, work: Coroutine[None, None, T]) -> T:
    with there.entered():
        return asyncio.run(work)


def with_kernel(there: Namespace, work: Callable[[NetlinkKernel], Awaitable[T]]) -> T:
    async def opened() -> T:
        with contextlib.closing(NetlinkKernel(on_change=lambda: None, link_kind=link_kind())) as kernel:
            return await work(kernel)

    return within(there, opened())


def converged(there: Namespace, desired: KernelObjects) -> KernelState:
    async def work() -> KernelState:
        keeper = Keeper(desired)
        with contextlib.closing(keeper.kernel):
            await keeper.converge()
            return await keeper.kernel.observe(desired)

    return within(there, work())


def test_what_is_desired_is_what_ip_shows(there: Namespace) -> None:
    converged(there, two_links())

    [first] = json.loads(there.run(f"ip -d -j link show dev {FIRST}"))
    assert first["ifindex"] in LINK_INDEXES
    assert (first["mtu"], first["ifalias"], "UP" in first["flags"]) == (1399, "vpnagent.hangzhou.10", True)
    assert first["inet6_addr_gen_mode"] == "none"
    assert there.run(f"ip -br address show dev {FIRST}").split()[2:] == ["169.254.10.2/30"]
    assert [n["protocol"] for n in json.loads(there.run("ip -j nexthop show"))] == ["86"] * 3
    assert there.ip(f"route show {NETWORK}").split("\n")[0].startswith(f"{NETWORK} nhid {GROUP} proto 86")
    assert f"unreachable {NETWORK} proto 86 metric {GUARD_METRIC}" in there.ip("route show")


def test_a_second_round_finds_nothing_to_do(there: Namespace) -> None:
    desired = two_links()

    state = converged(there, desired)

    assert plan(desired, state, prune=True, manage_sysctls=True) == []
    assert render(replace(state.objects, sysctls={})) == render(replace(desired, sysctls={}))


def test_all_that_is_ours_goes_and_nothing_else(there: Namespace) -> None:
    before = foreign_things(there)
    # Not the sysctls: with nexthop_compat_mode off, the kernel shows others' routes with fewer words.
    desired = replace(two_links(), sysctls={})
    converged(there, desired)
    assert foreign_things(there, make=False) == before

    converged(there, NOTHING)

    assert foreign_things(there, make=False) == before
    assert not [line for line in there.ip("route show").splitlines() if "proto 86" in line]
    assert NAMES[0] not in there.ip("link show")
    assert "vpnagent" not in there.nft("list tables")


def foreign_things(there: Namespace, *, make: bool = True) -> str:
    """Make some of everything that is not ours, close to ours; return how it looks."""
    if make:
        for command in (
            "link add eth7 type ifb",
            "link set eth7 alias vpnagent up",
            "address add 192.0.2.1/24 dev eth7",
            f"nexthop add id {NEXTHOP_IDS[70]} dev eth7",
            "nexthop add id 86 dev eth7",
            "nexthop add id 87 group 86",
            f"route add {NETWORK} via 192.0.2.7 metric 5",
            "route add 100.100.0.0/16 nhid 87",
            "route add 198.51.100.0/24 via 192.0.2.7 proto 86 table 100",
        ):
            there.ip(command)
        there.nft("add table inet others")
        there.nft("add chain inet others forward")
    return "\n".join(
        (
            there.run("ip -d -o link show dev eth7"),
            there.ip("address show dev eth7"),
            there.ip(f"nexthop get id {NEXTHOP_IDS[70]}"),
            there.ip("nexthop get id 87"),
            there.ip(f"route show {NETWORK} metric 5"),
            there.ip("route show 100.100.0.0/16"),
            there.ip("route show table 100"),
            there.nft("list table inet others"),
        )
    )


def test_a_foreign_interface_of_our_name_is_not_touched(there: Namespace) -> None:
    there.ip(f"link add {FIRST} type ifb")
    desired = two_links()

    state = converged(there, desired)

    assert [c.text for c in conflicts(desired, state)] == [f"interface {FIRST} exists and is not ours"]
    assert there.run(f"ip -br link show dev {FIRST}").split()[1] == "DOWN"
    assert state.objects.groups[GROUP].members == ((NEXTHOP_IDS[1], 1),)


@pytest.mark.skipif(link_kind() != "xfrm", reason="this kernel has no XFRM interfaces")
def test_a_foreign_interface_with_our_if_id_is_not_touched(there: Namespace) -> None:
    desired = two_links()
    if_id = desired.links[FIRST].if_id
    there.ip(f"link add ipsec9 type xfrm if_id {if_id}")

    state = converged(there, desired)

    text = f"if_id {if_id:#x} is that of interface ipsec9, which is not ours"
    assert [c.text for c in conflicts(desired, state)] == [text]
    assert state.objects.groups[GROUP].members == ((NEXTHOP_IDS[1], 1),)


def test_a_foreign_route_in_our_place_is_not_touched(there: Namespace) -> None:
    there.ip("link add eth7 type ifb")
    there.ip("link set eth7 up")
    there.ip(f"route add {NETWORK} dev eth7")
    desired = two_links()

    state = converged(there, desired)

    assert [c.object for c in conflicts(desired, state)] == [desired.routes[NETWORK, 0]]
    assert there.ip(f"route show {NETWORK} metric 0") == f"{NETWORK} dev eth7 scope link \n"


def test_a_link_of_another_kind_with_our_alias_is_not_ours(there: Namespace) -> None:
    there.ip("link add br7 type bridge")
    there.ip("link set br7 alias vpnagent.hangzhou.10")

    state = with_kernel(there, lambda kernel: kernel.observe(NOTHING))

    assert not state.objects.links
    assert "br7" in state.foreign_links


def test_a_refusal_names_the_action_and_the_kernels_reason(there: Namespace) -> None:
    action = Add(NexthopGroup(id=GROUP, members=((NEXTHOP_IDS[5], 1),)))

    with pytest.raises(NetlinkError, match=f"ip nexthop add id {GROUP} .*: Invalid nexthop id"):
        with_kernel(there, lambda kernel: kernel.apply(action))


def test_a_route_that_has_gone_does_not_take_its_guard_along(there: Namespace) -> None:
    """The kernel takes metric 0 for any: without its type, the removal would find the guard."""
    desired = two_links()
    converged(there, desired)
    there.ip(f"route delete {NETWORK} metric 0 proto 86 nhid {GROUP}")

    with_kernel(there, lambda kernel: kernel.apply(Remove(desired.routes[NETWORK, 0])))

    assert f"unreachable {NETWORK}" in there.ip("route show")


def test_an_address_changes_without_a_gap_for_its_network(there: Namespace) -> None:
    """The kernel removes the new address with the old, where that was the primary of their network."""
    desired = two_links()
    link = desired.links[FIRST]
    converged(there, desired)
    other = replace(link, address=IPv4Interface("169.254.10.1/30"))

    state = converged(there, replace(desired, links={**desired.links, FIRST: other}))

    assert state.objects.links[FIRST].address == other.address


def test_strays_of_ours_are_found_and_removed(there: Namespace) -> None:
    there.ip("link add eth7 type ifb")
    there.ip("link set eth7 up")
    there.ip("route add unreachable 198.51.100.0/24 metric 77 proto 86")
    there.ip("route add 203.0.113.0/24 dev eth7 proto 86")
    there.ip(f"nexthop add id {NEXTHOP_IDS[3]} blackhole proto 86")
    there.ip(f"nexthop add id {NEXTHOP_IDS[4]} dev eth7 proto 86")

    state = converged(there, NOTHING)

    assert state.objects == NOTHING
    assert "proto 86" not in there.ip("route show") + there.ip("nexthop show")


DAMAGE: dict[str, Callable[[Namespace], object]] = {
    "route": lambda there: there.ip(f"route delete {NETWORK} metric 0 proto 86"),
    "guard": lambda there: there.ip(f"route delete unreachable {NETWORK} metric {GUARD_METRIC} proto 86"),
    "nexthop": lambda there: there.ip(f"nexthop delete id {NEXTHOP_IDS[0]}"),
    "group": lambda there: there.ip(f"nexthop delete id {GROUP}"),
    "nexthops of others spared": lambda there: there.ip("nexthop flush proto 86"),
    "link down": lambda there: there.ip(f"link set {FIRST} down"),
    "link": lambda there: there.ip(f"link delete {FIRST}"),
    "both links": lambda there: there.ip("".join(f"link delete {name}\n" for name in NAMES)),
    "mtu": lambda there: there.ip(f"link set {FIRST} mtu 1500"),
    "address": lambda there: there.ip(f"address flush dev {FIRST}"),
    "clamp": lambda there: there.nft("delete table inet vpnagent"),
    "clamp's rules": lambda there: there.nft("flush chain inet vpnagent maxseg"),
    "clamp asleep": lambda there: there.nft("add table inet vpnagent { flags dormant; }"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_heard_of_and_repaired(there: Namespace, damage: Callable[[Namespace], object]) -> None:
    """The period is long: only what the kernel tells can have woken the keeper."""

    async def work() -> list[float]:
        async with kept(two_links(), period=60) as keeper:
            times: list[float] = []
            for _ in range(3):
                begun = time.monotonic()
                await asyncio.to_thread(damage, there)
                times.append(await keeper.repaired() - begun)
            return times

    seconds = within(there, work())

    assert len(seconds) == 3
    print("repaired, damage included:", *(f"{1000 * s:.1f} ms" for s in seconds))


def test_a_sysctl_that_was_changed_is_found_by_the_periodic_comparison(there: Namespace) -> None:
    async def work() -> None:
        async with kept(two_links(), period=0.2) as keeper:
            await asyncio.to_thread(there.run, "sysctl -qw net.ipv4.nexthop_compat_mode=1")
            await keeper.repaired()

    within(there, work())

    assert there.run("sysctl -n net.ipv4.nexthop_compat_mode") == "0\n"


def test_routes_and_nexthops_of_others_wake_nobody(there: Namespace) -> None:
    there.ip("link add eth7 type ifb")
    there.ip("link set eth7 up")

    async def work() -> tuple[int, int]:
        async with kept(two_links(), period=60) as keeper:
            before = keeper.changes
            await asyncio.to_thread(there.ip, "route add 198.51.100.0/24 dev eth7")
            await asyncio.to_thread(there.ip, "nexthop add id 7 dev eth7")
            await asyncio.to_thread(there.nft, "add table inet others")
            spared = keeper.changes - before
            await asyncio.to_thread(there.ip, "route add unreachable 203.0.113.0/24 proto 86")
            await keeper.repaired()
            return spared, keeper.changes - before

    spared, heard = within(there, work())

    assert spared == 0
    assert heard > 0


def test_lost_events_count_as_a_change_and_hearing_goes_on(there: Namespace) -> None:
    """The loop is held while more events arrive than the buffer takes. None is ours, but who knows."""
    batch = "".join(f"route add unreachable 10.{n >> 8}.{n & 255}.0/24 metric 9\n" for n in range(25_000))

    async def work() -> None:
        told = asyncio.Event()
        kernel = NetlinkKernel(on_change=told.set, link_kind=link_kind())
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(kernel.monitor())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            there.ip(batch)  # not awaited: nobody reads
            await asyncio.wait_for(told.wait(), 5)
            told.clear()
            await asyncio.to_thread(there.ip, "route add unreachable 198.51.100.0/24 proto 86")
            await asyncio.wait_for(told.wait(), 5)
            listening.cancel()

    within(there, work())


def test_the_guard_of_a_boot_needs_no_key_and_no_good_file(there: Namespace, tmp_path: Path) -> None:
    """vpnagent-guard.service: what stood is guarded where the file is broken, and nothing else is made."""
    config = tmp_path / "vpnagent.yaml"
    config.write_text(f"agent: {{state_directory: {tmp_path}}}\nnonsense: 1\n")
    guard = f"{sys.executable} -m vpnagent guard --config {config}"
    with pytest.raises(AssertionError, match=r"vpnagent\.yaml:2: unknown key"):
        there.run(guard)
    assert there.ip("route show table all proto 86") == ""
    (tmp_path / "standing.yaml").write_text(EXAMPLE_YAML)
    for _ in range(2):
        there.run(guard)
        assert sorted(there.ip("route show table all proto 86").split("\n")) == [
            "",
            "unreachable 100.64.0.0/10 metric 4278198272 ",
            "unreachable 172.16.0.0/16 metric 4278198272 ",
        ]
    assert there.run("ip -j nexthop show").strip() in ("", "[]")
    assert "drop" in there.run("nft list chain inet vpnagent outward")
    there.run("nft add element inet vpnagent tunnels { kept }")
    there.run(guard)
    assert "kept" in there.run("nft list set inet vpnagent tunnels")  # what stands is the daemon's


def test_one_clear_line_without_the_capability(there: Namespace) -> None:
    program = (
        "import asyncio; from vpnagent.routing.kernel import NetlinkKernel;"
        "asyncio.run(NetlinkKernel(on_change=print).open())"
    )

    output = there.without("net_admin", program)

    assert output.splitlines()[-1].endswith("kernel: open: not permitted: CAP_NET_ADMIN is missing")


def test_observation_needs_no_privilege_and_says_what_it_could_not_read(there: Namespace) -> None:
    program = (
        "import asyncio; from vpnagent.routing.kernel import NetlinkKernel;"
        "from vpnagent.routing.objects import KernelObjects;"
        f"kernel = NetlinkKernel(on_change=print, link_kind={link_kind()!r});"
        "state = asyncio.run(kernel.observe(KernelObjects()));"
        "print(sorted(state.objects.links), len(state.objects.routes), state.filter_table_readable)"
    )
    converged(there, two_links())

    assert there.without("net_admin", program) == f"{list(NAMES)} 2 False\n"


def test_the_gateways_source_address_is_set_and_read_back(there: Namespace) -> None:
    there.ip("address add 10.1.0.1/32 dev lo")
    desired = two_links()
    routes = [replace(r, source=IPv4Address("10.1.0.1")) if r.group else r for r in desired.routes.values()]

    state = converged(there, replace(desired, routes={r.key: r for r in routes}))

    assert state.objects.routes[NETWORK, 0].source == IPv4Address("10.1.0.1")
    assert "src 10.1.0.1" in there.ip(f"route show {NETWORK} metric 0")


def test_the_interface_by_which_a_peer_is_reached_is_known(there: Namespace) -> None:
    there.ip(
        """link add wan type veth peer name far
        address add 192.0.2.2/24 dev wan
        link set far up
        link set wan up
        link set lo up
        address add 198.51.100.1/32 dev lo
        route add 203.0.113.0/24 via 192.0.2.1
        route add unreachable 203.0.114.0/24
        """
    )
    here, loopback = IPv4Address("192.0.2.2"), IPv4Address("198.51.100.1")
    near, far = Peer(IPv4Address("192.0.2.9"), here), Peer(IPv4Address("203.0.113.1"), None)
    from_loopback, nowhere = Peer(far.remote, loopback), Peer(IPv4Address("203.0.114.1"), None)

    async def look(kernel: NetlinkKernel) -> dict[Peer, str]:
        await kernel.observe(NOTHING)
        return await kernel.outgoing([near, far, from_loopback, nowhere])

    assert with_kernel(there, look) == {near: "wan", far: "wan"}


def test_a_nexthop_moves_to_another_interface_under_its_group(there: Namespace) -> None:
    desired = two_links()
    converged(there, desired)
    was = desired.nexthops[NEXTHOP_IDS[0]]
    moved = Nexthop(id=was.id, interface=SECOND)

    async def work(kernel: NetlinkKernel) -> KernelState:
        await kernel.observe(NOTHING)
        await kernel.apply(Replace(moved, was))
        return await kernel.observe(NOTHING)

    state = with_kernel(there, work)

    assert state.objects.nexthops[was.id] == moved
    assert state.objects.groups == desired.groups
    assert isinstance(state.objects.routes[NETWORK, 0], Route)


def test_a_default_route_can_be_guarded_and_routed(there: Namespace) -> None:
    everything = IPv4Network("0.0.0.0/0")

    state = converged(there, two_links((everything,)))

    assert state.objects.routes.keys() == {(everything, 0), (everything, GUARD_METRIC)}
