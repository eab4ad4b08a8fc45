"""The prober over a real kernel: groups, routes, probes, and a 1 kHz stream whose gaps are measured."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.namespace import inside, ip
from tests.native.prober_process import (
    ControlDaemon,
    Group,
    Requests,
    all_up,
    answered,
    configure,
    control_daemon,
    prober_command,
    resident,
    shared_targets,
    states,
    until,
)
from tests.native.two_tunnels import SHARED, SOURCE, TwoTunnels, two_tunnels

from vpnagent.config.values import ProbeMethod
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause, PathChanged
from vpnagent.probe.client import Supervised
from vpnagent.probe.kernel import Members
from vpnagent.probe.protocol import FailedOver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, raw sockets, nexthops")

FIRST: Members = ((101, 1),)
SECOND: Members = ((102, 1),)
FAST: dict[str, Any] = {"interval": 0.05, "detect_multiplier": 3, "hold_down": 0.5}
DETECTION = 0.15


@pytest.fixture(scope="module")
def world() -> Iterator[TwoTunnels]:
    with two_tunnels() as made:
        yield made


@pytest.fixture(scope="module")
def group(world: TwoTunnels) -> Iterator[Group]:
    made = Group(world.gw)
    yield made
    made.close()


@pytest.fixture
def directory(world: TwoTunnels) -> Iterator[Path]:
    """A place for the prober's socket; afterwards the world is as it was."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
    world.heal()
    for number in (0, 1):
        ip(f"link set t{number} up", namespace=world.gw)
    for number, nexthop in enumerate((101, 102)):
        ip(f"nexthop replace id {nexthop} dev t{number}", namespace=world.gw)
    ip("nexthop replace id 900 group 101 proto 86", namespace=world.gw)
    ip(f"route replace 100.64.0.0/10 nhid 900 src {SOURCE}", namespace=world.gw)


@contextlib.contextmanager
def running(world: TwoTunnels, directory: Path, **changes: Any) -> Iterator[ControlDaemon]:
    """A control daemon and its prober, both paths heard; both end at the end."""
    with control_daemon(world, wanted=configure(**FAST | changes), directory=directory) as daemon:
        until(lambda: all_up(daemon), within=10)
        yield daemon


def test_a_silent_tunnel_is_left_within_its_detection_time(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    with running(world, directory) as daemon:
        stream = world.stream()
        time.sleep(0.5)
        lost_at = time.monotonic()
        world.lose("m0")
        until(lambda: group() == SECOND)
        time.sleep(0.2)
        gap = stream.stop().outbound.longest_gap(after=lost_at)
        print(f"\noutbound blackout {gap * 1000:.0f} ms, {gap / DETECTION:.2f} x the detection time")
        assert gap <= 3 * DETECTION

        [event] = until(lambda: daemon.of(FailedOver))
        assert (event.old, event.new) == (("primary",), ("backup",))
        assert event.last_heard is not None
        assert event.netlink_sent is not None
        assert event.netlink_acknowledged is not None
        assert lost_at - 0.1 <= event.last_heard <= event.decided <= event.netlink_sent
        assert event.netlink_sent <= event.netlink_acknowledged

        world.heal()
        until(lambda: group() == FIRST, within=10)


def test_a_killed_prober_loses_no_packet_and_the_next_probes_soon(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    with running(world, directory) as daemon, Requests(world) as requests:
        stream = world.stream()
        time.sleep(0.5)
        killed_at = time.monotonic()
        os.kill(daemon.started[0].pid, signal.SIGKILL)
        until(lambda: len(daemon.started) == 2)
        again_at = until(lambda: next((at for at in requests.times if at > killed_at + 0.01), None))
        until(lambda: daemon.client.connected)
        time.sleep(1.0)
        arrivals = stream.stop().outbound
        print(
            f"\nloss noticed after {(daemon.lost_at[0] - killed_at) * 1000:.1f} ms, "
            f"probing again after {(again_at - killed_at) * 1000:.0f} ms"
        )
        assert arrivals.lost == 0
        assert daemon.lost_at[0] - killed_at < 0.5
        assert again_at - killed_at < 4  # the figure itself is the bench's: this machine is shared
        until(lambda: all_up(daemon))
        assert group() == FIRST
        assert daemon.of(FailedOver) == []


def test_a_restarted_prober_stays_on_the_standby_while_the_active_is_dead(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    with running(world, directory) as daemon:
        world.lose("m0")
        until(lambda: group() == SECOND)
        stream = world.stream()
        time.sleep(0.3)
        os.kill(daemon.started[0].pid, signal.SIGKILL)
        until(lambda: len(daemon.started) == 2)
        time.sleep(1.5)
        assert stream.stop().outbound.lost == 0
        assert group() == SECOND


def test_it_fails_over_while_the_daemon_is_gone_and_is_adopted_by_the_next(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    path = directory / "prober.sock"
    with ControlDaemon(world, path) as first:
        first.configure(configure(**FAST))
        until(lambda: all_up(first), within=10)
    try:
        stream = world.stream()
        time.sleep(0.5)
        lost_at = time.monotonic()
        world.lose("m0")
        until(lambda: group() == SECOND)
        time.sleep(0.2)
        assert stream.stop().outbound.longest_gap(after=lost_at) <= 3 * DETECTION

        with ControlDaemon(world, path) as second:
            # What happened meanwhile is told, the prober is the same, and it takes the next intent.
            until(lambda: second.of(FailedOver))
            second.configure(configure(**FAST, second={"drained": True}))
            assert second.started == []
            assert second.report is None or second.report.generation >= 1
            second.quit()
        assert first.started[0].wait(5) == 0
        assert not path.exists()
    finally:
        first.end_probers()


def test_a_daemon_that_ends_has_not_lost_its_prober(world: TwoTunnels, directory: Path) -> None:
    with ControlDaemon(world, directory / "prober.sock") as daemon:
        daemon.configure(configure(**FAST))
    try:
        assert daemon.lost_at == []
    finally:
        daemon.end_probers()


def test_an_older_daemon_loses_its_place(world: TwoTunnels, directory: Path) -> None:
    with running(world, directory) as daemon:
        connected = len(daemon.lost_at)
        with ControlDaemon(world, directory / "prober.sock") as other:
            until(lambda: other.client.connected)
            until(lambda: len(daemon.lost_at) > connected)
            assert other.started == []


def test_replies_that_we_did_not_ask_for_do_not_keep_a_path_up(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    with running(world, directory), Requests(world) as requests:
        until(lambda: requests.last)
        world.lose("m0")
        time.sleep(0.01)
        genuine = bytearray(requests.last[20:])
        genuine[0] = 0  # a reply
        forged = bytearray(genuine)
        forged[8] ^= 0xFF  # another nonce
        deadline = time.monotonic() + 5
        while group() == FIRST:
            requests.send_to_gateway(bytes(forged))
            requests.send_to_gateway(bytes(genuine))  # replayed: it answers a probe long answered
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_a_stall_of_its_own_is_no_silence_of_the_path(
    world: TwoTunnels, directory: Path, seconds: float
) -> None:
    with running(world, directory) as daemon:
        pid = daemon.started[0].pid
        before = len(daemon.of(PathChanged))
        for _ in range(3 if seconds < 1 else 1):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.3)
        time.sleep(1.2)
        assert daemon.of(PathChanged)[before:] == []
        assert daemon.of(FailedOver) == []


def test_busy_processes_beside_it_cause_no_transition(world: TwoTunnels, directory: Path) -> None:
    with running(world, directory) as daemon:
        before = len(daemon.of(PathChanged))
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
        try:
            time.sleep(5)
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        assert daemon.of(PathChanged)[before:] == []


def test_an_interface_that_goes_down_is_left_at_once(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    with running(world, directory) as daemon:
        stream = world.stream()
        time.sleep(0.5)
        down_at = time.monotonic()
        ip("link set t0 down", namespace=world.gw)
        until(lambda: group() == SECOND)
        time.sleep(0.2)
        gap = stream.stop().outbound.longest_gap(after=down_at)
        [event] = until(lambda: daemon.of(FailedOver))
        assert event.netlink_acknowledged is not None
        switch = event.netlink_acknowledged - event.decided
        print(
            f"\ninterface down: gap {gap * 1000:.1f} ms; decision to acknowledgement {switch * 1000:.2f} ms"
        )
        assert event.cause is Cause.LINK


def test_a_group_that_somebody_changed_is_put_right(world: TwoTunnels, group: Group, directory: Path) -> None:
    with running(world, directory):
        ip("nexthop replace id 900 group 102 proto 86", namespace=world.gw)
        changed_at = time.monotonic()
        until(lambda: group() == FIRST)
        print(f"\nrepaired after {(time.monotonic() - changed_at) * 1000:.0f} ms")
        assert time.monotonic() - changed_at < 0.5


def test_a_member_that_vanished_does_not_keep_the_others_from_being_written(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    with running(world, directory, second={"drained": True}) as daemon:
        ip("nexthop delete id 101", namespace=world.gw)  # takes the group and the route with it
        daemon.configure(configure(**FAST, first={"drained": True}))
        until(lambda: group() == SECOND)
        ip("nexthop add id 101 dev t0", namespace=world.gw)
        daemon.configure(configure(**FAST))
        until(lambda: group() == FIRST)


def test_a_drain_is_in_force_when_it_is_acknowledged_and_loses_nothing(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    with running(world, directory) as daemon:
        stream = world.stream()
        time.sleep(0.3)
        for _ in range(10):
            daemon.configure(configure(**FAST, first={"drained": True}))
            assert group() == SECOND
            daemon.configure(configure(**FAST))
            until(lambda: group() == FIRST)
        assert stream.stop().outbound.lost == 0


@contextlib.contextmanager
def resolver(world: TwoTunnels) -> Iterator[None]:
    """A name server at the far end that refuses everything."""
    sock = inside(world.far, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((SHARED, 53))
    sock.settimeout(0.1)
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                query, client = sock.recvfrom(512)
                sock.sendto(query[:2] + b"\x80\x05" + query[4:], client)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sock.close()


@pytest.mark.parametrize(
    ("method", "port"), [(ProbeMethod.ICMP, 0), (ProbeMethod.TCP, 9), (ProbeMethod.DNS, 53)]
)
def test_every_method_asks_through_its_tunnel_and_hears_a_shared_target(
    world: TwoTunnels, directory: Path, method: ProbeMethod, port: int
) -> None:
    targets = shared_targets()
    with resolver(world), running(world, directory, targets=targets, method=method, port=port) as daemon:
        # The far end answers by its one default route: all replies arrive on tunnel 0, and are heard.
        counts = answered(daemon)
        until(lambda: all(now > then for now, then in zip(answered(daemon), counts, strict=True)))
        world.lose("m1")
        until(lambda: states(daemon)[1] is PathState.DOWN)
        assert states(daemon)[0] is PathState.UP


@pytest.mark.parametrize(
    ("method", "port"), [(ProbeMethod.ICMP, 0), (ProbeMethod.TCP, 9), (ProbeMethod.DNS, 53)]
)
def test_without_a_source_the_kernels_choice_is_asked_from_and_followed(
    world: TwoTunnels, directory: Path, method: ProbeMethod, port: int
) -> None:
    changes = {"targets": shared_targets(), "source": None, "method": method, "port": port}
    with resolver(world), running(world, directory, **changes) as daemon:
        before = len(daemon.of(PathChanged))
        ip("addr add 10.1.0.9/32 dev t0", namespace=world.gw)
        try:
            counts = answered(daemon)
            until(lambda: all(now > then + 40 for now, then in zip(answered(daemon), counts, strict=True)))
        finally:
            ip("addr del 10.1.0.9/32 dev t0", namespace=world.gw)
        counts = answered(daemon)
        until(lambda: all(now > then + 40 for now, then in zip(answered(daemon), counts, strict=True)))
        assert daemon.of(PathChanged)[before:] == []


def test_a_tcp_probe_leaves_no_connection_behind(world: TwoTunnels, directory: Path) -> None:
    listener = inside(world.far, socket.socket)
    listener.bind((SHARED, 8080))
    listener.listen(64)
    listener.settimeout(0.2)
    changes = {"targets": shared_targets(), "method": ProbeMethod.TCP, "port": 8080}
    with listener, running(world, directory, **changes) as daemon:
        until(lambda: min(answered(daemon)) > 20)
        with pytest.raises(TimeoutError):
            listener.accept()
        half_open = subprocess.run(
            ["ip", "netns", "exec", world.far, "ss", "-Htn", "state", "syn-recv"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert half_open.stdout == ""


def test_a_second_prober_gives_way_to_the_first(world: TwoTunnels, directory: Path) -> None:
    with running(world, directory) as daemon:
        other = subprocess.run(
            prober_command(world, directory / "prober.sock"),
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        assert other.returncode == 0
        assert "another prober" in other.stderr
        assert daemon.started[0].poll() is None


def test_a_prober_is_replaced_by_one_that_was_ready_before(world: TwoTunnels, directory: Path) -> None:
    with running(world, directory) as daemon:
        stream = world.stream()
        time.sleep(0.3)
        successor = subprocess.Popen(prober_command(world, directory / "prober.sock", "--replace"))
        try:
            daemon.started[0].wait(5)
            until(lambda: len(daemon.lost_at) == 1)
            until(lambda: daemon.client.connected)
            time.sleep(1.0)
            assert stream.stop().outbound.lost == 0
            assert successor.poll() is None
            until(lambda: all_up(daemon))
        finally:
            successor.kill()
            successor.wait()


def test_a_hung_prober_is_replaced(
    world: TwoTunnels, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpnagent.probe.client.STUCK", 1.5)
    with running(world, directory) as daemon:
        os.kill(daemon.started[0].pid, signal.SIGSTOP)
        until(lambda: len(daemon.started) == 2, within=10)
        until(lambda: daemon.started[0].poll() is not None, within=10)
        until(lambda: daemon.client.connected)
        until(lambda: all_up(daemon))


def test_a_daemon_that_is_not_to_start_one_ends_one_that_hangs_and_takes_the_next_that_comes(
    world: TwoTunnels, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of the service manager is taken by this test."""
    monkeypatch.setattr("vpnagent.probe.client.STUCK", 1.5)
    path = directory / "prober.sock"
    with ControlDaemon(world, path, start=Supervised(str(path))) as daemon:
        time.sleep(0.1)
        assert not path.exists()
        with prober(world, path) as first:
            daemon.configure(configure(**FAST, first={"drained": True}))
            until(lambda: all_up(daemon), within=10)
            first.send_signal(signal.SIGSTOP)
            assert first.wait(10) == -signal.SIGKILL
        before = len(daemon.messages)
        with prober(world, path) as second:
            until(lambda: daemon.client.connected)
            until(lambda: len(daemon.messages) > before and all_up(daemon), within=10)
            assert second.poll() is None


def test_a_supervised_prober_that_is_outdated_is_ended_but_not_again_and_again(directory: Path) -> None:
    path = str(directory / "prober.sock")
    start = Supervised(path)
    program = (
        "import socket, sys, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        "s.bind(sys.argv[1]); s.listen(); print(flush=True); time.sleep(60)"
    )
    outcomes = []
    for _ in range(2):
        Path(path).unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE) as listener:
            assert listener.stdout is not None
            listener.stdout.readline()
            start(False)
            assert listener.poll() is None
            start(True)
            with contextlib.suppress(subprocess.TimeoutExpired):
                listener.wait(0.3)
            outcomes.append(listener.poll())
            listener.kill()
    assert outcomes == [-signal.SIGKILL, None]


def test_a_prober_that_was_just_starting_when_all_was_taken_down_ends(
    world: TwoTunnels, directory: Path
) -> None:
    """Between its first instruction and its lock nobody can tell it anything."""
    path = directory / "prober.sock"
    with ControlDaemon(world, path, start=lambda _replaces: None) as daemon:
        starting = subprocess.Popen(prober_command(world, path), start_new_session=True)
        try:
            starting.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, starting.pid, os.WSTOPPED)
            daemon.quit()
            starting.send_signal(signal.SIGCONT)
            assert starting.wait(10) == 0
        finally:
            starting.kill()
            starting.wait()
        assert not path.with_name("prober.sock.state").exists()
    with running(world, directory) as after:
        assert after.started[0].poll() is None


@contextlib.contextmanager
def prober(world: TwoTunnels, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A prober as its unit starts it."""
    process = subprocess.Popen(prober_command(world, path, "--replace"), start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_prober_goes_on_without_any_daemon_after_a_restart(
    world: TwoTunnels, group: Group, directory: Path
) -> None:
    path = directory / "prober.sock"
    with ControlDaemon(world, path) as daemon:
        daemon.configure(configure(**FAST))
        until(lambda: all_up(daemon), within=10)
        # A change after the whole intent must be remembered too.
        daemon.configure(configure(**FAST, first={"drained": True}))
    daemon.end_probers()
    assert group() == SECOND
    with Requests(world) as requests:
        started_at = time.monotonic()
        prober = subprocess.Popen(prober_command(world, path))
        try:
            first = until(lambda: next((at for at in requests.times if at > started_at), None))
            print(f"\nfirst probe {(first - started_at) * 1000:.0f} ms after the start")
            time.sleep(0.5)
            assert group() == SECOND
        finally:
            prober.terminate()
            assert prober.wait(5) == -signal.SIGTERM
    assert group() == SECOND


def test_it_is_small(world: TwoTunnels, directory: Path) -> None:
    with running(world, directory) as daemon:
        kilobytes = resident(daemon.started[0].pid)
        print(f"\nresident {kilobytes / 1024:.1f} MiB")
        assert kilobytes <= 20 * 1024


def test_its_socket_is_for_its_owner_only(world: TwoTunnels, directory: Path) -> None:
    with running(world, directory):
        assert (directory / "prober.sock").stat().st_mode & 0o777 == 0o600
        assert (directory / "prober.sock.state").stat().st_mode & 0o777 == 0o600
    assert not (directory / "prober.sock.state").exists()
