"""The cloud's half: two zones with a charon each, and who returns traffic to the IDC.

A VPN gateway returns traffic on its active tunnel (tunnel 1) while that tunnel's CHILD_SA is up, moves to the
standby at once on DELETE or when DPD has given up, and fails back by itself. A transit router hashes over all
tunnels that are up. The decision is made by a process of its own, from VICI events, as fast as they come.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from lab.charon import LabCharon, ViciSession, connection
from lab.deadline import PATIENCE, eventually
from lab.topology import IDC_NETWORK, TUNNELS, LabTunnel, Topology
from vici.exception import SessionException  # type: ignore[attr-defined]

CloudMode = Literal["vpn-gateway", "transit-router"]
StartAction = Literal["none", "trap", "start"]  # never, on traffic (the real default), EffectImmediately
GATEWAYS = {1: "172.31.1.1", 2: "172.31.2.1"}
POLL = 1.0  # an event can be missed when a charon is killed
LIBRESWAN = Path(__file__).parents[1] / "build" / "libreswan"
PROGRAMS = LIBRESWAN / "usr" / "libexec" / "ipsec"
PLUTO_CONNECTION = """config setup
    logfile={directory}/pluto.log
    ikev1-policy=accept

conn cloud
    left={remote}
    leftid={remote}
    leftsubnet=0.0.0.0/0
    right={local}
    rightid={local}
    rightsubnet=0.0.0.0/0
    authby=secret
    ikev2={ikev2}
    ike={ike}
    esp={esp}
    pfs=yes
    encapsulation=yes
    ipsec-interface=1
    replay-window=2048
    leftupdown=%disabled
    auto=add
"""


class Cloud:
    """Both cloud ends, and the knobs that a scenario turns."""

    def __init__(self, topology: Topology, directory: Path) -> None:
        self.zones = {tunnel: LabCharon(topology[tunnel.zone], directory / tunnel.zone) for tunnel in TUNNELS}
        self.log = directory / "cloud.log"
        self._router = ReturnRouter({t.number: zone.socket for t, zone in self.zones.items()}, self.log)
        self.vpc = topology["vpc"]
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Start both charons, load the standard connections, and begin to route."""
        _process, self._pipe = self.vpc.fork(self._router.main)
        for zone in self.zones.values():
            zone.start()
        for zone in self.zones.values():
            zone.wait()
        self.reset()

    def stop(self) -> None:
        """End everything."""
        for zone in self.zones.values():
            zone.stop()
        if self._pipe:
            self._pipe.close()

    def reset(self) -> None:
        """What each scenario begins with: charons with the standard configuration, no SA, a VPN gateway."""
        self.mode("vpn-gateway")
        for tunnel, zone in self.zones.items():
            if zone.pid is None:
                zone.restart()
            self.load(tunnel)
            zone.terminate(tunnel.zone)

    def load(
        self,
        tunnel: LabTunnel,
        *,
        psk: str | None = None,
        initiation: StartAction = "none",
        changes: Mapping[str, Any] | None = None,
        child: Mapping[str, Any] | None = None,
    ) -> None:
        """(Re)load a tunnel's cloud end; `changes` and `child` are keys of swanctl.conf."""
        message = connection(
            tunnel.zone,
            local=tunnel.remote,
            remote=tunnel.local,
            if_id=1,
            changes=changes,
            child={"start_action": initiation, **(child or {})},
        )
        with self.zones[tunnel].session() as session:
            session.load_shared(
                {
                    "id": tunnel.zone,
                    "type": "IKE",
                    "data": psk or tunnel.psk,
                    "owners": [tunnel.remote, tunnel.local],
                }
            )
            session.load_conn(message)

    def is_up(self, tunnel: LabTunnel) -> bool:
        """Whether the cloud has a CHILD_SA for the tunnel."""
        return self.zones[tunnel].is_up(tunnel.zone)

    def delete(self, tunnel: LabTunnel) -> None:
        """The cloud sends DELETE."""
        self.zones[tunnel].terminate(tunnel.zone)

    def crash(self, tunnel: LabTunnel) -> None:
        """The zone's charon dies without a word, and with it the zone's SAs: an instance that is gone."""
        self.zones[tunnel].kill()
        self.zones[tunnel].namespace.run("ip", "xfrm", "state", "flush")
        self.zones[tunnel].namespace.run("ip", "xfrm", "policy", "flush")

    def recover(self, tunnel: LabTunnel) -> None:
        """The zone's charon is back with its configuration."""
        self.zones[tunnel].restart()
        self.load(tunnel)

    def mode(self, mode: CloudMode) -> None:
        """Behave as a VPN gateway or as a transit router."""
        self._ask(mode)

    def returning(self) -> tuple[str, ...]:
        """Names of the tunnels that return traffic now."""
        numbers = self._ask("status")
        return tuple(tunnel.name for tunnel in TUNNELS if tunnel.number in numbers)

    def wait_returning(self, *tunnels: LabTunnel, within: float = 5 * PATIENCE) -> None:
        """Until exactly these tunnels return traffic."""
        wanted = tuple(tunnel.name for tunnel in tunnels)
        eventually(
            lambda: self.returning() == wanted, f"the cloud returns traffic on {wanted}", within=within
        )

    def _ask(self, command: str) -> list[int]:
        assert self._pipe, "the cloud is not started"
        self._pipe.send(command)
        assert self._pipe.poll(10 * PATIENCE), "the cloud's router does not answer"
        answer: list[int] = self._pipe.recv()
        return answer


class ReturnRouter:
    """Watches both charons and keeps the VPC router's route to the IDC where the cloud would have it."""

    def __init__(self, sockets: Mapping[int, Path], log: Path) -> None:
        self._sockets = sockets
        self._log = log
        self._mode = "vpn-gateway"
        self._up = dict.fromkeys(sockets, False)
        self._chosen: list[int] = []
        self._changed: queue.Queue[tuple[int, bool]] = queue.Queue()

    def main(self, pipe: Connection) -> None:
        """The process in the VPC router's namespace; it ends when `pipe` does."""
        self._ip = subprocess.Popen(["ip", "-force", "-batch", "-"], stdin=subprocess.PIPE, text=True)
        for number in self._sockets:
            threading.Thread(target=self._watch, args=(number,), daemon=True).start()
        threading.Thread(target=self._apply, daemon=True).start()
        with contextlib.suppress(EOFError, OSError):
            while True:
                command = pipe.recv()
                if command != "status":
                    self._mode = command
                    self._choose()
                pipe.send(self._chosen)

    def _apply(self) -> None:
        while True:
            number, up = self._changed.get()
            if self._up[number] != up:
                self._up[number] = up
                self._write(f"tunnel {number} {'up' if up else 'down'}")
                self._choose()

    def _choose(self) -> None:
        up = [number for number, is_up in sorted(self._up.items()) if is_up]
        chosen = up if self._mode == "transit-router" else up[:1]
        if chosen == self._chosen:
            return
        self._chosen = chosen
        hops = " ".join(f"nexthop via {GATEWAYS[number]}" for number in chosen)
        assert self._ip.stdin
        line = f"route replace {IDC_NETWORK} {hops}" if hops else f"route del {IDC_NETWORK}"
        print(line, file=self._ip.stdin, flush=True)
        self._write(f"{self._mode}: returns traffic on {chosen}")

    def _watch(self, number: int) -> None:
        """Events say when to look; what counts is what is there."""
        while True:
            try:
                with (
                    ViciSession(self._sockets[number]) as events,
                    ViciSession(self._sockets[number]) as state,
                ):
                    self._look(number, state)
                    for _name, event in events.listen(["child-updown", "ike-updown"], timeout=POLL):
                        self._look(number, state, event)
            except (OSError, SessionException):
                self._changed.put((number, False))
                time.sleep(POLL / 10)

    def _look(self, number: int, state: Any, event: Mapping[str, Any] | None = None) -> None:
        gone = set()
        if event is not None and "up" not in event:
            gone = {sa["uniqueid"] for sa in event.values() if isinstance(sa, dict) and "uniqueid" in sa}
        # list-sas is no snapshot: during a rekeying of the IKE_SA it can show the CHILD_SA under neither.
        looks = (any(_carries(sa, gone) for sas in state.list_sas() for sa in sas.values()) for _ in range(2))
        self._changed.put((number, any(looks)))

    def _write(self, text: str) -> None:
        with self._log.open("a") as log:
            print(f"{time.strftime('%H:%M:%S')}.{time.time_ns() // 10**6 % 1000:03} {text}", file=log)


def _carries(sa: Mapping[str, Any], gone: set[bytes]) -> bool:
    """Whether an IKE_SA that was not just reported gone has a CHILD_SA in service."""
    if sa["uniqueid"] in gone and sa["state"] == b"DELETING":
        return False
    return any(
        child["state"] in {b"INSTALLED", b"REKEYING", b"REKEYED"} for child in sa["child-sas"].values()
    )


class Pluto:
    """Libreswan's IKE daemon in a charon's place: another implementation, another reading of the RFCs.

    Its Debian package excludes strongSwan's, so `lab/libreswan` unpacks it into build/libreswan. It makes
    the XFRM interface of its SAs itself, `ipsec1`; addresses and routes are the lab's.
    """

    def __init__(self, cloud: Cloud, tunnel: LabTunnel) -> None:
        self._cloud = cloud
        self._tunnel = tunnel
        self._zone, self._vpc = cloud.zones[tunnel].namespace, cloud.vpc
        self._directory = cloud.log.parent / "pluto"
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self, *, version: int, ike: str, esp: str) -> Iterator[Pluto]:
        """Take the zone over, and give it back."""
        self._cloud.crash(self._tunnel)
        self._zone.ip("link del tunnel")
        # The cloud's router knows charon only.
        route = f"{IDC_NETWORK} via 172.31.{self._tunnel.number}.1 metric 9"
        self._vpc.ip(f"route add {route}")
        try:
            self._start(version, ike, esp)
            yield self
        finally:
            self._stop()
            self._vpc.ip(f"route del {route}")
            self._zone.run("ip", "xfrm", "state", "flush")
            self._zone.run("ip", "xfrm", "policy", "flush")
            self._zone.run("ip", "link", "del", "ipsec1", check=False)
            self._zone.ip("link add tunnel type xfrm if_id 1")
            self._configure("tunnel")

    def log(self) -> str:
        """What it said."""
        return (self._directory / "pluto.log").read_text()

    def _start(self, version: int, ike: str, esp: str) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir()
        shutil.copytree(LIBRESWAN / "nss", self._directory / "nss")
        tunnel = self._tunnel
        (self._directory / "secrets").write_text(f'{tunnel.remote} {tunnel.local} : PSK "{tunnel.psk}"\n')
        (self._directory / "ipsec.conf").write_text(
            PLUTO_CONNECTION.format(
                directory=self._directory,
                remote=tunnel.remote,
                local=tunnel.local,
                ikev2="insist" if version == 2 else "no",
                ike=ike,
                esp=esp,
            )
        )
        # Pluto starts programs where its package has them.
        there = f'mount --bind {PROGRAMS.parent} /usr/libexec && exec "$@"'
        self._process = self._zone.start(
            *("unshare", "--mount", "sh", "-c", there, "-", str(PROGRAMS / "pluto"), "--nofork"),
            *("--config", str(self._directory / "ipsec.conf"), "--rundir", str(self._directory)),
            *("--secretsfile", str(self._directory / "secrets"), "--nssdir", str(self._directory / "nss")),
            *("--logfile", str(self._directory / "pluto.log"), "--log-no-audit", "--no-dnssec"),
            log=self._directory / "pluto.out",
        )

    def _stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10 * PATIENCE)

    def attach(self) -> None:
        """Address and route the XFRM interface that pluto has made."""
        eventually(lambda: "ipsec1" in self._zone.links("xfrm"), "pluto's interface", within=10 * PATIENCE)
        self._configure("ipsec1")

    def _configure(self, interface: str) -> None:
        self._zone.ip(
            f"address replace {self._tunnel.inside_remote}/30 dev {interface}",
            f"link set {interface} mtu 1399 up",
            f"route replace {IDC_NETWORK} dev {interface}",
        )
