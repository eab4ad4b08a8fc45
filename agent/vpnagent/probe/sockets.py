"""The probe sockets: a probe out of one tunnel's interface, its answer from whichever it arrives on.

One socket per method for all tunnels, bound to no interface: the egress interface goes with each packet
(IP_PKTINFO, ip(7)), the arrival interface and the kernel's receive time come back with each answer. The
kernel filters what is no answer to this process. A raw ICMP socket rather than a ping socket: those need
``net.ipv4.ping_group_range``, and with the filter cost the same.

``send`` raises OSError as the kernel gives it; ``drain`` returns all that waits.
"""

import contextlib
import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeVar

from vpnagent.probe import tcp_syn
from vpnagent.probe.dns import Query, id_of
from vpnagent.probe.icmp import Echo
from vpnagent.probe.stamp import ReceiveTime
from vpnagent.probe.tap import Tap
from vpnagent.probe.tcp_syn import Syn

_IP, _SOCKET = socket.IPPROTO_IP, socket.SOL_SOCKET
_IP_PKTINFO = 8
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40

_PKTINFO = struct.Struct("=i4s4s")  # interface index, source to use, destination
_TOS = struct.Struct("=i")
_TIMESPEC = struct.Struct("@qq")
_U32 = struct.Struct("=I")
_CONTROL = 128  #: bytes of control data, above what the three kinds need
_PACKET = 2048  #: bytes
_RECEIVE_BUFFER = 4 * 1024 * 1024  #: bytes: an overflow of ours must not look like loss of theirs
_OUTSTANDING = 4096  #: probes of a method that may await an answer; the oldest are forgotten

#: An answer: number of the slot that was asked, sequence, index of the arrival interface, monotonic seconds.
Answer = tuple[int, int, int, float]
_Control = list[tuple[int, int, bytes]]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Slot(NamedTuple):
    """One target through one tunnel, with all that a send needs made beforehand."""

    number: int
    address: tuple[str, int]
    control: _Control
    unmarked: _Control  #: the same without a DSCP
    packet: Syn | Query | None = None  #: what the method patches; None for ICMP


def egress(interface: int, source: bytes | None, dscp: int = 0) -> _Control:
    """Return the control data that sends a packet out of an interface, from a source address, marked."""
    return [
        (_IP, _IP_PKTINFO, _PKTINFO.pack(interface, source or bytes(4), bytes(4))),
        (_IP, socket.IP_TOS, _TOS.pack(dscp << 2)),
    ]


class ProbeSocket(Protocol):
    """What every method offers."""

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one probe; OSError when it did not leave."""

    def drain(self, monotonic: int, wall: int) -> list[Answer]:
        """Return the answers that wait; the two clocks, in ns, were read one right after the other."""

    def close(self) -> None:
        """Give the file descriptors back."""


class _Inbox:
    """Takes packets from a socket, each with its arrival interface and time."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.clock = ReceiveTime(time.monotonic_ns(), time.time_ns())
        self.overflows = 0  #: packets that the kernel dropped as our buffer was full
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        with contextlib.suppress(PermissionError):
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)

    def drain(self, monotonic: int, wall: int) -> Iterator[tuple[bytes, tuple[str, int], int, float]]:
        """Yield packet, sender, interface index and time until nothing waits."""
        self.clock.begin(monotonic, wall)
        while True:
            try:
                packet, control, _, sender = self.socket.recvmsg(_PACKET, _CONTROL)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error that some earlier send of ours caused: no answer
                continue
            interface, at = self._interface_and_time(control)
            yield packet, sender, interface, at / 1e9
        self.clock.end()

    def _interface_and_time(self, control: list[tuple[int, int, bytes]]) -> tuple[int, int]:
        interface, stamp = 0, None
        for level, kind, value in control:
            if level == _IP and kind == _IP_PKTINFO:
                interface = _PKTINFO.unpack_from(value)[0]
            elif level == _SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                stamp = seconds * 1_000_000_000 + nanoseconds
            elif level == _SOCKET and kind == _SO_RXQ_OVFL:
                self.overflows = _U32.unpack_from(value)[0]
        return interface, self.clock.of(stamp)


class EchoSocket:
    """ICMP echo."""

    def __init__(self) -> None:
        self._echo = Echo(*struct.unpack("=HQ", os.urandom(10)))
        self._inbox = _Inbox(raw_socket(socket.IPPROTO_ICMP, self._echo.filter()))

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""
        return self._inbox.overflows

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._inbox.socket.fileno()

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one echo request."""
        request = self._echo.request(slot.number, sequence)
        self._inbox.socket.sendmsg((request,), slot.control if marked else slot.unmarked, 0, slot.address)

    def drain(self, monotonic: int, wall: int) -> list[Answer]:
        """Return the echo replies that wait."""
        reply = self._echo.reply
        return [
            (*answered, interface, at)
            for packet, _, interface, at in self._inbox.drain(monotonic, wall)
            if (answered := reply(packet)) is not None
        ]

    def tap(self) -> Tap:
        """Return a tap on the replies to this socket's requests."""
        return Tap(self._echo)

    def close(self) -> None:
        """Give the file descriptor back."""
        self._inbox.socket.close()


class SynSocket:
    """TCP SYN; holds the source ports that it uses, so that nobody else gets them."""

    def __init__(self) -> None:
        self._first_port, self._holders = _reserve_ports()
        self._inbox = _Inbox(raw_socket(socket.IPPROTO_TCP, tcp_syn.answers_filter(self._first_port)))
        self._outstanding: dict[tuple[int, int], tuple[int, int, str]] = {}
        self._turn = 0

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""
        return self._inbox.overflows

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._inbox.socket.fileno()

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one SYN from the next port."""
        assert isinstance(slot.packet, Syn)  # noqa: S101 - for the type checker
        self._turn = (self._turn + 1) % tcp_syn.PORTS
        port, number = self._first_port + self._turn, _U32.unpack(os.urandom(4))[0]
        packet = slot.packet.request(port, number)
        self._inbox.socket.sendmsg((packet,), slot.control if marked else slot.unmarked, 0, slot.address)
        _remember(self._outstanding, (port, number), (slot.number, sequence, slot.address[0]))

    def drain(self, monotonic: int, wall: int) -> list[Answer]:
        """Return the answers that wait, each probe's first only."""
        answers: list[Answer] = []
        for packet, sender, interface, at in self._inbox.drain(monotonic, wall):
            key = tcp_syn.answered(packet)
            if key in self._outstanding and self._outstanding[key][2] == sender[0]:
                slot, sequence, _ = self._outstanding.pop(key)
                answers.append((slot, sequence, interface, at))
        return answers

    def close(self) -> None:
        """Give the file descriptors back."""
        self._inbox.socket.close()
        for holder in self._holders:
            holder.close()


class DnsSocket:
    """DNS query over UDP."""

    def __init__(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        sock.bind(("", 0))
        self._inbox = _Inbox(sock)
        self._outstanding: dict[int, tuple[Slot, int]] = {}

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""
        return self._inbox.overflows

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._inbox.socket.fileno()

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one query with an id of its own."""
        assert isinstance(slot.packet, Query)  # noqa: S101 - for the type checker
        id_ = int.from_bytes(os.urandom(2))
        control = slot.control if marked else slot.unmarked
        self._inbox.socket.sendmsg((slot.packet.request(id_),), control, 0, slot.address)
        self._outstanding.pop(id_, None)
        _remember(self._outstanding, id_, (slot, sequence))

    def drain(self, monotonic: int, wall: int) -> list[Answer]:
        """Return the answers that wait, each probe's first only."""
        answers: list[Answer] = []
        for message, sender, interface, at in self._inbox.drain(monotonic, wall):
            id_ = id_of(message)
            if id_ is None or id_ not in self._outstanding:
                continue
            slot, sequence = self._outstanding[id_]
            if sender == slot.address and isinstance(slot.packet, Query) and slot.packet.answered_by(message):
                del self._outstanding[id_]
                answers.append((slot.number, sequence, interface, at))
        return answers

    def close(self) -> None:
        """Give the file descriptor back."""
        self._inbox.socket.close()


def source_towards(address: str, interface: str) -> bytes:
    """Return the address that the kernel would send from, out of this interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.connect((address, 9))
        return socket.inet_aton(sock.getsockname()[0])


def raw_socket(protocol: int, program: bytes) -> socket.socket:
    """Return a raw socket that takes what a filter passes."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: number of instructions of eight octets, and where they are.
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
    return sock


def _reserve_ports() -> tuple[int, list[socket.socket]]:
    """Return the first of a run of free TCP ports, and the sockets that hold them."""
    while True:
        first = 20000 + int.from_bytes(os.urandom(2)) % 12000  # below the ephemeral ports
        holders: list[socket.socket] = []
        try:
            for port in range(first, first + tcp_syn.PORTS):
                holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
                holders.append(holder)
                holder.bind(("", port))
        except OSError:
            for holder in holders:
                holder.close()
        else:
            return first, holders


def _remember(outstanding: dict[_K, _V], key: _K, value: _V) -> None:
    if len(outstanding) >= _OUTSTANDING:
        del outstanding[next(iter(outstanding))]
    outstanding[key] = value
