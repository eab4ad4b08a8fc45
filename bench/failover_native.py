"""How long traffic stands still when a tunnel goes silent: ``python -m bench.failover_native``.

Each trial takes a new prober and a healthy pair of stand-ins, lets go of the active one's outward direction
at a random moment, and measures the gap in a 1 kHz stream at the far end (the outbound blackout). Nothing is
spawned between the loss and the end of the gap. Needs root.
"""

import argparse
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.figures import at, bench, judged
from lab.namespace import ip
from tests.native.prober_process import ControlDaemon, Group, configure, until
from tests.native.stream import Stream
from tests.native.two_tunnels import SHARED, SOURCE, TwoTunnels, two_tunnels

from vpnagent.probe.protocol import FailedOver
from vpnagent.selection import PathState


@dataclass(frozen=True)
class Rhythm:
    """How often is probed, and what follows from it."""

    interval: float  #: seconds
    multiplier: int

    @property
    def detection(self) -> float:
        """The detection time in seconds."""
        return self.interval * self.multiplier

    def __str__(self) -> str:
        return f"{self.multiplier} x {self.interval * 1000:.0f} ms"


#: with the most that p50 and p99 may be, in seconds
TARGETS = {Rhythm(0.1, 3): (0.33, 0.39), Rhythm(0.05, 3): (0.165, 0.25), Rhythm(0.02, 3): (0.066, 0.1)}


@dataclass(frozen=True)
class Trial:
    """One failover."""

    lost_at: float
    moved_at: float  #: monotonic seconds, when the kernel acknowledged
    switch: float  #: seconds from the decision to the acknowledgement


def trial(world: TwoTunnels, group: Group, rhythm: Rhythm, *options: str) -> Trial:
    """Lose the active tunnel once, and put everything back."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ControlDaemon(world, Path(directory) / "prober.sock", *options) as daemon,
    ):
        try:
            daemon.configure(
                configure(interval=rhythm.interval, detect_multiplier=rhythm.multiplier, hold_down=0.2)
            )
            until(lambda: all_up(daemon), within=20)
            time.sleep(0.1 + random.random() * rhythm.interval)
            lost_at = time.monotonic()
            world.lose("m0")
            until(lambda: group() == ((102, 1),), within=10)
            event = until(lambda: daemon.of(FailedOver))[0]
            time.sleep(0.05)
            assert event.netlink_acknowledged is not None
            moved = event.netlink_acknowledged
            return Trial(lost_at, moved, moved - event.decided)
        finally:
            world.heal()
            daemon.quit()
            daemon.end_probers()
            ip("nexthop replace id 900 group 101 proto 86", namespace=world.gw)


def all_up(daemon: ControlDaemon) -> bool:
    """Whether both paths are heard."""
    report = daemon.report
    return report is not None and all(path.state is PathState.UP for path in report.paths)


def blackouts(
    world: TwoTunnels, group: Group, rhythm: Rhythm, trials: int, *options: str
) -> tuple[list[float], list[float]]:
    """Return the gaps, and the times from decision to acknowledgement, in seconds."""
    stream = Stream(world.gw, world.far, SOURCE, SHARED)
    done = [trial(world, group, rhythm, *options) for _ in range(trials)]
    arrivals = stream.stop()
    gaps = [arrivals.longest_gap(after=t.lost_at, before=t.moved_at + 0.05) for t in done]
    return gaps, [t.switch for t in done]


def show(name: str, rhythm: Rhythm, gaps: list[float]) -> None:
    """Print a row: quantiles as multiples of the detection time."""
    quantiles = [
        f"{label} {at(gaps, q) / rhythm.detection:5.2f} x ({at(gaps, q) * 1000:5.0f} ms)"
        for label, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    ]
    print(f"{rhythm!s:11} {name:24} {len(gaps):3} trials: {', '.join(quantiles)}", flush=True)


def main() -> None:
    """Measure all rhythms with SCHED_FIFO, as installed, and the first without."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=50)
    trials = arguments.parse_args().trials
    with bench("outbound blackout"), two_tunnels() as world:
        group = Group(world.gw)
        for options, rhythms in ((("--realtime",), tuple(TARGETS)), ((), tuple(TARGETS)[:1])):
            for rhythm in rhythms:
                p50, p99 = TARGETS[rhythm]
                gaps, switches = blackouts(world, group, rhythm, trials, *options)
                show("vpnagent " + " ".join(options), rhythm, gaps)
                judged("p50, ms", at(gaps, 0.5) * 1000, p50 * 1000, "{:.0f}")
                judged("p99, ms", at(gaps, 0.99) * 1000, p99 * 1000, "{:.0f}")
                print(
                    f"  decision to acknowledgement: p50 {at(switches, 0.5) * 1000:.2f} ms, "
                    f"max {max(switches) * 1000:.2f} ms",
                    flush=True,
                )
        group.close()


if __name__ == "__main__":
    main()
