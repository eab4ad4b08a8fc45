"""Two gateways of which one has the addresses: the other adopts them, and both tunnels, when it is gone."""

import time
from collections.abc import Callable, Iterator

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import is_up, paths_are_up
from lab.pair import VIRTUAL, LabNode, LabPair
from lab.stream import Conversation
from lab.topology import ECS_HOST, GATEWAY_LAN, IDC_HOST, TUNNELS
from lab.world import Lab

# Seconds, of which keepalived takes 0.4 to miss its peer. All of the lab shares one processor here: how well
# it works, the trials say.
GAP = 1.0 * PATIENCE
CHARON_AWAY = 1.0 * PATIENCE  # seconds for which it may be away: it may be restarted
UNNOTICED = 2 * PATIENCE  # seconds: several times what VRRP and the probes take to notice anything


@pytest.fixture
def pair(lab: Lab) -> Iterator[LabPair]:
    """Both run, the first carries, and the second stands by; what was seen before is forgotten."""
    with LabPair(lab, "adopt").built() as pair:
        pair.configure()
        pair.start()
        pair.carried_by(pair.a)
        lab.observer.begin()
        yield pair


FAULTS: dict[str, Callable[[LabNode], None]] = {
    "no power": LabNode.power_off,
    "keepalived killed": LabNode.kill_keepalived,
    "keepalived ended": LabNode.stop_keepalived,
    "LAN pulled": lambda node: node.unplug("lan"),
    "WAN pulled": lambda node: node.unplug("wan-a"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_addresses_and_tunnels_move_at_once(pair: LabPair, fault: str) -> None:
    lab = pair.lab
    stream = lab.stream()
    with stream.running():
        FAULTS[fault](pair.a)
        eventually(lambda: pair.b.owns(GATEWAY_LAN), "the address has moved", within=5 * PATIENCE)
        status = pair.b.agent.wait(lambda s: is_up(s) and paths_are_up(s), "it carries", within=5 * PATIENCE)
        lab.ping(ECS_HOST)
        result = stream.stop()
    print(f"\n{fault}: {result}")
    assert result.blackout <= GAP, lab.drops()
    assert status["connections"][0]["active"] == ["primary"]
    assert all(lab.cloud.is_up(each) for each in TUNNELS)
    assert lab.observer.leaks() == []


def test_a_gateway_whose_charon_is_gone_gives_its_addresses_away(pair: LabPair) -> None:
    """Without charon no ESP in UDP is received (its socket is charon's), though what is sent goes its way."""
    lab = pair.lab
    stream = lab.stream()
    with stream.running():
        pair.a.charon.kill()
        pair.carried_by(pair.b)
        result = stream.stop()
    print(f"\ncharon is gone: {result}")
    assert result.blackout <= CHARON_AWAY + 2 * GAP, lab.drops()
    assert lab.observer.leaks() == []


@pytest.mark.parametrize("unique", ["no", "never"])
def test_a_cloud_that_keeps_the_old_sas_or_not_is_the_same(pair: LabPair, unique: str) -> None:
    """INITIAL_CONTACT (RFC 7296, 2.4) has the cloud forget the dead gateway's SAs at once, or it does not."""
    lab = pair.lab
    for each in TUNNELS:
        lab.cloud.load(each, changes={"unique": unique})
    lab.cloud.mode("transit-router")
    lab.cloud.wait_returning(*TUNNELS)
    stream = lab.stream()
    with stream.running():
        pair.a.power_off()
        pair.carried_by(pair.b)
        result = stream.stop()
    print(f"\na transit router, unique = {unique}: {result}")
    assert result.blackout <= GAP, lab.drops()
    assert lab.observer.leaks() == []


def test_a_gateway_that_boots_takes_nothing_back(pair: LabPair) -> None:
    lab = pair.lab
    pair.a.power_off()
    pair.carried_by(pair.b)
    stream = lab.stream()
    with stream.running():
        pair.a.power_on()
        pair.a.boot()
        pair.a.agent.wait_ready()
        time.sleep(UNNOTICED)
        pair.carried_by(pair.b)
        result = stream.stop()
    print(f"\nreboot of the other: {result}")
    assert states(pair.a) == {"standby-device"}
    assert result.lost == 0, lab.drops()
    assert lab.observer.leaks() == []


def states(node: LabNode) -> set[str]:
    connections = node.agent.status()["connections"]
    return {tunnel["state"] for connection in connections for tunnel in connection["tunnels"]}


ENDED: dict[str, Callable[[LabPair], None]] = {
    "the agent": lambda pair: pair.a.agent.kill(),
    "the prober": lambda pair: pair.a.agent.kill_prober(),
    "the other agent": lambda pair: pair.b.agent.kill(),
    "the other charon": lambda pair: pair.b.charon.kill(),
    "the other gateway": lambda pair: pair.b.power_off(),
}


@pytest.mark.parametrize("what", ENDED)
def test_no_packet_is_lost_and_no_address_moves_when_this_ends(pair: LabPair, what: str) -> None:
    lab = pair.lab
    stream = lab.stream()
    with stream.running():
        ENDED[what](pair)
        time.sleep(UNNOTICED)
        result = stream.stop()
    print(f"\n{what} ends: {result}")
    assert result.lost == 0, lab.drops()
    assert all(pair.owner(address) is pair.a for address in VIRTUAL)
    assert lab.observer.leaks() == []


def test_a_connection_through_a_stateful_firewall_outlives_the_gateway(pair: LabPair) -> None:
    lab = pair.lab
    for node in pair.nodes:
        node.firewall()
        node.start_conntrackd(pair.other(node).sync)
    conversation = Conversation((lab.topology["idc"], IDC_HOST), (lab.topology["ecs"], ECS_HOST))
    conversation.start()
    eventually(lambda: pair.b.connections("tcp"), "the other knows the connection", within=5 * PATIENCE)
    pair.a.power_off()
    pair.carried_by(pair.b)
    gap = conversation.stop(within=30 * PATIENCE)
    print(f"\na TCP connection: {gap:.3f} s without an answer")
    assert pair.b.refused() == 0
    assert lab.observer.leaks() == []
