"""A running daemon tells in ``status`` what check finds, since when, and is none the worse for it."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.config_examples import write_example
from tests.native.machine import Machine, machine

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

VPNAGENT = (sys.executable, "-m", "vpnagent")
PATIENCE = 30.0  #: seconds for a daemon that starts on a busy machine


@pytest.fixture
def tidy(tmp_path: pathlib.Path) -> Iterator[Machine]:
    folder = f"state_directory: {tmp_path}, control_socket: {tmp_path}/control.sock"
    write_example(tmp_path, f"agent: {{{folder}, vici_socket: {tmp_path}/charon.vici, metrics_listen: ''}}\n")
    with machine(tmp_path) as made:
        yield made


def command(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    within = ["ip", "netns", "exec", machine.gateway.name, *VPNAGENT, *words]
    config = ["--config", str(machine.folder / "vpnagent.yaml")]
    return subprocess.run([*within, *config], check=False, capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def daemon(machine: Machine) -> Iterator[None]:
    """Run the daemon; ``down`` and then SIGKILL end it and its prober."""
    config = str(machine.folder / "vpnagent.yaml")
    within = ["ip", "netns", "exec", machine.gateway.name, *VPNAGENT, "run", "--config", config]
    with open(machine.folder / "daemon.log", "w") as log:
        running = subprocess.Popen(within, stdout=log, stderr=log)
    try:
        yield
    finally:
        command(machine, "down")
        running.send_signal(signal.SIGKILL)
        running.wait()


def status_when(machine: Machine, code: str, *, there: bool) -> dict[str, Any]:
    """Return the status as soon as a warning is there, or has gone."""
    deadline = time.monotonic() + PATIENCE
    while True:
        asked = command(machine, "status", "--json")
        if asked.returncode in (0, 1):
            status: dict[str, Any] = json.loads(asked.stdout)
            if there is (code in {warning["code"] for warning in status["warnings"]}):
                return status
        assert time.monotonic() < deadline, (asked, (machine.folder / "daemon.log").read_text())
        time.sleep(0.2)


def warning(status: dict[str, Any], code: str) -> dict[str, str]:
    [found] = [warning for warning in status["warnings"] if warning["code"] == code]
    return dict(found)


def test_a_conflict_comes_and_goes_in_status_without_changing_its_state(tidy: Machine) -> None:
    tidy.gateway.ip("address add 100.70.3.1/24 dev lan")

    with daemon(tidy):
        first = status_when(tidy, "AddressInRemote", there=True)
        told = warning(first, "AddressInRemote")
        assert told["subject"] == "lan 100.70.3.1/24"
        assert {"code", "severity", "text", "hint", "since"} <= told.keys()

        tidy.gateway.ip("route add 172.16.5.0/24 via 10.1.0.9")
        assert command(tidy, "reload").returncode == 0  # a reload looks at once
        both = status_when(tidy, "RouteInRemote", there=True)
        assert warning(both, "AddressInRemote") == told

        tidy.gateway.ip("address delete 100.70.3.1/24 dev lan")
        assert command(tidy, "reload").returncode == 0
        after = status_when(tidy, "AddressInRemote", there=False)

    states = {s["state"] for s in (first, both, after)} | {
        s["connections"][0]["state"] for s in (first, after)
    }
    assert states == {"down"}  # no charon, and no other reason


def swallow(machine: Machine) -> None:
    """Make the first tunnel, as far as an echo request can tell; its other end takes no large packets."""
    machine.gateway.ip(f"link add vpn-hz-1 type veth peer name cloud netns {machine.provider.name}")
    for where, link, address in (
        (machine.gateway, "vpn-hz-1", "169.254.10.2/30"),
        (machine.provider, "cloud", "169.254.10.1/30"),
    ):
        where.ip(f"address add {address} dev {link}")
        where.ip(f"link set {link} up")
    machine.provider.ip("route add 10.1.0.1 via 169.254.10.2")
    machine.provider.nft("add table ip filter")
    machine.provider.run("nft add chain ip filter input { type filter hook input priority 0 ; }")
    machine.provider.nft("add rule ip filter input iifname cloud ip length > 1310 drop")


def test_a_black_hole_is_told_when_a_second_look_finds_it_too(tidy: Machine) -> None:
    tidy.gateway.ip("address add 100.70.3.1/24 dev lan")
    swallow(tidy)

    with daemon(tidy):
        first = status_when(tidy, "AddressInRemote", there=True)
        assert "MtuBlackHole" not in {found["code"] for found in first["warnings"]}

        assert command(tidy, "reload").returncode == 0  # a reload looks at once
        then = status_when(tidy, "MtuBlackHole", there=True)

    told = warning(then, "MtuBlackHole")
    assert (told["subject"], told["severity"]) == ("hangzhou/primary", "warning")
    assert "of up to 1300 bytes and none of 1320 to " in told["text"]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_check_works_without_root_and_says_what_it_did_not_see(tidy: Machine) -> None:
    plain = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    look = (
        "import asyncio, sys; sys.path[:0] = ['agent', '.']\n"
        "from tests.config_examples import make_config\n"
        "from vpnagent.checks.judge import judge\n"
        "from vpnagent.checks.observe import observe\n"
        "config = make_config()\n"
        "for f in judge(config, asyncio.run(observe(config, '/etc/vpnagent.yaml', thorough=True))):\n"
        "    print(f.severity.value, f.code, f.subject)\n"
    )
    tidy.gateway.ip("address add 100.70.3.1/24 dev lan")

    with tidy.gateway.entered():
        done = subprocess.run(
            [*plain, sys.executable, "-c", look], check=False, capture_output=True, text=True, timeout=60
        )

    assert "warning AddressInRemote lan 100.70.3.1/24" in done.stdout, done.stderr
    assert "info NotLookedAt firewall" in done.stdout
