"""Listens on every interface for what a drill's probes become: in clear inside, as ESP outside.

Nothing is read while it is measured: packets wait in the socket, with the kernel's receive times, until
``collect``. Its buffer is the bound; what did not fit is counted.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from vpnagent.drill.capture_filter import SNAP, Packet, program
from vpnagent.probe.inbox import attach
from vpnagent.probe.packets import REJECT, assembled

_ETH_P_ALL: Final = 3  #: what leaves is shown to those who ask for everything only
_PACKET_OUTGOING: Final = 4
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_BUFFER: Final = 8 * 1024 * 1024  #: bytes: some ten thousand packets
_NOTHING = assembled((REJECT,))
_STAMP = struct.Struct("@qq")
_STATISTICS = struct.Struct("@II")


class Captured(NamedTuple):
    """What a capture has."""

    packets: list[Packet]
    dropped: int


class Capture:
    """Open from its making until ``collect``."""

    def __init__(self, mark: int, peers: Sequence[IPv4Address]) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ALL))
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        attach(self._socket, program(mark, peers))
        self._filtered_from = time.time()

    def collect(self) -> Captured:
        """End it; return what has come since the filter stood and until now, on the monotonic clock.

        Nothing is let in meanwhile: where packets come faster than they are read, what waits would never end.
        """
        offset = time.time() - time.monotonic()
        packets = []
        with self._socket as sock:
            attach(sock, _NOTHING)
            _, dropped = _STATISTICS.unpack(
                sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
            )
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, control, _, (interface, _, kind, *_) = sock.recvmsg(SNAP, 64)
                    seconds, nanoseconds = _STAMP.unpack_from(control[0][2])
                    stamp = seconds + nanoseconds / 1e9
                    if stamp >= self._filtered_from:
                        packets.append(Packet(stamp - offset, interface, kind == _PACKET_OUTGOING, data))
        return Captured(packets, dropped)
