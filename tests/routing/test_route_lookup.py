"""The kernel's answers, as bytes. The kernel itself is asked in tests/native/test_explain.py."""

import struct
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.routing.message import AF_INET, HEADER, attribute, attributes, nested
from vpnagent.routing.route_lookup import Way, request, way

AF_INET6 = 10

addresses = st.ip_addresses(v=4)
ways = st.builds(
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
    for number, value in ((5, told.gateway), (7, told.source)):
        parts += [attribute(number, value.packed)] if value else []
    parts += [attribute(4, struct.pack("=I", told.interface_index))] if told.interface_index else []
    parts += [nested(8, attribute(2, struct.pack("=I", told.mtu)))] if told.mtu else []
    return header + b"".join(parts)


@given(ways)
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
    body = request(IPv4Address("100.118.28.5"))[HEADER.size :]
    assert body[:2] == bytes([AF_INET, 32])
    assert attributes(body, 12) == {1: IPv4Address("100.118.28.5").packed}
