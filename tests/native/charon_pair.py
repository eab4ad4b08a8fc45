"""Two real charons, each in a network namespace of its own, joined by a veth pair.

CHILD_SAs are real although this needs no ESP in the kernel: ``kernel-libipsec`` does ESP in user space,
over a TUN device. It has no XFRM interfaces, so connections here have ``if_id`` 0.
"""

import contextlib
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from tests.ipsec.connections import make_connection
from vici.protocol import Packet

from vpnagent.ipsec.actions import CharonConnection

CHARON = "/usr/sbin/charon-systemd"

#: Retransmission is four times as fast as by default: no answer is told after 1 s instead of 4. Half-open
#: IKE_SAs are not limited to 5 from one address: every scenario comes from the same.
STRONGSWAN_CONF = """
charon-systemd {{
  install_routes = no
  install_virtual_ip = no
  retransmit_timeout = 1.0
  dos_protection = no
  {settings}
  plugins {{
    include /etc/strongswan.d/charon/*.conf
    kernel-libipsec {{ load = {libipsec} }}
    bypass-lan {{ load = no }}
    vici {{ socket = unix://{directory}/charon.vici }}
  }}
  filelog {{ log {{ path = {directory}/charon.log
    default = 1
    flush_line = yes
    ike_name = yes
    time_format = %H:%M:%S
    time_add_ms = yes }} }}
}}
"""


class Host:
    """A namespace with an address on the wire, two networks of one address behind it, and a charon."""

    def __init__(self, name: str, number: int, directory: pathlib.Path) -> None:
        self.namespace = f"vpnagent-{os.getpid()}-{name}"
        self.address = f"10.77.0.{number}"
        self.network = f"10.78.{number}.1/32"
        self.other_network = f"10.79.{number}.1/32"
        self.directory = directory / name
        self.directory.mkdir()
        self.vici = str(self.directory / "charon.vici")
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, settings: str, *, libipsec: bool = True) -> str:
        """Write strongswan.conf with further settings of charon, for its start or ``reload-settings``."""
        conf = self.directory / "strongswan.conf"
        conf.write_text(
            STRONGSWAN_CONF.format(
                directory=self.directory, libipsec="yes" if libipsec else "no", settings=settings
            )
        )
        return str(conf)

    def start(self, *, libipsec: bool = True, settings: str = "") -> None:
        """Start charon; it is ready when its socket answers."""
        conf = self.configure(settings, libipsec=libipsec)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.vici)
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, CHARON],
            env={**os.environ, "STRONGSWAN_CONF": conf},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self._process.poll() is None, "charon ends at once"
            assert time.monotonic() < deadline, "charon does not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            sock.settimeout(5)
            sock.connect(self.vici)
            packet = Packet.request("version")
            sock.sendall(struct.pack("!I", len(packet)) + packet)
            return bool(sock.recv(4))
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to charon: ``ip netns exec`` has become it. After SIGSTOP it stands still."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have charon stand still for a while, its sockets open."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill charon without mercy, and wait until it is gone."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """Return charon's log."""
        return (self.directory / "charon.log").read_text()


@contextlib.contextmanager
def charon_pair(directory: pathlib.Path, settings: str = "") -> Iterator[tuple[Host, Host]]:
    """Yield two hosts with running charons that have these settings; leave nothing behind."""
    hosts = Host("a", 1, directory), Host("b", 2, directory)
    try:
        _link(*hosts)
        for host in hosts:
            host.start(settings=settings)
        yield hosts
    finally:
        for host in hosts:
            host.kill()
            subprocess.run(["ip", "netns", "del", host.namespace], check=False)


def connection(here: Host, there: Host, **changes: Any) -> CharonConnection:
    """Return the connection as one host has it; the other has its mirror image."""
    fields: dict[str, Any] = {
        "local_address": here.address,
        "remote_address": there.address,
        "local_id": here.address,
        "remote_id": there.address,
        "local_ts": (here.network,),
        "remote_ts": (there.network,),
        "if_id": 0,
    }
    return make_connection(**fields | changes)


def _link(a: Host, b: Host) -> None:
    for host in (a, b):
        _ip("netns", "add", host.namespace)
    _ip("-n", a.namespace, "link", "add", "wire", "type", "veth", "peer", "wire", "netns", b.namespace)
    for host in (a, b):
        _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "wire")
        for network in (host.network, host.other_network):  # libipsec wants an address in each selector
            _ip("-n", host.namespace, "address", "add", network, "dev", "lo")
        _ip("-n", host.namespace, "link", "set", "lo", "up")
        _ip("-n", host.namespace, "link", "set", "wire", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
