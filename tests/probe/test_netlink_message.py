import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe import netlink_message as netlink
from vpnagent.probe.netlink_message import Ack, Address, Counters, Link, NexthopGone, NexthopObject

members = st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 65536)), min_size=1, max_size=40)


def message(kind: int, body: bytes, *, flags: int = 0, sequence: int = 7) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def link(index: int, name: str, flags: int, *, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 1, index, flags, 0) + attribute(3, name.encode() + b"\0")


def test_a_group_replace_is_laid_out_as_linux_nexthop_h_says() -> None:
    ours = bytes(netlink.group_replace(900, ((101, 1), (102, 3))))
    assert struct.unpack_from("=IHH", ours) == (len(ours), 104, 0x505)  # CREATE | REPLACE | ACK | REQUEST
    nhmsg = bytes([0, 0, 86, 0, 0, 0, 0, 0])
    legs = struct.pack("=IBBHIBBH", 101, 0, 0, 0, 102, 2, 0, 0)
    assert ours[16:] == nhmsg + attribute(1, struct.pack("=I", 900)) + attribute(2, legs)


@given(members, st.booleans())
def test_a_group_comes_back_as_it_was_sent(group: list[tuple[int, int]], resilient: bool) -> None:
    sent = bytes(netlink.group_replace(9, group, resilient=resilient))
    assert list(netlink.parse(sent)) == [NexthopObject(9, tuple(group), resilient)]


def test_an_empty_group_is_refused_before_the_kernel_does() -> None:
    with pytest.raises(ValueError, match="must have a member"):
        netlink.group_replace(9, ())


def test_the_sequence_number_is_put_in_place() -> None:
    request = netlink.number(netlink.nexthop_delete(5), 0xABCDEF)
    assert struct.unpack_from("=I", request, 8) == (0xABCDEF,)


def test_an_acknowledgement_is_errno_zero() -> None:
    assert list(netlink.parse(message(2, struct.pack("=i", 0) + bytes(16)))) == [Ack(7, 0, "")]


@pytest.mark.parametrize("capped", [True, False])
def test_a_refusal_tells_the_kernels_own_words(capped: bool) -> None:
    request = bytes(netlink.nexthop_delete(5))
    words = attribute(1, b"Nexthop id does not exist\0")
    body = struct.pack("=i", -2) + (request[:16] if capped else request) + words
    flags = 0x200 | (0x100 if capped else 0)
    assert list(netlink.parse(message(2, body, flags=flags))) == [Ack(7, 2, "Nexthop id does not exist")]


def test_a_refusal_without_words_tells_the_errno() -> None:
    body = struct.pack("=i", -22) + bytes(16)
    assert list(netlink.parse(message(2, body))) == [Ack(7, 22, "Invalid argument")]


@pytest.mark.parametrize(
    ("flags", "up"),
    [(0x1 | 0x10000, True), (0x1, False), (0x10000, False), (0, False)],
)
def test_a_link_is_up_with_carrier_only(flags: int, up: bool) -> None:
    assert list(netlink.parse(message(16, link(4, "vpn1", flags)))) == [Link(4, "vpn1", up, gone=False)]


def test_a_link_that_is_gone_is_not_up_whatever_its_flags_say() -> None:
    [gone] = netlink.parse(message(17, link(4, "vpn1", 0x10001)))
    assert gone == Link(4, "vpn1", up=False, gone=True)


def test_another_familys_view_of_a_link_is_skipped() -> None:
    assert list(netlink.parse(message(17, link(4, "br0", 0x10001, family=7)))) == []


def test_addresses_counters_and_deletions_are_read() -> None:
    address = struct.pack("=BBBBI", 2, 24, 0, 0, 3) + attribute(2, bytes([192, 0, 2, 2]))
    stats = struct.pack("=BxHII", 0, 0, 3, 1) + attribute(1, struct.pack("=25Q", *range(1, 26)))
    gone = struct.pack("=BBBBI", 0, 0, 0, 0, 0) + attribute(1, struct.pack("=I", 900))
    data = message(20, address) + message(21, address) + message(92, stats) + message(105, gone)
    assert list(netlink.parse(data)) == [
        Address(3, bytes([192, 0, 2, 2]), gone=False),
        Address(3, bytes([192, 0, 2, 2]), gone=True),
        Counters(3, rx_packets=1, tx_packets=2, rx_bytes=3, tx_bytes=4),
        NexthopGone(900),
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        list(netlink.parse(data))


@given(st.sampled_from([2, 3, 16, 17, 20, 21, 92, 104, 105]), st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_any_body_is_read_or_refused(kind: int, body: bytes, flags: int) -> None:
    with contextlib.suppress(ValueError):
        list(netlink.parse(message(kind, body, flags=flags)))
