"""The sockets of the IKE ping: one for each local address, bound to no interface.

They follow the host's own routes, never a tunnel: a configuration in which a tunnel's networks cover its
peer's address is refused.
"""

import contextlib
import os
import socket
from collections.abc import Iterator

from vpnagent.config.values import TunnelKey
from vpnagent.probe import ike_ping
from vpnagent.probe.intent import TunnelIntent
from vpnagent.probe.poller import Poller

OUTSTANDING = 1024  #: pings that may await an answer; the oldest are forgotten
_MESSAGE = 4096  #: bytes


class IkeSockets:
    """Asks peers' IKE daemons for a sign of life."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._sockets: dict[str, socket.socket] = {}
        self._asked: dict[tuple[bytes, str], TunnelKey] = {}

    def send(self, tunnel: TunnelIntent, template: bytes) -> None:
        """Send one ping; OSError when it did not leave."""
        local = str(tunnel.local_address or "")
        sock = self._sockets.get(local) or self._open(local)
        spi, peer = os.urandom(ike_ping.SPI_SIZE), str(tunnel.remote_address)
        sock.sendto(ike_ping.request(template, spi), (peer, ike_ping.PORT))
        if len(self._asked) >= OUTSTANDING:
            del self._asked[next(iter(self._asked))]
        self._asked[spi, peer] = tunnel.key

    def drain(self) -> Iterator[TunnelKey]:
        """Yield the tunnels whose peers answered."""
        for sock in self._sockets.values():
            yield from self._drain(sock)

    def _drain(self, sock: socket.socket) -> Iterator[TunnelKey]:
        while True:
            try:
                message, sender = sock.recvfrom(_MESSAGE)
            except BlockingIOError:
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
        try:
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
