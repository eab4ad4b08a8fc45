"""Two gateways in the place of the one: the same LAN, the same internet paths, the same cloud.

    idc 10.1.0.10 ---- LAN -+- gw-a 10.1.0.2 -+-+- wan-a 192.0.2.0/24 ---- net-a -- zone1
       via 10.1.0.1         |        | sync     X                                        > vpc -- ecs
                            +- gw-b 10.1.0.3 -+-+- wan-b 198.51.100.0/24 - net-b -- zone2

LAN and WANs are switches (bridges in the namespace `switches`). Each node has a charon, a keepalived and an
agent, a host name and a folder of its own under /run/pair, so that one configuration serves both. A node that
is switched on again has a new namespace: without processes, addresses that move, SAs and routes.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.charon import LabCharon
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, is_up, paths_are_up
from lab.namespace import Namespace, ip, run
from lab.topology import ADDRESSES, BACKUP, ECS_HOST, GATEWAY_LAN, PRIMARY, TUNNELS
from lab.world import RUNTIME, Lab
from lab.zygote import Zygote

from lab import site

Cabling = Literal["pair", "adopt"]
SWITCHES = "switches"
NETWORKS = ("lan", "wan-a", "wan-b")
WIRES = (*NETWORKS, "sync")
OWN_FOLDER = Path("/run/pair")
VIRTUAL = (GATEWAY_LAN, PRIMARY.local, BACKUP.local)
PATHS = {
    "vici_socket": str(OWN_FOLDER / "charon.vici"),
    "control_socket": str(OWN_FOLDER / "control.sock"),
    "state_directory": str(OWN_FOLDER / "state"),
}


@dataclass(frozen=True, slots=True)
class HostNamespace(Namespace):
    """A namespace whose programs see its host name, and its folder as /run/pair."""

    directory: Path

    def _dressed(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        script = f'mount --bind {self.directory} {OWN_FOLDER} && hostname {self.name} && exec "$@"'
        return ("unshare", "--mount", "--uts", "sh", "-c", script, "-", *argv)

    def start(
        self, *argv: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a long-lived program here."""
        return Namespace.start(self, *self._dressed(argv), log=log, environment=environment)

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """Run a short command here; its output, or an error that quotes it."""
        return Namespace.run(self, *self._dressed(argv), stdin=stdin, check=check)

    def pids(self) -> list[int]:
        """Of all that runs here."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]


class PairAgent(LabGateway):
    """The agent of one node: its paths are those that it sees itself."""

    def document(self) -> dict[str, Any]:
        """The standard configuration, the same text on both nodes."""
        document = super().document()
        del document["gateway"]["name"], document["gateway"]["source_address"]
        document["agent"] |= PATHS
        for tunnel in document["connections"][0]["tunnels"]:
            tunnel["psk_file"] = str(OWN_FOLDER / Path(tunnel["psk_file"]).name)
        return document

    def prober_pid(self) -> int:
        """The prober's process id."""
        here = self._lab.gateway.pids()  # type: ignore[attr-defined]
        [pid] = (pid for pid in here if b"vpnagent.probe" in Path(f"/proc/{pid}/cmdline").read_bytes())
        return int(pid)


class LabNode:
    """One of the two gateways. What `LabGateway` needs of a lab, it has under the same names."""

    def __init__(self, lab: Lab, letter: str, number: int) -> None:
        self.letter = letter
        self.cloud = lab.cloud
        self.zygote: Zygote | None = None
        self.lan = f"10.1.0.{number}"
        self.sync = f"10.255.0.{number}"
        self.directory = RUNTIME / f"gw-{letter}"
        self.gateway = HostNamespace(f"gw-{letter}", self.directory)
        self._is_on = False
        self._mac = f"02:00:00:00:0{letter}"
        self.uplinks: dict[str, str] = {}
        self.keepalived: subprocess.Popen[bytes] | None = None
        self._conntrackd: subprocess.Popen[bytes] | None = None
        self._clean()
        self.charon = LabCharon(self.gateway, self.directory, gateway=True)
        self.agent = PairAgent(self, self.directory)

    @property
    def name(self) -> str:
        """Its host name, which is its namespace's too."""
        return self.gateway.name

    def port(self, network: str) -> str:
        """Its port of a switch."""
        return f"{self.letter}-{network}"

    def _clean(self) -> None:
        self.directory.mkdir(exist_ok=True)
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix != ".log":
                path.unlink()

    # Its power

    def power_on(self) -> None:
        """Boot: the network is there, no process runs yet."""
        self.bury()
        ip(f"netns add {self.name}")
        ip(
            *(
                f"link add {wire} netns {self.name} address {self._mac}:{number:02} type veth "
                f"peer name {self.port(wire)} netns {SWITCHES}"
                for number, wire in enumerate(WIRES)
            )
        )
        used = ("lan", "sync", *self.uplinks)
        ip(
            *(f"link set {self.port(wire)} master br-{wire}" for wire in WIRES),
            *(f"link set {self.port(network)} up" for network in used),
            namespace=SWITCHES,
        )
        self.gateway.sysctl(conf__all__rp_filter=0, conf__default__rp_filter=0, ip_forward=1)
        self.gateway.ip(
            *(f"link set {name} up" for name in ("lo", *used)),
            f"address add {self.lan}/16 dev lan",
            f"address add {self.sync}/24 dev sync",
            *(f"address add {address}/24 dev {uplink}" for uplink, address in self.uplinks.items()),
            *self._routes(),
        )
        self._is_on = True

    def _routes(self) -> Iterator[str]:
        routers = {"wan-a": "192.0.2.1", "wan-b": "198.51.100.1"}
        first = next(iter(self.uplinks))
        yield f"route add default via {routers[first]}"
        for uplink in list(self.uplinks)[1:]:
            yield f"route add {BACKUP.remote} via {routers[uplink]}"

    def power_off(self) -> None:
        """Nothing of it is heard from one moment to the next.

        Its remains are removed later: that work would cost the other node processor time which a dead
        machine does not take.
        """
        self.unplug(*WIRES)
        self._signal(signal.SIGSTOP)
        self._is_on = False

    def bury(self) -> None:
        """Nothing of it is left, if it was ever on."""
        if not self.gateway.path.exists():
            return
        self.unplug(*WIRES)
        self._signal(signal.SIGKILL)
        self._reap()
        ip(*(f"link del {self.port(wire)}" for wire in WIRES), namespace=SWITCHES)
        ip(f"netns delete {self.name}")

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.gateway.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self) -> None:
        self.charon.kill()
        if self.agent.process is not None:
            self.agent.process.wait(10 * PATIENCE)
        for program in (self.keepalived, self._conntrackd):
            if program is not None:
                program.wait(10 * PATIENCE)

    def boot(self) -> None:
        """Start its services, as systemd does."""
        self.charon.start()
        self.charon.wait()
        self.agent.start()
        self.start_keepalived()

    # Its faults

    def unplug(self, *networks: str) -> None:
        """Its wire to these switches is pulled: it loses the carrier."""
        ip(*(f"link set {self.port(network)} down" for network in networks), namespace=SWITCHES)

    def plug(self, *networks: str) -> None:
        """And is put in again."""
        ip(*(f"link set {self.port(network)} up" for network in networks), namespace=SWITCHES)

    def write_keepalived(self, text: str) -> None:
        """Write the node's keepalived.conf."""
        (self.directory / "keepalived.conf").write_text(text)

    def start_keepalived(self) -> None:
        """Start it on the node's keepalived.conf."""
        folder = OWN_FOLDER
        self.keepalived = self.gateway.start(
            *("keepalived", "--dont-fork", "--vrrp", "--log-detail", "--log-console", "--no-syslog"),
            *("--use-file", str(folder / "keepalived.conf")),
            *("--pid", str(folder / "keepalived.pid"), "--vrrp_pid", str(folder / "vrrp.pid")),
            log=self.directory / f"keepalived-{self.letter}.log",
        )

    def firewall(self) -> None:
        """Forward what belongs to a connection that was seen to begin, and nothing else."""
        self.gateway.nft(site.FIREWALL)

    def refused(self) -> int:
        """How many packets the firewall refused."""
        said = self.gateway.nft("list counter inet site refused\n")
        return int(said.split("packets ")[1].split()[0])

    def connections(self, protocol: str) -> list[str]:
        """What its kernel tracks."""
        return self.gateway.run("conntrack", "-L", "-p", protocol).splitlines()

    def start_conntrackd(self, peer: str) -> None:
        """Have the node at `peer` told this one's connections, and hear of its."""
        own = [self.own_address(network) for network in ("lan", "sync", *self.uplinks)]
        text = site.conntrackd(
            address=self.sync, peer=peer, interface="sync", folder=OWN_FOLDER, ignored=[*own, *VIRTUAL]
        )
        (self.directory / "conntrackd.conf").write_text(text)
        self._conntrackd = self.gateway.start(
            *("conntrackd", "-C", str(OWN_FOLDER / "conntrackd.conf")),
            log=self.directory / f"conntrackd-{self.letter}.out",
        )

    def stop_keepalived(self) -> None:
        """SIGTERM, as a restart of its unit does: it says goodbye."""
        assert self.keepalived
        self.keepalived.terminate()
        self.keepalived.wait(10 * PATIENCE)

    def kill_keepalived(self) -> None:
        """SIGKILL to it and its child: the addresses stay."""
        assert self.keepalived
        os.killpg(self.keepalived.pid, signal.SIGKILL)
        self.keepalived.wait(10 * PATIENCE)

    # What it has

    def as_configured(self) -> dict[str, Any]:
        """What the configuration says of it."""
        uplinks = [{"interface": uplink, "address": address} for uplink, address in self.uplinks.items()]
        return {"host": self.name, "address": self.lan, "uplinks": uplinks}

    def own_address(self, network: str) -> str:
        """The address that stays with it."""
        return {"lan": self.lan, "sync": self.sync, **self.uplinks}[network]

    def owns(self, address: str) -> bool:
        """Whether the address is on one of its interfaces; asked without a process, which would cost time."""
        if not self._is_on:
            return False
        with self.gateway.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                return False
        return True


class LabPair:
    """Both nodes and the switches between them, for one scenario."""

    def __init__(self, lab: Lab, cabling: Cabling) -> None:
        self.lab = lab
        self.cabling = cabling
        OWN_FOLDER.mkdir(exist_ok=True)
        self.a = LabNode(lab, "a", 2)
        self.b = LabNode(lab, "b", 3)
        self.nodes = (self.a, self.b)
        if cabling == "pair":
            self.a.uplinks = {"wan-a": PRIMARY.local}
            self.b.uplinks = {"wan-b": BACKUP.local}
        else:
            self.a.uplinks = {"wan-a": "192.0.2.11", "wan-b": "198.51.100.11"}
            self.b.uplinks = {"wan-a": "192.0.2.12", "wan-b": "198.51.100.12"}

    @contextmanager
    def built(self) -> Iterator[LabPair]:
        """Take the one gateway's place, and give it back."""
        ip(f"netns add {SWITCHES}")
        gateway = self.lab.gateway
        gateway.ip(*(f"link set {network} netns {SWITCHES}" for network in NETWORKS))
        ip(
            *(f"link add br-{wire} type bridge forward_delay 0 mcast_snooping 0" for wire in WIRES),
            *(f"link set br-{wire} up" for wire in WIRES),
            *(f"link set {network} master br-{network} up" for network in NETWORKS),
            namespace=SWITCHES,
        )
        try:
            for node in self.nodes:
                node.power_on()
            for neighbour in ("idc", "net-a", "net-b"):
                self.lab.topology[neighbour].run("ip", "neighbour", "flush", "all")
            yield self
        finally:
            for node in self.nodes:
                node.bury()
            ip(*(f"link set {network} netns {gateway.name}" for network in NETWORKS), namespace=SWITCHES)
            gateway.ip(*(f"link set {network} up" for network in NETWORKS), *ADDRESSES["gw"])
            ip(f"netns delete {SWITCHES}")

    def other(self, node: LabNode) -> LabNode:
        """The one that is not `node`."""
        return self.b if node is self.a else self.a

    def isolate(self, *, isolated: bool) -> None:
        """Cut the two off from each other in every network, or not; the rest hears both."""
        word = "on" if isolated else "off"
        for node in self.nodes:
            for wire in WIRES:
                Namespace(SWITCHES).run("bridge", "link", "set", "dev", node.port(wire), "isolated", word)

    def configure(self) -> None:
        """Give both the same configuration."""
        for node in self.nodes:
            node.agent.write(self.document())

    def document(self) -> dict[str, Any]:
        """The standard configuration of the pair, as a value of your own to change."""
        document = self.a.agent.document()
        document["gateway"] |= {
            "local_interfaces": ["lan"],
            "pair": {
                "nodes": {node.letter: node.as_configured() for node in self.nodes},
                "virtual_addresses": [GATEWAY_LAN],
            },
        }
        for tunnel, each in zip(document["connections"][0]["tunnels"], TUNNELS, strict=True):
            tunnel["uplink"] = each.uplink
        return document

    def start(self) -> None:
        """Start everything on both; keepalived has the configuration that we export."""
        for node in self.nodes:
            node.charon.start()
        for node in self.nodes:
            node.charon.wait()
            node.agent.start()
        for node in self.nodes:
            node.agent.wait_ready()
            node.write_keepalived(node.agent.run("export", "keepalived", "--node", node.letter))
        self._start_keepalived()

    def start_keepalived(self) -> None:
        """Start it alone on both, with a configuration that was written by hand."""
        for node in self.nodes:
            node.write_keepalived(self._by_hand(node))
        self._start_keepalived()

    def _start_keepalived(self) -> None:
        """Start the first node's first, so that it has every address."""
        self.a.start_keepalived()
        eventually(lambda: self.a.owns(GATEWAY_LAN), "the first node has the address", within=15 * PATIENCE)
        self.b.start_keepalived()

    def owner(self, address: str) -> LabNode | None:
        """The only one that has the address; None while none has it or both have."""
        owners = [node for node in self.nodes if node.owns(address)]
        return owners[0] if len(owners) == 1 else None

    def carried_by(self, node: LabNode, *, within: float = 15 * PATIENCE) -> None:
        """Until a node has every address, its tunnels are up, and a host of the cloud is reached."""
        eventually(
            lambda: all(self.owner(address) is node for address in VIRTUAL),
            f"{node.name} alone has the addresses",
            within=within,
        )
        node.agent.wait(lambda s: is_up(s) and paths_are_up(s), f"{node.name} carries", within=within)
        self.lab.ping(ECS_HOST)

    def _by_hand(self, node: LabNode) -> str:
        """One instance for each virtual address."""
        instances = [("lan", f"{GATEWAY_LAN}/16")]
        if self.cabling == "adopt":
            instances.append(("wan-a", f"{PRIMARY.local}/24"))
            instances.append(("wan-b", f"{BACKUP.local}/24"))
        addresses = (
            site.MovingAddress(
                network=network,
                address=address,
                number=number,
                priority=150 if node is self.a else 100,
                source=node.own_address(network),
                peer=self.other(node).own_address(network),
            )
            for number, (network, address) in enumerate(instances, 51)
        )
        return site.keepalived(node.name, addresses)
