"""Two lines to one address of the cloud: two uplinks, two identities of ours, a key for each pair.

    gw wan-a 192.0.2.2 ---- net-a -- cloud \
                                            zone1 203.0.113.1
    gw wan-b 198.51.100.2 - net-b -- second /

A host route cannot tell the lines apart: each has an ip rule of ours and a table. What goes to the peer is
seen on both paths, so that a packet that takes the other line is found.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from lab.charon import connection
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, is_up, paths_are_up, prefers
from lab.topology import BACKUP, ECS_HOST, IDC_NETWORK, PRIMARY, TUNNELS
from lab.world import Lab

SECOND = "second"
PEER, KEY = PRIMARY.remote, "lab-key-of-the-second-line"
LINES = {PRIMARY: "net-a", BACKUP: "net-b"}


@pytest.fixture
def lines(lab: Lab) -> Iterator[Lab]:
    """The second line, and the end of its tunnel in zone 1."""
    topology, zone = lab.topology, lab.topology["zone1"]
    topology["net-b"].ip(f"link add {SECOND} type veth peer name {SECOND} netns zone1")
    topology["net-b"].ip(f"address add 203.0.113.131 peer {PEER} dev {SECOND}", f"link set {SECOND} up")
    zone.ip(
        f"address add {PEER} peer 203.0.113.131 dev {SECOND}",
        f"link set {SECOND} up",
        "route add 198.51.100.0/24 via 203.0.113.131",
        "link add tunnel2 type xfrm if_id 2",
        f"address add {BACKUP.inside_remote}/30 dev tunnel2",
        "link set tunnel2 mtu 1399 up",
    )
    message = connection(SECOND, local=PEER, remote=BACKUP.local, if_id=2)
    with lab.cloud.zones[PRIMARY].session() as session:
        session.load_shared({"id": SECOND, "type": "IKE", "data": KEY, "owners": [BACKUP.local]})
        session.load_conn(message)
    lab.gateway.ip("route add default via 198.51.100.1 metric 200")
    yield lab
    with lab.cloud.zones[PRIMARY].session() as session:
        session.unload_conn({"name": SECOND})
        session.unload_shared({"id": SECOND})
    zone.ip(f"route replace {IDC_NETWORK} dev tunnel", "link del tunnel2")
    topology["net-b"].ip(f"link del {SECOND}")
    lab.gateway.ip("route del default metric 200")


@pytest.fixture
def both(lines: Lab, gateway: LabGateway) -> LabGateway:
    """Both tunnels are up, each by its line; what was seen before is forgotten."""
    document = gateway.document()
    [only] = document["connections"]
    only["probe"] |= {"hold_down": "1s"}
    only["tunnels"][1]["remote_address"] = PEER
    for each, section in zip(TUNNELS, only["tunnels"], strict=True):
        section["uplink"] = each.uplink
    gateway.write_key(BACKUP, KEY)
    gateway.write(document)
    gateway.start()
    gateway.wait(
        lambda s: is_up(s) and prefers(s) and paths_are_up(s), "both lines are up", within=20 * PATIENCE
    )
    lines.observer.begin()
    return gateway


def rules(lab: Lab) -> list[str]:
    return [line for line in lab.gateway.run("ip", "rule", "show").splitlines() if f"to {PEER} " in line]


def seen(lab: Lab) -> Counter[tuple[str, str]]:
    """What went to the peer: by source and internet path."""
    return Counter((p.source, p.path) for p in lab.observer.packets() if p.destination == PEER)


def each_by_its_line(lab: Lab) -> bool:
    return set(seen(lab)) == {(each.local, LINES[each]) for each in TUNNELS}


def active(status: dict[str, Any]) -> list[str]:
    return list(status["connections"][0]["active"])


def test_each_line_has_its_own_way_and_key_to_the_one_address(lines: Lab, both: LabGateway) -> None:
    assert len(rules(lines)) == 2
    lines.ping(ECS_HOST)
    eventually(lambda: each_by_its_line(lines), "both lines are seen", within=10 * PATIENCE)
    stream = lines.stream()
    with stream.running():
        lines.faults.carrier(PRIMARY, up=False)
        status = both.wait(lambda s: active(s) == ["backup"], "the second line carries", within=10 * PATIENCE)
        lines.topology["zone1"].ip(f"route replace {IDC_NETWORK} dev tunnel2")
        lines.ping(ECS_HOST)
        result = stream.stop()
    lines.faults.carrier(PRIMARY, up=True)  # the observer asks both paths for a mark
    print(f"\nfirst of two lines lost: {result}")
    assert result.outbound.blackout <= 0.5 * PATIENCE, lines.drops()
    assert not [w for w in status["warnings"] if w["code"] == "UplinkNotTaken"]
    assert {path for source, path in seen(lines) if source == PRIMARY.local} == {"net-a"}
    assert {path for source, path in seen(lines) if source == BACKUP.local} == {"net-b"}
    assert lines.observer.leaks() == []


def test_rules_are_put_right_and_go_with_the_rest(lines: Lab, both: LabGateway) -> None:
    before = rules(lines)
    lines.gateway.run("ip", "rule", "del", "priority", before[0].partition(":")[0])
    eventually(lambda: sorted(rules(lines)) == sorted(before), "it is back", within=5 * PATIENCE)
    counted = {k: v for k, v in both.metrics().items() if "drift_repairs" in k and 'kind="rule"' in k}
    assert sum(counted.values()) >= 1
    both.kill()
    both.start()
    both.wait(is_up, "a successor finds them", within=20 * PATIENCE)
    assert sorted(rules(lines)) == sorted(before)
    both.down()
    assert rules(lines) == []
    assert PEER not in lines.gateway.run("ip", "route", "show", "table", "all", "proto", "86")
