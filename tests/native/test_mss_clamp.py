"""TCP through a router with the clamp: each end is told a size that fits, whichever end begins."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from lab.namespace import Namespace, namespace

from vpnagent.routing.actions import Add, Remove
from vpnagent.routing.kernel import NetlinkKernel
from vpnagent.routing.objects import FilterTable, KernelObjects

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

CLAMP = FilterTable(maximum=(("vpn-hz-1", 1359), ("vpn-hz-2", 1200)))
IDC, CLOUD = "10.1.0.10", "100.64.0.10"
UNCLAMPED = 1460
TIMESTAMPS = 12  #: bytes that the kernel sets aside in every segment


@dataclass(frozen=True)
class Path:
    """A host of the IDC, the gateway, and a host in the cloud, in a row."""

    idc: Namespace
    gateway: Namespace
    cloud: Namespace


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with namespace("idc") as idc, namespace("gw") as gateway, namespace("cloud") as cloud:
        for near, device, far, address, other in (
            (gateway, "lan", idc, "10.1.0.1", IDC),
            (gateway, "vpn-hz-1", cloud, "100.64.0.1", CLOUD),
        ):
            near.ip(f"link add {device} type veth peer name eth0 netns {far.name}")
            near.ip(f"address add {address}/24 dev {device}")
            near.ip(f"link set {device} up")
            far.ip(f"address add {other}/24 dev eth0")
            far.ip("link set eth0 up")
            far.ip(f"route add default via {address}")
        gateway.run("sysctl -qw net.ipv4.ip_forward=1")
        yield Path(idc, gateway, cloud)


@contextlib.contextmanager
def clamped(path: Path, clamp: FilterTable) -> Iterator[None]:
    async def carry_out(action: Add | Remove) -> KernelObjects:
        with contextlib.closing(NetlinkKernel(on_change=lambda: None)) as kernel:
            await kernel.apply(action)
            return (await kernel.observe(KernelObjects())).objects

    with path.gateway.entered():
        assert asyncio.run(carry_out(Add(clamp))).filter_table == clamp
    yield
    with path.gateway.entered():
        assert asyncio.run(carry_out(Remove(clamp))).filter_table is None


def segment_sizes(client: Namespace, server: Namespace, address: str) -> tuple[int, int]:
    """Connect; return the segment size that each end has learned: client's, server's."""
    with contextlib.ExitStack() as stack:
        with server.entered():
            listener = stack.enter_context(socket.create_server((address, 4433)))
        with client.entered():
            connected = stack.enter_context(socket.create_connection((address, 4433), timeout=5))
        accepted = stack.enter_context(listener.accept()[0])
        return maxseg(connected) + TIMESTAMPS, maxseg(accepted) + TIMESTAMPS


def maxseg(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def test_connections_through_a_tunnel_are_clamped_whichever_end_begins(path: Path) -> None:
    with clamped(path, CLAMP):
        assert segment_sizes(path.idc, path.cloud, CLOUD) == (1359, 1359)
        assert segment_sizes(path.cloud, path.idc, IDC) == (1359, 1359)

    assert segment_sizes(path.idc, path.cloud, CLOUD) == (UNCLAMPED, UNCLAMPED)


def test_the_size_is_only_ever_lowered(path: Path) -> None:
    with clamped(path, FilterTable(maximum=(("vpn-hz-1", 1500),))):
        assert segment_sizes(path.idc, path.cloud, CLOUD) == (UNCLAMPED, UNCLAMPED)


def test_other_interfaces_are_left_alone(path: Path) -> None:
    with clamped(path, FilterTable(maximum=(("vpn-hz-2", 1200),))):
        assert segment_sizes(path.idc, path.cloud, CLOUD) == (UNCLAMPED, UNCLAMPED)


def test_256_tunnels_are_one_transaction(path: Path) -> None:
    many = FilterTable(maximum=tuple(sorted((f"vpn-{n}", 1359) for n in range(256))))

    with clamped(path, many):
        assert path.gateway.nft("list table inet vpnagent").count("maxseg size set 1359") == 2 * 256
