"""Two tunnels' worth of kernel objects on stand-in interfaces, and something that keeps them so."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Interface, IPv4Network

from lab.namespace import namespace

from vpnagent.errors import NetlinkError
from vpnagent.policy.desired import SYSCTLS
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

NAMES = ("vpn-hz-1", "vpn-hz-2")
GROUP = GROUP_IDS[0]
NETWORK = IPv4Network("100.64.0.0/10")


@functools.cache
def link_kind() -> str:
    """Return xfrm where this kernel has it, else the stand-in: no parameters, no ARP, made over netlink."""
    with namespace("kind") as there:
        try:
            there.ip("link add probe type xfrm if_id 1")
        except AssertionError:
            return "ifb"
    return "xfrm"


def two_links(
    networks: tuple[IPv4Network, ...] = (NETWORK,), *, names: tuple[str, ...] = NAMES
) -> KernelObjects:
    """Return what is desired of two tunnels that share networks."""
    nexthops = dict(zip(names, NEXTHOP_IDS, strict=False))
    group = NexthopGroup(id=GROUP, members=tuple((id_, 1) for id_ in nexthops.values()))
    routes = [
        Route(prefix=network, group=group_id, source=None)
        for network in networks
        for group_id in (None, group.id)
    ]
    links = [
        XfrmLink(
            name=name,
            if_id=number if link_kind() == "xfrm" else 0,
            alias=f"vpnagent.hangzhou.{number}",
            mtu=1399,
            address=IPv4Interface(f"169.254.{number}.2/30"),
        )
        for number, name in enumerate(names, 10)
    ]
    return KernelObjects(
        sysctls={s.key: s for s in SYSCTLS},
        links={link.name: link for link in links},
        filter_table=FilterTable(maximum=tuple((name, 1359) for name in sorted(names))),
        nexthops={id_: Nexthop(id=id_, interface=name) for name, id_ in nexthops.items()},
        groups={group.id: group},
        routes={route.key: route for route in routes},
    )


class Keeper:
    """The daemon's rounds, and nothing else of it: on every change, and every ``period`` seconds."""

    def __init__(self, desired: KernelObjects, *, period: float = 1.0) -> None:
        self.desired = desired
        self.kernel = NetlinkKernel(on_change=self._on_change, link_kind=link_kind())
        self.changes = 0
        self.failed: list[NetlinkError] = []  #: of the last round
        self.repaired_at = 0.0  #: when the last round that had to act was done, on the monotonic clock
        self._period = period
        self._dirty = asyncio.Event()
        self._repaired = asyncio.Event()

    async def converge(self) -> None:
        """Run rounds until there is nothing to do."""
        for _ in range(5):
            if not await self.round():
                return
            assert not self.failed, [str(error) for error in self.failed]
        raise AssertionError("it does not converge")

    async def round(self) -> bool:
        """Run one round; return whether it had to act."""
        state = await self.kernel.observe(self.desired)
        actions = plan(self.desired, state, prune=True, manage_sysctls=True)
        self.failed = [error for _, error in await self.kernel.apply_all(actions)]
        return bool(actions)

    async def run(self) -> None:
        """Run rounds until cancelled. One that fails, as things change under it, is followed by the next."""
        while True:
            self._dirty.clear()
            acted = False
            while await self.round():
                acted = True
            if acted:
                self.repaired_at = time.monotonic()
                self._repaired.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period):  # wait_for may swallow a cancellation (bpo-37658)
                    await self._dirty.wait()

    async def repaired(self) -> float:
        """Wait for the next repair; return when it was done."""
        async with asyncio.timeout(10):
            await self._repaired.wait()
        self._repaired.clear()
        return self.repaired_at

    def _on_change(self) -> None:
        self.changes += 1
        self._dirty.set()


@contextlib.asynccontextmanager
async def kept(desired: KernelObjects, *, period: float = 1.0) -> AsyncIterator[Keeper]:
    """Keep the kernel as desired for a while; it is so from the start."""
    keeper = Keeper(desired, period=period)
    with contextlib.closing(keeper.kernel):
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(keeper.kernel.monitor())
            await keeper.converge()
            keeping = tasks.create_task(keeper.run())
            await asyncio.sleep(0)
            yield keeper
            keeping.cancel()
            listening.cancel()
