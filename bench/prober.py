"""What the prober costs, how punctual it is, and that no tunnel is left that need not be. Needs root."""

import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

from bench.figures import bench, busy, judged
from lab.namespace import Namespace, inside, ip
from tests.native.prober_process import (
    ControlDaemon,
    Requests,
    all_up,
    configure,
    control_daemon,
    cpu_seconds,
    installed_environment,
    resident,
    tunnel_intent,
    until,
)
from tests.native.two_tunnels import SOURCE, TwoTunnels, two_tunnels

from vpnagent.config.values import Forwarding, OnPathDown, TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import LATENESS_BOUNDS, PathChanged
from vpnagent.probe.intent import Configure, ConnectionIntent, Intent, ProbeTarget
from vpnagent.probe.protocol import FailedOver

TUNNELS = 32
STARTS = 10
_WARM_UP = 3.0  #: seconds


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    cpu: float  #: ratio of one core
    rate: float  #: probes a second that were answered
    late_p50: float  #: seconds, upper bound of the bucket
    late_p99: float
    resident: int  #: KiB
    transitions: int


def targets(count: int) -> list[IPv4Address]:
    """Return an address for each tunnel, at the far end."""
    return [IPv4Address("100.100.3.0") + n for n in range(count)]


def many_tunnels(interval: float, count: int, multiplier: int) -> Configure:
    """Return a configuration of so many tunnels that share the two stand-ins and move no traffic."""
    tunnels = tuple(
        tunnel_intent(
            n % 2,
            key=TunnelKey("many", f"t{n}"),
            nexthop_id=n + 1,
            interval=interval,
            detect_multiplier=multiplier,
            targets=(ProbeTarget(address=address, inside_peer=True),),
        )
        for n, address in enumerate(targets(count))
    )
    connection = ConnectionIntent(
        name="many", forwarding=Forwarding.ECMP, on_path_down=OnPathDown.KEEP, tunnels=tunnels
    )
    return replace(configure(), intent=Intent(generation=0, connections=(connection,), groups=()))


def measured(world: TwoTunnels, wanted: Configure, seconds: float, *options: str) -> Cost:
    """Run a prober for a while."""
    with control_daemon(world, *options, wanted=wanted) as daemon:
        until(lambda: daemon.report, within=20)
        time.sleep(_WARM_UP)
        return _measured(daemon, seconds)


def _measured(daemon: ControlDaemon, seconds: float) -> Cost:
    pid = daemon.started[-1].pid
    first = until(lambda: daemon.report)
    events, cpu, began = len(daemon.messages), cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    spent, wall = cpu_seconds(pid) - cpu, time.monotonic() - began
    last = until(lambda: daemon.report)
    answered = sum(p.answered for p in last.paths) - sum(p.answered for p in first.paths)
    late = [now - then for now, then in zip(last.lateness, first.lateness, strict=True)]
    names = [type(m).__name__ for m in daemon.messages[events:]]
    return Cost(
        cpu=spent / wall,
        rate=answered / (last.at - first.at),
        late_p50=quantile(late, 0.5),
        late_p99=quantile(late, 0.99),
        resident=resident(pid),
        transitions=names.count("PathChanged"),
    )


def quantile(counts: list[int], share: float) -> float:
    """Return the upper bound of the bucket that holds a quantile."""
    wanted, seen = share * sum(counts), 0
    for bound, count in zip((*LATENESS_BOUNDS, float("inf")), counts, strict=True):
        seen += count
        if seen >= wanted:
            return bound
    return float("inf")


def fping_cost(world: TwoTunnels, interval: float, seconds: float) -> float:
    """Return the share of a core that fping takes for the same probes."""
    command = ["fping", "-l", "-q", "-p", str(round(interval * 1000)), "-i", "0", "-S", SOURCE]
    process = inside(
        world.gw,
        lambda: subprocess.Popen(
            [*command, *map(str, targets(TUNNELS))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ),
    )
    try:
        time.sleep(_WARM_UP)
        cpu, began = cpu_seconds(process.pid), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(process.pid) - cpu) / (time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def starts(world: TwoTunnels) -> list[float]:
    """Return the seconds from the start of the process to its first probe at the far end, of several."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "prober.sock"
        with ControlDaemon(world, path) as daemon:
            daemon.configure(configure(interval=0.1))
            until(lambda: daemon.report, within=20)
        daemon.end_probers()
        return [_start(world, path) for _ in range(STARTS)]


def _start(world: TwoTunnels, path: Path) -> float:
    command = [sys.executable, "-P", "-m", "vpnagent.probe", "--socket", str(path)]
    with Requests(world) as requests:
        began = time.monotonic()
        process = inside(
            world.gw,
            lambda: subprocess.Popen(command, stderr=subprocess.DEVNULL, env=installed_environment()),
        )
        try:
            return until(lambda: next(iter(requests.times), 0.0), within=10) - began
        finally:
            process.kill()
            process.wait()


def revivals(world: TwoTunnels) -> list[float]:
    """Return the seconds from the SIGKILL of a prober to the next one's first probe, of several."""
    with control_daemon(world, wanted=configure(interval=0.1)) as daemon:
        return [_revival(world, daemon) for _ in range(STARTS)]


def _revival(world: TwoTunnels, daemon: ControlDaemon) -> float:
    until(lambda: daemon.client.connected, within=10)
    time.sleep(0.5)
    with Requests(world) as requests:
        killed = daemon.started[-1]
        killed.kill()
        killed_at = time.monotonic()
        killed.wait()
        ended_at = time.monotonic()
        return until(lambda: next((t for t in requests.times if t > ended_at), 0.0), within=10) - killed_at


def prober(*, seconds: float = 30.0) -> None:
    """What the prober costs and how punctual it is.

    32 tunnels on two stand-ins, at 320 and at 3200 probes a second, beside fping at the same rate in the
    same minute; then lateness under four busy processes, with and without SCHED_FIFO; resident memory;
    and the time to the first probe, from its start and from a SIGKILL of the one before. Needs fping.
    """
    with bench("the prober"), two_tunnels() as world:
        ip(*(f"addr add {address}/32 dev lo" for address in targets(TUNNELS)), namespace=world.far)
        print(COLUMNS)
        for interval, most in ((0.1, 8), (0.01, 30)):
            wanted = many_tunnels(interval, TUNNELS, max(3, round(0.3 / interval)))
            cost = measured(world, wanted, seconds)
            show(TUNNELS / interval, cost, fping_cost(world, interval, seconds))
            judged("CPU of one core, %", cost.cpu * 100, most, "{:.1f}")
            judged("resident memory, MiB", cost.resident / 1024, 16, "{:.1f}")
        print("under four busy processes:")
        for options in ((), ("--realtime",)):
            with busy(4):
                cost = measured(world, many_tunnels(0.1, TUNNELS, 3), seconds, *options)
            show(TUNNELS / 0.1, cost, None, " ".join(options))
            judged("transitions", cost.transitions, 0, "{:.0f}")
        for name, times, most in (
            ("start to first probe", starts(world), 100),
            ("SIGKILL to the next one's first probe", revivals(world), 200),
        ):
            milliseconds = [1000 * value for value in times]
            print(f"{name}: min {min(milliseconds):.0f} ms, max {max(milliseconds):.0f} of {len(times)}")
            judged("median, ms", statistics.median(milliseconds), most, "{:.0f}")


COLUMNS = "probes/s  cpu prober  cpu fping  answered/s  late p50<=  late p99<=  RSS MiB  transitions"


def show(rate: float, cost: Cost, fping: float | None, note: str = "") -> None:
    """Print one row."""
    print(
        f"{rate:8.0f}  {cost.cpu:10.1%}  {'-' if fping is None else f'{fping:.1%}':>9}  "
        f"{cost.rate:10.0f}  {cost.late_p50 * 1000:7.2f} ms  {cost.late_p99 * 1000:7.2f} ms  "
        f"{cost.resident / 1024:7.1f}  {cost.transitions:11d}  {note}",
        flush=True,
    )


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
    with control_daemon(world, *options, wanted=many_tunnels(0.1, TUNNELS, multiplier)) as daemon:
        until(lambda: all_up(daemon), within=20)
        before = len(daemon.messages)
        yield changes
        changes.extend(m for m in daemon.messages[before:] if isinstance(m, PathChanged | FailedOver))
        print(f"  {_loss(daemon):.2%} of the probes lost in the last window", flush=True)


def _loss(daemon: ControlDaemon) -> float:
    report = until(lambda: daemon.report)
    return sum(path.loss_ratio for path in report.paths) / len(report.paths)


def down(changes: list[PathChanged | FailedOver]) -> int:
    """Return how many_cost tunnels were taken for dead."""
    return sum(isinstance(c, PathChanged) and c.new is PathState.DOWN for c in changes)


def under_load(seconds: float, *options: str) -> None:
    """Count false transitions of both probers."""
    with two_tunnels() as healthy, two_tunnels("lossy") as lossy:
        with watched(healthy, 3, *options) as first, watched(lossy, 5, *options) as second:
            Namespace(lossy.mid).nft(LOSS)
            with busy(4):
                time.sleep(seconds)
            time.sleep(1.5)  # the last report
        expected = 0.002 * TUNNELS * seconds / 600
        print(f"{TUNNELS} tunnels each, {seconds:.0f} s, four busy processes {' '.join(options)}")
        judged("transitions, no loss, 3 x 100 ms", len(first), 0, "{:.0f}")
        print(f"  (binomial expectation with 5 % loss: {expected:.3f})")
        judged("tunnels taken for dead, 5 % loss, 5 x 100 ms", down(second), expected + 0.5, "{:.2f}")


def many_cost(seconds: float) -> Cost:
    """Return what 256 tunnels cost."""
    with two_tunnels() as world:
        ip(*(f"addr add {address}/32 dev lo" for address in targets(256)), namespace=world.far)
        return measured(world, many_tunnels(0.1, 256, 3), seconds)


def steadiness(*, seconds: float = 600.0) -> None:
    """No tunnel is left that need not be.

    At once, for so long: a prober on healthy tunnels at 3 x 100 ms, and one on tunnels that lose 5 % of
    the round trips at random (nftables' ``numgen random``) with multiplier 5, both under four busy
    processes. Every transition after the first is counted. With independent loss the binomial expectation
    is 0.002 per tunnel in ten minutes. Then 256 tunnels at 100 ms with simulated peers, without other
    load.
    """
    with bench("steadiness"):
        cost = many_cost(min(30.0, seconds / 3))
        print("256 tunnels at 100 ms, simulated peers")
        show(2560, cost, None)
        judged("CPU of one core, %", cost.cpu * 100, 50, "{:.1f}")
        judged("lateness p99, ms", cost.late_p99 * 1000, 20, "{:.1f}")
        under_load(seconds)
