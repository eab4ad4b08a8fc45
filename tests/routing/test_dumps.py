"""What is read of what kernels really sent: the state that record_netlink.py had made."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from tests.routing.recorded import KERNELS, recorded

from vpnagent.routing import dumps
from vpnagent.routing.dumps import LinkRow, NexthopRow
from vpnagent.routing.objects import GROUP_IDS, GUARD_METRIC, NEXTHOP_IDS, Route

NETWORK = IPv4Network("100.64.0.0/10")


def links(kernel: str) -> dict[str, LinkRow]:
    return {row.name: row for row in map(dumps.link_row, recorded(kernel, "links"))}


def test_an_xfrm_interface_tells_its_if_id() -> None:
    first, second = (links("debian-6.1")[name] for name in ("vpn-hz-1", "vpn-hz-2"))

    assert (first.kind, first.if_id, second.if_id) == ("xfrm", 101, 102)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_interface_of_ours(kernel: str) -> None:
    row = links(kernel)["vpn-hz-1"]

    assert (row.alias, row.mtu, row.up) == ("vpnagent.hangzhou.101", 1399, True)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_index_of_an_interface_leads_to_its_address(kernel: str) -> None:
    rows = dict(row for body in recorded(kernel, "addresses") if (row := dumps.address_row(body)))

    assert rows[links(kernel)["vpn-hz-1"].index] == IPv4Interface("169.254.10.2/30")
    assert links(kernel)["vpn-hz-2"].index not in rows


@pytest.mark.parametrize("kernel", KERNELS)
def test_nexthops_of_our_ranges_and_no_others(kernel: str) -> None:
    first, second = (links(kernel)[name].index for name in ("vpn-hz-1", "vpn-hz-2"))
    legs = ((NEXTHOP_IDS[0], 1), (NEXTHOP_IDS[1], 2))

    rows = [row for body in recorded(kernel, "nexthops") if (row := dumps.nexthop_row(body))]

    assert rows == [
        NexthopRow(id=NEXTHOP_IDS[0], protocol=86, interface_index=first, members=None),
        NexthopRow(id=NEXTHOP_IDS[1], protocol=86, interface_index=second, members=None),
        NexthopRow(id=NEXTHOP_IDS[8], protocol=4, interface_index=0, members=None),
        NexthopRow(id=NEXTHOP_IDS[9], protocol=86, interface_index=0, members=None),
        NexthopRow(id=GROUP_IDS[0], protocol=86, interface_index=0, members=legs),
    ]  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dump", ["our_routes", "main_routes"])
def test_our_routes_are_told_from_others_even_where_the_kernel_does_not_filter(
    kernel: str, dump: str
) -> None:
    rows = [row for body in recorded(kernel, dump) if (row := dumps.our_route(body))]
    assert not any(row.interface_index for row in rows)

    assert [row.route for row in rows] == [
        Route(prefix=NETWORK, group=GROUP_IDS[0], source=None),
        Route(prefix=NETWORK, group=None, source=None),
        Route(prefix=IPv4Network("198.51.100.0/24"), group=None, source=None, metric=9),
    ]
    assert rows[1].route.metric == GUARD_METRIC


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_foreign_route_is_in_the_way_only_at_our_metric(kernel: str) -> None:
    wanted = (NETWORK, IPv4Network("192.0.2.0/24"), IPv4Network("203.0.113.0/24"))
    places = {(n.network_address.packed, n.prefixlen, 0): n for n in wanted}

    found = [dumps.foreign_route(body, places) for body in recorded(kernel, "main_routes")]

    assert [prefix for prefix in found if prefix] == [IPv4Network("192.0.2.0/24")]


def test_a_route_tells_its_source_address() -> None:
    header = dumps.RTMSG.pack(2, 10, 0, 0, 254, 86, 0, 1, 0)
    body = header + bytes.fromhex("08000f00fe000000 0800010064400000 080007000a010001 08001e0000005856")

    route = Route(prefix=NETWORK, group=GROUP_IDS[0], source=IPv4Address("10.1.0.1"))
    assert dumps.our_route(body) == dumps.RouteRow(route, 0)
