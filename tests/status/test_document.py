"""The status object: what it tells of what is known."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config, make_pair
from tests.routing.kernel_states import link, objects

from vpnagent.config.values import Config, Device
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.routing.objects import Diversion, KernelObjects
from vpnagent.routing.ways import Asker, Way, diversion, first_host
from vpnagent.status.document import AT_ONCE, diverted, in_turn, rfc3339, route_state, status, worst_of
from vpnagent.status.report import refresh

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(0.25) == "1970-01-01T00:00:00.250Z"


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        (["up", "up"], "up"),
        (["up", "down"], "degraded"),
        (["degraded", "up"], "degraded"),
        (["down", "down"], "down"),
        ([], "down"),
    ],
)
def test_the_whole_is_up_only_when_every_part_is(states: list[str], whole: str) -> None:
    assert worst_of(states) == whole


def test_a_moment_that_nobody_knows_is_left_out() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW.timestamp())
    known.kernel.failovers["hangzhou"] = Failover(
        at=NOW.timestamp(), old=("a",), new=(), reason="link", detection_seconds=0.0, switch_seconds=0.0
    )
    [told] = status(known)["connections"][0]["last_failover"]["timeline"]
    assert told == {"at": "2026-11-23T12:00:00.000000Z", "offset_seconds": 0.0, "what": "verdict"}


def test_a_failovers_moments_have_times_and_offsets() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW.timestamp())
    known.kernel.failovers["hangzhou"] = Failover(
        at=NOW.timestamp() - 5,
        heard_at=NOW.timestamp() - 5.3,
        sent_at=NOW.timestamp() - 4.9995,
        acknowledged_at=NOW.timestamp() - 4.999,
        old=("primary",),
        new=("backup",),
        reason="silent",
        detection_seconds=0.3,
        switch_seconds=0.001,
        first_reply_seconds=0.0125,
    )
    told = status(known)["connections"][0]["last_failover"]["timeline"]
    assert [(moment["at"][11:], moment["offset_seconds"], moment["what"]) for moment in told] == [
        ("11:59:54.700000Z", -0.3, "last heard"),
        ("11:59:55.000000Z", 0.0, "verdict"),
        ("11:59:55.000500Z", 0.0005, "netlink sent"),
        ("11:59:55.001000Z", 0.001, "netlink acknowledged"),
        ("11:59:55.012500Z", 0.0125, "first reply on the new path"),
    ]


def test_a_gateway_that_stands_by_for_the_other_is_up_and_has_nothing_to_complain_of() -> None:
    elsewhere = {"device": Device.B}
    config = make_config(gateway={"pair": make_pair(Device.A)}, primary=elsewhere, backup=elsewhere)
    known = Knowledge(config=config, loaded_at=NOW.timestamp())
    known.kernel.missing = frozenset(config.connections[0].remote_networks)
    refresh(known, NOW.timestamp())
    said = status(known)
    assert said["state"] == said["connections"][0]["state"] == "up"
    assert {tunnel["state"] for tunnel in said["connections"][0]["tunnels"]} == {"standby-device"}
    assert {n["reason"] for n in said["connections"][0]["networks"]} == {
        "the other gateway of the pair has it"
    }
    assert said["warnings"] == []


def test_the_other_gateways_tunnel_does_not_keep_this_one_from_being_down() -> None:
    config = make_config(
        gateway={"pair": make_pair(Device.A)}, primary={"device": Device.A}, backup={"device": Device.B}
    )
    known = Knowledge(config=config, loaded_at=NOW.timestamp())
    refresh(known, NOW.timestamp())
    assert status(known)["state"] == "down"


# Where packets of a remote network go, as the state of its route.

OSS = IPv4Network("100.64.0.0/10")
NAMES = {1: "lo", 2: "eth0", 3: "vpn-hz-1", 4: "lan0"}
OURSELVES, HOST = Asker(IPv4Address("10.1.0.1"), 0), Asker(IPv4Address("10.1.0.2"), 4)


def way(index: int, *, local: bool = False, table: int = 254) -> Way:
    return Way(
        prefix=OSS,
        interface_index=index,
        gateway=None,
        source=None,
        mtu=0,
        local=local,
        table=table,
        protocol=4,
    )


@pytest.mark.parametrize(
    ("nexthops", "guarded", "astray", "state"),
    [
        (["vpn"], True, False, "installed"),
        ([], True, False, "guarded"),
        ([], False, False, "missing"),
        (["vpn"], True, True, "diverted"),
        ([], True, True, "diverted"),
    ],
)
def test_the_state_is_where_packets_go(nexthops: list[str], guarded: bool, astray: bool, state: str) -> None:
    assert route_state(nexthops=nexthops, guarded=guarded, diverted=astray) == state


def test_what_leaves_by_an_exit_is_no_diversion() -> None:
    assert route_state(nexthops=["vpn"], guarded=True, diverted=False, by_exit=True) == "unused"
    assert route_state(nexthops=[], guarded=True, diverted=False, by_exit=True) == "unused"
    assert route_state(nexthops=["vpn"], guarded=True, diverted=True, by_exit=True) == "diverted"


@pytest.mark.parametrize("answer", [None, way(3), way(1), way(2, local=True)])
def test_a_tunnel_the_guard_and_this_machine_are_no_diversion(answer: Way | None) -> None:
    assert diversion(OSS, {OURSELVES: way(3), HOST: answer}, {"vpn-hz-1"}, NAMES) is None


def test_whose_packets_leave_by_which_interface_is_told() -> None:
    found = diversion(OSS, {OURSELVES: way(3), HOST: way(2, table=100)}, {"vpn-hz-1"}, NAMES)
    assert found == Diversion(OSS, "of hosts like 10.1.0.2", "eth0", 100)
    assert diversion(OSS, {OURSELVES: way(2)}, {"vpn-hz-1", "eth0"}, NAMES) is None


def test_an_interface_without_a_name_is_a_diversion_too() -> None:
    found = diversion(OSS, {HOST._replace(protocol=1): way(77)}, {"vpn-hz-1"}, NAMES)
    assert found
    assert (found.asker, found.interface) == ("of hosts like 10.1.0.2 (ICMP)", "interface 77")


@pytest.mark.parametrize(("network", "host"), [("10.0.0.0/8", "10.0.0.1"), ("10.1.1.1/32", "10.1.1.1")])
def test_a_host_of_the_network_is_asked_for(network: str, host: str) -> None:
    assert first_host(IPv4Network(network)) == IPv4Address(host)


def config_of(*prefixes: IPv4Network) -> Config:
    config = make_config()
    [connection] = config.connections
    return replace(config, connections=(replace(connection, exits=("eth3",), remote_networks=prefixes),))


def test_interfaces_that_are_still_there_are_tunnels() -> None:
    found = in_turn(config_of(OSS), objects(link("vpn-old", 7)), 0)
    assert found == {OSS: {"vpn-hz-1", "vpn-hz-2", "vpn-old"}}


@given(st.integers(0, 300), st.integers(0, 20))
def test_every_network_has_its_turn(count: int, first: int) -> None:
    config = config_of(*(IPv4Network((n << 8, 24)) for n in range(count)))
    rounds = -(-count // AT_ONCE)
    asked = [in_turn(config, KernelObjects(), first + n) for n in range(rounds)]
    assert all(len(some) <= AT_ONCE for some in asked)
    assert sorted(prefix for some in asked for prefix in some) == sorted(
        config.connections[0].remote_networks
    )


def test_a_diversion_is_told_with_the_route_that_has_the_packets() -> None:
    astray = Diversion(OSS, "of hosts like 10.1.0.2", "eth0", 100, IPv4Network("0.0.0.0/0"), 3)
    [finding] = diverted({OSS: astray})
    assert (finding.code, finding.subject) == ("RouteDiverted", str(OSS))
    assert finding.text == (
        "packets of hosts like 10.1.0.2 for the remote network 100.64.0.0/10 go out by eth0 and not into a "
        "tunnel: the route 0.0.0.0/0 of table 100 has them"
    )
