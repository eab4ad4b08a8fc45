"""What is read of what kernels really sent (the state that record_netlink.py had made), and the settings."""

import errno
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from tests.netlink.recorded import KERNELS, links, recorded

from vpnagent.errors import NetlinkError
from vpnagent.netlink.rtnetlink import RTMSG
from vpnagent.routing.kernel import write_sysctl
from vpnagent.routing.objects import (
    GROUP_IDS,
    GUARD_METRIC,
    NEXTHOP_IDS,
    Nexthop,
    NexthopGroup,
    Route,
    Sysctl,
)
from vpnagent.routing.observe import (
    foreign_route,
    groups_of,
    nexthops_of,
    our_nexthop,
    our_route,
    read_sysctls,
)
from vpnagent.routing.plan import RP_FILTER

NETWORK = IPv4Network("100.64.0.0/10")


@pytest.mark.parametrize("kernel", KERNELS)
def test_nexthops_of_our_ranges_and_no_others(kernel: str) -> None:
    first, second = (links(kernel)[name].index for name in ("vpn-hz-1", "vpn-hz-2"))
    legs = ((NEXTHOP_IDS[0], 1), (NEXTHOP_IDS[1], 2))

    rows = [row for body in recorded(kernel, "nexthops") if (row := our_nexthop(body))]

    plain = [(r.id, r.protocol, r.interface_index, r.gateway, r.blackhole) for r in rows if not r.members]
    assert plain == [
        (NEXTHOP_IDS[0], 86, first, b"", False),
        (NEXTHOP_IDS[1], 86, second, b"", False),
        (NEXTHOP_IDS[8], 4, 0, b"", True),
        (NEXTHOP_IDS[9], 86, links(kernel)["eth7"].index, bytes([192, 0, 2, 2]), False),
    ]
    assert [(r.id, r.protocol, r.members) for r in rows if r.members] == [(GROUP_IDS[0], 86, legs)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_nexthop_of_ours_with_a_gateway_has_no_interface(kernel: str) -> None:
    found = links(kernel)
    rows = [row for body in recorded(kernel, "nexthops") if (row := our_nexthop(body))]
    names = {row.index: name for name, row in found.items()}

    assert nexthops_of(rows, names) == {
        NEXTHOP_IDS[0]: Nexthop(id=NEXTHOP_IDS[0], interface="vpn-hz-1"),
        NEXTHOP_IDS[1]: Nexthop(id=NEXTHOP_IDS[1], interface="vpn-hz-2"),
        NEXTHOP_IDS[9]: Nexthop(id=NEXTHOP_IDS[9], interface=""),
    }
    assert groups_of(rows) == {
        GROUP_IDS[0]: NexthopGroup(id=GROUP_IDS[0], members=((NEXTHOP_IDS[0], 1), (NEXTHOP_IDS[1], 2)))
    }


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dump", ["our_routes", "main_routes"])
def test_our_routes_are_told_from_others_even_where_the_kernel_does_not_filter(
    kernel: str, dump: str
) -> None:
    rows = [row for body in recorded(kernel, dump) if (row := our_route(body))]
    assert not any(index for _, index in rows)

    assert [route for route, _ in rows] == [
        Route(prefix=NETWORK, group=GROUP_IDS[0], source=None),
        Route(prefix=NETWORK, group=None, source=None),
        Route(prefix=IPv4Network("198.51.100.0/24"), group=None, source=None, metric=9),
    ]
    assert rows[1][0].metric == GUARD_METRIC


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_foreign_route_is_in_the_way_only_at_our_metric(kernel: str) -> None:
    wanted = (NETWORK, IPv4Network("192.0.2.0/24"), IPv4Network("203.0.113.0/24"))
    places = {(int(n.network_address), n.prefixlen, 0): n for n in wanted}

    found = [foreign_route(body, places) for body in recorded(kernel, "main_routes")]

    assert [prefix for prefix in found if prefix] == [IPv4Network("192.0.2.0/24")]


def test_a_route_tells_its_source_address() -> None:
    header = RTMSG.pack(2, 10, 0, 0, 254, 86, 0, 1, 0)
    body = header + bytes.fromhex("08000f00fe000000 0800010064400000 080007000a010001 08001e0000005856")

    route = Route(prefix=NETWORK, group=GROUP_IDS[0], source=IPv4Address("10.1.0.1"))
    assert our_route(body) == (route, 0)


def set_rp_filter(proc_sys: Path, **values: str) -> None:
    for name, value in values.items():
        path = proc_sys / "net/ipv4/conf" / name / "rp_filter"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")


@pytest.mark.parametrize(
    ("general", "eth0", "observed"),
    [("0", "0", "0"), ("0", "1", "1"), ("1", "0", "1"), ("2", "1", "2"), ("0", "2", "0")],
)
def test_reverse_path_filtering_is_strict_if_it_is_so_anywhere(
    tmp_path: Path, general: str, eth0: str, observed: str
) -> None:
    """The larger of the two counts, so that loose for all, 2, beats strict, 1, for one."""
    set_rp_filter(tmp_path, all=general, default="1", lo="1", eth0=eth0)

    assert read_sysctls([RP_FILTER], proc_sys=tmp_path)[RP_FILTER].value == observed


def test_a_setting_that_the_kernel_lacks_is_left_out(tmp_path: Path) -> None:
    assert read_sysctls(["net.ipv4.nexthop_compat_mode"], proc_sys=tmp_path) == {}


def test_a_setting_is_read_as_it_was_written(tmp_path: Path) -> None:
    wanted = Sysctl(key="net.ip_forward", value="1")
    (tmp_path / "net").mkdir()

    write_sysctl(wanted, proc_sys=tmp_path)

    assert read_sysctls([wanted.key], proc_sys=tmp_path) == {wanted.key: wanted}


def test_a_refusal_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NetlinkError, match=r"sysctl -w net\.ip_forward=1: No such file") as caught:
        write_sysctl(Sysctl(key="net.ip_forward", value="1"), proc_sys=tmp_path)

    assert caught.value.errno == errno.ENOENT
