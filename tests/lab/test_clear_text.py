"""Whatever somebody else does on the gateway, an observer on the Internet sees no inside address in clear.

The networks of both sides are looked for on every outer interface. That something was stopped is asserted
too: without the wall it would have been seen.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, Status, paths_are_up, start
from lab.sequences import told_codes
from lab.topology import (
    BACKUP,
    ECS_HOST,
    IDC_NETWORK,
    PRIMARY,
    SERVICE_HOST,
    SERVICE_NETWORK,
    TUNNELS,
    VPC_NETWORK,
)
from lab.world import RUNTIME, Lab

TABLE = 100
LEADS_OUT = (
    f"route add default via 192.0.2.1 table {TABLE}",
    f"route add {BACKUP.remote} via 198.51.100.1 table {TABLE}",
)
MARKS = """table ip pbr {
    chain prerouting { type filter hook prerouting priority mangle; iifname "lan" meta mark set 1; }
}"""
RULES = {
    "mark set in prerouting": f"fwmark 1 lookup {TABLE}",
    "not to": f"not to {IDC_NETWORK} lookup {TABLE}",
    "not fwmark": f"not fwmark 0xca6c lookup {TABLE}",
    "ipproto": f"ipproto udp iif lan lookup {TABLE}",
}


def stopped(status: Status, direction: str) -> bool:
    """Whether the leak guard tells that it stopped packets."""
    return any(w["code"] == "ClearTextStopped" and w["subject"] == direction for w in status["warnings"])


def states_of_routes(status: Status) -> dict[str, str]:
    return {route["prefix"]: route["state"] for route in status["routes"]}


@contextmanager
def diverting(lab: Lab, rule: str) -> Iterator[None]:
    """An ip rule before the main table that leads to the Internet; hosts' packets are marked."""
    lab.gateway.nft(MARKS)
    lab.gateway.ip(*LEADS_OUT, f"rule add {rule} priority 100")
    try:
        yield
    finally:
        lab.gateway.ip("rule del priority 100", f"route flush table {TABLE}")
        lab.gateway.nft("delete table ip pbr")


@pytest.mark.parametrize("what", RULES)
def test_a_rule_that_leads_hosts_past_the_tunnels_lets_nothing_out(
    lab: Lab, gateway: LabGateway, what: str
) -> None:
    start(gateway)
    stream = lab.stream()
    with stream.running():
        with diverting(lab, RULES[what]):
            gateway.wait(lambda s: stopped(s, "out"), "what was stopped is told", within=10 * PATIENCE)
            time.sleep(1.0)
        result = stream.stop()
    print(f"\n{what}: {result}")
    assert result.outbound.lost > 100, "the rule led nobody astray"
    assert lab.observer.leaks() == []
    gateway.wait(paths_are_up, "the paths are up", within=20 * PATIENCE)
    lab.ping(SERVICE_HOST)


def test_a_foreign_route_in_our_place_is_told_and_lets_nothing_out(lab: Lab, gateway: LabGateway) -> None:
    start(gateway)
    stream = lab.stream(far=SERVICE_HOST)
    with stream.running():
        lab.gateway.ip(f"route replace {SERVICE_NETWORK} via 192.0.2.1 metric 0")
        try:
            status = gateway.wait(
                lambda s: (states_of_routes(s)[SERVICE_NETWORK] == "diverted" and stopped(s, "out")),
                "it is told",
                within=10 * PATIENCE,
            )
        finally:
            lab.gateway.run("ip", "route", "del", SERVICE_NETWORK, "via", "192.0.2.1", check=False)
        stream.stop()
    assert states_of_routes(status)[VPC_NETWORK] == "installed"
    assert lab.observer.leaks() == []
    gateway.wait(lambda s: set(states_of_routes(s).values()) == {"installed"}, "back", within=10 * PATIENCE)
    lab.ping(SERVICE_HOST)


def test_what_the_cloud_sends_to_a_lan_that_is_down_does_not_leave_by_the_uplink(
    lab: Lab, gateway: LabGateway
) -> None:
    start(gateway)
    stream = lab.stream()
    with stream.running():
        time.sleep(0.3)
        lab.gateway.ip("link set lan down")
        try:
            gateway.wait(lambda s: stopped(s, "in"), "what was stopped is told", within=10 * PATIENCE)
            time.sleep(1.0)
        finally:
            lab.gateway.ip("link set lan up")
        result = stream.stop()
    assert result.inbound.lost > 100, result
    assert lab.observer.leaks() == []
    lab.ping(SERVICE_HOST)


@pytest.fixture
def second(lab: Lab) -> Iterator[LabGateway]:
    """Another configuration for the same gateway: names, networks, interfaces, sockets of its own."""
    directory = RUNTIME / "second"
    another = LabGateway(lab, directory)
    another.write(other_document(another))
    yield another
    if another.pid:
        another.kill()
    shutil.rmtree(directory)


def other_document(another: LabGateway) -> dict[str, Any]:
    document = another.document()
    document["gateway"]["name"] = "idc-other"
    document["agent"]["metrics_listen"] = "127.0.0.1:9787"
    [connection] = document["connections"]
    connection |= {"name": "beijing", "remote_networks": ["192.168.200.0/24"]}
    for each in connection["tunnels"]:
        each.update(interface=f"vpn-bj-{each['name']}", if_id=each["if_id"] + 100)
    return document


def test_a_second_instance_is_refused_and_the_first_loses_nothing(
    lab: Lab, gateway: LabGateway, second: LabGateway
) -> None:
    start(gateway)
    stream = lab.stream(far=SERVICE_HOST)
    with stream.running():
        time.sleep(0.3)
        second.start()
        assert second.process
        status = second.process.wait(20 * PATIENCE)
        time.sleep(1.0)
        result = stream.stop()
    *_, said = second.log.read_text().splitlines()
    assert status == 1, said
    assert said.startswith("vpnagent: another daemon works in this network namespace: process ")
    assert result.lost == 0, lab.drops()
    assert lab.observer.leaks() == []


def test_a_foreign_interface_with_our_if_id_is_told_and_left_alone(lab: Lab, gateway: LabGateway) -> None:
    lab.gateway.ip(f"link add theirs type xfrm dev wan-a if_id {PRIMARY.number}")
    before = lab.gateway.run("ip", "-details", "link", "show", "theirs")
    try:
        gateway.start()
        status = gateway.wait(
            lambda s: "ForeignObject" in told_codes(s) and s["connections"][0]["active"] == [BACKUP.name],
            "it is told, and the other tunnel carries",
            within=20 * PATIENCE,
        )
        lab.cloud.wait_returning(BACKUP)  # the other is not negotiated: nobody would hear what it brings
        lab.ping(SERVICE_HOST)
        assert lab.gateway.run("ip", "-details", "link", "show", "theirs") == before
    finally:
        lab.gateway.ip("link del theirs")
    [told] = (w for w in status["warnings"] if w["code"] == "ForeignObject")
    assert "theirs" in told["text"]
    assert lab.observer.leaks() == []
    gateway.wait_up(within=30 * PATIENCE)


def test_selectors_that_the_cloud_narrowed_are_told_as_negotiated(lab: Lab, gateway: LabGateway) -> None:
    for each in TUNNELS:
        lab.cloud.load(each, child={"local_ts": [VPC_NETWORK], "remote_ts": [IDC_NETWORK]})
    document = gateway.document()
    for each in document["connections"][0]["tunnels"]:
        del each["inside_address"]  # it would be outside of what is negotiated
    gateway.write(document)
    gateway.start()
    status = gateway.wait(
        lambda s: "SelectorsNarrowed" in told_codes(s) and paths_are_up(s),
        "it is told",
        within=20 * PATIENCE,
    )
    lab.ping(ECS_HOST)
    assert status["connections"][0]["state"] == "down"
    carried = {network["remote"]: network["carried"] for network in status["connections"][0]["networks"]}
    assert carried == {SERVICE_NETWORK: False, VPC_NETWORK: True}
    explained = gateway.run("explain", SERVICE_HOST, check=False)
    assert f"DO NOT COVER IT: {IDC_NETWORK} === {VPC_NETWORK} (negotiated)" in explained, explained
    eventually(lambda: not lab.observer.leaks(), "no leak", within=5)
