"""The fake kernel against the real one: the same random walk on both must show the same, step by step."""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.namespace import Namespace, namespace
from tests.fake_kernel import FakeKernel, render
from tests.native.two_links import link_kind
from tests.routing.kernel_states import GROUPS, NAMES, NEXTHOPS, PEERS, by_uplink, guard, link, route

from vpnagent.errors import NetlinkError
from vpnagent.routing.actions import Add, KernelAction, Remove, Replace
from vpnagent.routing.kernel import NetlinkKernel
from vpnagent.routing.objects import (
    FilterTable,
    KernelObject,
    KernelObjects,
    Nexthop,
    NexthopGroup,
    Route,
    XfrmLink,
)
from vpnagent.routing.plan import plan
from vpnagent.routing.uplinks import Pin

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

PREFIXES = ("100.64.0.0/10", "172.16.0.0/12")
UPLINK = "eth7"
PINS = tuple(Pin(peer.network_address, name) for peer in PEERS for name in (UPLINK, "eth8"))
ADDRESSES = (None, IPv4Interface("169.254.10.2/30"), IPv4Interface("169.254.10.1/30"))


def standing(name: str, **changes: object) -> XfrmLink:
    """Return an interface of the kind that this kernel has."""
    return link(name, NAMES.index(name) + 1 if link_kind() == "xfrm" else 0, **changes)


links = st.builds(
    lambda name, mtu, address: standing(name, mtu=mtu, address=address),
    st.sampled_from(NAMES),
    st.sampled_from([1399, 1300]),
    st.sampled_from(ADDRESSES),
)
nexthops = st.builds(Nexthop, id=st.sampled_from(NEXTHOPS), interface=st.sampled_from(NAMES))
members = st.dictionaries(st.sampled_from(NEXTHOPS), st.integers(1, 3), min_size=1)
groups = st.builds(
    lambda id_, legs: NexthopGroup(id=id_, members=tuple(sorted(legs.items()))),
    st.sampled_from(GROUPS),
    members,
)
routes = st.one_of(
    st.builds(guard, st.sampled_from(PREFIXES)),
    st.builds(route, st.sampled_from(PREFIXES), st.sampled_from([*GROUPS, NEXTHOPS[0]])),
)
by_uplinks = st.builds(
    by_uplink,
    st.sampled_from(PEERS).map(str),
    st.sampled_from([UPLINK, "eth8"]),
    st.sampled_from(["198.51.100.1", "198.51.100.9", None]),
)
clamps = st.builds(
    lambda names: FilterTable(maximum=tuple((name, 1359) for name in sorted(names))),
    st.sets(st.sampled_from(NAMES), min_size=1),
)


@dataclass(frozen=True)
class Try:
    """Carry out an action, sensible or not."""

    verb: Callable[[KernelObject], KernelAction]
    object: KernelObject

    def action(self, fake: FakeKernel) -> KernelAction:
        """Return the action; what was there before is as the fake knows it."""
        was = present(fake.objects, self.object)
        return (
            Replace(self.object, was or self.object)
            if self.verb is replaced
            else self.verb(was or self.object)
        )


@dataclass(frozen=True)
class Hand:
    """Have somebody's hands at it."""

    command: str  #: ip's
    damage: Callable[[FakeKernel], None]


def replaced(object_: KernelObject) -> KernelAction:
    return Replace(object_, object_)


def present(have: KernelObjects, object_: KernelObject) -> KernelObject | None:
    match object_:
        case XfrmLink():
            return have.links.get(object_.name)
        case Route():
            return have.routes.get(object_.key)
        case _:
            return None


def hands() -> st.SearchStrategy[Hand]:
    def on_link(command: str, verb: Callable[[FakeKernel, str], None]) -> st.SearchStrategy[Hand]:
        def damage(name: str) -> Callable[[FakeKernel], None]:
            return lambda fake: verb(fake, name) if name in fake.objects.links else None

        return st.sampled_from([Hand(f"link {command.format(name)}", damage(name)) for name in NAMES])

    def on_id(id_: int) -> Hand:
        verb = FakeKernel.delete_group if id_ in GROUPS else FakeKernel.delete_nexthop
        return Hand(f"nexthop delete id {id_}", lambda fake: verb(fake, id_))

    def on_uplink(state: str) -> Hand:
        return Hand(f"link set {UPLINK} {state}", lambda fake: fake.set_uplink(UPLINK, up=state == "up"))

    return st.one_of(
        st.sampled_from([on_uplink("down"), on_uplink("up")]),
        on_link("set {} down", FakeKernel.set_link_down),
        on_link("set {} up", FakeKernel.set_link_up),
        on_link("delete {}", FakeKernel.delete_link),
        st.sampled_from([on_id(id_) for id_ in (*NEXTHOPS, *GROUPS)]),
    )


peer_guards = st.builds(guard, st.sampled_from(PEERS).map(str))
anything = st.one_of(
    links, nexthops, nexthops, groups, groups, routes, routes, clamps, by_uplinks, by_uplinks, peer_guards
)
verbs = st.sampled_from([Add, Add, replaced, Remove])
steps = st.lists(st.one_of(st.builds(Try, verbs, anything), hands()), min_size=10, max_size=40)


def first_steps() -> list[Try | Hand]:
    """Make something to break."""
    return [
        Hand(f"link set {UPLINK} up", lambda fake: fake.set_uplink(UPLINK, up=True)),
        Try(Add, by_uplink(str(PEERS[0]), UPLINK)),
        *(Try(Add, standing(name)) for name in NAMES),
        *(Try(Add, Nexthop(id=id_, interface=name)) for id_, name in zip(NEXTHOPS, NAMES, strict=True)),
        Try(Add, NexthopGroup(id=GROUPS[0], members=((NEXTHOPS[0], 1), (NEXTHOPS[1], 2)))),
        Try(Add, route(PREFIXES[0], GROUPS[0])),
    ]


@pytest.fixture(scope="module")
def there() -> Iterator[Namespace]:
    with namespace("walk") as made:
        made.ip(f"link add {UPLINK} type ifb")  # of others: it has routes of theirs, and of ours to peers
        yield made


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_the_fake_kernel_does_what_the_real_one_does(there: Namespace, walk: list[Try | Hand]) -> None:
    with there.entered():
        asyncio.run(side_by_side(there, [*first_steps(), *walk]))


async def side_by_side(there: Namespace, walk: list[Try | Hand]) -> None:
    real, fake = NetlinkKernel(on_change=lambda: None, link_kind=link_kind()), FakeKernel()
    fake.uplinks = {UPLINK: False}
    try:
        for step in walk:
            match step:
                case Try():
                    action = step.action(fake)
                    assert await accepted(real, action) == await accepted(fake, action), action
                case Hand():
                    hand(there, step)
                    step.damage(fake)
            state = await real.observe(KernelObjects())
            assert render(state.objects) == fake.render(), step
            assert await real.steering(PINS) == await fake.steering(PINS), step
    finally:
        state = await real.observe(KernelObjects())
        await real.apply_all(plan(KernelObjects(), state, prune=True, manage_sysctls=False))
        real.close()


async def accepted(kernel: NetlinkKernel | FakeKernel, action: KernelAction) -> bool:
    try:
        await kernel.apply(action)
    except NetlinkError:
        return False
    return True


def hand(there: Namespace, step: Hand) -> None:
    try:
        there.ip(step.command)
    except AssertionError:
        return  # there was nothing to break


def test_a_walk_of_every_damage_is_told_alike(there: Namespace) -> None:
    """The silent ones in a row, so that no luck is needed to see them."""
    name = NAMES[0]
    walk = [
        Hand(f"link set {name} down", lambda fake: fake.set_link_down(name)),
        Hand(f"link set {name} up", lambda fake: fake.set_link_up(name)),
        Hand(f"link set {UPLINK} down", lambda fake: fake.set_uplink(UPLINK, up=False)),
        Hand(f"nexthop delete id {NEXTHOPS[1]}", lambda fake: fake.delete_nexthop(NEXTHOPS[1])),
        Hand(f"link delete {NAMES[2]}", lambda fake: fake.delete_link(NAMES[2])),
    ]
    with there.entered():
        asyncio.run(side_by_side(there, [*first_steps(), *walk]))
