"""Record what the kernel answers to our dumps, into tests/data/netlink: run as root in a network namespace.

    ip netns exec NAME python tests/native/record_netlink.py KIND DIRECTORY

KIND is the kind of interface to stand for a tunnel (xfrm, where the kernel has it). Two tunnels, a group, a
route, its guard and the clamp are made first, beside foreign ones.
"""

import asyncio
import pathlib
import subprocess
import sys
from ipaddress import IPv4Interface, IPv4Network

from vpnagent.netlink import rtnetlink
from vpnagent.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from vpnagent.routing import filter_table
from vpnagent.routing.kernel import NetlinkKernel
from vpnagent.routing.objects import (
    GROUP_IDS,
    NEXTHOP_IDS,
    FilterTable,
    KernelObjects,
    Nexthop,
    NexthopGroup,
    Route,
    XfrmLink,
)
from vpnagent.routing.plan import plan

NETWORK = IPv4Network("100.64.0.0/10")
ADDRESSES = {"vpn-hz-1": IPv4Interface("169.254.10.2/30"), "vpn-hz-2": None}
FOREIGN = (
    "link set lo up",
    "link add eth7 type ifb",
    "link set eth7 up",
    "address add 192.0.2.1/24 dev eth7",
    "nexthop add id 7 dev eth7",
    f"nexthop add id {NEXTHOP_IDS[9]} via 192.0.2.2 dev eth7 proto 86",
    f"nexthop add id {NEXTHOP_IDS[8]} blackhole proto 4",
    "route add 100.64.0.0/10 via 192.0.2.2 metric 5",
    "route add unreachable 198.51.100.0/24 metric 9 proto 86",
)
DUMPS = {
    "links": (NETLINK_ROUTE, rtnetlink.LINKS),
    "addresses": (NETLINK_ROUTE, rtnetlink.ADDRESSES),
    "nexthops": (NETLINK_ROUTE, rtnetlink.NEXTHOPS),
    "our_routes": (NETLINK_ROUTE, rtnetlink.OUR_ROUTES),
    "main_routes": (NETLINK_ROUTE, rtnetlink.MAIN_ROUTES),
    "table": (NETLINK_NETFILTER, filter_table.GET_TABLE),
    "chain": (NETLINK_NETFILTER, filter_table.get_chain(filter_table.BASE_CHAIN)),
    "rules": (NETLINK_NETFILTER, filter_table.DUMP_RULES),
}


def desired(kind: str) -> KernelObjects:
    """Return two tunnels that share a network."""
    nexthops = dict(zip(ADDRESSES, NEXTHOP_IDS, strict=False))
    group = NexthopGroup(
        id=GROUP_IDS[0], members=tuple((id_, n) for n, id_ in enumerate(nexthops.values(), 1))
    )
    routes = [
        Route(prefix=NETWORK, group=None, source=None),
        Route(prefix=NETWORK, group=group.id, source=None),
    ]
    links = [
        XfrmLink(
            name=name,
            if_id=number if kind == "xfrm" else 0,
            alias=f"vpnagent.hangzhou.{number}",
            mtu=1399,
            address=address,
        )
        for number, (name, address) in enumerate(ADDRESSES.items(), 101)
    ]
    return KernelObjects(
        links={link.name: link for link in links},
        filter_table=FilterTable(maximum=tuple((name, 1359) for name in sorted(ADDRESSES))),
        nexthops={id_: Nexthop(id=id_, interface=name) for name, id_ in nexthops.items()},
        groups={group.id: group},
        routes={route.key: route for route in routes},
    )


async def record(kind: str, directory: pathlib.Path) -> None:
    """Make the state, then write each dump's messages, each after its length, to a file of its own."""
    kernel = NetlinkKernel(on_change=lambda: None, link_kind=kind)
    want = desired(kind)
    failed = await kernel.apply_all(plan(want, await kernel.observe(want), prune=False, manage_sysctls=False))
    assert not failed, failed
    directory.mkdir(parents=True, exist_ok=True)
    for name, (protocol, request) in DUMPS.items():
        bodies = await NetlinkSocket(protocol).dump(request, lambda body: body)
        framed = [len(body).to_bytes(4, "little") + body for body in bodies]
        (directory / f"{name}.bin").write_bytes(b"".join(framed))


if __name__ == "__main__":
    for command in FOREIGN:
        subprocess.run(["ip", *command.split()], check=True)
    asyncio.run(record(sys.argv[1], pathlib.Path(sys.argv[2])))
