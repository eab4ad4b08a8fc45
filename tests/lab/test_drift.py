"""What somebody removes by hand comes back by itself, and nothing leaves in clear meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.lab.deadline import PATIENCE, eventually
from tests.lab.topology import PRIMARY, SERVICE_HOST, SERVICE_NETWORK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.gateway import Gateway
    from tests.lab.lab import Lab

GUARD = f"unreachable {SERVICE_NETWORK}"


@pytest.fixture
def running(lab: Lab, gateway: Gateway) -> Iterator[Gateway]:
    """An agent with both tunnels up."""
    gateway.start()
    gateway.wait_up()
    return gateway


def identifiers(lab: Lab) -> tuple[str, str]:
    """The ids of the primary's nexthop and of its group."""
    lines = lab.gateway.run("ip", "nexthop").splitlines()
    [nexthop] = (line.split()[1] for line in lines if f"dev vpn-{PRIMARY.name}" in line)
    [group] = (line.split()[1] for line in lines if "group" in line)
    return nexthop, group


REMOVALS = {
    "route": lambda _nexthop, _group: (f"route del {SERVICE_NETWORK} metric 0",),
    "guard": lambda _nexthop, _group: (f"route del {GUARD} metric 4278198272",),
    "nexthop": lambda nexthop, _group: (f"nexthop del id {nexthop}",),
    "group": lambda _nexthop, group: (f"nexthop del id {group}",),
    "interface": lambda _nexthop, _group: (f"link del vpn-{PRIMARY.name}",),
    "address": lambda _nexthop, _group: (f"address del {PRIMARY.inside_local}/30 dev vpn-{PRIMARY.name}",),
    "interface down": lambda _nexthop, _group: (f"link set vpn-{PRIMARY.name} down",),
    "everything": lambda _nexthop, group: (
        f"nexthop del id {group}",
        f"route del {GUARD} metric 4278198272",
        f"link del vpn-{PRIMARY.name}",
    ),
}


@pytest.mark.parametrize("what", REMOVALS)
def test_what_is_removed_by_hand_comes_back(lab: Lab, running: Gateway, what: str) -> None:
    before = kernel_view(lab)
    stream = lab.stream(far=SERVICE_HOST)
    with stream.running():
        lab.gateway.ip(*REMOVALS[what](*identifiers(lab)))
        removed = time.monotonic()
        eventually(lambda: kernel_view(lab) == before, f"{what} is back", within=5 * PATIENCE, every=0.01)
        repaired = time.monotonic() - removed
        result = stream.stop()
    print(f"\n{what}: repaired within {repaired:.2f} s; stream {result}")
    lab.ping(SERVICE_HOST)
    assert sum(value for key, value in running.metrics().items() if "drift_repairs" in key) > 0
    assert [leak for leak in lab.observer.leaks() if what != "everything"] == []


def kernel_view(lab: Lab) -> list[str]:
    """Routes, nexthops and interfaces, without what changes by itself."""
    routes = lab.gateway.run("ip", "route").splitlines()
    nexthops = lab.gateway.run("ip", "nexthop").splitlines()
    addresses = lab.gateway.run("ip", "-o", "-4", "address").splitlines()
    return sorted([*routes, *nexthops, *(" ".join(line.split()[1:4]) for line in addresses)])


def test_a_foreign_route_interface_and_nexthop_are_left_alone(lab: Lab, running: Gateway) -> None:
    lab.gateway.ip(
        "link add theirs type xfrm if_id 77",
        "link set theirs up",
        "nexthop add id 99 dev theirs",
        "route add 100.64.5.0/24 nhid 99 metric 7",
        "route add unreachable 203.0.114.0/24 protocol 187",
    )
    before = [line for line in kernel_view(lab) if "theirs" in line or "203.0.114" in line]
    running.ask("reload")
    running.kill()
    running.start()
    running.wait_up()
    after = [line for line in kernel_view(lab) if "theirs" in line or "203.0.114" in line]
    lab.gateway.ip("link del theirs", "route del unreachable 203.0.114.0/24")
    assert before == after
    assert len(before) >= 2
