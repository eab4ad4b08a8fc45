"""No tunnel is left that need not be: ``python -m bench.steadiness [--seconds N]``.

At once, for so long: a prober on healthy tunnels at 3 x 100 ms, and one on tunnels that lose 5 % of the round
trips at random (nftables' ``numgen random``) with multiplier 5, both under four busy processes. Every
transition after the first is counted. With independent loss the binomial expectation is 0.002 per tunnel in
ten minutes. Then 256 tunnels at 100 ms with simulated peers, without other load. Needs root.
"""

import argparse
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.failover_native import all_up
from bench.figures import bench, busy, judged
from bench.prober import Cost, many_tunnels, measured, show, targets
from lab.namespace import ip
from tests.native.prober_process import ControlDaemon, until
from tests.native.two_tunnels import TwoTunnels, two_tunnels

from vpnagent.probe.actions import PathChanged
from vpnagent.probe.protocol import FailedOver
from vpnagent.selection import PathState

TUNNELS = 32
LOSS = """table ip bench {
    chain lose { type filter hook forward priority 0; icmp type echo-request numgen random mod 1000 < 50 drop
    }
}
"""


@contextlib.contextmanager
def watched(world: TwoTunnels, multiplier: int, *options: str) -> Iterator[list[PathChanged | FailedOver]]:
    """Run a prober on healthy tunnels; the list holds its transitions once this has ended."""
    changes: list[PathChanged | FailedOver] = []
    ip(*(f"addr add {address}/32 dev lo" for address in targets(TUNNELS)), namespace=world.far)
    with (
        tempfile.TemporaryDirectory() as directory,
        ControlDaemon(world, Path(directory) / "prober.sock", *options) as daemon,
    ):
        try:
            daemon.configure(many_tunnels(0.1, TUNNELS, multiplier))
            until(lambda: all_up(daemon), within=20)
            before = len(daemon.messages)
            yield changes
            kinds = PathChanged | FailedOver
            changes.extend(m for m in daemon.messages[before:] if isinstance(m, kinds))
            print(f"  {_loss(daemon):.2%} of the probes lost in the last window", flush=True)
        finally:
            daemon.quit()
            daemon.end_probers()


def _loss(daemon: ControlDaemon) -> float:
    report = until(lambda: daemon.report)
    return sum(path.loss_ratio for path in report.paths) / len(report.paths)


def down(changes: list[PathChanged | FailedOver]) -> int:
    """Return how many tunnels were taken for dead."""
    return sum(isinstance(c, PathChanged) and c.new is PathState.DOWN for c in changes)


def under_load(seconds: float, *options: str) -> None:
    """Count false transitions of both probers."""
    with two_tunnels() as healthy, two_tunnels("lossy") as lossy:
        with watched(healthy, 3, *options) as first, watched(lossy, 5, *options) as second:
            command = ["ip", "netns", "exec", lossy.mid, "nft", "-f", "-"]
            subprocess.run(command, input=LOSS, text=True, check=True)
            with busy(4):
                time.sleep(seconds)
            time.sleep(1.5)  # the last report
        expected = 0.002 * TUNNELS * seconds / 600
        print(f"{TUNNELS} tunnels each, {seconds:.0f} s, four busy processes {' '.join(options)}")
        judged("transitions, no loss, 3 x 100 ms", len(first), 0, "{:.0f}")
        print(f"  (binomial expectation with 5 % loss: {expected:.3f})")
        judged("tunnels taken for dead, 5 % loss, 5 x 100 ms", down(second), expected + 0.5, "{:.2f}")


def many(seconds: float) -> Cost:
    """Return what 256 tunnels cost."""
    with two_tunnels() as world:
        ip(*(f"addr add {address}/32 dev lo" for address in targets(256)), namespace=world.far)
        return measured(world, many_tunnels(0.1, 256, 3), seconds)


def main() -> None:
    """Measure both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=600.0)
    seconds = arguments.parse_args().seconds
    with bench("steadiness"):
        cost = many(min(30.0, seconds / 3))
        print("256 tunnels at 100 ms, simulated peers")
        show(2560, cost, None)
        judged("CPU of one core, %", cost.cpu * 100, 50, "{:.1f}")
        judged("lateness p99, ms", cost.late_p99 * 1000, 20, "{:.1f}")
        under_load(seconds)


if __name__ == "__main__":
    main()
