"""What a switch costs with 1, 100 and 10,000 prefixes: ``python -m bench.switch_time [--rounds N]``.

Ours is one message that replaces the nexthop group, timed from the send to the kernel's acknowledgement, in
namespaces that hold so many routes, by turns. The reference replaces every route: one ``ip -batch`` process,
which is kinder to it than a process for each. Needs root.
"""

import argparse
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.figures import at, bench, judged
from lab.namespace import inside, ip
from tests.native.two_tunnels import GROUP, NEXTHOPS

from vpnagent.probe.kernel import KernelRequests

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


def main() -> None:
    """Measure by turns, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=50)
    rounds = arguments.parse_args().rounds
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


if __name__ == "__main__":
    main()
