"""The probe sockets: a probe out of one tunnel's interface, its answer from whichever it arrives on. A shell.

One socket per method for all tunnels, bound to no interface: the egress interface goes with each packet
(IP_PKTINFO, ip(7)), the arrival interface and the kernel's receive time come back with each answer. A raw
ICMP socket rather than a ping socket: those need ``net.ipv4.ping_group_range``, and with the filter cost the
same. DNS has a socket for each of its short-lived ports.

The kernel drops what is no answer to this process: each socket has a filter by the targets that are asked,
the addresses that are asked from, protocol, ports, and the secret that this method's probes carry. What
passes is compared with the probe that it claims to answer: target, address, and all of the secret.

``send`` raises OSError as the kernel gives it; ``drain`` takes what waits, as far as it is allowed.
"""

import contextlib
import os
import select
import socket
import struct
import time
from collections import deque
from typing import Final

from vpnagent.probe import packets
from vpnagent.probe.inbox import Allowance, Inbox, Received, Tap, attach
from vpnagent.probe.packets import DnsQuery, Echo, Syn
from vpnagent.probe.slots import LATEST, Control, Expected, Outstanding, ProbeAnswer, Slot, Unproven, is_from

_U32 = struct.Struct("=I")
_RECEIVE_BUFFER = 4 * 1024 * 1024  #: bytes: an overflow of ours must not look like loss of theirs

_ENDS = 12  #: where the IP header has its two addresses
_NOBODY = bytes(8)  #: from 0.0.0.0 to it, as no packet is
LASTS: Final = 0.05  #: seconds in which a port of DNS asks


class OneSocket:
    """What the methods with one socket have in common."""

    _inbox: Inbox

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""
        return self._inbox.overflows

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._inbox.socket.fileno()


class EchoSocket(OneSocket):
    """ICMP echo: 80 secret bits that every probe of this process carries, 32 of them for a while."""

    def __init__(self) -> None:
        self._echo = Echo(*struct.unpack("=HQ", os.urandom(10)))
        self._program = self._echo.filter()
        self._tap_program = self._echo.tap_filter()
        self._inbox = Inbox(raw_socket(socket.IPPROTO_ICMP, self._program), _RECEIVE_BUFFER)
        self._between = b""
        self._ends: dict[int, bytes] = {}  #: by slot: source and destination of its answers, as in the header

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


class SynSocket(OneSocket):
    """TCP SYN; holds the source ports that it uses, so that nobody else gets them."""

    def __init__(self) -> None:
        self._first_port, self._holders = _reserve_ports()
        self._nonce = self._former = os.urandom(1)[0]
        self._between = b""
        self._program = packets.syn_filter(self._first_port, self._nonce)
        self._inbox = Inbox(raw_socket(socket.IPPROTO_TCP, self._program), _RECEIVE_BUFFER)
        self._outstanding: Outstanding[tuple[int, int], Slot] = Outstanding()
        self._tunnels: frozenset[int] = frozenset()
        self._turn = 0

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
        program = packets.syn_filter(self._first_port, self._nonce, self._between, self._former)
        if program != self._program:
            self._program = program
            wider = packets.syn_filter(self._first_port, self._nonce, former=self._former)
            confine(self._inbox.socket, program, wider)

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one SYN from the next port."""
        self._ask(slot, sequence, slot.control if marked else slot.unmarked)

    def _ask(self, slot: Slot, asks: int | Unproven, control: Control) -> None:
        assert isinstance(slot.packet, Syn)  # noqa: S101 - for the type checker
        self._turn = (self._turn + 1) % packets.SYN_PORTS
        port = self._first_port + self._turn
        number = packets.initial_number(self._nonce, _U32.unpack(os.urandom(4))[0])
        self._inbox.socket.sendmsg((slot.packet.request(port, number),), control, 0, slot.address)
        self._outstanding.sent((port, number), slot.number, asks, slot, time.monotonic())

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[ProbeAnswer]:
        """Return the answers that wait, each probe's first only."""
        answers: list[ProbeAnswer] = []
        for packet in self._inbox.drain(monotonic, wall, allowance):
            data, _, _, interface, at = packet
            key = packets.syn_answered(data)
            probe = self._outstanding.find(key, at) if key else None
            if key is None or probe is None or not is_from(packet, probe.what, packets.source_port(data)):
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


def _reserve_ports() -> tuple[int, list[socket.socket]]:
    """Return the first of a run of free TCP ports, and the sockets that hold them."""
    while True:
        first = 20000 + int.from_bytes(os.urandom(2)) % 12000  # below the ephemeral ports
        holders: list[socket.socket] = []
        try:
            for port in range(first, first + packets.SYN_PORTS):
                holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
                holders.append(holder)
                holder.bind(("", port))
        except OSError:
            for holder in holders:
                holder.close()
        else:
            return first, holders


class Port:
    """A UDP port of the kernel's choosing, and the ids of the few probes that leave from it."""

    __slots__ = ("ids", "inbox", "opened")

    def __init__(self, expected: Expected, ends: bytes, now: float) -> None:
        self.opened = now
        first = packets.DNS_IDS * (int.from_bytes(os.urandom(2)) % (0x10000 // packets.DNS_IDS))
        self.ids = list(range(first, first + packets.DNS_IDS))
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            ports = expected.ports()
            confine(sock, packets.dns_filter(ports, first, ends), packets.dns_filter(ports, first))
            self.inbox = Inbox(sock)
            sock.bind(("", 0))
        except OSError:
            sock.close()
            raise

    def take_id(self) -> int:
        """Return one that was not used, at random."""
        return self.ids.pop(int.from_bytes(os.urandom(2)) % len(self.ids))


class DnsSocket:
    """DNS query over UDP, every few probes from a port that nobody knew before.

    16 bits of id do not tell an answer from a forgery, so the port is part of the secret (RFC 5452 §9.2): the
    kernel picks one at random, it asks for ``LASTS`` seconds, a few probes, and listens until nothing answers
    them any more. Who reads it in /proc/net/udp has less than that to use it.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ports: deque[Port] = deque()  #: the newest asks, all listen
        self._by_fd: dict[int, Port] = {}
        self._closed_overflows = 0
        self._outstanding: Outstanding[tuple[int, int], tuple[Slot, bytes]] = Outstanding()
        self._expected = Expected(())
        self._ends = b""

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""
        return self._closed_overflows + sum(port.inbox.overflows for port in self._ports)

    def fileno(self) -> int:
        """Return a file descriptor that is readable when one of the ports is, for epoll."""
        return self._epoll.fileno()

    def expect(self, expected: Expected) -> None:
        """Take answers of these slots from now on, and of no others."""
        self._expected = expected
        self._outstanding.keep(frozenset(slot.number for slot in expected.slots))
        self._ends = expected.ends()
        if self._ports:
            self._ports[-1].ids.clear()  # its filter is that of before
        if not expected.slots:
            self._retire(float("inf"))

    def renew(self) -> None:
        """Every port has secrets of its own."""

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one query with an id of its own."""
        self._ask(slot, sequence, slot.control if marked else slot.unmarked)

    def _ask(self, slot: Slot, asks: int | Unproven, control: Control) -> None:
        assert isinstance(slot.packet, DnsQuery)  # noqa: S101 - for the type checker
        now = time.monotonic()
        port = self._port(now)
        id_ = port.take_id()
        query = slot.packet.request(id_)
        sock = port.inbox.socket
        sock.sendmsg((query,), control, 0, slot.address)
        what = slot, bytes(query[packets.DNS_HEADER :])
        self._outstanding.sent((sock.fileno(), id_), slot.number, asks, what, now)

    def _port(self, now: float) -> Port:
        """Return the port to ask from, a new one if need be; raises OSError."""
        if self._ports and self._ports[-1].ids and now < self._ports[-1].opened + LASTS:
            return self._ports[-1]
        self._retire(now)
        try:
            port = Port(self._expected, self._ends, now)
        except OSError:
            if self._ports and self._ports[-1].ids:
                return self._ports[-1]
            raise
        self._ports.append(port)
        fd = port.inbox.socket.fileno()
        self._by_fd[fd] = port
        self._epoll.register(fd, select.EPOLLIN)
        return port

    def _retire(self, now: float) -> None:
        """Close the ports whose probes nothing answers any more."""
        while self._ports and self._ports[0].opened + LASTS + LATEST <= now:
            port = self._ports.popleft()
            self._closed_overflows += port.inbox.overflows
            del self._by_fd[port.inbox.socket.fileno()]
            port.inbox.socket.close()

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[ProbeAnswer]:
        """Return the answers that wait, each probe's first only."""
        answers: list[ProbeAnswer] = []
        for fd, _ in self._epoll.poll(0):
            for packet in self._by_fd[fd].inbox.drain(monotonic, wall, allowance):
                if (answer := self._answer(fd, packet)) is not None:
                    answers.append(answer)
        return answers

    def _answer(self, fd: int, packet: Received) -> ProbeAnswer | None:
        message, sender, _, interface, at = packet
        id_ = packets.dns_id(message)
        if id_ is None or (probe := self._outstanding.find((fd, id_), at)) is None:
            return None
        slot, question = probe.what
        if not is_from(packet, slot, sender[1]) or not packets.dns_answers(message, question):
            return None
        in_tunnel = interface in self._expected.tunnels
        told = self._outstanding.answered((fd, id_), interface, at, in_tunnel=in_tunnel)
        if not isinstance(told, Unproven):
            return told
        with contextlib.suppress(OSError):  # then the next answer is one
            self._ask(slot, told, slot.unmarked)
        return None

    def close(self) -> None:
        """Give the file descriptors back."""
        self._retire(float("inf"))
        self._epoll.close()


def confine(sock: socket.socket, program: bytes, wider: bytes) -> None:
    """Attach a filter, or a smaller one that passes more where the kernel has no room for it."""
    try:
        attach(sock, program)
    except OSError:
        attach(sock, wider)


def raw_socket(protocol: int, program: bytes) -> socket.socket:
    """Return a raw socket that takes what a filter passes."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        attach(sock, program)
    except OSError:
        sock.close()
        raise
    return sock
