"""What somebody removes by hand comes back by itself, and nothing leaves in clear meanwhile.

An interface that comes back must be heard for its hold-down before it carries again.
"""

import time

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway
from lab.topology import REMOVALS, SERVICE_HOST, kernel_view, removal
from lab.world import Lab

HOLD_DOWN = 1.0  # seconds
BOUND = (HOLD_DOWN + 2.0) * PATIENCE  # 1 s where the kernel is silent, and one for what must be heard again


@pytest.fixture
def running(lab: Lab, gateway: LabGateway) -> LabGateway:
    """An agent with both tunnels up."""
    document = gateway.document()
    document["connections"][0]["probe"] |= {"hold_down": f"{HOLD_DOWN:g}s"}
    gateway.write(document)
    gateway.start()
    gateway.wait_up()
    return gateway


@pytest.mark.parametrize("what", REMOVALS)
def test_what_is_removed_by_hand_comes_back(lab: Lab, running: LabGateway, what: str) -> None:
    before, lines = kernel_view(lab.gateway), removal(lab.gateway, what)
    stream = lab.stream(far=SERVICE_HOST)
    with stream.running():
        lab.gateway.ip(*lines)
        removed = time.monotonic()
        eventually(lambda: kernel_view(lab.gateway) == before, f"{what} is back", within=BOUND, every=0.01)
        repaired = time.monotonic() - removed
        result = stream.stop()
    print(f"\n{what}: repaired within {repaired:.2f} s; stream {result}")
    lab.ping(SERVICE_HOST)
    eventually(lambda: repairs(running) > 0, "and counted", within=5)  # the prober's with its next report
    assert [leak for leak in lab.observer.leaks() if what != "everything"] == []


def repairs(gateway: LabGateway) -> float:
    return sum(value for key, value in gateway.metrics().items() if "drift_repairs" in key)


def test_a_foreign_route_interface_and_nexthop_are_left_alone(lab: Lab, running: LabGateway) -> None:
    lab.gateway.ip(
        "link add theirs type xfrm if_id 77",
        "link set theirs up",
        "nexthop add id 99 dev theirs",
        "route add 100.64.5.0/24 nhid 99 metric 7",
        "route add unreachable 203.0.114.0/24 protocol 187",
    )
    before = [line for line in kernel_view(lab.gateway) if "theirs" in line or "203.0.114" in line]
    running.ask("reload")
    running.kill()
    running.start()
    running.wait_up()
    after = [line for line in kernel_view(lab.gateway) if "theirs" in line or "203.0.114" in line]
    lab.gateway.ip("link del theirs", "route del unreachable 203.0.114.0/24")
    assert before == after
    assert len(before) >= 2
