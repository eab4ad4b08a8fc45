"""What the witness costs: ``python -m bench.witness [--pairs N] [--seconds N]``.

Two local networks and N / 2 remote ones over two tunnels, in a network namespace, looked at once a second as
the daemon does; then the same with 32 marks that rules ask for. CPU of this process, and the longest time for
which its loop did nothing else. Needs root.
"""

import argparse
import asyncio
import time
from dataclasses import replace
from ipaddress import IPv4Network

from bench.figures import bench, judged
from lab.namespace import Namespace, namespace
from tests.config_examples import make_config

from vpnagent.config.values import Config
from vpnagent.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from vpnagent.witness.look import Eyes

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


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pairs", type=int, default=20)
    arguments.add_argument("--seconds", type=int, default=10)
    asked = arguments.parse_args()
    config = config_of(asked.pairs)
    with bench(f"the witness: {asked.pairs} pairs, once a second"), namespace("witness") as there:
        wire(there, config)
        for marks, target in ((0, TARGET), (MARKS, WITH_MARKS)):
            there.ip("".join(f"rule add fwmark {n + 1} lookup main\n" for n in range(marks)))
            with there.entered():
                busy, longest = asyncio.run(looks(config, asked.seconds))
            print(f"{marks} marks")
            judged("CPU, % of a core", busy, target)
            judged("longest turn on the loop, ms", longest, LONGEST)


if __name__ == "__main__":
    main()
