"""Sees the replies to our echo requests as they arrive at the interfaces, before any packet filter.

A packet socket (packet(7)) that is open only while something is missing. What it has and the ICMP socket has
not was dropped on this machine: by an input or prerouting chain, a reverse-path rule, ``rp_filter``. It is
behind the ingress hook: a filter there drops what is forwarded as well.
"""

import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

from vpnagent.probe.inbox import Allowance
from vpnagent.probe.socket_filter import attach
from vpnagent.probe.stamp import ReceiveTime

GRACE: Final = 0.005  #: seconds that a packet may take from its interface to the ICMP socket

#: Tells of an IPv4 packet which slot and sequence it answers; None: none.
ReadReply = Callable[[bytes], tuple[int, int] | None]
#: Slot and sequence that are answered, name of the arrival interface, monotonic seconds.
TappedReply = tuple[int, int, str, float]

_ETH_P_IP: Final = 0x0800
_PACKET_HOST: Final = 0  #: addressed to us: what is not, no filter of ours need drop
_SO_TIMESTAMPNS: Final = 35
_HEADERS: Final = 128  #: octets, of which the last ones that matter are the echo's
_MOST: Final = 4096  #: replies that wait for the grace
_TIMESPEC = struct.Struct("@qq")


class Tap:
    """Open from its making until ``close``; OSError if it cannot be."""

    def __init__(self, reply: ReadReply, program: bytes) -> None:
        """Take what ``program`` passes and ``reply`` knows."""
        self._reply = reply
        self._program = program
        self._waiting: deque[TappedReply] = deque(maxlen=_MOST)
        # What comes in before the filter stands is told apart by its nonce.
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_IP))
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            attach(self._socket, program)
        except OSError:
            self._socket.close()
            raise
        self._clock = ReceiveTime(time.monotonic_ns(), time.time_ns())

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._socket.fileno()

    @property
    def due(self) -> float:
        """When the first one that waits has waited long enough."""
        return self._waiting[0][3] + GRACE if self._waiting else inf

    def expect(self, program: bytes) -> None:
        """Take what another filter passes from now on."""
        if program != self._program:
            self._program = program
            attach(self._socket, program)

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[TappedReply]:
        """Return what arrived long enough ago for the ICMP socket to have it, if nothing drops it.

        To be called after that socket was drained at the same time; clocks and allowance as there.
        """
        self._clock.begin(monotonic, wall)
        with contextlib.suppress(OSError):  # nothing waits, or an interface went down
            while allowance.left > 0:
                allowance.left -= 1
                self._take(*self._socket.recvmsg(_HEADERS, 64))
        self._clock.end()
        now, seen = monotonic / 1e9, []
        while self.due <= now:
            seen.append(self._waiting.popleft())
        return seen

    def _take(
        self, packet: bytes, control: list[tuple[int, int, bytes]], _: int, sender: tuple[str, int, int]
    ) -> None:
        answered = self._reply(packet)
        if answered is None or sender[2] != _PACKET_HOST:
            return
        stamp = None
        for _, kind, value in control:
            if kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                stamp = seconds * 1_000_000_000 + nanoseconds
        self._waiting.append((*answered, sender[0], self._clock.of(stamp) / 1e9))

    def forget(self) -> None:
        """Drop what waits: our own buffer was full, so that the ICMP socket need not have had it."""
        self._waiting.clear()

    def close(self) -> None:
        """Give the file descriptor back."""
        self._socket.close()
