"""Libreswan's IKE daemon as a cloud end: another implementation than ours, with another reading of the RFCs.

Its Debian package excludes strongSwan's, so `lab/libreswan` unpacks it into build/libreswan. It makes
the XFRM interface of its SAs itself, `ipsec1`; addresses and routes are the lab's.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.deadline import PATIENCE, eventually
from lab.topology import IDC_NETWORK, Tunnel
from lab.world import RUNTIME, Lab

PREFIX = Path(__file__).parents[1] / "build" / "libreswan"
PROGRAMS = PREFIX / "usr" / "libexec" / "ipsec"
CONNECTION = """config setup
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


class Pluto:
    """One pluto in a zone's namespace, in the place of the zone's charon."""

    def __init__(self, lab: Lab, tunnel: Tunnel) -> None:
        self._lab = lab
        self._tunnel = tunnel
        self._zone = lab.topology[tunnel.zone]
        self._directory = RUNTIME / "pluto"
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self, *, version: int, ike: str, esp: str) -> Iterator[Pluto]:
        """Take the zone over, and give it back."""
        self._lab.cloud.crash(self._tunnel)
        self._zone.ip("link del tunnel")
        # The cloud's router knows charon only.
        route = f"{IDC_NETWORK} via 172.31.{self._tunnel.number}.1 metric 9"
        self._lab.topology["vpc"].ip(f"route add {route}")
        try:
            self._start(version, ike, esp)
            yield self
        finally:
            self._stop()
            self._lab.topology["vpc"].ip(f"route del {route}")
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
        shutil.copytree(PREFIX / "nss", self._directory / "nss")
        tunnel = self._tunnel
        (self._directory / "secrets").write_text(f'{tunnel.remote} {tunnel.local} : PSK "{tunnel.psk}"\n')
        (self._directory / "ipsec.conf").write_text(
            CONNECTION.format(
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
