"""Healthy tunnels stay where they are: no stall, clock step, load or rekey makes a transition."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess

import pytest
from lab.charon import SaKind
from lab.deadline import EMULATED, GUEST, PATIENCE
from lab.gateway import LabGateway, paths_are_up
from lab.topology import BACKUP, PRIMARY
from lab.world import RESULTS, Lab

# One for each processor under emulation: with more, the kernel's own ksoftirqd falls a second behind there,
# packets are reordered beyond the peer's replay window, and the path is bad indeed.
HOGS = 2 if EMULATED else 4
STRESS = 8.0  # seconds
REKEYS = 4  # 100 times more: ./dev trials rekey
HOUR = 3600.0
OWNER = "vpnagent.hangzhou."


@pytest.fixture
def running(gateway: LabGateway) -> LabGateway:
    """An agent whose paths have been heard."""
    gateway.start()
    gateway.wait_up()
    gateway.wait(paths_are_up, "both paths answer", within=10 * PATIENCE)
    return gateway


def transitions(gateway: LabGateway) -> list[str]:
    """What the journal says of paths that changed."""
    lines = gateway.log.read_text().splitlines()
    return [line for line in lines if " failover " in line or (" path-state " in line and "old=up" in line)]


@contextlib.contextmanager
def beside(work: Callable[[], None], processes: int) -> Iterator[None]:
    """Forked processes that do `work` over and over during the body."""

    def over_and_over() -> None:
        while True:
            work()

    context = multiprocessing.get_context("fork")
    workers: list[ForkProcess] = [
        context.Process(target=over_and_over, daemon=True) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
        for file in RESULTS.glob("stress.*"):
            file.unlink()


def spin() -> None:
    sum(range(100_000))


def write_and_sync() -> None:
    file = RESULTS / f"stress.{os.getpid()}"
    with file.open("wb") as stream:
        stream.write(bytes(1 << 20))
        os.fsync(stream.fileno())
    file.unlink()


def hogs(_gateway: LabGateway) -> None:
    with beside(spin, HOGS):
        time.sleep(STRESS)


def disk(_gateway: LabGateway) -> None:
    with beside(write_and_sync, 2):
        time.sleep(STRESS)


def clock(_gateway: LabGateway) -> None:
    """The machine's own wall clock: an hour ahead, two back, and right again."""
    for step in (HOUR, -2 * HOUR, HOUR):
        time.clock_settime(time.CLOCK_REALTIME, time.time() + step)
        time.sleep(STRESS / 4)


def daemon_stopped(gateway: LabGateway) -> None:
    gateway.send_signal(signal.SIGSTOP)
    time.sleep(5)
    gateway.send_signal(signal.SIGCONT)


def prober_stopped(gateway: LabGateway) -> None:
    prober = gateway.prober_pid()
    for _ in range(3):
        os.kill(prober, signal.SIGSTOP)
        time.sleep(1)
        os.kill(prober, signal.SIGCONT)
        time.sleep(1)


def reloads(gateway: LabGateway) -> None:
    for _ in range(5):
        assert not gateway.ask("reload")["changed"]


UNDER_LOAD = (pytest.mark.smp, pytest.mark.slow("start and end wait for processors that are kept busy"))
CLOCK = pytest.mark.skipif(not GUEST, reason="it would set this machine's own clock")


@pytest.mark.parametrize(
    ("what", "lossless"),
    [
        pytest.param(hogs, False, marks=UNDER_LOAD),
        pytest.param(disk, False, marks=UNDER_LOAD),
        pytest.param(clock, True, marks=CLOCK),
        (daemon_stopped, True),
        (prober_stopped, True),
        (reloads, True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_healthy_tunnels_see_no_transition(
    lab: Lab, running: LabGateway, what: Callable[[LabGateway], None], lossless: bool
) -> None:
    before = transitions(running)  # whichever tunnel was up first carried at the start
    stream = lab.stream()
    with stream.running():
        what(running)
        running.wait(paths_are_up, "the paths are told", within=10 * PATIENCE)
        result = stream.stop()
    print(f"\n{what.__name__}: {result}")
    assert transitions(running) == before
    assert not lossless or result.lost == 0, lab.drops()


@pytest.mark.deadline(480)
@pytest.mark.parametrize("what", ["child", "ike"])
def test_rekeying_loses_no_packet(lab: Lab, running: LabGateway, what: SaKind) -> None:
    before = transitions(running)
    stream = lab.stream()
    with stream.running():
        for number in range(REKEYS):
            lab.charon.rekey(OWNER + (PRIMARY, BACKUP)[number == REKEYS - 1].name, what)
        running.wait(paths_are_up, "the paths are told", within=10 * PATIENCE)
        result = stream.stop()
    print(f"\n{REKEYS} rekeys of {what}: {result}")
    counted = [value for key, value in running.metrics().items() if "rekeys" in key]
    assert result.outbound.lost == 0, lab.drops()
    # The cloud's charon, which answers, replaces SA and policy one after the other: now and then its kernel
    # has no SA for a packet in between.
    assert result.inbound.lost <= lab.lost_in_the_cloud(), lab.drops()
    assert transitions(running) == before
    assert sum(counted) == REKEYS, counted
