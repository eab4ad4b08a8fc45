"""Two lines to one peer, with the real kernel: each packet by the line of its source, or not at all."""

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from tests.config_examples import make_config
from tests.native.two_providers import SECOND, World, two_providers

from vpnagent.config.values import Config
from vpnagent.netlink.message import NetlinkMessage, attribute
from vpnagent.netlink.rtnetlink import RTM_DELRULE, RTMSG
from vpnagent.routing.actions import KernelAction
from vpnagent.routing.fib import FRA_PRIORITY, FRA_PROTOCOL
from vpnagent.routing.kernel import concerns_us
from vpnagent.routing.objects import LANE_PRIORITIES

PEER = IPv4Address(SECOND)
A, B = "192.0.2.2", "198.51.100.2"
LINES = make_config(
    primary={"remote_address": PEER, "local_address": IPv4Address(A), "uplink": "eth0"},
    backup={"remote_address": PEER, "local_address": IPv4Address(B), "uplink": "eth1"},
)
NOTHING = make_config(primary={"local_address": None}, backup={"local_address": None})


@pytest.fixture
def world() -> Iterator[World]:
    with two_providers() as made:
        yield made


def rules(world: World) -> list[str]:
    found = [line.split(":")[0] for line in world.gateway.ip("rule show").splitlines()]
    return [priority for priority in found if int(priority) in LANE_PRIORITIES]


def ways(world: World) -> str:
    return world.gateway.ip("route show table all proto 86")


def converged(world: World, config: Config = LINES) -> list[KernelAction]:
    return world.converge(config)


def test_each_source_has_its_line_and_everything_else_the_main_table(world: World) -> None:
    converged(world)
    assert world.provider_of(SECOND, A) == "a"
    assert world.provider_of(SECOND, B) == "b"
    assert world.provider_of(SECOND) == "a"  # the default route's
    assert len(rules(world)) == 2


def test_a_line_that_is_down_is_not_left_for_the_other(world: World) -> None:
    converged(world)
    world.gateway.ip("link set eth1 down")
    assert world.provider_of(SECOND, B) in ("No route to host", "Network is unreachable")
    converged(world)
    assert world.provider_of(SECOND, A) == "a"
    world.gateway.ip("link set eth1 up")
    world.gateway.ip("route add default via 198.51.100.1 metric 200")
    converged(world)
    assert world.provider_of(SECOND, B) == "b"


@pytest.mark.parametrize(
    "damage",
    [
        "rule del priority {0}",
        "rule add from 10.9.9.9 lookup main priority {0} protocol 86",
        "route flush table {1}",
        "route del unreachable {2} table {1}",
        "route replace {2} via 192.0.2.9 dev eth0 table {1} proto 86",
    ],
)
def test_whatever_becomes_of_a_lane_it_is_put_right(world: World, damage: str) -> None:
    converged(world)
    before, first = sorted(rules(world)), min(rules(world))
    table = 0x56500000 + int(first) - LANE_PRIORITIES[0]
    world.gateway.ip(damage.format(first, table, SECOND))
    assert converged(world)
    assert sorted(rules(world)) == before
    assert (world.provider_of(SECOND, A), world.provider_of(SECOND, B)) == ("a", "b")


def test_nothing_is_left_and_nothing_of_others_is_touched(world: World) -> None:
    world.gateway.ip("rule add from 10.7.7.7 lookup 100 priority 8650")
    before = world.gateway.ip("rule show")
    converged(world)
    assert world.gateway.ip("rule show") != before
    converged(world, NOTHING)
    assert world.gateway.ip("rule show") == before
    assert [line for line in ways(world).splitlines() if SECOND in line] == []


def test_of_rules_ours_alone_are_heard() -> None:
    header = RTMSG.pack(2, 0, 0, 0, 0, 0, 0, 1, 0)
    priority, ours = attribute(FRA_PRIORITY, (8600).to_bytes(4, sys.byteorder)), attribute(FRA_PROTOCOL, b"V")
    assert concerns_us(NetlinkMessage(RTM_DELRULE, 0, 0, header + priority + ours))
    assert not concerns_us(NetlinkMessage(RTM_DELRULE, 0, 0, header + priority))
