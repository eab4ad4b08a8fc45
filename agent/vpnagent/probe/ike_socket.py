"""The sockets of the IKE ping: one for each local address, bound to no interface.

They follow the host's own routes, never a tunnel: a configuration in which a tunnel's networks cover its
peer's address is refused.
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from vpnagent.config.values import TunnelKey
from vpnagent.probe import ike_ping
from vpnagent.probe.inbox import Allowance
from vpnagent.probe.intent import TunnelIntent
from vpnagent.probe.packet import between
from vpnagent.probe.poller import Poller
from vpnagent.probe.socket_filter import attach

OUTSTANDING = 1024  #: pings that may await an answer; the oldest are forgotten
_MESSAGE = 4096  #: bytes


class IkeSockets:
    """Asks peers' IKE daemons for a sign of life."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._sockets: dict[str, socket.socket] = {}
        self._asked: dict[tuple[bytes, str], TunnelKey] = {}
        self._ends: dict[TunnelKey, tuple[IPv4Address | None, IPv4Address]] = {}
        self._nonce = os.urandom(ike_ping.NONCE_SIZE)  #: what every SPI of ours begins with

    def use(self, tunnels: Iterable[TunnelIntent]) -> None:
        """Take other tunnels; where their addresses are others, so are the sockets."""
        ends = {tunnel.key: (tunnel.local_address, tunnel.remote_address) for tunnel in tunnels}
        if ends != self._ends:
            self._ends = ends
            self.forget_all()

    @property
    def open(self) -> bool:
        """Whether anybody was asked yet."""
        return bool(self._sockets)

    def send(self, tunnel: TunnelIntent, template: bytes) -> None:
        """Send one ping; OSError when it did not leave."""
        local = str(tunnel.local_address or "")
        sock = self._sockets.get(local) or self._open(local)
        spi = self._nonce + os.urandom(ike_ping.SPI_SIZE - ike_ping.NONCE_SIZE)
        peer = str(tunnel.remote_address)
        sock.sendto(ike_ping.request(template, spi), (peer, ike_ping.PORT))
        if len(self._asked) >= OUTSTANDING:
            del self._asked[next(iter(self._asked))]
        self._asked[spi, peer] = tunnel.key

    def drain(self, allowance: Allowance) -> Iterator[TunnelKey]:
        """Yield the tunnels whose peers answered, as far as it is allowed to look."""
        for sock in self._sockets.values():
            yield from self._drain(sock, allowance)

    def _drain(self, sock: socket.socket, allowance: Allowance) -> Iterator[TunnelKey]:
        while allowance.left > 0:
            allowance.left -= 1
            try:
                message, sender = sock.recvfrom(_MESSAGE)
            except BlockingIOError:
                allowance.left += 1
                return
            except OSError:  # an ICMP error: the peer's host may live, its IKE daemon did not answer
                continue
            spi = ike_ping.answered(message)
            tunnel = self._asked.pop((spi, sender[0]), None) if spi else None
            if tunnel:
                yield tunnel

    def _open(self, local: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        peers = {remote.packed for _, remote in self._ends.values()}
        try:
            attach(sock, ike_ping.answers_filter(self._nonce, between(peers, ())))
            sock.bind((local, 0))
        except OSError:
            sock.close()
            raise
        self._sockets[local] = sock
        self._poller.watch(sock.fileno(), lambda: None)  # all sockets are drained at every wake-up
        return sock

    def forget_all(self) -> None:
        """Close the sockets: addresses may have changed."""
        for sock in self._sockets.values():
            self._poller.forget(sock.fileno())
            with contextlib.suppress(OSError):
                sock.close()
        self._sockets.clear()
