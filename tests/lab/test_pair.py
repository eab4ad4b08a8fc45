"""The lab of two gateways proves itself: real VRRP, faults that are what they say, nothing left behind."""

from collections.abc import Iterator

import pytest
from lab.deadline import PATIENCE, eventually
from lab.namespace import Namespace
from lab.pair import SWITCHES, VIRTUAL, LabPair
from lab.topology import GATEWAY_LAN, PRIMARY
from lab.world import Lab


@pytest.fixture
def pair(lab: Lab) -> Iterator[LabPair]:
    """Both nodes with VRRP alone: no charon, no agent."""
    with LabPair(lab, "adopt").built() as pair:
        pair.start_keepalived()
        yield pair


def moved(pair: LabPair, node: object) -> None:
    eventually(
        lambda: all(pair.owner(address) is node for address in VIRTUAL),
        "every virtual address is on that node, and on no other",
        within=10 * PATIENCE,
    )


def test_addresses_leave_a_node_without_power_and_do_not_come_back_by_themselves(pair: LabPair) -> None:
    moved(pair, pair.a)
    pair.a.power_off()
    moved(pair, pair.b)
    pair.a.power_on()
    assert pair.a.gateway.pids() == []
    pair.a.start_keepalived()
    pair.lab.ping(pair.a.lan)
    moved(pair, pair.b)


def test_a_node_that_ends_keepalived_gives_its_addresses_away(pair: LabPair) -> None:
    pair.a.stop_keepalived()
    moved(pair, pair.b)
    pair.lab.ping(GATEWAY_LAN)
    pair.lab.ping(PRIMARY.local, source="net-a")


def test_two_that_do_not_hear_each_other_have_the_addresses_twice_until_they_do(pair: LabPair) -> None:
    pair.isolate(isolated=True)
    eventually(
        lambda: all(node.owns(address) for node in pair.nodes for address in VIRTUAL),
        "both have all addresses",
        within=10 * PATIENCE,
    )
    for node in pair.nodes:
        pair.lab.ping(node.lan)
    pair.isolate(isolated=False)
    moved(pair, pair.a)


def test_a_wire_that_is_pulled_is_a_lost_carrier_on_that_node_alone(pair: LabPair) -> None:
    pair.a.unplug("lan")
    eventually(lambda: "NO-CARRIER" in pair.a.gateway.ip("link show lan"), "lost", within=5 * PATIENCE)
    assert "NO-CARRIER" not in pair.b.gateway.ip("link show lan") + pair.a.gateway.ip("link show wan-a")
    moved(pair, pair.b)
    pair.a.plug("lan")
    pair.lab.ping(pair.a.lan)


def test_the_one_gateway_is_back_in_its_place(lab: Lab) -> None:
    before = lab.gateway.ip("address show"), lab.gateway.ip("route show")
    with LabPair(lab, "pair").built() as pair:
        lab.ping(pair.a.lan)
        lab.ping(pair.b.lan)
    after = lab.gateway.ip("address show"), lab.gateway.ip("route show")
    assert [line.split()[1:3] for line in after[0].splitlines() if "inet " in line] == [
        line.split()[1:3] for line in before[0].splitlines() if "inet " in line
    ]
    assert sorted(after[1].split()) == sorted(before[1].split())
    assert not Namespace(SWITCHES).path.exists()
    lab.ping(GATEWAY_LAN)
