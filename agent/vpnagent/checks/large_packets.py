"""Send large echo requests through the tunnels, which must not be fragmented, and hear which are answered.

A tunnel in order costs two packets: a small one and a full one. Only where the small one is answered and the
full one is not, the sizes between are asked for too. An answer may come by any interface, as to a probe.
A shell.
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from vpnagent.checks.observation import LargePackets
from vpnagent.checks.underlay import MOST_TARGETS, SMALL, sizes, targets
from vpnagent.config.values import Config, TunnelKey
from vpnagent.probe.packets import Echo
from vpnagent.probe.sockets import raw_socket

BRIEF: Final = (0.4, 0.3, 0.3)  #: seconds after each round of requests; a size is sent in each until answered
PATIENT: Final = (*BRIEF[:2], 1.3, *BRIEF[1:])  #: the same, and after a second once more
IP_HEADER: Final = 20  #: bytes
LARGEST: Final = 65535  #: bytes of an IP packet


async def large_packets(config: Config, rounds: Sequence[float]) -> tuple[LargePackets, ...]:
    """Return what became of large packets in each tunnel whose interface is up.

    Takes as long as the rounds together, and less if everything is answered. Raises PermissionError without
    CAP_NET_RAW.
    """
    echo = Echo(*struct.unpack("=HQ", os.urandom(10)))
    with contextlib.ExitStack() as open_sockets:
        inbox = open_sockets.enter_context(raw_socket(socket.IPPROTO_ICMP, echo.filter()))
        inbox.setblocking(False)
        ways = _ways(config, echo, open_sockets)
        first, *others = rounds
        await _ask(ways, echo, inbox, first)
        # Where not even the small one is answered, or late, nothing can be told.
        suspects = [way for way in ways if way.missing and SMALL in way.answered]
        for way in suspects:
            way.sizes |= sizes(way.mtu)
        for seconds in others:
            await _ask(suspects, echo, inbox, seconds)
        return tuple(way.outcome() for way in ways)


class _Way:
    """One target through one tunnel, and the socket to ask it by."""

    def __init__(self, slot: int, tunnel: TunnelKey, target: IPv4Address, sock: socket.socket) -> None:
        self.slot, self._tunnel, self._target, self._socket = slot, tunnel, target, sock
        self.mtu = self._known_mtu()
        self.sizes = {SMALL, self.mtu}
        self.answered: set[int] = set()
        self._refused = False

    @property
    def missing(self) -> set[int]:
        """The sizes that were not answered yet."""
        return self.sizes - self.answered

    def send(self, echo: Echo) -> None:
        """Send every size that was not answered yet.

        The largest first: who answers only so many requests a second then answers these.
        """
        for size in sorted(self.missing, reverse=True):
            request = echo.request(self.slot, size)
            padding = bytes(size - IP_HEADER - len(request))  # zeros: they change no checksum
            try:
                self._socket.send(request + padding)
            except OSError as error:
                self._refused |= error.errno == errno.EMSGSIZE

    def outcome(self) -> LargePackets:
        """Return what came of it."""
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            smaller = self._known_mtu() < self.mtu
        except OSError:
            smaller = True  # the interface went down meanwhile
        return LargePackets(
            tunnel=self._tunnel,
            target=self._target,
            mtu=self.mtu,
            answered=frozenset(self.answered),
            lost=frozenset(self.missing),
            refused=self._refused or smaller or error == errno.EMSGSIZE,
        )

    def _known_mtu(self) -> int:
        """Return what fits as far as the kernel knows now: to connect looks the route up again."""
        self._socket.connect((str(self._target), 0))
        return known_mtu(self._socket)


def _ways(config: Config, echo: Echo, open_sockets: contextlib.ExitStack) -> list[_Way]:
    """Return the ways that exist: a tunnel's interface may not be there, or not be up."""
    ways: list[_Way] = []
    for connection in config.connections:
        for tunnel in connection.tunnels:
            for target in targets(connection, tunnel)[:MOST_TARGETS]:
                sock = open_sockets.enter_context(raw_socket(socket.IPPROTO_ICMP, echo.filter()))
                with contextlib.suppress(OSError):
                    _bind(sock, tunnel.interface, config.source_of(connection))
                    ways.append(_Way(len(ways), tunnel.key, target, sock))
    return ways


def _bind(sock: socket.socket, interface: str, source: IPv4Address | None) -> None:
    """Have a socket send as probes are sent, with DF. Raises OSError without such an interface or source."""
    sock.setblocking(False)
    forbid_fragments(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    if source:
        sock.bind((str(source), 0))


async def _ask(ways: list[_Way], echo: Echo, inbox: socket.socket, seconds: float) -> None:
    """Send what was not answered yet, and take answers in until nothing is missing or the time is over."""
    slots = {way.slot: way for way in ways}
    for way in ways:
        way.send(echo)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while any(way.missing for way in ways):
                packet = await loop.sock_recv(inbox, LARGEST)
                slot, size = echo.reply(packet) or (-1, 0)
                if slot in slots and len(packet) == size:
                    slots[slot].answered.add(size)


# What the kernel knows of the MTU on the way to where a socket is connected, ip(7). A shell.

IP_MTU: Final = 14
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2


def forbid_fragments(sock: socket.socket) -> None:
    """Have a socket send with DF, and refuse with EMSGSIZE what is known not to fit."""
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)


def known_mtu(sock: socket.socket) -> int:
    """Return the bytes of IP packet that fit, as far as the kernel knows."""
    return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
