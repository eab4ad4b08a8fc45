"""A host of the LAN, the gateway with daemon and prober, two stand-ins for tunnels, an uplink, and the cloud.

    lan  l0 --- lan0  gw  vpn-primary --- m0  mid  n0 --- f0  far      100.100.2.136, 172.16.0.10 on far
                          vpn-backup ---- m1       n1 --- f1
                          eth0 ------------------------- e0            the Internet: in clear

Far counts what arrives at e0 from and for the cloud's networks before anything can drop it.
"""

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.namespace import Namespace, namespace
from tests.native.prober_process import installed_environment, until

CHECKOUT = Path(__file__).parents[2]
CLOUD, HOST = "100.100.2.136", "10.1.0.10"
PING = ("ping", "-n", "-i", "0.02", "-W", "1")
SOURCE = "172.16.0.10"  #: of the cloud's own packets
CONFIG = """
version: 1
gateway: {{name: gw, local_networks: [10.1.0.0/16], source_address: 10.1.0.1{gateway}}}
agent:
  vici_socket: {directory}/vici
  control_socket: {directory}/run/control.sock
  state_directory: {directory}/state
  metrics_listen: ""
{agent}
connections:
  - name: hangzhou
    attachment: vpn-gateway
    remote_networks: [100.64.0.0/10, 172.16.0.0/16]
    probe: {{targets: [172.16.0.10], hold_down: 2s}}
{connection}
    tunnels:
      - name: primary
        remote_address: 203.0.113.1
        local_address: 198.51.100.10
        psk_file: psk
        interface: vpn-primary
      - name: backup
        remote_address: 203.0.113.2
        local_address: 198.51.100.10
        psk_file: psk
        interface: vpn-backup
"""
OBSERVER = """table ip observer {
    counter clear { }
    chain early {
        type filter hook prerouting priority -300;
        iifname e0 ip daddr { 100.64.0.0/10, 172.16.0.0/16 } counter name clear
        iifname e0 ip saddr { 100.64.0.0/10, 172.16.0.0/16 } counter name clear
    }
}
"""


class Gateway:
    """The world, and what is done in it."""

    def __init__(self, gw: Namespace, lan: Namespace, mid: Namespace, far: Namespace, root: Path) -> None:
        self.gw, self.lan, self.mid, self.far = gw, lan, mid, far
        self._root = root
        self._processes: list[subprocess.Popen[bytes]] = []

    def configure(
        self, name: str = "a", *, gateway: str = "", agent: str = "", connection: str = "", **changes: str
    ) -> Path:
        """Write a configuration with paths of its own; ``changes`` are replaced in its text."""
        directory = self._root / name
        for part in ("run", "state"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        key = directory / "psk"
        key.write_text("not-a-secret-of-anybody")
        key.chmod(0o600)
        text = CONFIG.format(directory=directory, gateway=gateway, agent=agent, connection=connection)
        for old, new in changes.items():
            text = text.replace(old, new)
        (directory / "vpnagent.yaml").write_text(text)
        return directory / "vpnagent.yaml"

    def daemon(self, config: Path, *narrowed: str, up: bool = True) -> subprocess.Popen[bytes]:
        """Start a daemon, log beside the configuration; its tunnels ``narrowed`` to two networks, or not."""
        with open(config.parent / "log", "ab") as log:
            process = subprocess.Popen(
                self._command(f"{CHECKOUT}/tests/native/stand_in_daemon.py", str(config), *narrowed),
                env=environment(),
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        if up:
            until(lambda: self.status(config).get("state") == "up", within=60, every=0.2)
        return process

    def vpnagent(self, *arguments: str, config: Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = self._command("-m", "vpnagent", *arguments, "--config", str(config))
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=60, env=environment()
        )

    def status(self, config: Path) -> dict[str, Any]:
        """Return what the daemon tells; nothing if it does not answer."""
        said = self.vpnagent("status", "--json", config=config).stdout
        return dict(json.loads(said)) if said else {}

    def ping(self, namespace: Namespace, target: str, *options: str, count: int = 5) -> int:
        """Return how many of some echo requests are answered."""
        done = subprocess.run(
            ["ip", "netns", "exec", namespace.name, *PING, "-c", str(count), *options, target],
            check=False,
            capture_output=True,
            text=True,
        )
        found = re.search(r"(\d+) received", done.stdout)
        return int(found[1]) if found else 0

    def in_clear(self) -> int:
        """Return how many packets from or for the cloud's networks the Internet has seen."""
        found = re.search(r"packets (\d+)", self.far.nft("list counter ip observer clear"))
        assert found
        return int(found[1])

    def nft(self, text: str) -> None:
        """Have the gateway's packet filter take rules in."""
        self.gw.nft(text)

    def prober_pids(self) -> list[int]:
        """Return the probers that live in the gateway."""
        found = []
        for pid in self.gw_pids():
            with contextlib.suppress(OSError):
                if b"vpnagent.probe\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def gw_pids(self) -> list[int]:
        """Return all processes of the gateway."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.gw.name], check=True, capture_output=True, text=True
        )
        return [int(pid) for pid in listed.stdout.split()]

    def end(self) -> None:
        """End every daemon."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._processes:
            process.wait(20)

    def _command(self, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.gw.name, sys.executable, "-P", *arguments]


def environment() -> dict[str, str]:
    """Return the environment in which the checkout and its tests can be imported."""
    return {**installed_environment(), "PYTHONPATH": f"{CHECKOUT}/agent:{CHECKOUT}"}


@contextlib.contextmanager
def whole_gateway(label: str = "wg", *, lan_length: int = 24) -> Iterator[Gateway]:
    """Make the world, and unmake it; a second one at the same time needs a label."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vpna-")))
        gw, lan, mid, far = (
            stack.enter_context(namespace(f"{label}-{n}")) for n in ("gw", "lan", "mid", "far")
        )
        _wire(gw, lan, mid, far)
        _address(gw, lan, mid, far, lan_length)
        far.nft(OBSERVER)
        made = Gateway(gw, lan, mid, far, directory)
        stack.callback(made.end)
        yield made


def _wire(gw: Namespace, lan: Namespace, mid: Namespace, far: Namespace) -> None:
    gw.ip(f"link add eth0 type veth peer name e0 netns {far.name}")
    gw.ip(f"link add lan0 type veth peer name l0 netns {lan.name}")
    for number, name in enumerate(("vpn-primary", "vpn-backup")):
        make_tunnel(gw, mid, name, f"m{number}", number)
        make_tunnel(mid, far, f"n{number}", f"f{number}", number)
        gw.ip(f"link set {name} alias vpnagent.hangzhou.{name[4:]}")
    for there in (gw, mid, far):
        for scope in ("all", "default", *(("m0", "m1", "n0", "n1") if there is mid else ())):
            there.run(f"sysctl -qw net.ipv4.conf.{scope}.rp_filter=0")
    far.run("sysctl -qw net.ipv4.conf.f0.rp_filter=0 net.ipv4.conf.f1.rp_filter=0 net.ipv4.icmp_ratelimit=0")
    mid.run("sysctl -qw net.ipv4.ip_forward=1")
    gw.run("sysctl -qw net.ipv4.ip_forward=1")


def make_tunnel(near: Namespace, other: Namespace, device: str, peer: str, number: int) -> None:
    """Connect two namespaces by a pair without ARP, which like a tunnel takes any packet."""
    near.ip(f"link add {device} type veth peer name {peer} netns {other.name}")
    for there, name in ((near, device), (other, peer)):
        there.ip(f"link set {name} address 02:00:00:00:aa:{number:02x} arp off mtu 1399 up")


def _address(gw: Namespace, lan: Namespace, mid: Namespace, far: Namespace, length: int) -> None:
    gw.ip(
        f"addr add 198.51.100.10/24 dev eth0\nlink set eth0 up\naddr add 10.1.0.1/{length} dev lan0\n"
        "link set lan0 up\nroute add default via 198.51.100.1\n"
    )
    lan.ip(f"addr add {HOST}/{length} dev l0\nlink set l0 up\nroute add default via 10.1.0.1\n")
    for number in (0, 1):
        mid.ip(
            "".join(
                f"rule add iif {there}{number} lookup {table}\n"
                f"route add default dev {other}{number} table {table}\n"
                for there, other, table in (("m", "n", 10 + number), ("n", "m", 20 + number))
            )
        )
    addresses = ("203.0.113.1", "203.0.113.2", SOURCE, CLOUD)
    far.ip(
        "addr add 198.51.100.1/24 dev e0\nlink set e0 up\n"
        + "".join(f"addr add {address}/32 dev lo\n" for address in addresses)
        + "nexthop add id 101 dev f0\nnexthop add id 102 dev f1\nnexthop add id 900 group 101\n"
        f"route add 10.1.0.0/16 nhid 900 src {SOURCE}\n"
    )
