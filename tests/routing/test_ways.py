"""The kernel's answers, as bytes. The kernel itself is asked in tests/native/test_explain.py."""

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.netlink.message import AF_INET, HEADER, attribute, attributes, nested
from vpnagent.netlink.rtnetlink import RTA_DST, RTA_MULTIPATH, RTA_NH_ID, RTA_OIF, RTMSG, RTNH
from vpnagent.routing.objects import LocalWays
from vpnagent.routing.uplinks import Leg
from vpnagent.routing.ways import LanRoute, Way, lan_route, meets, number, question, way, ways_of

AF_INET6 = 10

addresses = st.ip_addresses(v=4)
told_ways = st.builds(
    Way,
    prefix=st.builds(
        lambda address, length: IPv4Network((address, length), strict=False), addresses, st.integers(0, 32)
    ),
    interface_index=st.integers(0, 2**31),
    gateway=st.one_of(st.none(), addresses),
    source=st.one_of(st.none(), addresses),
    mtu=st.integers(0, 65535),
    local=st.booleans(),
    table=st.integers(1, 2**32 - 1),
    protocol=st.integers(0, 255),
)


def encoded(told: Way, family: int = AF_INET) -> bytes:
    """Return the body of RTM_NEWROUTE, in which what is zero or none is left out."""
    kind = 2 if told.local else 1
    # A table above 255 stands in an attribute only (RT_TABLE_COMPAT).
    table = told.table if told.table < 256 else 252
    header = struct.pack("=BBBBBBBBI", family, told.prefix.prefixlen, 0, 0, table, told.protocol, 0, kind, 0)
    parts = [attribute(1, told.prefix.network_address.packed), attribute(15, struct.pack("=I", told.table))]
    for kind_, value in ((5, told.gateway), (7, told.source)):
        parts += [attribute(kind_, value.packed)] if value else []
    parts += [attribute(4, struct.pack("=I", told.interface_index))] if told.interface_index else []
    parts += [nested(8, attribute(2, struct.pack("=I", told.mtu)))] if told.mtu else []
    return header + b"".join(parts)


@given(told_ways)
def test_an_answer_is_read_as_it_was_told(told: Way) -> None:
    assert way(encoded(told)) == told


def test_an_answer_of_another_family_is_none_of_ours() -> None:
    told = Way(
        prefix=IPv4Network("0.0.0.0/0"),
        interface_index=1,
        gateway=None,
        source=None,
        mtu=0,
        local=False,
        table=254,
        protocol=0,
    )
    assert way(encoded(told, AF_INET6)) is None


def test_a_question_is_for_one_address() -> None:
    body = question(IPv4Address("100.118.28.5"))[HEADER.size :]
    assert body[:2] == bytes([AF_INET, 32])
    assert attributes(body, 12) == {1: IPv4Address("100.118.28.5").packed}


LOCAL = (IPv4Network("10.1.0.0/16"), IPv4Network("10.9.0.0/24"))
NAMES = {1: "lo", 2: "eth0", 3: "lan0", 4: "lan1"}
UNICAST, LOCAL_TYPE, OURS, STATIC = 1, 2, 86, 4


def route(prefix: str, *more: bytes, protocol: int = STATIC, kind: int = UNICAST) -> bytes:
    network = IPv4Network(prefix)
    header = RTMSG.pack(AF_INET, network.prefixlen, 0, 0, 254, protocol, 0, kind, 0)
    destination = attribute(RTA_DST, network.network_address.packed) if network.prefixlen else b""
    return header + destination + b"".join(more)


def by(index: int) -> bytes:
    return attribute(RTA_OIF, struct.pack("=I", index))


def numbers() -> list[tuple[int, int]]:
    return [number(network) for network in LOCAL]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (route("10.1.4.0/24", by(3)), (3,)),
        (route("10.0.0.0/8", by(3)), (3,)),
        (route("0.0.0.0/0", by(2)), (2,)),
        (route("10.2.0.0/16", by(3)), None),
        (route("10.1.0.0/16", by(3), protocol=OURS), None),
        (route("10.1.0.1/32", by(3), kind=LOCAL_TYPE), None),
        (route("10.1.0.0/16", attribute(RTA_MULTIPATH, RTNH.pack(8, 0, 0, 3) + RTNH.pack(8, 1, 0, 4))), (3,)),
    ],
)
def test_a_route_of_others_that_meets_a_local_network_counts(
    body: bytes, expected: tuple[int, ...] | None
) -> None:
    row = lan_route(body, numbers())
    assert (row.indexes if row else None) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_networks_meet_as_ipaddress_says(a: int, m: int, b: int, n: int) -> None:
    one, other = (IPv4Network((x >> 32 - k << 32 - k, k)) for x, k in ((a, m), (b, n)))
    assert meets(number(one), number(other)) == one.overlaps(other)


def rows(*routes: bytes) -> list[LanRoute]:
    return [row for body in routes if (row := lan_route(body, numbers()))]


def ways(*routes: bytes, own: dict[int, str] | None = None, legs: dict[int, Leg] | None = None) -> LocalWays:
    places = [(index, number(IPv4Network(network))) for index, network in (own or {}).items()]
    return ways_of(LOCAL, rows(*routes), places, legs or {}, NAMES)


def test_routes_tell_the_interfaces() -> None:
    found = ways(route("10.1.4.0/24", by(3)), route("0.0.0.0/0", by(2)))
    assert found == LocalWays(frozenset({"lan0"}), frozenset({"eth0"}))


def test_an_address_tells_where_the_lan_is_also_while_its_route_is_gone() -> None:
    found = ways(route("0.0.0.0/0", by(2)), own={3: "10.1.0.0/24"})
    assert found == LocalWays(frozenset({"lan0"}), frozenset({"eth0"}))


@pytest.mark.parametrize("own", [{1: "10.1.0.0/24"}, {4: "10.1.0.1/32"}])
def test_the_loopback_and_an_address_alone_tell_nothing(own: dict[int, str]) -> None:
    assert ways(own=own).interfaces == frozenset()


def test_a_route_through_a_nexthop_object_is_followed_to_its_members() -> None:
    legs = {7: Leg(0, None, (8, 9)), 8: Leg(3, None), 9: Leg(4, None)}
    body = route("10.1.0.0/16", attribute(RTA_NH_ID, struct.pack("=I", 7)))
    assert ways(body, legs=legs).interfaces == {"lan0", "lan1"}
