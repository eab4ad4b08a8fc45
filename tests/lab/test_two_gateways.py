"""Two gateways of which one has the addresses: the other adopts them, and both tunnels, when it is gone."""

from collections.abc import Iterator

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import is_up, paths_are_up
from lab.pair import VIRTUAL, LabNode, LabPair
from lab.stream import Conversation
from lab.topology import ECS_HOST, IDC_HOST, PRIMARY, TUNNELS
from lab.world import Lab


@pytest.fixture
def pair(lab: Lab) -> Iterator[LabPair]:
    """Both run, the first carries, and the second stands by; what was seen before is forgotten."""
    with LabPair(lab, "adopt").built() as pair:
        pair.configure()
        pair.start()
        carries(pair, pair.a)
        lab.observer.begin()
        yield pair


def carries(pair: LabPair, node: LabNode, *, within: float = 20 * PATIENCE) -> None:
    """Until a node has every address and tunnel, and the cloud answers by it."""
    eventually(
        lambda: all(node.owns(address) for address in VIRTUAL), f"{node.name} owns them", within=within
    )
    node.agent.wait(lambda s: is_up(s) and paths_are_up(s), f"{node.name} carries", within=within)
    pair.lab.cloud.wait_returning(PRIMARY)
    pair.lab.ping(ECS_HOST)


def test_a_gateway_without_power_is_replaced_with_its_addresses_and_tunnels(pair: LabPair) -> None:
    lab = pair.lab
    stream = lab.stream()
    with stream.running():
        pair.a.power_off()
        carries(pair, pair.b)
        result = stream.stop()
    print(f"\npower off: {result}")
    assert result.blackout <= 6 * PATIENCE, lab.drops()
    assert lab.observer.leaks() == []
    assert all(lab.cloud.is_up(each) for each in TUNNELS)


def test_connections_through_a_stateful_firewall_outlive_the_gateway(pair: LabPair) -> None:
    lab = pair.lab
    for node in pair.nodes:
        node.firewall()
        node.start_conntrackd(pair.other(node).sync)
    conversation = Conversation((lab.topology["idc"], IDC_HOST), (lab.topology["ecs"], ECS_HOST))
    conversation.start()
    eventually(lambda: pair.b.connections("tcp"), "the standby knows the connection", within=5 * PATIENCE)
    pair.a.power_off()
    carries(pair, pair.b)
    gap = conversation.stop(within=30 * PATIENCE)
    print(f"\na TCP connection: {gap:.3f} s without an answer; refused {pair.b.refused()}")
    assert pair.b.refused() == 0
    assert lab.observer.leaks() == []
