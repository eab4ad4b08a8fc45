"""Takes packets from a socket: no more than is allowed, each with its arrival interface and time.

An overflow is what our own full buffer lost, and nothing else. The kernel's count of drops (SO_RXQ_OVFL,
socket(7)) holds, for UDP, wrong checksums and what the filter refuses as well, so it is believed only where
so much waited that the buffer can have been full: nobody but us takes anything out.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from math import inf
from typing import Final

from vpnagent.probe.stamp import ReceiveTime

_IP, _SOCKET = socket.IPPROTO_IP, socket.SOL_SOCKET
IP_PKTINFO: Final = 8
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40

PKTINFO: Final = struct.Struct("=i4s4s")  # interface index, local address, destination in the header: ip(7)
_TIMESPEC = struct.Struct("@qq")
_U32 = struct.Struct("=I")
_CONTROL = 128  #: bytes of control data, above what the three kinds need
_PACKET = 2048  #: bytes
_LARGEST = 4096  #: bytes of buffer that the kernel may charge for one short packet (truesize)


#: A packet (from the IP header on, or from behind the UDP header), its sender, the destination in its header
#: (four octets), index of the arrival interface, and monotonic seconds when the kernel received it.
Received = tuple[bytes, tuple[str, int], bytes, int, float]


class Allowance:
    """Packets that may be taken, from all sockets together: what ``left`` says, and it counts down."""

    __slots__ = ("_at", "_burst", "_rate", "left", "overflowed")

    def __init__(self, burst: int, rate: float) -> None:
        """So many at once, and so many a second."""
        self._burst = burst
        self._rate = rate
        self._at = 0.0
        self.left = burst
        self.overflowed = False  #: some socket's buffer was full; reset by who acts on it

    def renew(self, now: float) -> None:
        """Allow what time has brought; ``now`` is monotonic seconds."""
        self.left = min(self._burst, self.left + int((now - self._at) * self._rate))
        self._at = now


class Noise:
    """How much of what passes the filters is no answer: beyond ``QUIET`` it is not worth a wake-up."""

    QUIET: Final = 1000.0  #: packets a second
    LOOK: Final = 0.01  #: seconds between looks

    __slots__ = ("_at", "_level", "over")

    def __init__(self) -> None:
        self._at = self._level = 0.0
        self.over = inf  #: when to look again; infinite: it is quiet

    def take(self, packets: int, now: float) -> None:
        """So many packets were no answers; ``now`` is monotonic seconds."""
        level = max(0.0, self._level - (now - self._at) * self.QUIET) + packets
        self._level = min(level, self.QUIET)
        self._at = now
        self.over = now + self.LOOK if self._level > self.QUIET * self.LOOK else inf

    def heard(self, now: float) -> bool:
        """Whether to look every now and then only."""
        return now < self.over < inf


class Inbox:
    """One socket's."""

    def __init__(self, sock: socket.socket, room: int | None = None) -> None:
        """Take over a socket; ``room`` is the buffer to have, in bytes, and None the system's default."""
        self.socket = sock
        self.clock = ReceiveTime(time.monotonic_ns(), time.time_ns())
        self.overflows = 0  #: packets that the kernel dropped as our buffer was full
        sock.setblocking(False)
        sock.setsockopt(_IP, IP_PKTINFO, 1)
        sock.setsockopt(_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(_SOCKET, _SO_RXQ_OVFL, 1)
        if room is not None:
            with contextlib.suppress(PermissionError):
                sock.setsockopt(_SOCKET, _SO_RCVBUFFORCE, room)
        self._full = sock.getsockopt(_SOCKET, socket.SO_RCVBUF) // _LARGEST  #: packets that may fill it
        self._taken = 0  #: since it was last seen empty
        self._taken_before = 0  #: likewise, the last time: the next packet tells what was lost behind those
        self._drops = self._drops_known = 0

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> Iterator[Received]:
        """Yield what waits, up to half of what is allowed: the next socket's packets have the other half.

        The two clocks, in ns, were read right before. To be iterated to its end.
        """
        self.clock.begin(monotonic, wall)
        receive, received, stamp = self.socket.recvmsg, self._received, self.clock.of
        share, taken = (allowance.left + 1) // 2, 0
        while taken < share:
            try:
                packet, control, _, sender = receive(_PACKET, _CONTROL)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error that some earlier send of ours caused: no answer
                taken += 1
                continue
            taken += 1
            interface, destination, nanoseconds = received(control)
            yield packet, sender, destination, interface, stamp(nanoseconds) / 1e9
        allowance.left -= taken
        self._taken += taken
        if self._drops != self._drops_known:
            self._note_drops(allowance)
        if taken < share:
            self._taken_before, self._taken, self._drops_known = self._taken, 0, self._drops
            self.clock.end()

    def _note_drops(self, allowance: Allowance) -> None:
        if self._taken >= self._full or self._taken_before >= self._full:
            allowance.overflowed = True
            self.overflows += (self._drops - self._drops_known) & 0xFFFFFFFF
            self._drops_known = self._drops

    def _received(self, control: list[tuple[int, int, bytes]]) -> tuple[int, bytes, int | None]:
        """Return arrival interface, destination and wall time of a packet."""
        interface, destination, stamp = 0, b"", None
        for level, kind, value in control:
            if level == _IP and kind == IP_PKTINFO:
                interface, _, destination = PKTINFO.unpack_from(value)
            elif level == _SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                stamp = seconds * 1_000_000_000 + nanoseconds
            elif level == _SOCKET and kind == _SO_RXQ_OVFL:
                self._drops = _U32.unpack_from(value)[0]
        return interface, destination, stamp
