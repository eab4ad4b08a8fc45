"""The real keepalived reads what ``export keepalived`` writes, and does what is meant by it."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.commands.export.test_keepalived import config

from vpnagent.commands.export.keepalived import keepalived
from vpnagent.config.values import Config, Device
from vpnagent.pair.health import FAULT, HEALTHY

if os.geteuid() != 0 or not shutil.which("keepalived"):
    pytest.skip("keepalived needs root: ./dev test runs these", allow_module_level=True)

DEADLINE = 10.0  #: seconds


@pytest.fixture
def namespace() -> Iterator[str]:
    """A gateway's interfaces with its own addresses; nobody answers at their other ends."""
    name = f"vpnagent-{os.getpid()}-ka"
    run("ip", "netns", "add", name)
    try:
        for link, address in (("eth0", "10.1.0.2/24"), ("eth1", "192.0.2.2/24")):
            run("ip", "-n", name, "link", "add", link, "type", "veth", "peer", f"p{link}")
            run("ip", "-n", name, "address", "add", address, "dev", link)
            run("ip", "-n", name, "link", "set", f"p{link}", "up")
            run("ip", "-n", name, "link", "set", link, "up")
        yield name
    finally:
        run("ip", "netns", "del", name)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def configured(folder: Path) -> Config:
    made = config()
    return replace(made, agent=replace(made.agent, control_socket=str(folder / "control.sock")))


@pytest.mark.parametrize("device", list(Device))
@pytest.mark.parametrize("realtime", [False, True])
def test_keepalived_finds_nothing_wrong_with_it(
    namespace: str, tmp_path: Path, device: Device, realtime: bool
) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(keepalived(configured(tmp_path), device, first_id=51, realtime=realtime))
    command = ["ip", "netns", "exec", namespace, "keepalived", "--config-test", "--use-file", str(file)]
    tested = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (tested.returncode, tested.stdout, tested.stderr) == (0, "", "")


@contextlib.contextmanager
def running(namespace: str, folder: Path) -> Iterator[None]:
    file = folder / "keepalived.conf"
    file.write_text(keepalived(configured(folder), Device.A, first_id=51, realtime=False))
    files = [f"--{name}={folder / name}" for name in ("pid", "vrrp_pid", "checkers_pid")]
    command = ["keepalived", "--dont-fork", "--vrrp", f"--use-file={file}", *files]
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE)


def until_addresses(namespace: str, *expected: str) -> None:
    """Wait until exactly these of the two that move are there."""
    deadline = time.monotonic() + DEADLINE
    while True:
        told = run("ip", "-n", namespace, "-4", "-oneline", "address")
        found = tuple(a for a in ("10.1.0.1", "192.0.2.1") if f"inet {a}/32" in told)
        if found == expected:
            return
        assert time.monotonic() < deadline, f"{found} are there"
        time.sleep(0.05)


def test_a_gateway_alone_takes_both_addresses_and_gives_both_up_in_fault(
    namespace: str, tmp_path: Path
) -> None:
    health = tmp_path / "pair.health"
    with running(namespace, tmp_path):
        until_addresses(namespace, "10.1.0.1", "192.0.2.1")  # without a file, it is fine
        for says, expected in ((FAULT, ()), (HEALTHY, ("10.1.0.1", "192.0.2.1"))):
            (tmp_path / "new").write_text(f"{says}\n")
            os.replace(tmp_path / "new", health)  # as the daemon does
            until_addresses(namespace, *expected)
        run("ip", "-n", namespace, "link", "set", "peth0", "down")
        until_addresses(namespace)
