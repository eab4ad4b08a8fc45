"""Hosts behind a gateway whose daemon is real: LAN, gateway, two stand-ins for tunnels, and what is beyond.

    lan  l0 ---- lan0  gw  vpn-hz-1 ---- f0  far     100.100.2.136, 172.16.0.10 on far
    10.1.0.10/16           vpn-hz-2 ---- f1
                           eth0     ---- e0  the uplink: 192.0.2.1, the default gateway

An interface pair without ARP, both ends with one MAC, takes any packet, as a tunnel does.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lab.namespace import Namespace, namespace
from tests.config_examples import write_example

Json = dict[str, Any]

VPNAGENT = (sys.executable, "-m", "vpnagent")
TUNNELS = {"vpn-hz-1": "primary", "vpn-hz-2": "backup"}
PATIENCE = 30.0  #: seconds for a daemon on a busy machine
AGENT = """agent:
  state_directory: {folder}
  control_socket: {folder}/run/control.sock
  vici_socket: {folder}/charon.vici
  metrics_listen: ""
"""


@dataclass(frozen=True)
class World:
    """The namespaces, and the folder with the daemon's files."""

    gateway: Namespace
    lan: Namespace
    far: Namespace
    folder: pathlib.Path

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``vpnagent`` on the gateway."""
        within = ["ip", "netns", "exec", self.gateway.name, *VPNAGENT, *words]
        config = ["--config", str(self.folder / "vpnagent.yaml")]
        return subprocess.run([*within, *config], check=False, capture_output=True, text=True, timeout=90)

    def status(self) -> Json:
        """Return the status; empty while nobody answers."""
        asked = self.command("status", "--json")
        return json.loads(asked.stdout) if asked.returncode in (0, 1) else {}

    def status_when(self, holds: Callable[[Json], bool]) -> Json:
        """Return the first status that is as wanted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            told = self.status()
            if told and holds(told):
                return told
            assert time.monotonic() < deadline, (told, (self.folder / "daemon.log").read_text()[-2000:])
            time.sleep(0.2)

    def checked(self) -> list[Json]:
        """Return what ``check`` finds, but infos."""
        told: list[Json] = json.loads(self.command("check", "--json").stdout)["findings"]
        return [finding for finding in told if finding["severity"] != "info"]

    def reached(self) -> bool:
        """Whether a host of the LAN reaches the cloud."""
        asked = ["ping", "-n", "-c", "1", "-W", "1", "100.100.2.136"]
        within = ["ip", "netns", "exec", self.lan.name, *asked]
        return not subprocess.run(within, check=False, capture_output=True).returncode

    def sysctl(self, key: str, value: str) -> None:
        """Set a setting of the gateway."""
        self.gateway.run(f"sysctl -qw {key}={value}")


@contextlib.contextmanager
def hosts_behind(folder: pathlib.Path, *narrowed: str) -> Iterator[World]:
    """Make the world, with its daemon up, and unmake it; the tunnels may be ``narrowed`` to two networks."""
    with namespace("hosts-gw") as gateway, namespace("hosts-lan") as lan, namespace("hosts-far") as far:
        world = World(gateway, lan, far, folder)
        (folder / "run").mkdir()
        write_example(folder, AGENT.format(folder=folder))
        file = folder / "vpnagent.yaml"
        text = file.read_text().replace("        inside_address: 169.254.10.2/30\n", "")
        text = text.replace("        inside_address: 169.254.11.2/30\n", "")
        file.write_text(text.replace("    tunnels:\n", "    probe: {targets: [172.16.0.10]}\n    tunnels:\n"))
        _wire(world)
        with _daemon(world, *narrowed):
            world.status_when(lambda s: bool(narrowed) or (s["state"] == "up" and all_carried(s)))
            yield world


def all_carried(status: Json) -> bool:
    """Whether every network of every connection is carried."""
    return all(network["carried"] for c in status["connections"] for network in c["networks"])


def codes(status: Json, *severities: str) -> set[str]:
    """Return the codes of the warnings with these severities."""
    return {w["code"] for w in status["warnings"] if w["severity"] in severities}


@contextlib.contextmanager
def _daemon(world: World, *narrowed: str) -> Iterator[None]:
    module = [sys.executable, "-m", "tests.native.stand_in_daemon", str(world.folder / "vpnagent.yaml")]
    module += narrowed
    with open(world.folder / "daemon.log", "w") as log:
        running = subprocess.Popen(
            ["ip", "netns", "exec", world.gateway.name, *module],
            stdout=log,
            stderr=log,
            cwd=pathlib.Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": "agent:."},
        )
    try:
        yield
    finally:
        world.command("down")
        running.send_signal(signal.SIGKILL)
        running.wait()
        shutil.rmtree(world.folder / "run", ignore_errors=True)


def _wire(world: World) -> None:
    gateway, lan, far = world.gateway, world.lan, world.far
    for number, (name, tunnel) in enumerate(TUNNELS.items()):
        gateway.ip(f"link add {name} type veth peer name f{number} netns {far.name}")
        for there, end in ((gateway, name), (far, f"f{number}")):
            there.ip(f"link set {end} address 02:00:00:00:aa:0{number} arp off mtu 1399 up")
        gateway.ip(f"link set {name} alias vpnagent.hangzhou.{tunnel}")
    gateway.ip(f"link add eth0 type veth peer name e0 netns {far.name}")
    gateway.ip(f"link add lan0 type veth peer name l0 netns {lan.name}")
    gateway.ip(
        "address add 192.0.2.2/24 dev eth0\nlink set eth0 up\naddress add 10.1.0.1/16 dev lan0\n"
        "link set lan0 up\nroute add default via 192.0.2.1\n"
    )
    lan.ip("address add 10.1.0.10/16 dev l0\nlink set l0 up\nroute add default via 10.1.0.1\n")
    addresses = ("203.0.113.1", "203.0.113.2", "172.16.0.10", "100.100.2.136")
    far.ip(
        "".join(f"address add {address}/32 dev lo\n" for address in addresses)
        + "address add 192.0.2.1/24 dev e0\nlink set e0 up\nroute add 10.1.0.0/16 dev f0 src 172.16.0.10\n"
    )
    for there, interfaces in ((gateway, ("all", "default")), (far, ("all", "default", "f0", "f1"))):
        for interface in interfaces:
            there.run(f"sysctl -qw net.ipv4.conf.{interface}.rp_filter=0")
    far.run("sysctl -qw net.ipv4.conf.e0.rp_filter=1")  # what comes by the uplink, in clear, gets no answer
    # The gateway forwards before the daemon is there, so that its setting of it changes nothing later.
    gateway.run("sysctl -qw net.ipv4.ip_forward=1")
