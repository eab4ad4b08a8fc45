"""What is read of what kernels really sent: the state that record_netlink.py had made."""

import contextlib
import struct
from collections.abc import Callable
from ipaddress import IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.netlink.recorded import KERNELS, links, recorded

from vpnagent.netlink.message import attribute, messages
from vpnagent.netlink.rtnetlink import (
    LinkCounters,
    RouteRow,
    address_row,
    counters,
    group_replace,
    link_row,
    nexthop_row,
)


def test_an_xfrm_interface_tells_its_if_id() -> None:
    first, second = (links("debian-6.1")[name] for name in ("vpn-hz-1", "vpn-hz-2"))

    assert (first.kind, first.if_id, second.if_id) == ("xfrm", 101, 102)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_interface_of_ours(kernel: str) -> None:
    row = links(kernel)["vpn-hz-1"]

    assert (row.alias, row.mtu, row.up) == ("vpnagent.hangzhou.101", 1399, True)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_index_of_an_interface_leads_to_its_address(kernel: str) -> None:
    rows = dict(row for body in recorded(kernel, "addresses") if (row := address_row(body)))

    assert rows[links(kernel)["vpn-hz-1"].index] == IPv4Interface("169.254.10.2/30")
    assert links(kernel)["vpn-hz-2"].index not in rows


members = st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 65536)), min_size=1, max_size=40)


def test_a_group_replace_is_laid_out_as_linux_nexthop_h_says() -> None:
    ours = group_replace(900, ((101, 1), (102, 3)))
    assert struct.unpack_from("=IHH", ours) == (len(ours), 104, 0x505)  # CREATE | REPLACE | ACK | REQUEST
    nhmsg = bytes([0, 0, 86, 0, 0, 0, 0, 0])
    legs = struct.pack("=IBBHIBBH", 101, 0, 0, 0, 102, 2, 0, 0)
    assert ours[16:] == nhmsg + attribute(1, struct.pack("=I", 900)) + attribute(2, legs)


@given(members, st.booleans())
def test_a_group_comes_back_as_it_was_sent(group: list[tuple[int, int]], resilient: bool) -> None:
    [sent] = messages(group_replace(9, group, resilient=resilient))
    row = nexthop_row(sent.body)
    assert (row.id, row.members, row.group_type) == (9, tuple(group), int(resilient))


def test_an_empty_group_is_refused_before_the_kernel_does() -> None:
    with pytest.raises(ValueError, match="must have a member"):
        group_replace(9, ())


def test_counters_and_deletions_are_read() -> None:
    stats = struct.pack("=BxHII", 0, 0, 3, 1) + attribute(1, struct.pack("=25Q", *range(1, 26)))
    assert counters(stats) == LinkCounters(index=3, rx_packets=1, tx_packets=2, rx_bytes=3, tx_bytes=4)
    gone = struct.pack("=BBBBI", 0, 0, 0, 0, 0) + attribute(1, struct.pack("=I", 900))
    assert nexthop_row(gone).id == 900


@pytest.mark.parametrize(
    "row", [link_row, address_row, nexthop_row, counters, lambda body: RouteRow(body).key]
)
@given(body=st.binary(max_size=200))
def test_any_body_is_read_or_refused(row: Callable[[bytes], object], body: bytes) -> None:
    with contextlib.suppress(ValueError, struct.error):
        row(body)
