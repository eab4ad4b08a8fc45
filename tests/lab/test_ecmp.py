"""A transit router's attachments: flows spread over all tunnels, and a lost one takes only its own along."""

import socket
from collections.abc import Mapping
from typing import Any

import pytest
from lab.charon import connection
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, Status, is_up
from lab.observer import packets
from lab.topology import BACKUP, ECS_HOST, IDC_NETWORK, PRIMARY, TUNNELS, VPC_NETWORK
from lab.world import Lab

PORTS = range(7000, 7256)  # one flow each
RATE = 15  # packets per second of each stream: they are many, and run before everything else
CONNECTIONS = range(1, 17)  # what a transit router takes for one destination


def flows(lab: Lab, interfaces: list[str]) -> dict[str, int]:
    """How many of many flows from the IDC each interface takes."""
    before = {name: packets(lab.gateway, name)[1] for name in interfaces}
    with lab.topology["idc"].entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for port in PORTS:
            sender.sendto(b"flow", (ECS_HOST, port))
    return {name: packets(lab.gateway, name)[1] - before[name] for name in interfaces}


def everything_arrives(taken: Mapping[str, int]) -> bool:
    return sum(taken.values()) >= len(PORTS)  # probes come on top


def carrying(status: Status) -> set[str]:
    return {name for each in status["connections"] for name in each["active"]}


@pytest.fixture
def two(lab: Lab, gateway: LabGateway) -> LabGateway:
    """One attachment with two tunnels, both of them carrying."""
    lab.cloud.mode("transit-router")
    document = gateway.document()
    document["connections"][0] |= {"attachment": "transit-router"}
    document["connections"][0]["probe"] |= {"hold_down": "2s"}
    gateway.write(document)
    gateway.start()
    gateway.wait(is_up, "every tunnel is up", within=15 * PATIENCE)
    gateway.wait(lambda s: carrying(s) == {"primary", "backup"}, "both carry", within=10 * PATIENCE)
    lab.cloud.wait_returning(PRIMARY, BACKUP)
    return gateway


def test_flows_spread_and_a_lost_tunnel_takes_only_its_own_along(lab: Lab, two: LabGateway) -> None:
    interfaces = [f"vpn-{each.name}" for each in TUNNELS]
    taken = flows(lab, interfaces)
    assert min(taken.values()) > len(PORTS) / 4, taken
    streams = [lab.stream(port=5000 + number, rate=RATE) for number in range(6)]
    try:
        for stream in streams:
            stream.start()
        lab.faults.drop(PRIMARY, "everything")
        two.wait(lambda s: carrying(s) == {"backup"}, "one carries", within=10 * PATIENCE)
        eventually(
            lambda: everything_arrives(flows(lab, interfaces[1:])), "all go there", within=5 * PATIENCE
        )
        results = [stream.stop().outbound for stream in streams]
    finally:
        for stream in streams:
            stream.close()
    for result in results:
        print(f"\necmp, one of two lost: outbound {result}")
    moved = [result for result in results if result.lost]
    assert len(moved) < len(results), results  # those of the other tunnel lost nothing
    lab.faults.clear()
    two.wait(lambda s: carrying(s) == {"primary", "backup"}, "both carry", within=60 * PATIENCE**0.5)
    lab.ping(ECS_HOST)


def address(number: int) -> str:
    return f"203.0.113.{64 + number}"


def inside(number: int, end: int) -> str:
    return f"169.254.100.{4 * number + end}"


def attach(lab: Lab) -> None:
    """Sixteen more ends of the cloud, all in the first zone, which returns traffic over all of them."""
    numbers = CONNECTIONS
    zone, net = lab.topology["zone1"], lab.topology["net-a"]
    net.ip(*(f"route add {address(n)} via 203.0.113.1 dev cloud" for n in numbers))
    zone.ip(
        *(f"address add {address(n)}/32 dev lo" for n in numbers),
        *(f"link add t{n} type xfrm if_id {100 + n}" for n in numbers),
        *(f"address add {inside(n, 1)}/30 dev t{n}" for n in numbers),
        *(f"link set t{n} mtu 1399 up" for n in numbers),
        f"route replace {IDC_NETWORK} " + " ".join(f"nexthop dev t{n}" for n in numbers),
    )
    lab.topology["vpc"].ip(f"route add {IDC_NETWORK} via 172.31.1.1 metric 9")
    with lab.cloud.zones[PRIMARY].session() as session:
        for number in numbers:
            session.load_shared(
                {"id": f"c{number}", "type": "IKE", "data": PRIMARY.psk, "owners": [address(number)]}
            )
            session.load_conn(
                connection(f"c{number}", local=address(number), remote=PRIMARY.local, if_id=100 + number)
            )


def detach(lab: Lab) -> None:
    lab.topology["vpc"].ip(f"route del {IDC_NETWORK} via 172.31.1.1 metric 9")
    with lab.cloud.zones[PRIMARY].session() as session:
        for name in set(session.get_conns()["conns"]) & {f"c{number}".encode() for number in CONNECTIONS}:
            session.unload_conn({"name": name})
        for number in CONNECTIONS:
            session.unload_shared({"id": f"c{number}"})
    zone, net = lab.topology["zone1"], lab.topology["net-a"]
    net.ip(*(f"route del {address(n)}" for n in CONNECTIONS))
    zone.ip(
        *(f"link del t{n}" for n in CONNECTIONS),
        *(f"address del {address(n)}/32 dev lo" for n in CONNECTIONS),
        f"route replace {IDC_NETWORK} dev tunnel",
    )


def attachment(gateway: LabGateway, number: int) -> dict[str, Any]:
    [template] = gateway.document()["connections"]
    changes = {
        "name": f"tr-{number}",
        "attachment": "transit-router",
        "remote_networks": [VPC_NETWORK],
        "probe": {"targets": [], "interval": "300ms"},
        "tunnels": [
            {
                "name": "only",
                "remote_address": address(number),
                "local_address": PRIMARY.local,
                "psk_file": str(gateway.key(PRIMARY)),
                "inside_address": f"{inside(number, 2)}/30",
                "interface": f"vpn-{number}",
                "if_id": number,
            }
        ],
    }
    return {**template, **changes}


@pytest.mark.deadline(420)
def test_sixteen_connections_share_one_destination(lab: Lab, gateway: LabGateway) -> None:
    attach(lab)
    try:
        document = gateway.document()
        gateway.write(document | {"connections": [attachment(gateway, n) for n in CONNECTIONS]})
        gateway.start()
        gateway.wait(is_up, "every tunnel is up", within=30 * PATIENCE)
        interfaces = [f"vpn-{n}" for n in CONNECTIONS]
        taken = flows(lab, interfaces)
        print(f"\nsixteen: {taken}")
        assert min(taken.values()) > 0, taken
        assert everything_arrives(taken), taken
        lab.ping(ECS_HOST)
        with lab.cloud.zones[PRIMARY].session() as session:
            session.unload_conn({"name": "c7"})
        lab.cloud.zones[PRIMARY].terminate("c7")
        gateway.wait(lambda s: not s["connections"][6]["active"], "the seventh is out", within=10 * PATIENCE)
        left = [name for name in interfaces if name != "vpn-7"]
        eventually(lambda: everything_arrives(flows(lab, left)), "the others carry all", within=5 * PATIENCE)
    finally:
        gateway.down()
        detach(lab)
