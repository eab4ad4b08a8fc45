"""What a flood costs the prober. Needs root."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import bench, judged
from lab.namespace import inside
from tests.native.flood import anew, flood, neighbour, probing
from tests.native.prober_process import ControlDaemon, Group, answered, cpu_seconds, states, until
from tests.native.two_tunnels import TwoTunnels, two_tunnels

from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import PathChanged

FLOODS = {"icmp": "echo-replies", "tcp": "resets", "dns": "dns-answers"}
FORGED = 100_000  #: a second


@contextlib.contextmanager
def prober(world: TwoTunnels, method: str) -> Iterator[ControlDaemon]:
    """Run one until the end of the block; the world is as it was then."""
    with (
        tempfile.TemporaryDirectory() as directory,
        world.restored(),
        probing(world, Path(directory), method) as daemon,
    ):
        yield daemon


def received(world: TwoTunnels) -> int:
    """Return how many packets the gateway has received from the neighbour."""

    def read() -> int:
        with open("/proc/thread-self/net/dev") as file:
            return next(int(line.split()[2]) for line in file if line.split()[0] == "lan:")

    return inside(world.gw, read)


def trial(world: TwoTunnels, method: str, lan: str | None) -> tuple[float, float, int, float]:
    """Return seconds to the new group, CPU of a core, transitions before the loss, and the flood's rate."""
    group = Group(world.gw)
    with contextlib.closing(group), contextlib.ExitStack() as stack:
        daemon = stack.enter_context(prober(world, method))
        if lan:
            stack.enter_context(flood(lan, FLOODS[method]))
        pid, before = daemon.started[0].pid, len(daemon.of(PathChanged))
        cpu, packets, began = cpu_seconds(pid), received(world), time.monotonic()
        time.sleep(2.0)
        transitions = len(daemon.of(PathChanged)) - before
        world.lose("m0", "n0")
        lost = time.monotonic()
        until(lambda: group() == ((102, 1),), within=20)
        moved = time.monotonic()
        if daemon.lost_at:
            raise AssertionError("the prober was replaced")
        spent = moved - began
        return (
            moved - lost,
            (cpu_seconds(pid) - cpu) / spent,
            transitions,
            (received(world) - packets) / spent,
        )


def forged(world: TwoTunnels, method: str, lan: str, seconds: float) -> tuple[int, float]:
    """Return how many answers a dead tunnel had while a blind forger sent, and how many he sent a second."""
    with prober(world, method) as daemon:
        world.lose("m0", "n0")
        until(lambda: states(daemon)[0] is PathState.DOWN)
        time.sleep(0.5)
        anew(daemon)
        before, packets, began = answered(daemon)[0], received(world), time.monotonic()
        with flood(lan, FLOODS[method], rate=FORGED, seconds=seconds + 60):
            time.sleep(seconds)
        rate = (received(world) - packets) / (time.monotonic() - began)
        anew(daemon)
        return answered(daemon)[0] - before, rate


def floods(*, trials: int = 10, seconds: float = 60.0) -> None:
    """What a flood costs the prober.

    Two tunnels on stand-ins and a neighbour on the gateway's LAN that sends, as fast as the machine does,
    what could be answers of the active tunnel's target. A tunnel is lost without and with it, a new
    prober for each trial: time to the new group, CPU, transitions before the loss. Then the tunnel is
    dead, and a blind forger sends 100,000 a second for so many seconds: how many are taken for answers.
    """
    with bench("floods"), two_tunnels() as world, neighbour(world) as lan:
        for method, kind in FLOODS.items():
            calm = [trial(world, method, None) for _ in range(trials)]
            flooded = [trial(world, method, lan) for _ in range(trials)]
            usual = statistics.median(t for t, *_ in calm)
            times = [t for t, *_ in flooded]
            rates = [rate for *_, rate in flooded]
            print(
                f"{method}, {kind} at {min(rates):.0f} to {max(rates):.0f}/s: failover median "
                f"{usual * 1000:.0f} ms without, {statistics.median(times) * 1000:.0f} ms with it "
                f"({min(times) * 1000:.0f} to {max(times) * 1000:.0f} of {len(times)}); "
                f"load average {os.getloadavg()[0]:.1f}",
                flush=True,
            )
            judged("slowest failover, times the median without", max(times) / usual, 2)
            judged("CPU of one core, %, the most", 100 * max(cpu for _, cpu, *_ in flooded), 50, "{:.1f}")
            judged("false transitions", sum(n for _, _, n, _ in flooded), 0, "{:.0f}")
            taken, rate = forged(world, method, lan, seconds)
            judged(f"forged answers taken, {seconds:.0f} s of {rate:.0f}/s", taken, 0, "{:.0f}")
