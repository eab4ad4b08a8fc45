"""One configuration in a network namespace: a second daemon, or the `down` of another, does no harm."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.namespace import namespace
from tests.native.prober_process import until
from tests.native.whole_gateway import CLOUD, Gateway, whole_gateway

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

OTHER = {
    "name: hangzhou": "name: beijing",
    "[100.64.0.0/10, 172.16.0.0/16]": "[192.168.200.0/24]",
    "interface: vpn-": "interface: vpn-bj-",
    "203.0.113.1": "203.0.113.11",
    "203.0.113.2": "203.0.113.12",
}


@pytest.fixture(scope="module")
def made() -> Iterator[Gateway]:
    with whole_gateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def ours(made: Gateway) -> Path:
    return made.configure("ours")


@pytest.fixture
def world(made: Gateway, ours: Path) -> Iterator[Gateway]:
    """The world with a daemon and its prober at work; every test starts from there."""
    if not made.status(ours):
        made.daemon(ours)
    yield made
    assert made.in_clear() == 0


def marks(world: Gateway) -> list[str]:
    """Return what a second one would tear at."""
    routes = [line.strip() for line in world.gw.ip("route show proto 86").splitlines()]
    links = [line.split()[0] for line in world.gw.run("ip -br link").splitlines()]
    return [*routes, *links]


def test_a_second_daemon_is_refused_in_one_line_and_no_packet_is_lost(world: Gateway, ours: Path) -> None:
    before = marks(world)
    second = world.configure("second", **OTHER)
    daemon = world.daemon(second, up=False)
    assert world.ping(world.lan, CLOUD, count=100) == 100
    assert daemon.wait(20) == 1
    log = (second.parent / "log").read_text()
    [line] = log.splitlines()
    assert line.startswith("vpnagent: another daemon works in this network namespace: process ")
    assert f"configuration {ours}, socket {ours.parent}/run/control.sock" in line
    assert marks(world) == before


def test_down_of_another_configuration_is_refused_and_no_packet_is_lost(world: Gateway, ours: Path) -> None:
    before = marks(world)
    second = world.configure("second")
    said = world.vpnagent("down", config=second)
    assert said.returncode == 1
    assert f"configuration {ours}," in said.stderr
    assert said.stderr.strip().endswith("; nothing was removed")
    assert world.ping(world.lan, CLOUD, count=50) == 50
    assert marks(world) == before


def test_a_prober_left_alone_guards_the_namespace_and_its_own_daemon_adopts_it(
    world: Gateway, ours: Path
) -> None:
    [prober] = world.prober_pids()
    world.end()
    second = world.configure("second", **OTHER)
    said = world.vpnagent("down", config=second)
    assert said.returncode == 1
    assert f"another prober works in this network namespace: process {prober}" in said.stderr
    assert world.daemon(second, up=False).wait(20) == 1
    world.daemon(ours)
    assert world.prober_pids() == [prober]
    assert world.ping(world.lan, CLOUD, count=50) == 50


def test_a_killed_daemon_is_succeeded_at_once(world: Gateway, ours: Path) -> None:
    [holder] = [int(pid) for pid in daemon_pids(world)]
    [prober] = world.prober_pids()
    os.kill(holder, signal.SIGKILL)
    world.daemon(ours)
    assert world.prober_pids() == [prober]


def test_a_killed_prober_is_succeeded(world: Gateway, ours: Path) -> None:
    [prober] = world.prober_pids()
    os.kill(prober, signal.SIGKILL)
    until(lambda: world.prober_pids() not in ([], [prober]), within=20, every=0.05)
    until(lambda: world.status(ours)["prober"]["connected"], within=20, every=0.2)


def test_a_stopped_prober_is_replaced(world: Gateway, ours: Path) -> None:
    """As one of another version is: the successor has both locks, and the old one is gone."""
    [prober] = world.prober_pids()
    os.kill(prober, signal.SIGSTOP)
    until(lambda: world.prober_pids() not in ([], [prober]), within=30, every=0.1)
    until(lambda: prober not in world.prober_pids(), within=20, every=0.1)
    until(lambda: world.status(ours)["prober"]["connected"], within=20, every=0.2)


def test_another_namespace_is_another_lock(world: Gateway, ours: Path) -> None:
    with namespace("other") as other:
        here, world.gw = world.gw, other
        try:
            assert world.vpnagent("down", config=world.configure("elsewhere")).returncode == 0
        finally:
            world.gw = here
    assert world.ping(world.lan, CLOUD, count=20) == 20


def test_down_with_its_own_daemon_removes_everything_and_frees_the_locks(world: Gateway, ours: Path) -> None:
    said = world.vpnagent("down", config=ours)
    assert (said.returncode, said.stdout) == (0, "everything of ours is removed\n")
    assert world.gw.ip("route show proto 86") == ""
    until(lambda: not world.prober_pids() and not daemon_pids(world), within=20, every=0.1)
    assert world.vpnagent("down", config=world.configure("second")).returncode == 0


def daemon_pids(world: Gateway) -> list[int]:
    """Return the daemons that live."""
    listed = subprocess.run(
        ["ip", "netns", "pids", world.gw.name], check=True, capture_output=True, text=True
    ).stdout
    return [
        int(pid)
        for pid in listed.split()
        if b"stand_in_daemon.py\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
