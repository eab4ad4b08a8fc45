"""A gateway with two providers, in namespaces; its pins are kept by rounds as the daemon's.

gw  eth0 192.0.2.2 ------ a   192.0.2.1, .9       the default route; both providers have both peers, so
eth1 198.51.100.2 --- b   198.51.100.1, .9    that a packet is heard wherever it goes
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from lab.namespace import Namespace, namespace
from tests.config_examples import make_config

from vpnagent.config.values import Config
from vpnagent.policy.desired import desired, pins
from vpnagent.routing.actions import KernelAction
from vpnagent.routing.kernel import NetlinkKernel
from vpnagent.routing.objects import KernelObjects, KernelState
from vpnagent.routing.plan import plan

T = TypeVar("T")
FIRST, SECOND = "203.0.113.1", "203.0.113.2"
NAT_T_PORT = 4500
PINNED = make_config(
    primary={"local_address": None}, backup={"local_address": None, "uplink": "eth1"}
)  #: the backup's peer is held to eth1


@dataclass(frozen=True)
class World:
    """The gateway, what is told about its pins, and the peers' ears at both providers."""

    gateway: Namespace
    providers: dict[str, Namespace]
    ears: dict[str, dict[str, socket.socket]]  #: by peer and provider

    def provider_of(self, peer: str, source: str = "") -> str:
        """Send a packet as charon would; return which provider got it, or why it was not sent."""
        with self.gateway.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind((source, 0))
                sock.sendto(b"IKE", (peer, NAT_T_PORT))
            except OSError as error:
                return error.strerror or ""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for provider, ear in self.ears[peer].items():
                with contextlib.suppress(BlockingIOError):
                    ear.recv(100)
                    return provider
            time.sleep(0.005)
        return "lost"

    def way(self, peer: str = SECOND) -> str:
        """Return the route of ours to a peer, as ``ip`` shows it."""
        lines = self.gateway.ip(f"route show {peer} proto 86").splitlines()
        return "; ".join(line.strip() for line in lines if "unreachable" not in line)

    def run(self, work: Callable[[NetlinkKernel], Awaitable[T]]) -> T:
        async def opened() -> T:
            with contextlib.closing(NetlinkKernel(on_change=lambda: None)) as kernel:
                return await work(kernel)

        with self.gateway.entered():
            return asyncio.run(opened())

    def converge(self, config: Config = PINNED) -> list[KernelAction]:
        """Run a round as the daemon does; return what it did. A second has nothing left to do."""

        async def work(kernel: NetlinkKernel) -> list[KernelAction]:
            actions = await one_round(kernel, config)
            assert not await one_round(kernel, config)
            return actions

        return self.run(work)

    def problem(self, config: Config = PINNED) -> str:
        """Return what is wrong with the one pin."""
        [found] = self.run(lambda kernel: kernel.steering(pins(config))).values()
        return found.problem


async def one_round(kernel: NetlinkKernel, config: Config) -> list[KernelAction]:
    want, state = await compared(kernel, config)
    actions = plan(want, state, prune=True, manage_sysctls=False)
    failed = await kernel.apply_all(actions)
    assert not failed, [str(error) for _, error in failed]
    return actions


async def compared(kernel: NetlinkKernel, config: Config) -> tuple[KernelObjects, KernelState]:
    """Return what there should be of routes, and what there is. No verdicts: nothing but guards and pins."""
    steering = await kernel.steering(pins(config))
    made = desired(config, {}, (), steering).kernel
    want = KernelObjects(routes=made.routes, lanes=made.lanes)
    return want, await kernel.observe(want)


@contextlib.contextmanager
def two_providers() -> Iterator[World]:
    """Make them, with two default routes; nothing is pinned yet."""
    with namespace("pin-gw") as gateway, namespace("pin-a") as a, namespace("pin-b") as b:
        for number, provider, network in ((0, a, "192.0.2"), (1, b, "198.51.100")):
            gateway.ip(f"link add eth{number} type veth peer name gw netns {provider.name}")
            gateway.ip(f"address add {network}.2/24 dev eth{number}")
            gateway.ip(f"link set eth{number} up")
            addresses = "".join(f"address add {peer}/32 dev lo\n" for peer in (FIRST, SECOND))
            routers = "".join(f"address add {network}.{last}/24 dev gw\n" for last in (1, 9))
            provider.ip(f"link set gw up\n{addresses}{routers}")
        gateway.ip("route add default via 192.0.2.1")
        gateway.ip("route add default via 198.51.100.1 metric 200")
        ears = {peer: {"a": listener(a, peer), "b": listener(b, peer)} for peer in (FIRST, SECOND)}
        yield World(gateway, {"a": a, "b": b}, ears)
        for ear in (ear for heard in ears.values() for ear in heard.values()):
            ear.close()


def listener(provider: Namespace, peer: str, port: int = NAT_T_PORT) -> socket.socket:
    """Return a socket that hears what arrives for a peer at a provider."""
    with provider.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((peer, port))
    return sock
