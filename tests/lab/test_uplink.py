"""Two providers: each tunnel's IKE and ESP leave by its own, or not at all.

The gateway's default route leads to wan-a; that of wan-b is worse. What goes to a peer is seen by whoever
listens on either path, so a packet that takes the other provider is found.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, Status, is_up, paths_are_up, tunnel
from lab.topology import BACKUP, ECS_HOST, PRIMARY, TUNNELS, LabTunnel
from lab.world import Lab

ROUTER, OTHER_ROUTER = "198.51.100.1", "198.51.100.9"  # of wan-b's provider
DEFAULT_A = "route replace default via 192.0.2.1"
DEFAULT_B = f"route replace default via {ROUTER} metric 200"
BY_HAND = f"route replace {BACKUP.remote} via {ROUTER}"  # what the lab's gateway has for want of a pin


@pytest.fixture
def providers(lab: Lab) -> Iterator[Lab]:
    """Nothing but two default routes: without a pin the backup's packets go to the wrong provider."""
    lab.gateway.ip(f"route del {BACKUP.remote} via {ROUTER}", DEFAULT_B)
    yield lab
    lab.gateway.ip(*(f"link set {each.uplink} up" for each in TUNNELS), DEFAULT_A, BY_HAND, DEFAULT_B)
    lab.gateway.ip("route del default metric 200")


@pytest.fixture
def pinned(providers: Lab, gateway: LabGateway) -> LabGateway:
    """Both tunnels are up, each by its uplink; what was seen before is forgotten."""
    document = gateway.document()
    [connection] = document["connections"]
    connection["probe"] |= {"hold_down": "2s"}
    for each, section in zip(TUNNELS, connection["tunnels"], strict=True):
        section["uplink"] = each.uplink
    gateway.write(document)
    gateway.start()
    gateway.wait_up()
    gateway.wait(paths_are_up, "both paths answer", within=10 * PATIENCE)
    providers.observer.begin()
    return gateway


def sent(lab: Lab, each: LabTunnel) -> Counter[tuple[str, str]]:
    """What went to a tunnel's peer: packets by internet path and kind."""
    return Counter((p.path, p.kind) for p in lab.observer.packets() if p.destination == each.remote)


def way(lab: Lab, each: LabTunnel) -> str:
    """Our routes to a tunnel's peer."""
    return lab.gateway.run("ip", "route", "show", each.remote, "proto", "86")


def warnings(status: Status) -> set[tuple[str, str]]:
    return {(warning["code"], warning["subject"]) for warning in status["warnings"]}


def test_each_tunnel_leaves_by_its_own_provider(lab: Lab, pinned: LabGateway) -> None:
    before = {each: lab.charon.ike_sas(f"vpnagent.hangzhou.{each.name}") for each in TUNNELS}
    for each in (BACKUP, PRIMARY):
        lab.cloud.delete(each)  # so that there is IKE to be seen, too
        eventually(
            lambda each=each: (  # type: ignore[misc]
                before[each].isdisjoint(lab.charon.ike_sas(f"vpnagent.hangzhou.{each.name}"))
                and lab.charon.is_up(f"vpnagent.hangzhou.{each.name}")
            ),
            f"{each.name} is negotiated anew",
            within=30 * PATIENCE,
        )
    pinned.wait(is_up, "every tunnel is up", within=60 * PATIENCE**0.5)
    lab.ping(ECS_HOST)
    pinned.ask("drain", tunnel=PRIMARY.name)
    pinned.wait(lambda s: tunnel(s, BACKUP)["forwarding"], "the backup carries", within=10 * PATIENCE)
    for each in TUNNELS:
        seen = sent(lab, each)
        print(f"\n{each.name}: {dict(seen)}")
        assert set(seen) == {(each.net, "ike"), (each.net, "esp-in-udp")}
        assert f"dev {each.uplink}" in way(lab, each)
    assert not {code for code, _ in warnings(pinned.status())} & {"UplinkWithoutGateway", "UplinkNotTaken"}
    assert lab.observer.leaks() == []


def test_a_tunnel_waits_for_its_uplink_and_the_other_carries(lab: Lab, pinned: LabGateway) -> None:
    """There is another default route, which a tunnel without a pin would take."""
    lab.gateway.ip("link set wan-a down")
    told = ("UplinkWithoutGateway", f"hangzhou/{PRIMARY.name}")
    pinned.wait(
        lambda s: s["connections"][0]["active"] == ["backup"] and told in warnings(s),
        "the backup carries, and the reason is told",
        within=10 * PATIENCE,
    )
    assert way(lab, PRIMARY).startswith("unreachable")
    lab.gateway.ip("link set wan-a up", DEFAULT_A)
    pinned.wait(
        lambda s: s["connections"][0]["active"] == ["primary"] and told not in warnings(s),
        "the primary is back",
        within=60 * PATIENCE**0.5,
    )
    lab.ping(ECS_HOST)
    assert {path for path, _ in sent(lab, PRIMARY)} == {PRIMARY.net}
    assert {path for path, _ in sent(lab, BACKUP)} == {BACKUP.net}


def test_another_router_of_the_provider_is_followed(lab: Lab, pinned: LabGateway) -> None:
    lab.topology[BACKUP.net].ip(f"address add {OTHER_ROUTER}/24 dev gw")
    try:
        lab.gateway.ip(f"route replace default via {OTHER_ROUTER} metric 200")
        eventually(
            lambda: f"via {OTHER_ROUTER} dev wan-b" in way(lab, BACKUP), "followed", within=5 * PATIENCE
        )
        lab.ping(BACKUP.inside_remote, source="gw")
        assert {path for path, _ in sent(lab, BACKUP)} == {BACKUP.net}
    finally:
        lab.gateway.ip(DEFAULT_B)
        lab.topology[BACKUP.net].ip(f"address del {OTHER_ROUTER}/24 dev gw")


def test_a_successor_finds_the_ways_and_down_removes_them(lab: Lab, pinned: LabGateway) -> None:
    pinned.kill()
    pinned.start()
    pinned.wait_up()
    assert "applied ip" not in pinned.log.read_text().rpartition("starting version")[2]
    assert all(f"dev {each.uplink}" in way(lab, each) for each in TUNNELS)
    pinned.down()
    assert lab.gateway.run("ip", "route", "show", "proto", "86") == ""
