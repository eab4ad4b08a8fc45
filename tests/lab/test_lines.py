"""A leased line beside the VPN: before it, and behind it. By metric alone, as docs/topologies.md says.

    gw line 10.255.0.1 -------- line 10.255.0.2 vpc

The cloud's router returns by the line while that is there: by a route more specific than its VPN's.
"""

import time
from collections.abc import Iterator

import pytest
from lab.deadline import PATIENCE
from lab.gateway import LabGateway, Status, is_up, paths_are_up, prefers
from lab.topology import ECS_HOST, REMOTE_NETWORKS, TUNNELS
from lab.world import Lab

HERE, THERE = "10.255.0.1", "10.255.0.2"
BACK = f"route replace 10.1.0.0/17 via {HERE} dev line"


@pytest.fixture
def line(lab: Lab) -> Iterator[Lab]:
    """The line, with the cloud's way back by it; the gateway has no route by it yet."""
    vpc = lab.topology["vpc"]
    lab.gateway.ip("link add line type veth peer name line netns vpc")
    lab.gateway.ip(f"address add {HERE}/30 dev line", "link set line up")
    vpc.ip(f"address add {THERE}/30 dev line", "link set line up")
    vpc.sysctl(conf__line__ignore_routes_with_linkdown=1)
    yield lab
    lab.gateway.ip("link del line")


def by_line(metric: int) -> list[str]:
    return [f"route add {network} via {THERE} dev line metric {metric}" for network in REMOTE_NETWORKS]


def started(gateway: LabGateway, metric: int) -> None:
    document = gateway.document()
    document["connections"][0] |= {"exits": ["line"], "route_metric": metric}
    document["connections"][0]["probe"] |= {"hold_down": "1s"}
    gateway.write(document)
    gateway.start()
    gateway.wait(
        lambda s: s["state"] == "up" and prefers(s) and paths_are_up(s), "all is up", within=20 * PATIENCE
    )


def states(status: Status) -> set[tuple[str, str | None]]:
    return {(route["state"], route["by"]) for route in status["routes"]}


def test_the_vpn_is_the_standby_of_a_leased_line(line: Lab, gateway: LabGateway) -> None:
    vpc = line.topology["vpc"]
    line.gateway.ip(*by_line(20))  # as BGP's are
    vpc.ip(BACK)
    started(gateway, 500)
    status = gateway.wait(
        lambda s: states(s) == {("unused", "line")} and all(n["by"] == "line" for n in networks(s)),
        "the line carries",
        within=10 * PATIENCE,
    )
    assert (status["state"], status["connections"][0]["state"]) == ("up", "up")
    assert [w["code"] for w in status["warnings"] if w["severity"] != "info"] == []
    assert "NotUsed" in {w["code"] for w in status["warnings"]}
    assert "not used: a route by line" in gateway.run("status")
    line.observer.begin()
    stream = line.stream()
    with stream.running():
        time.sleep(0.5)
        vpc.ip("link set line down")  # the gateway sees no more than that the carrier is gone
        gateway.wait(lambda s: states(s) == {("installed", None)}, "the VPN carries", within=10 * PATIENCE)
        line.ping(ECS_HOST)
        time.sleep(0.5)
        vpc.ip("link set line up", BACK)
        gateway.wait(lambda s: states(s) == {("unused", "line")}, "the line is back", within=10 * PATIENCE)
        time.sleep(0.5)
        gateway.kill()  # neither way needs the daemon
        vpc.ip("link set line down")
        time.sleep(0.5)
        line.ping(ECS_HOST)
        vpc.ip("link set line up", BACK)
        time.sleep(0.5)
        result = stream.stop()
    print(f"\nVPN behind a line, carrier lost twice: {result}")
    # The kernel looks at carriers that come and go once a second at most (linkwatch).
    assert result.blackout <= 1.1 * PATIENCE, line.drops()
    assert line.observer.leaks() == []


def networks(status: Status) -> list[dict[str, object]]:
    return [network for c in status["connections"] for network in c["networks"]]


def test_a_line_is_the_standby_of_the_vpn(line: Lab, gateway: LabGateway) -> None:
    line.gateway.ip(*by_line(1000))
    started(gateway, 0)
    status = gateway.wait(
        lambda s: states(s) == {("installed", None)}, "the VPN carries", within=10 * PATIENCE
    )
    assert "NotUsed" not in {w["code"] for w in status["warnings"]}
    stream = line.stream()
    with stream.running():
        time.sleep(0.5)
        for each in TUNNELS:
            line.faults.drop(each, "everything")
        status = gateway.wait(lambda s: states(s) == {("unused", "line")}, "by line", within=20 * PATIENCE)
        assert status["connections"][0]["state"] == "degraded"
        time.sleep(1)
        for each in TUNNELS:
            line.faults.heal(each)
        gateway.wait(
            lambda s: is_up(s) and states(s) == {("installed", None)},
            "the VPN carries again",
            within=120 * PATIENCE**0.5,
        )
        result = stream.stop()
    print(f"\nline behind the VPN, every path dead: {result}")
    detection = 0.3
    # The second tunnel is tried in its turn, and found dead too.
    assert result.outbound.blackout <= (2 * detection + 1.0) * PATIENCE, result
    assert line.observer.leaks() == []


def test_down_leaves_the_line_alone(line: Lab, gateway: LabGateway) -> None:
    line.gateway.ip(*by_line(20))
    started(gateway, 500)
    before = line.gateway.run("ip", "route", "show", "dev", "line")
    assert len(before.splitlines()) == 1 + len(REMOTE_NETWORKS)
    gateway.down()
    assert line.gateway.run("ip", "route", "show", "dev", "line") == before
    assert line.gateway.run("ip", "route", "show", "proto", "86") == ""
