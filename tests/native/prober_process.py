"""A prober over the stand-ins, with and without a control daemon."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lab.namespace import inside
from tests.native.two_tunnels import GROUP, INSIDE, NEXTHOPS, SHARED, SOURCE, TwoTunnels

from vpnagent.config.values import Forwarding, OnPathDown, ProbeMethod, Role, TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.client import ProberClient, Start
from vpnagent.probe.intent import (
    Configure,
    ConnectionIntent,
    Crafted,
    GroupIntent,
    Intent,
    ProbeTarget,
    TunnelIntent,
    ViciRequests,
)
from vpnagent.probe.kernel import KernelRequests, Members
from vpnagent.probe.protocol import ProberReport, ToDaemon
from vpnagent.probe.server import acquire_lock

T = TypeVar("T")

KEYS = (TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup"))
CRAFTED = Crafted(
    ike_ping=bytes(8) + bytes.fromhex("0000000000000000212022080000000000000000"),
    tcp_syn=bytes.fromhex("0000000000000000000000006002faf00000000002040550"),
    dns_query=bytes.fromhex("0000010000010000000000000000020001"),
)


def tunnel_intent(number: int, **changes: Any) -> TunnelIntent:
    values: dict[str, Any] = {
        "key": KEYS[number],
        "role": (Role.ACTIVE, Role.STANDBY)[number],
        "weight": 1,
        "nexthop_id": NEXTHOPS[number],
        "interface": f"t{number}",
        "outer_interface": None,
        "source": IPv4Address(SOURCE),
        "targets": (ProbeTarget(address=IPv4Address(INSIDE[number]), inside_peer=True),),
        "method": ProbeMethod.ICMP,
        "port": 0,
        "interval": 0.1,
        "detect_multiplier": 3,
        "hold_down": 1.0,
        "remote_address": IPv4Address("203.0.113.1"),
        "local_address": None,
        "ike_ping": False,
        "child_sa_installed": True,
    }
    return TunnelIntent(**values | changes)


def configure(
    *,
    vici_socket: str = "",
    vici: tuple[ViciRequests, ...] = (),
    on_path_down: OnPathDown = OnPathDown.KEEP,
    first: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
    **both: Any,
) -> Configure:
    tunnels = (tunnel_intent(0, **both | (first or {})), tunnel_intent(1, **both | (second or {})))
    connection = ConnectionIntent(
        name="hangzhou", forwarding=Forwarding.ACTIVE_STANDBY, on_path_down=on_path_down, tunnels=tunnels
    )
    group = GroupIntent(id=GROUP, connections=("hangzhou",))
    intent = Intent(generation=0, connections=(connection,), groups=(group,))
    return Configure(intent=intent, crafted=CRAFTED, vici_socket=vici_socket, vici=vici)


def shared_targets() -> tuple[ProbeTarget, ...]:
    return (ProbeTarget(address=IPv4Address(SHARED), inside_peer=False),)


def installed_environment() -> dict[str, str]:
    """Return the environment of a prober as installed: byte-compiled, whatever this shell says."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": f"{tempfile.gettempdir()}/vpnagent-pycache"}


def prober_command(world: TwoTunnels, socket_path: Path | str, *options: str) -> list[str]:
    module = [sys.executable, "-P", "-m", "vpnagent.probe", "--socket", str(socket_path), *options]
    return ["ip", "netns", "exec", world.gw, *module]


class ControlDaemon:
    """A control daemon reduced to its client of the prober, on a loop in a thread."""

    def __init__(
        self, world: TwoTunnels, socket_path: Path, *options: str, start: Start | None = None
    ) -> None:
        self.messages: list[ToDaemon] = []
        self.lost_at: list[float] = []
        self.started: list[subprocess.Popen[bytes]] = []
        self._command = prober_command(world, socket_path, *options)
        self._path = str(socket_path)
        self._starter = start or self._start
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "ControlDaemon":
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self.client = ProberClient(
            self._path,
            start=self._starter,
            on_message=self.messages.append,
            on_lost=lambda: self.lost_at.append(time.monotonic()),
        )
        self._task = self._loop.create_task(self.client.run())
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        self._task.cancel()
        self._loop.run_until_complete(asyncio.wait([self._task]))
        self._loop.close()

    def _start(self, replaces: bool) -> None:
        options = ["--replace"] * replaces
        command = [*self._command, *options]
        self.started.append(subprocess.Popen(command, start_new_session=True, env=installed_environment()))

    def configure(self, wanted: Configure) -> None:
        """Make the prober do it, and wait until it is in force."""

        async def send() -> None:
            self.client.configure(wanted)
            await asyncio.wait_for(self.client.accepted(), 5)

        asyncio.run_coroutine_threadsafe(send(), self._loop).result(6)

    def of(self, kind: type[T]) -> list[T]:
        return [message for message in self.messages if isinstance(message, kind)]

    @property
    def report(self) -> ProberReport | None:
        return next((m for m in reversed(self.messages) if isinstance(m, ProberReport)), None)

    def quit(self) -> None:
        asyncio.run_coroutine_threadsafe(self.client.quit(), self._loop).result(6)

    def end_probers(self) -> None:
        """End what this daemon started, by pid."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()


@contextlib.contextmanager
def control_daemon(
    world: TwoTunnels, *options: str, wanted: Configure | None = None, directory: Path | None = None
) -> Iterator[ControlDaemon]:
    """One whose prober ends with it."""
    with (
        tempfile.TemporaryDirectory() as own,
        ControlDaemon(world, (directory or Path(own)) / "prober.sock", *options) as daemon,
    ):
        try:
            if wanted:
                daemon.configure(wanted)
            yield daemon
        finally:
            daemon.quit()
            daemon.end_probers()


def all_up(daemon: ControlDaemon) -> bool:
    report = daemon.report
    return report is not None and all(path.state is PathState.UP for path in report.paths)


def states(daemon: ControlDaemon) -> list[PathState]:
    return [path.state for path in daemon.report.paths] if daemon.report else []


def answered(daemon: ControlDaemon) -> list[int]:
    report = daemon.report
    return [path.answered for path in report.paths] if report else [0, 0]


class Requests:
    """Sees the echo requests that reach the far end, from a thread."""

    def __init__(self, world: TwoTunnels) -> None:
        self.times: list[float] = []
        self.last = b""
        self._socket = inside(
            world.far, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        self._socket.settimeout(0.1)
        self._ended = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Requests":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._ended:
            with contextlib.suppress(TimeoutError):
                packet = self._socket.recv(2048)
                if packet[20] == 8:
                    self.last = packet
                    self.times.append(time.monotonic())

    def send_to_gateway(self, message: bytes) -> None:
        self._socket.sendto(message, (SOURCE, 0))


def end_prober(directory: Path | str) -> None:
    """End the prober that a daemon with this state directory left: whoever takes its lock does."""
    os.close(acquire_lock(f"{directory}/prober.sock", replace=True))


def until(condition: Callable[[], T | None], *, within: float = 5.0, every: float = 0.002) -> T:
    """Poll until the condition holds; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(every)
    return found


class Group:
    """The group in a namespace, as the kernel has it at the moment of the call."""

    def __init__(self, namespace: str) -> None:
        self._kernel = inside(namespace, KernelRequests)

    def __call__(self) -> Members:
        have = self._kernel.nexthop(GROUP)
        return have.members if have else ()

    def write(self, members: Members) -> None:
        """Change it, as somebody else would."""
        self._kernel.write_group(GROUP, members)

    def close(self) -> None:
        """Give the socket back."""
        self._kernel.close()


def resident(pid: int) -> int:
    """Return the resident memory of a process in KiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
