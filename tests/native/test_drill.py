"""The drill as a person types it, against a real daemon, its real prober, and a kernel that forwards."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from lab.namespace import ip
from tests.config_examples import make_config, make_tunnel
from tests.native.prober_process import installed_environment, until
from tests.native.two_tunnels import INSIDE, SHARED, SOURCE, TwoTunnels, two_tunnels

from vpnagent import log
from vpnagent.commands.drill.rehearsal import LEASE
from vpnagent.config.values import Config, OnPathDown
from vpnagent.control.client import ask
from vpnagent.daemon.daemon import Daemon
from vpnagent.daemon.memory import Loaded, Standing
from vpnagent.daemon.supervisor import Task
from vpnagent.errors import ControlError
from vpnagent.ipsec.sa import CharonState
from vpnagent.knowledge.tunnels import ChildStatus, IkeStatus, SaStatus
from vpnagent.policy.desired import group_ids, nexthop_ids
from vpnagent.policy.selection import Verdict
from vpnagent.probe.client import ProberClient
from vpnagent.routing.objects import KernelObjects, KernelState

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, raw sockets, nexthops")

EXPIRY = LEASE + 1.5  #: seconds in which the daemon has ended a lease that nobody renews


class Site:
    """A gateway with two tunnels, its daemon, and whatever drills it."""

    def __init__(self, world: TwoTunnels, directory: Path) -> None:
        self.world = world
        self._directory = directory
        self._socket = str(directory / "control.sock")
        self._prober = str(directory / "prober.sock")
        self._processes: list[subprocess.Popen[str]] = []

    def start_daemon(self) -> None:
        """Start it, and wait until both paths are heard."""
        self.daemon = self._start("-m", "tests.native.test_drill", str(self._directory))
        until(lambda: self.paths() == ["up", "up"], within=20)

    def drill(self, *options: str) -> subprocess.Popen[str]:
        """Start `vpnagent drill`."""
        return self._start("-m", "vpnagent", "drill", "--socket", self._socket, *options)

    def report(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Run a drill to its end; its exit status and its report."""
        process = self.drill("--json", *options)
        out, _ = process.communicate(timeout=60)
        return process.returncode, json.loads(out)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.world.gw, sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if "vpnagent" in arguments else subprocess.DEVNULL,
            text=True,
            env=installed_environment(),
        )
        self._processes.append(process)
        return process

    def connection(self) -> dict[str, Any]:
        """What `status` tells of the one connection; nothing while no daemon answers."""
        with contextlib.suppress(ControlError):
            return dict(ask(self._socket, "status")["connections"][0])
        return {"active": [], "tunnels": []}

    def active(self) -> list[str]:
        """The tunnel that carries traffic."""
        return list(self.connection()["active"])

    def paths(self) -> list[str]:
        """The states of the paths."""
        return [tunnel["path"]["state"] for tunnel in self.connection()["tunnels"]]

    def wait_active(self, name: str, *, within: float = 10) -> float:
        """Until a tunnel carries traffic; the seconds that took."""
        begin = time.monotonic()
        until(lambda: self.active() == [name], within=within, every=0.02)
        return time.monotonic() - begin

    def close(self) -> None:
        """End what was started, by pid, and the prober."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        asyncio.run(ProberClient(self._prober, start=lambda _: None, on_message=lambda _: None).quit())


@pytest.fixture(scope="module")
def world() -> Iterator[TwoTunnels]:
    with two_tunnels() as made:
        yield made


@pytest.fixture
def site(world: TwoTunnels) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        ip(*kernel_commands(drill_config(directory)), namespace=world.gw)
        site = Site(world, directory)
        try:
            site.start_daemon()
            yield site
        finally:
            site.close()
            world.heal()


def test_a_drill_moves_traffic_there_and_back_without_loss(site: Site) -> None:
    status, report = site.report("--dwell", "500ms", "--capture", "--interval", "2ms")
    assert (status, report["problems"]) == (0, [])
    assert report["stream"]["target"] == SHARED
    there, back = report["switches"]
    assert (there["from"], there["to"], back["from"], back["to"]) == (
        ["primary"],
        ["backup"],
        ["backup"],
        ["primary"],
    )
    for switch in (there, back):
        assert switch["lost"] == 0
        assert 0 < switch["netlink_sent_seconds"] < switch["netlink_acknowledged_seconds"]
        assert switch["netlink_acknowledged_seconds"] < switch["first_reply_seconds"]
    requests = [line for line in report["timeline"] if "out ICMP echo request" in line]
    assert any("t0" in line for line in requests)
    assert any("t1" in line for line in requests)
    assert site.active() == ["primary"]


def test_a_silent_standby_is_refused_and_a_forced_drill_finds_it_out(site: Site) -> None:
    site.world.lose("m1")
    until(lambda: site.paths() == ["up", "down"])
    status, report = site.report()
    assert status == 1
    assert "no healthy standby for hangzhou/primary: backup: path down" in report["problems"][0]
    assert report["switches"] == []
    status, report = site.report("--force", "--dwell", "0")
    assert status == 1
    assert "there: no answer on the new path within 1 s" in report["problems"]
    assert report["switches"][0]["lost"] > 0
    assert report["switches"][1]["to"] == ["primary"]
    assert site.active() == ["primary"]


def test_a_drill_outlasts_its_lease_and_ends_early_when_the_standby_dies(site: Site) -> None:
    drill = site.drill("--json", "--dwell", "60s")
    site.wait_active("backup")
    with pytest.raises(AssertionError):
        site.wait_active("primary", within=EXPIRY)
    site.world.lose("m1")
    site.wait_active("primary", within=5)
    out, _ = drill.communicate(timeout=20)
    assert drill.returncode == 1
    assert any("the drill was ended early" in problem for problem in json.loads(out)["problems"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_asked_to_end_takes_the_traffic_back_at_once(
    site: Site, number: signal.Signals
) -> None:
    drill = site.drill("--dwell", "60s")
    site.wait_active("backup")
    drill.send_signal(number)
    site.wait_active("primary", within=EXPIRY / 2)
    _, complaint = drill.communicate(timeout=10)
    assert drill.returncode == 130
    assert "Traceback" not in complaint


def test_a_drill_that_is_killed_is_over_when_its_lease_is(site: Site) -> None:
    drill = site.drill("--dwell", "60s")
    site.wait_active("backup")
    drill.kill()
    site.wait_active("primary", within=EXPIRY)


def test_a_drill_that_was_stopped_does_not_drain_again(site: Site) -> None:
    drill = site.drill("--dwell", "60s")
    site.wait_active("backup")
    until(lambda: site.connection()["last_failover"]["first_reply_seconds"])
    drill.send_signal(signal.SIGSTOP)
    site.wait_active("primary", within=EXPIRY)
    drill.send_signal(signal.SIGCONT)
    drill.communicate(timeout=10)
    assert drill.returncode == 1  # its lease is over, or its own stream stood still for too long
    assert site.active() == ["primary"]


def test_no_drain_of_a_drill_outlives_the_daemon(site: Site) -> None:
    drill = site.drill("--dwell", "60s")
    site.wait_active("backup")
    site.daemon.kill()
    site.daemon.wait()
    _, complaint = drill.communicate(timeout=20)
    assert drill.returncode == 3
    assert complaint.startswith("vpnagent: the daemon does not run")
    site.start_daemon()
    site.wait_active("primary", within=5)


def test_a_second_drill_is_refused_while_one_is_under_way(site: Site) -> None:
    first = site.drill("--dwell", "60s")
    site.wait_active("backup")
    second = site.drill("backup", "--force")
    _, complaint = second.communicate(timeout=20)
    assert second.returncode == 1
    assert "another drill is under way: it has drained hangzhou/primary" in complaint
    assert site.active() == ["backup"]
    first.terminate()
    site.wait_active("primary")


def test_without_the_capability_it_says_so(site: Site) -> None:
    command = ["setpriv", "--bounding-set", "-net_raw", sys.executable, "-m", "vpnagent", "drill"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 4
    assert "CAP_NET_RAW" in done.stderr


# A control daemon with a real prober over the stand-ins of `two_tunnels`, and charon taken as given.
# ``python -m tests.native.test_drill DIRECTORY`` runs those of the daemon's own tasks that a drill meets:
# control socket, prober, report. Both CHILD_SAs are installed; nothing observes the kernel.

TASKS = ("prober", "prober-feed", "control", "report")


def drill_config(directory: Path) -> Config:
    """Return a configuration of the stand-ins, with its sockets in a directory."""
    probe = replace(make_tunnel(1).probe, interval=0.05, hold_down=0.5)
    ends = {
        number: {
            "interface": f"t{number}",
            "inside_address": IPv4Interface(f"{IPv4Address(INSIDE[number]) + 1}/30"),
            "probe": replace(probe, targets=(IPv4Address(INSIDE[number]), IPv4Address(SHARED))),
        }
        for number in (0, 1)
    }
    return make_config(
        gateway={"source_address": IPv4Address(SOURCE)},
        agent={
            "control_socket": str(directory / "control.sock"),
            "state_directory": str(directory),
            "vici_socket": str(directory / "no.vici"),
            "metrics_listen": "",
        },
        connection={
            "remote_networks": (IPv4Network("100.64.0.0/10"),),
            "on_path_down": OnPathDown.KEEP,
            "tunnels": (make_tunnel(1, **ends[0]), make_tunnel(2, **ends[1])),
        },
    )


def kernel_commands(config: Config) -> list[str]:
    """Return the `ip` commands that make what the kernel reconciler would have made."""
    nexthops = nexthop_ids(config)
    [group] = group_ids(config).values()
    return [
        *(f"nexthop replace id {id_} dev {interface}" for interface, id_ in nexthops.items()),
        f"nexthop replace id {group} group {nexthops['t0']} proto 86",
        f"route replace 100.64.0.0/10 nhid {group} src {SOURCE}",
    ]


class PartOfDaemon(Daemon):
    """A daemon that knows of charon and the kernel what it is told here."""

    def __init__(self, config: Config) -> None:
        super().__init__("", Loaded(config, b"", None), Standing("", config.agent.state_directory))
        known = self._known
        known.kernel.state = KernelState(
            objects=KernelObjects(), foreign_links=frozenset(), foreign_routes=frozenset(), counters={}
        )
        installed = SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED)
        known.charon.connected = True
        known.charon.state = CharonState(version="", connections=frozenset(), secrets=frozenset(), sas=())
        known.charon.statuses = {t.key: installed for t in config.tunnels()}
        known.charon.verdicts = {t.key: Verdict(child_sa_installed=True) for t in config.tunnels()}
        known.probe_dirty.set()

    def _tasks(self) -> dict[str, Task]:
        return {name: task for name, task in super()._tasks().items() if name in TASKS}


if __name__ == "__main__":
    log.configure(debug=True)
    asyncio.run(PartOfDaemon(drill_config(Path(sys.argv[1]))).run())
