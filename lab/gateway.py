"""The agent as a user runs it: a vpnagent.yaml, keys, and `vpnagent run` in the gateway's namespace.

State is asked for on the control socket, which costs nothing; the commands a person types are run only where
they are the thing shown, since starting an interpreter takes seconds under emulation.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import yaml
from lab.charon import LabCharon
from lab.cloud import Cloud
from lab.deadline import PATIENCE, eventually
from lab.namespace import Namespace
from lab.topology import ECS_HOST, GATEWAY_LAN, IDC_NETWORK, REMOTE_NETWORKS, TUNNELS, LabTunnel
from lab.world import RUNTIME
from lab.zygote import Forked, Zygote

CHECKOUT = Path(__file__).parents[1]
PROGRAM = str(CHECKOUT / ".venv" / "bin" / "vpnagent")
POLL = 0.05 * PATIENCE  # a status costs the agent a few milliseconds, and fifty times that under emulation
CONNECTION = "hangzhou"
METRICS = "127.0.0.1:9786"
DETECTION = 0.3  # seconds, 3 x 100 ms: the default of the probe
PROBES_OF_OLD = 25  # of each tunnel: more than the glance at a new target takes
Status = dict[str, Any]


class Surroundings(Protocol):
    """What an agent stands in: a lab's one gateway, or one of two."""

    cloud: Cloud
    charon: LabCharon
    zygote: Zygote | None

    @property
    def gateway(self) -> Namespace:
        """The gateway's namespace."""


class LabGateway:
    """One agent with its files under `directory`; nothing runs until `start`."""

    def __init__(self, lab: Surroundings, directory: Path | None = None) -> None:
        self._lab = lab
        self.directory = directory or RUNTIME / "agent"
        self.configuration = self.directory / "vpnagent.yaml"
        self.control_socket = self.directory / "control.sock"
        self.state_directory = self.directory / "state"
        self.log = self.directory / f"{self.directory.name}.log"
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.started_at = 0.0
        self.directory.mkdir(parents=True, exist_ok=True)
        self.state_directory.mkdir(exist_ok=True)
        for tunnel in TUNNELS:
            self.write_key(tunnel)
        self.write(self.document())

    # Its files

    def document(self) -> dict[str, Any]:
        """The lab's standard configuration, as a value of your own to change."""
        return {
            "version": 1,
            "gateway": {
                "name": "idc-lab",
                "local_networks": [IDC_NETWORK],
                "source_address": GATEWAY_LAN,
            },
            "agent": {
                "vici_socket": str(self._lab.charon.socket),
                "control_socket": str(self.control_socket),
                "state_directory": str(self.state_directory),
                "metrics_listen": METRICS,
            },
            "connections": [
                {
                    "name": CONNECTION,
                    "attachment": "vpn-gateway",
                    "bandwidth": "200Mbps",
                    "remote_networks": list(REMOTE_NETWORKS),
                    "probe": {"targets": [ECS_HOST]},
                    "tunnels": [self._tunnel(tunnel) for tunnel in TUNNELS],
                }
            ],
        }

    def _tunnel(self, tunnel: LabTunnel) -> dict[str, Any]:
        return {
            "name": tunnel.name,
            "remote_address": tunnel.remote,
            "local_address": tunnel.local,
            "psk_file": str(self.key(tunnel)),
            "inside_address": f"{tunnel.inside_local}/30",
            "interface": f"vpn-{tunnel.name}",
            "if_id": tunnel.number,
        }

    def write(self, document: dict[str, Any]) -> None:
        """Write vpnagent.yaml; a running agent sees it with `reload`."""
        self.configuration.write_text(yaml.safe_dump(document, sort_keys=False))

    def key(self, tunnel: LabTunnel) -> Path:
        """The tunnel's PSK file."""
        return self.directory / f"{tunnel.name}.psk"

    def write_key(self, tunnel: LabTunnel, psk: str | None = None) -> None:
        """Write a PSK file, 0600; by default the key that the cloud has."""
        self.key(tunnel).write_text((psk or tunnel.psk) + "\n")
        self.key(tunnel).chmod(0o600)

    # Its process

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid if self.process and self.process.poll() is None else None

    def start(self) -> None:
        """Start `vpnagent run`, without waiting; one that was killed is gone for good first."""
        if self.process is not None:
            self.process.wait(20 * PATIENCE)
        self.started_at = time.monotonic()
        arguments = ("run", "--config", str(self.configuration))
        if self._lab.zygote:
            self.process = self._lab.zygote.start(*arguments, log=self.log)
        else:
            self.process = self._lab.gateway.start(PROGRAM, *arguments, log=self.log)

    def stop(self) -> int:
        """SIGTERM and wait; its exit status. Everything stays in place."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: it has no say in what it leaves."""
        self._end(signal.SIGKILL)

    def prober_pid(self) -> int:
        """The prober's process id."""
        wanted = os.fsencode(self.directory / "prober.sock")
        [pid] = (
            file.parent.name for file in Path("/proc").glob("[0-9]*/cmdline") if has_argument(file, wanted)
        )
        return int(pid)

    def kill_prober(self) -> None:
        """SIGKILL to the prober."""
        os.kill(self.prober_pid(), signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGHUP, SIGSTOP, SIGCONT."""
        assert self.pid, "the agent does not run"
        os.kill(self.pid, number)

    def _end(self, number: signal.Signals) -> int:
        assert self.process, "the agent was never started"
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20 * PATIENCE)

    def wait_ready(self, within: float = 10 * PATIENCE) -> Status:
        """Until it answers on its control socket."""
        return eventually(self.status_or_none, f"the agent answers; see {self.log}", within=within)

    # What it says

    def ask(self, command: str, **arguments: object) -> Any:
        """One command on the control socket; its result, or an AssertionError with what it said."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20 * PATIENCE)
            connection.connect(str(self.control_socket))
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline() or b"{}")
        assert answer.get("ok"), f"{command}: {answer}"
        return answer["result"]

    def status(self) -> Status:
        """What `vpnagent status --json` prints."""
        status: Status = self.ask("status")
        return status

    def status_or_none(self) -> Status | None:
        """The same, or nothing while nobody answers."""
        ended = self.process is not None and self.process.poll() is not None
        assert not ended, f"the agent ended:\n{self.log.read_text()}"
        with contextlib.suppress(OSError):
            return self.status()
        return None

    def wait(self, wanted: Callable[[Status], object], what: str, *, within: float) -> Status:
        """Until the status satisfies `wanted`; that status. A failure quotes the last one."""
        seen: Status | None = None

        def satisfied() -> Status | None:
            nonlocal seen
            seen = self.status_or_none()
            return seen if seen is not None and wanted(seen) else None

        try:
            return eventually(satisfied, what, within=within, every=POLL)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(seen, indent=1)}") from None

    def wait_up(self, within: float = 15 * PATIENCE) -> Status:
        """Until both tunnels are up and both ends use the primary: the first one up carries until then."""
        status = self.wait(lambda s: is_up(s) and prefers(s), "every tunnel is up", within=within)
        self._lab.cloud.wait_returning(TUNNELS[0])
        return status

    def metrics(self) -> dict[str, float]:
        """Every series of the metrics endpoint, `name{labels}` to value."""
        with self._lab.gateway.entered(), urllib.request.urlopen(f"http://{METRICS}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        series = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {key: float(value) for key, _, value in series}

    def run(self, *command: str, check: bool = True) -> str:
        """Run `vpnagent COMMAND` as a person would; what it printed on standard output."""
        return self._lab.gateway.run(PROGRAM, *command, "--config", str(self.configuration), check=check)

    # The end

    def down(self) -> None:
        """Have everything of ours removed, by the daemon if it runs."""
        if self.pid:
            with contextlib.suppress(ConnectionError):
                self.ask("down")
            assert self.process
            self.process.wait(20 * PATIENCE)
        else:
            self.run("down", check=False)


def has_argument(cmdline: Path, argument: bytes) -> bool:
    """Whether a process, as proc(5) tells its command line, was started with this argument."""
    with contextlib.suppress(OSError):  # it has ended
        return argument in cmdline.read_bytes().split(b"\0")
    return False


def tunnel(status: Status, wanted: LabTunnel) -> dict[str, Any]:
    """One tunnel of a status."""
    (found,) = (t for c in status["connections"] for t in c["tunnels"] if t["name"] == wanted.name)
    return dict(found)


def paths_are_up(status: Status) -> bool:
    """Whether every tunnel's path is heard."""
    return all(bool(tunnel(status, each)["path"]["state"] == "up") for each in TUNNELS)


def routes_stand(status: Status) -> bool:
    """Whether every network has its route.

    A tunnel is up some moments before its routes: the prober writes the group, then the daemon the routes.
    """
    return all(route["state"] == "installed" for route in status["routes"])


def prefers(status: Status) -> bool:
    """Whether traffic is where the configuration wants it when all is well."""
    tunnels = (tunnel for connection in status["connections"] for tunnel in connection["tunnels"])
    return all(tunnel["forwarding"] for tunnel in tunnels if tunnel["role"] == "active")


def is_up(status: Status) -> bool:
    """Whether the gateway and all its tunnels are up, and the traffic of each connection has a way to go."""
    if not routes_stand(status):
        return False
    connections = status["connections"]
    tunnels = (tunnel for connection in connections for tunnel in connection["tunnels"])
    active = all(connection["active"] for connection in connections)
    return status["state"] == "up" and active and all(tunnel["state"] == "up" for tunnel in tunnels)


def start(gateway: LabGateway, *, shared: bool = False, **changes: Any) -> Status:
    """Start an agent whose paths are known to work; with ``shared`` its tunnels have no inside address."""
    document = gateway.document()
    [connection] = document["connections"]
    connection |= changes
    connection["probe"] |= {"hold_down": "2s"}
    if shared:
        for each in connection["tunnels"]:
            del each["inside_address"]
    gateway.write(document)
    gateway.start()
    gateway.wait_up()
    gateway.wait(paths_are_up, "both paths answer", within=10 * PATIENCE)
    eventually(lambda: _old_enough(gateway.metrics()), "they are new no more", within=10 * PATIENCE)
    return gateway.status()


def _old_enough(metrics: dict[str, float]) -> bool:
    """Whether of each path it is known how its target answers when nothing is wrong."""
    sent = [value for key, value in metrics.items() if key.startswith("vpnagent_probe_sent_total")]
    return len(sent) == len(TUNNELS) and min(sent) >= PROBES_OF_OLD


def on_backup(status: Status) -> bool:
    return bool(status["connections"][0]["active"] == ["backup"])


def last_failover(gateway: LabGateway) -> dict[str, Any]:
    failover: dict[str, Any] = gateway.status()["connections"][0]["last_failover"]
    return failover


def failover_from(gateway: LabGateway, each: LabTunnel) -> dict[str, Any]:
    """The failover that left a tunnel: traffic moves on suspicion, and that is told when it is certain."""

    def told() -> dict[str, Any] | None:
        failover = last_failover(gateway)
        return failover if failover and failover["from"] == [each.name] else None

    return eventually(told, f"it is told that {each.name} was left", within=5 * PATIENCE)
