"""What hangs on a nexthop group: the prober puts it back alone, and leaves alone what is not ours."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from lab.namespace import ip
from tests.native.prober_process import Group, configure, control_daemon, until
from tests.native.two_tunnels import GROUP, SOURCE, TwoTunnels, two_tunnels

from vpnagent.probe.intent import Configure, GroupRoutes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, raw sockets, nexthops")

PREFIX = "100.64.0.0/10"
MANY = 10_000


@pytest.fixture
def world() -> Iterator[TwoTunnels]:
    with two_tunnels() as made:
        yield made


@pytest.fixture
def group(world: TwoTunnels) -> Iterator[Group]:
    made = Group(world.gw)
    yield made
    made.close()


def with_routes(prefixes: str = PREFIX) -> Configure:
    routes = GroupRoutes(group=GROUP, prefixes=prefixes, source=IPv4Address(SOURCE))
    return replace(configure(interval=0.05, hold_down=0.5), routes=(routes,))


def shown(world: TwoTunnels, what: str) -> str:
    command = ["ip", "-n", world.gw, *what.split()]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def routes(world: TwoTunnels) -> list[str]:
    return [line for line in shown(world, "route show proto 86").splitlines() if f"nhid {GROUP}" in line]


def our_route(world: TwoTunnels) -> None:
    ip(f"route replace {PREFIX} nhid {GROUP} proto 86 src {SOURCE}", namespace=world.gw)


def test_routes_that_went_with_their_group_are_back_when_it_is(world: TwoTunnels, group: Group) -> None:
    our_route(world)
    with control_daemon(world, wanted=with_routes()):
        for number in (0, 1):
            ip(f"link set t{number} down", namespace=world.gw)
        until(lambda: not routes(world))
        for number, nexthop in enumerate((101, 102)):
            ip(f"link set t{number} up", namespace=world.gw)
            ip(f"nexthop replace id {nexthop} dev t{number}", namespace=world.gw)
        until(lambda: routes(world), within=1.5)
        assert SOURCE in routes(world)[0]


def test_routes_behind_a_line_come_back_with_their_metric(world: TwoTunnels, group: Group) -> None:
    made = with_routes()
    behind = replace(made, routes=(replace(made.routes[0], metric=500),))
    ip(f"route replace {PREFIX} nhid {GROUP} proto 86 src {SOURCE} metric 500", namespace=world.gw)
    with control_daemon(world, wanted=behind):
        ip(f"nexthop del id {GROUP}", namespace=world.gw)
        until(lambda: group() and routes(world), within=1.5)
        assert "metric 500" in routes(world)[0]


def test_a_group_that_somebody_deleted_comes_back_with_its_routes(world: TwoTunnels, group: Group) -> None:
    our_route(world)
    with control_daemon(world, wanted=with_routes()):
        ip(f"nexthop del id {GROUP}", namespace=world.gw)
        until(lambda: group() and routes(world), within=1.5)


def test_ten_thousand_routes_come_back_and_none_slows_a_failover(world: TwoTunnels, group: Group) -> None:
    prefixes = " ".join(f"172.{16 + n // 65536}.{n // 256 % 256}.{n % 256}/32" for n in range(MANY))
    with control_daemon(world, wanted=with_routes(prefixes)) as daemon:
        until(lambda: daemon.report and all(p.answered for p in daemon.report.paths))
        ip(f"nexthop del id {GROUP}", namespace=world.gw)
        until(lambda: len(routes(world)) == MANY, within=10, every=0.1)
        until(lambda: group() == ((101, 1),))
        start = time.monotonic()
        ip("link set t0 down", namespace=world.gw)
        until(lambda: group() == ((102, 1),))
        assert time.monotonic() - start < 0.3  # the group first, and its routes slice by slice
        until(lambda: len(routes(world)) == MANY, within=10, every=0.1)


def test_a_route_that_others_have_put_in_its_place_stays(world: TwoTunnels, group: Group) -> None:
    our_route(world)
    with control_daemon(world, wanted=with_routes()):
        ip(f"route replace {PREFIX} dev t1", namespace=world.gw)
        ip(f"nexthop del id {GROUP}", namespace=world.gw)
        until(group, within=1.5)
        assert "dev t1" in shown(world, f"route show {PREFIX}")
        assert not routes(world)


def test_a_foreign_group_with_our_id_is_told_and_never_written(world: TwoTunnels, group: Group) -> None:
    ip(f"nexthop del id {GROUP}", f"nexthop add id {GROUP} group 102 proto 77", namespace=world.gw)
    with control_daemon(world, wanted=with_routes()) as daemon:
        until(lambda: daemon.report and any(f.code == "ForeignObject" for f in daemon.report.findings))
        world.lose("m1")
        until(lambda: daemon.report and daemon.report.paths[1].state.value == "down", within=5)
        assert group() == ((102, 1),)
        assert "proto 77" in shown(world, f"nexthop show id {GROUP}")
