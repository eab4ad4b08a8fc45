"""What a switch costs in the kernel, and what it costs to ask it about every pair of networks. Needs root."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network

from bench.figures import at, bench, judged
from lab.namespace import Namespace, inside, ip, namespace
from tests.config_examples import make_config
from tests.native.two_tunnels import GROUP, NEXTHOPS

from vpnagent.config.values import Config
from vpnagent.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from vpnagent.probe.kernel import KernelRequests
from vpnagent.witness.look import Eyes

COUNTS = (1, 100, 10_000)
PER_TURN = 20


@dataclass
class Routes:
    """A namespace with so many routes through one group, and the times of its switches."""

    namespace: str
    count: int
    kernel: KernelRequests
    seconds: list[float] = field(default_factory=list)

    def switch(self, leg: int) -> None:
        """Move the group, timed."""
        began = time.perf_counter()
        self.kernel.write_group(GROUP, ((NEXTHOPS[leg], 1),))
        self.seconds.append(time.perf_counter() - began)

    def replace_all(self, leg: int) -> float:
        """Replace every route by itself; return the seconds."""
        lines = "\n".join(f"route replace {prefix} dev t{leg} metric 5" for prefix in prefixes(self.count))
        began = time.perf_counter()
        subprocess.run(["ip", "-n", self.namespace, "-batch", "-"], input=lines, text=True, check=True)
        return time.perf_counter() - began


def prefixes(count: int) -> Iterator[str]:
    """Yield so many networks of 100.64.0.0/10."""
    for n in range(count):
        yield f"100.{64 + n // 256}.{n % 256}.0/24"


@contextlib.contextmanager
def routes(count: int) -> Iterator[Routes]:
    """Make a namespace with so many routes, and unmake it."""
    name = f"vpna-{os.getpid()}-{count}"
    ip(f"netns add {name}")
    try:
        # As the daemon has it: with it, a group's change is not told again for each of its routes.
        inside(name, lambda: _write("/proc/sys/net/ipv4/nexthop_compat_mode", "0"))
        ip(
            "link add t0 type veth peer name t1",
            *(f"link set t{n} up" for n in (0, 1)),
            *(f"nexthop add id {id_} dev t{n}" for n, id_ in enumerate(NEXTHOPS)),
            f"nexthop add id {GROUP} group {NEXTHOPS[0]}",
            *(f"route add {prefix} nhid {GROUP}" for prefix in prefixes(count)),
            namespace=name,
        )
        with contextlib.closing(inside(name, KernelRequests)) as kernel:
            yield Routes(name, count, kernel)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)


def switch_time(*, rounds: int = 50) -> None:
    """What a switch costs with 1, 100 and 10,000 prefixes.

    Ours is one message that replaces the nexthop group, timed from the send to the kernel's
    acknowledgement, in namespaces that hold so many routes, by turns. The reference replaces every route:
    one ``ip -batch`` process, which is kinder to it than a process for each.
    """
    with bench("switch time"), contextlib.ExitStack() as stack:
        worlds = [stack.enter_context(routes(count)) for count in COUNTS]
        for _ in range(rounds):
            for world in worlds:
                for turn in range(PER_TURN):
                    world.switch(turn % 2)
        medians = [at(world.seconds, 0.5) for world in worlds]
        for world, median in zip(worlds, medians, strict=True):
            each = at([world.replace_all(turn % 2) for turn in range(5)], 0.5)
            print(
                f"{world.count:6} prefixes: group p50 {median * 1e6:.0f} us, p99 "
                f"{at(world.seconds, 0.99) * 1e6:.0f} us; every route replaced: p50 {each * 1000:.1f} ms",
                flush=True,
            )
        judged("10,000 prefixes over 1", medians[2] / medians[0], 1.2)


TARGET = 1.0  #: per cent of a core
LONGEST = 2.0  #: milliseconds in which nobody else has a turn
MARKS = 32
WITH_MARKS = 2.0  #: per cent of a core


def config_of(pairs: int) -> Config:
    """Return a configuration with that many pairs."""
    remotes = tuple(IPv4Network((0xAC000000 + (n << 12), 20)) for n in range(pairs // 2))
    locals_ = (IPv4Network("10.1.0.0/16"), IPv4Network("10.2.0.0/16"))
    return make_config(gateway={"local_networks": locals_}, connection={"remote_networks": remotes})


def wire(there: Namespace, config: Config) -> None:
    """Make what the networks rest on."""
    lines = []
    for name, address in (
        ("lan0", "10.1.0.1/16"),
        ("lan1", "10.2.0.1/16"),
        ("eth0", "192.0.2.2/24"),
        ("vpn-hz-1", ""),
        ("vpn-hz-2", ""),
    ):
        lines += [f"link add {name} type veth peer name p-{name}", f"link set {name} up"]
        lines += [f"link set p-{name} up", *([f"address add {address} dev {name}"] if address else [])]
    lines.append("route add default via 192.0.2.1")
    lines += [f"route add {network} dev vpn-hz-1" for network in config.connections[0].remote_networks]
    there.ip("\n".join(lines) + "\n")
    there.run("sysctl -qw net.ipv4.ip_forward=1")


async def looks(config: Config, seconds: int) -> tuple[float, float]:
    """Look once a second; return per cent of a core, and the longest turn on the loop in milliseconds."""
    eyes = Eyes(NetlinkSocket(NETLINK_ROUTE))
    longest = 0.0

    async def others() -> None:
        """Note the CPU time from turn to turn: on a busy machine the clock would tell of other processes."""
        nonlocal longest
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    async def look() -> None:
        facts = replace(await eyes.facts(), selected={"hangzhou": ("primary",)})
        said = await eyes.statement(config, facts)
        assert said.verdicts
        assert all(verdict.carried for verdict in said.verdicts), said.verdicts[0]

    await look()  # the first one writes the questions
    began = time.process_time()
    for _ in range(seconds):
        await look()
        await asyncio.sleep(1)
    busy = 100 * (time.process_time() - began) / seconds
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(others())
        for _ in range(10):
            await look()
        eyes = Eyes(NetlinkSocket(NETLINK_ROUTE))  # everything is new to it
        await look()
        watching.cancel()
    return busy, 1000 * longest


def witness(*, pairs: int = 20, seconds: int = 10) -> None:
    """What the witness costs.

    Two local networks and N / 2 remote ones over two tunnels, in a network namespace, looked at once a
    second as the daemon does; then the same with 32 marks that rules ask for. CPU of this process, and
    the longest time for which its loop did nothing else.
    """
    config = config_of(pairs)
    with bench(f"the witness: {pairs} pairs, once a second"), namespace("witness") as there:
        wire(there, config)
        for marks, target in ((0, TARGET), (MARKS, WITH_MARKS)):
            there.ip("".join(f"rule add fwmark {n + 1} lookup main\n" for n in range(marks)))
            with there.entered():
                busy, longest = asyncio.run(looks(config, seconds))
            print(f"{marks} marks")
            judged("CPU, % of a core", busy, target)
            judged("longest turn on the loop, ms", longest, LONGEST)
