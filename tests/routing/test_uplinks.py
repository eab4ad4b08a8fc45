"""How a peer is held to its uplink: the choice among the routes of an interface, and answers as bytes."""

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.netlink.message import AF_INET, attribute
from vpnagent.netlink.rtnetlink import MAIN_TABLE, PROTOCOL, RTNH
from vpnagent.routing.objects import Route
from vpnagent.routing.uplinks import (
    Leg,
    Pin,
    UplinkRoute,
    nexthop_leg,
    resolved,
    steer,
    uplink_route,
)

REMOTE = IPv4Address("203.0.113.2")
HOST = IPv4Network("203.0.113.2/32")
GATEWAY = IPv4Address("198.51.100.1")
OTHER = IPv4Address("198.51.100.9")
ETH1 = 7
PIN = Pin(REMOTE, "eth1")

gateways = st.one_of(st.none(), st.integers(1, 9).map(lambda n: IPv4Address("198.51.100.0") + n))
around = st.sampled_from([IPv4Network((int(REMOTE), n), strict=False) for n in range(33)])
elsewhere = st.just(IPv4Network("198.51.100.0/24"))
theirs = st.builds(
    UplinkRoute,
    prefix=st.one_of(around, elsewhere),
    table=st.sampled_from([100, MAIN_TABLE, 300]),
    metric=st.sampled_from([0, 100, 200]),
    protocol=st.sampled_from([2, 4, 16]),
    gateway=gateways,
    source=st.sampled_from([None, IPv4Address("198.51.100.2")]),
)


def by(
    gateway: str | None,
    prefix: str = "0.0.0.0/0",
    *,
    table: int = MAIN_TABLE,
    metric: int = 0,
    protocol: int = 4,
) -> UplinkRoute:
    return UplinkRoute(
        prefix=IPv4Network(prefix),
        table=table,
        metric=metric,
        protocol=protocol,
        gateway=IPv4Address(gateway) if gateway else None,
    )


def ours(gateway: IPv4Address | None) -> UplinkRoute:
    return UplinkRoute(prefix=HOST, table=MAIN_TABLE, metric=0, protocol=PROTOCOL, gateway=gateway)


def gateway_of(*routes: UplinkRoute) -> IPv4Address | None:
    made = steer(PIN, up=True, routes=routes).route
    assert made is not None
    return made.gateway


def test_the_default_routes_gateway_leads_to_the_peer_alone() -> None:
    assert steer(PIN, up=True, routes=[by("198.51.100.1", metric=200)]).route == Route(
        prefix=HOST, group=0, source=None, interface="eth1", gateway=GATEWAY
    )


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (by("198.51.100.1", metric=100), by("198.51.100.9", metric=200)),
        (by("198.51.100.1", "203.0.113.0/24", metric=200), by("198.51.100.9")),
        (by("198.51.100.1", metric=900), by("198.51.100.9", "203.0.113.0/24", table=100)),
        (by("198.51.100.1", table=100), by("198.51.100.9", table=200)),
        (by(None, "203.0.113.0/24", protocol=2), by("198.51.100.9")),
    ],
    ids=["metric", "prefix", "main table", "table", "on the link"],
)
def test_the_most_specific_way_of_the_main_table_counts(better: UplinkRoute, worse: UplinkRoute) -> None:
    assert gateway_of(worse, better) == gateway_of(better, worse) == better.gateway


def test_a_gateway_that_is_configured_goes_before_what_is_learnt() -> None:
    made = steer(PIN._replace(gateway=OTHER), up=True, routes=[by("198.51.100.1")])

    assert made.route is not None
    assert (made.route.gateway, made.problem) == (OTHER, "")


@given(st.lists(theirs, max_size=5), gateways)
def test_our_own_route_answers_only_when_nothing_else_does(
    found: list[UplinkRoute], old: IPv4Address
) -> None:
    """What the table says without us is what it says with us; else the way that stands is kept, and told."""
    with_ours = steer(PIN, up=True, routes=[ours(old), *found])
    without = steer(PIN, up=True, routes=found)

    if any(REMOTE in route.prefix for route in found):
        assert with_ours == without
        assert not without.problem
    else:
        assert (without.route, bool(without.problem)) == (None, True)
        assert with_ours.route is not None
        assert (with_ours.route.gateway, bool(with_ours.problem)) == (old, True)


@given(st.lists(theirs, max_size=5))
def test_a_round_that_follows_ours_asks_for_the_same(found: list[UplinkRoute]) -> None:
    made = steer(PIN, up=True, routes=found)
    if made.route is not None:
        assert steer(PIN, up=True, routes=[*found, ours(made.route.gateway)]) == made


def test_a_host_route_of_the_operators_own_by_the_uplink_is_enough() -> None:
    assert (
        steer(PIN, up=True, routes=[by("198.51.100.9", "203.0.113.2/32"), by("198.51.100.1")]).route is None
    )
    assert gateway_of(by("198.51.100.9", "203.0.113.2/32", metric=5)) == OTHER


@pytest.mark.parametrize(
    ("up", "routes", "problem"),
    [
        (None, [], "there is no interface eth1"),
        (False, [by("198.51.100.1")], "eth1 is down"),
        (True, [by(None, "198.51.100.0/24")], "no route through eth1 leads to 203.0.113.2"),
        (
            True,
            [ours(GATEWAY)],
            "no route through eth1 leads to 203.0.113.2 any more: the last known gateway 198.51.100.1 "
            "stays in use",
        ),
    ],
)
def test_what_is_wrong_is_said(up: bool | None, routes: list[UplinkRoute], problem: str) -> None:
    assert steer(PIN, up=up, routes=routes).problem == problem


def row(*parts: bytes, length: int = 0, flags: int = 0, tos: int = 0) -> bytes:
    header = struct.pack("=BBBBBBBBI", AF_INET, length, 0, tos, MAIN_TABLE, 16, 0, 1, flags)
    return header + attribute(15, struct.pack("=I", MAIN_TABLE)) + b"".join(parts)


def oif(index: int) -> bytes:
    return attribute(4, struct.pack("=I", index))


def via(address: IPv4Address) -> bytes:
    return attribute(5, address.packed)


def leg(index: int, *parts: bytes, flags: int = 0) -> bytes:
    body = b"".join(parts)
    return RTNH.pack(RTNH.size + len(body), flags, 0, index) + body


def read(body: bytes, index: int = ETH1) -> UplinkRoute | None:
    return uplink_route(body, index, [int(REMOTE)])


def test_a_default_route_is_read() -> None:
    body = row(oif(ETH1), via(GATEWAY), attribute(6, struct.pack("=I", 100)), attribute(7, OTHER.packed))

    assert read(body, ETH1) == UplinkRoute(
        prefix=IPv4Network("0.0.0.0/0"),
        table=MAIN_TABLE,
        metric=100,
        protocol=16,
        gateway=GATEWAY,
        source=OTHER,
    )


@given(st.lists(st.ip_addresses(v=4), max_size=3), st.integers(0, 32), st.ip_addresses(v=4))
def test_what_leads_to_none_of_the_peers_is_left_out(
    remotes: list[IPv4Address], length: int, near: IPv4Address
) -> None:
    prefix = IPv4Network((near, length), strict=False)
    body = row(oif(ETH1), attribute(1, prefix.network_address.packed), length=length)

    found = uplink_route(body, ETH1, [int(remote) for remote in remotes])

    assert (found is not None) is any(remote in prefix for remote in remotes)
    assert found is None or found.prefix == prefix


def test_of_a_multipath_route_the_live_leg_by_the_uplink_counts() -> None:
    legs = leg(6, via(OTHER)) + leg(ETH1, via(OTHER), flags=1) + leg(ETH1, via(GATEWAY))

    found = read(row(attribute(9, legs)), ETH1)

    assert found is not None
    assert found.gateway == GATEWAY
    assert read(row(attribute(9, legs)), 8) is None


def test_a_route_by_a_nexthop_object_is_resolved_on_the_uplink() -> None:
    found = read(row(attribute(30, struct.pack("=I", 12))), ETH1)
    legs = {12: Leg(0, None, (13, 14)), 13: Leg(6, OTHER), 14: Leg(ETH1, GATEWAY)}

    assert found is not None
    whole = resolved(found, legs, ETH1)
    assert whole is not None
    assert (whole.gateway, whole.nexthop) == (GATEWAY, 0)
    assert resolved(found, legs, 8) is None
    assert resolved(found, {}, ETH1) is None


@pytest.mark.parametrize(
    "body",
    [
        row(oif(ETH1), via(GATEWAY), flags=1),
        row(oif(ETH1), via(GATEWAY), tos=8),
        row(oif(6), via(GATEWAY)),
        row(oif(ETH1), attribute(18, bytes(18))),
    ],
    ids=["dead", "for a type of service", "another interface", "by an IPv6 gateway"],
)
def test_what_our_packets_cannot_take_is_no_way(body: bytes) -> None:
    assert read(body, ETH1) is None


def test_nexthop_objects_are_read_with_their_members() -> None:
    header = struct.pack("=BBBBI", AF_INET, 0, 0, 0, 0)
    number = attribute(1, struct.pack("=I", 12))
    group = attribute(2, struct.pack("=IBBH", 13, 0, 0, 0) + struct.pack("=IBBH", 14, 0, 0, 0))
    plain = attribute(5, struct.pack("=I", ETH1)) + attribute(6, GATEWAY.packed)

    assert nexthop_leg(header + number + group) == (12, Leg(0, None, (13, 14)))
    assert nexthop_leg(header + number + plain) == (12, Leg(ETH1, GATEWAY))
    assert nexthop_leg(b"\x0a" + header[1:] + number + attribute(6, bytes(16))) is None
