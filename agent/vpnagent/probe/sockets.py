"""The probe sockets: a probe out of one tunnel's interface, its answer from whichever it arrives on.

One socket per method for all tunnels, bound to no interface: the egress interface goes with each packet
(IP_PKTINFO, ip(7)), the arrival interface and the kernel's receive time come back with each answer. A raw
ICMP socket rather than a ping socket: those need ``net.ipv4.ping_group_range``, and with the filter cost the
same. DNS has sockets of its own (``dns_socket``).

The kernel drops what is no answer to this process: each socket has a filter by the targets that are asked,
the addresses that are asked from, protocol, ports, and the secret that this method's probes carry. What
passes is compared with the probe that it claims to answer: target, address, and all of the secret.

``send`` raises OSError as the kernel gives it; ``drain`` takes what waits, as far as it is allowed.
"""

import contextlib
import os
import socket
import struct
import time
from typing import NamedTuple, Protocol

from vpnagent.probe import tcp_syn
from vpnagent.probe.dns import DnsQuery
from vpnagent.probe.icmp import Echo
from vpnagent.probe.inbox import IP_PKTINFO, PKTINFO, Allowance, Inbox, Received
from vpnagent.probe.outstanding import Outstanding, ProbeAnswer, Unproven
from vpnagent.probe.packet import REJECT, assembled, between
from vpnagent.probe.socket_filter import attach
from vpnagent.probe.tap import Tap
from vpnagent.probe.tcp_syn import Syn

_TOS = struct.Struct("=i")
_U32 = struct.Struct("=I")
_RECEIVE_BUFFER = 4 * 1024 * 1024  #: bytes: an overflow of ours must not look like loss of theirs

_ENDS = 12  #: where the IP header has its two addresses
_NOBODY = bytes(8)  #: from 0.0.0.0 to it, as no packet is

Control = list[tuple[int, int, bytes]]


class Slot(NamedTuple):
    """One target through one tunnel, with all that a send needs made beforehand."""

    number: int
    address: tuple[str, int]
    control: Control
    unmarked: Control  #: the same without a DSCP
    packet: Syn | DnsQuery | None = None  #: what the method patches; None for ICMP
    source: bytes | None = None  #: the address that it is asked from, four octets; None: the kernel's choice

    @property
    def target(self) -> bytes:
        """The address that is asked, four octets."""
        return socket.inet_aton(self.address[0])


def egress(interface: int, source: bytes | None, dscp: int = 0) -> Control:
    """Return the control data that sends a packet out of an interface, from a source address, marked."""
    return [
        (socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(interface, source or bytes(4), bytes(4))),
        (socket.IPPROTO_IP, socket.IP_TOS, _TOS.pack(dscp << 2)),
    ]


class Expected(NamedTuple):
    """Who may answer, whom, and by which interfaces that counts as a tunnel."""

    slots: tuple[Slot, ...]
    tunnels: frozenset[int] = frozenset()  #: indexes of their interfaces

    def ends(self) -> bytes:
        """Return the part of a filter that passes what goes from a target to where it was asked from."""
        if not self.slots:
            return assembled((REJECT,))
        sources = {slot.source for slot in self.slots}
        known = () if None in sources else {source for source in sources if source}
        return between({slot.target for slot in self.slots}, known)

    def ports(self) -> frozenset[int]:
        """Return the targets' ports."""
        return frozenset(slot.address[1] for slot in self.slots)


class ProbeSocket(Protocol):
    """What every method offers."""

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""

    def expect(self, expected: Expected) -> None:
        """Take answers of these slots from now on, and of no others."""

    def renew(self) -> None:
        """Take another secret; answers to the last one count until the next time."""

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one probe; OSError when it did not leave."""

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[ProbeAnswer]:
        """Return the answers that wait; the two clocks, in ns, were read one right after the other."""

    def close(self) -> None:
        """Give the file descriptors back."""


class EchoSocket:
    """ICMP echo: 80 secret bits that every probe of this process carries, 32 of them for a while."""

    def __init__(self) -> None:
        self._echo = Echo(*struct.unpack("=HQ", os.urandom(10)))
        self._program = self._echo.filter()
        self._tap_program = self._echo.tap_filter()
        self._inbox = Inbox(raw_socket(socket.IPPROTO_ICMP, self._program), _RECEIVE_BUFFER)
        self._between = b""
        self._ends: dict[int, bytes] = {}  #: by slot: source and destination of its answers, as in the header

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""
        return self._inbox.overflows

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._inbox.socket.fileno()

    def expect(self, expected: Expected) -> None:
        """Take answers of these slots from now on, and of no others."""
        self._ends = {slot.number: slot.target + (slot.source or b"") for slot in expected.slots}
        self._between = expected.ends()
        self._attach()

    def renew(self) -> None:
        """Take another secret; answers to the last one count until the next time."""
        self._echo = self._echo.renewed(_U32.unpack(os.urandom(4))[0])
        self._attach()

    def _attach(self) -> None:
        self._tap_program = self._echo.tap_filter(self._between)
        if (program := self._echo.filter(self._between)) != self._program:
            self._program = program
            confine(self._inbox.socket, program, self._echo.filter())

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one echo request."""
        request = self._echo.request(slot.number, sequence)
        self._inbox.socket.sendmsg((request,), slot.control if marked else slot.unmarked, 0, slot.address)

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[ProbeAnswer]:
        """Return the echo replies that wait."""
        reply, ends = self._echo.reply, self._ends
        return [
            (answer[0], answer[1], interface, at)
            for packet, _, _, interface, at in self._inbox.drain(monotonic, wall, allowance)
            if (answer := reply(packet)) and packet.startswith(ends.get(answer[0], _NOBODY), _ENDS)
        ]

    def _answered(self, packet: bytes) -> tuple[int, int] | None:
        """Return slot and sequence of a reply to this socket's requests, from whom and to where they went."""
        answered = self._echo.reply(packet)
        if answered is None:
            return None
        return answered if packet.startswith(self._ends.get(answered[0], _NOBODY), _ENDS) else None

    def tap(self) -> Tap:
        """Return a tap on the replies to this socket's requests."""
        return Tap(self._answered, self._tap_program)

    @property
    def tap_program(self) -> bytes:
        """The filter that a tap should have now."""
        return self._tap_program

    def close(self) -> None:
        """Give the file descriptor back."""
        self._inbox.socket.close()


class SynSocket:
    """TCP SYN; holds the source ports that it uses, so that nobody else gets them."""

    def __init__(self) -> None:
        self._first_port, self._holders = _reserve_ports()
        self._nonce = self._former = os.urandom(1)[0]
        self._between = b""
        self._program = tcp_syn.answers_filter(self._first_port, self._nonce)
        self._inbox = Inbox(raw_socket(socket.IPPROTO_TCP, self._program), _RECEIVE_BUFFER)
        self._outstanding: Outstanding[tuple[int, int], Slot] = Outstanding()
        self._tunnels: frozenset[int] = frozenset()
        self._turn = 0

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""
        return self._inbox.overflows

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._inbox.socket.fileno()

    def expect(self, expected: Expected) -> None:
        """Take answers of these slots from now on, and of no others."""
        self._tunnels = expected.tunnels
        self._outstanding.keep(frozenset(slot.number for slot in expected.slots))
        self._between = expected.ends()
        self._attach()

    def renew(self) -> None:
        """Take another secret; answers to the last one count until the next time."""
        self._former, self._nonce = self._nonce, os.urandom(1)[0]
        self._attach()

    def _attach(self) -> None:
        program = tcp_syn.answers_filter(self._first_port, self._nonce, self._between, self._former)
        if program != self._program:
            self._program = program
            wider = tcp_syn.answers_filter(self._first_port, self._nonce, former=self._former)
            confine(self._inbox.socket, program, wider)

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one SYN from the next port."""
        self._ask(slot, sequence, slot.control if marked else slot.unmarked)

    def _ask(self, slot: Slot, asks: int | Unproven, control: Control) -> None:
        assert isinstance(slot.packet, Syn)  # noqa: S101 - for the type checker
        self._turn = (self._turn + 1) % tcp_syn.PORTS
        port = self._first_port + self._turn
        number = tcp_syn.initial_number(self._nonce, _U32.unpack(os.urandom(4))[0])
        self._inbox.socket.sendmsg((slot.packet.request(port, number),), control, 0, slot.address)
        self._outstanding.sent((port, number), slot.number, asks, slot, time.monotonic())

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[ProbeAnswer]:
        """Return the answers that wait, each probe's first only."""
        answers: list[ProbeAnswer] = []
        for packet in self._inbox.drain(monotonic, wall, allowance):
            data, _, _, interface, at = packet
            key = tcp_syn.answered(data)
            probe = self._outstanding.find(key, at) if key else None
            if key is None or probe is None or not is_from(packet, probe.what, tcp_syn.port_of(data)):
                continue
            in_tunnel = interface in self._tunnels
            told = self._outstanding.answered(key, interface, at, in_tunnel=in_tunnel)
            if isinstance(told, Unproven):
                with contextlib.suppress(OSError):  # then the next answer is one
                    self._ask(probe.what, told, probe.what.unmarked)
            elif told is not None:
                answers.append(told)
        return answers

    def close(self) -> None:
        """Give the file descriptors back."""
        self._inbox.socket.close()
        for holder in self._holders:
            holder.close()


def confine(sock: socket.socket, program: bytes, wider: bytes) -> None:
    """Attach a filter, or a smaller one that passes more where the kernel has no room for it."""
    try:
        attach(sock, program)
    except OSError:
        attach(sock, wider)


def is_from(packet: Received, slot: Slot, port: int) -> bool:
    """Whether a packet comes from whom the slot asks, to where it was asked from."""
    _, sender, destination, _, _ = packet
    if (sender[0], port) != slot.address:
        return False
    return slot.source is None or destination == slot.source


def source_towards(address: str, interface: str) -> bytes:
    """Return the address that the kernel would send from, out of this interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.connect((address, 9))
        return socket.inet_aton(sock.getsockname()[0])


def raw_socket(protocol: int, program: bytes) -> socket.socket:
    """Return a raw socket that takes what a filter passes."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        attach(sock, program)
    except OSError:
        sock.close()
        raise
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
