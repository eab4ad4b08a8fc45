"""What is read of what kernels really sent: the state that record_netlink.py had made."""

from ipaddress import IPv4Interface

import pytest
from tests.netlink.recorded import KERNELS, links, recorded

from vpnagent.netlink.rtnetlink import address_row


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
