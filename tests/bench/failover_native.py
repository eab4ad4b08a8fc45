"""How long traffic stands still when a tunnel goes silent: ``python -m tests.bench.failover_native``.

Each trial takes a new prober and a healthy pair of stand-ins, lets go of the active one's outward direction
at a random moment, and measures the gap in a 1 kHz stream at the far end (the outbound blackout). Nothing is
spawned between the loss and the end of the gap. Needs root.
"""

import argparse
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.native.prober_process import ControlDaemon, Group, configure, until
from tests.native.stream import Stream
from tests.native.two_tunnels import SHARED, SOURCE, TwoTunnels, ip, two_tunnels

from vpnagent.probe.protocol import FailedOver
from vpnagent.selection import PathState

RHYTHMS = ((0.1, 3), (0.05, 3), (0.02, 3))  #: interval in seconds, multiplier


@dataclass(frozen=True)
class Trial:
    """One failover."""

    lost_at: float
    moved_at: float  #: monotonic seconds, when the kernel acknowledged
    heard: float  #: seconds from the last sign of life to the decision
    switch: float  #: seconds from the decision to the acknowledgement


def trial(world: TwoTunnels, group: Group, interval: float, multiplier: int, *options: str) -> Trial:
    """Lose the active tunnel once, and put everything back."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ControlDaemon(world, Path(directory) / "prober.sock", *options) as daemon,
    ):
        try:
            daemon.configure(configure(interval=interval, detect_multiplier=multiplier, hold_down=0.2))
            until(lambda: all_up(daemon), within=20)
            time.sleep(0.1 + random.random() * interval)
            lost_at = time.monotonic()
            world.lose("m0")
            until(lambda: group() == ((102, 1),), within=10)
            event = until(lambda: daemon.of(FailedOver))[0]
            time.sleep(0.05)
            assert event.last_heard is not None
            assert event.netlink_acknowledged is not None
            moved = event.netlink_acknowledged
            return Trial(lost_at, moved, event.decided - event.last_heard, moved - event.decided)
        finally:
            world.heal()
            daemon.quit()
            daemon.end_probers()
            ip("nexthop replace id 900 group 101 proto 86", namespace=world.gw)


def all_up(daemon: ControlDaemon) -> bool:
    """Whether both paths are heard."""
    report = daemon.report
    return report is not None and all(path.state is PathState.UP for path in report.paths)


def rhythm(
    world: TwoTunnels, group: Group, interval: float, multiplier: int, *, trials: int, realtime: bool
) -> None:
    """Measure one rhythm, and print its figures."""
    options = ["--realtime"] * realtime
    stream = Stream(world.gw, world.far, SOURCE, SHARED)
    done = [trial(world, group, interval, multiplier, *options) for _ in range(trials)]
    arrivals = stream.stop()
    detection = interval * multiplier
    gaps = sorted(arrivals.longest_gap(after=t.lost_at, before=t.moved_at + 0.05) for t in done)
    blackouts = [f"{_at(gaps, q) / detection:.2f} x ({_at(gaps, q) * 1000:.0f} ms)" for q in (0.5, 0.99, 1)]
    switches = sorted(t.switch for t in done)
    print(
        f"{multiplier} x {interval * 1000:.0f} ms, {trials} trials: blackout "
        f"p50 {blackouts[0]}, p99 {blackouts[1]}, max {blackouts[2]}; "
        f"decision to acknowledgement p50 {_at(switches, 0.5) * 1000:.2f} ms, "
        f"max {switches[-1] * 1000:.2f} ms",
        flush=True,
    )


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    """Measure all rhythms."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=50)
    arguments.add_argument("--realtime", action="store_true", help="the prober under SCHED_FIFO")
    chosen = arguments.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    with two_tunnels() as world:
        group = Group(world.gw)
        for interval, multiplier in RHYTHMS:
            rhythm(world, group, interval, multiplier, trials=chosen.trials, realtime=chosen.realtime)
        group.close()
    print(f"load average after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
