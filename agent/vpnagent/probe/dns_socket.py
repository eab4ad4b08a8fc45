"""The sockets of the DNS probe: UDP, and every few probes from a port that nobody knew before.

16 bits of id do not tell an answer from a forgery, so the port is part of the secret (RFC 5452 §9.2): the
kernel picks one at random, it asks for ``LASTS`` seconds, a few probes, and listens until nothing answers
them any more. Who reads it in /proc/net/udp has less than that to use it.
"""

import contextlib
import os
import select
import socket
import time
from collections import deque
from typing import Final

from vpnagent.probe import dns
from vpnagent.probe.dns import DnsQuery
from vpnagent.probe.inbox import Allowance, Inbox, Received
from vpnagent.probe.outstanding import LATEST, Outstanding, ProbeAnswer, Unproven
from vpnagent.probe.sockets import Control, Expected, Slot, confine, is_from

LASTS: Final = 0.05  #: seconds in which a port asks


class Port:
    """A UDP port of the kernel's choosing, and the ids of the few probes that leave from it."""

    __slots__ = ("ids", "inbox", "opened")

    def __init__(self, expected: Expected, ends: bytes, now: float) -> None:
        self.opened = now
        first = dns.IDS * (int.from_bytes(os.urandom(2)) % (0x10000 // dns.IDS))
        self.ids = list(range(first, first + dns.IDS))
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            ports = expected.ports()
            confine(sock, dns.answers_filter(ports, first, ends), dns.answers_filter(ports, first))
            self.inbox = Inbox(sock)
            sock.bind(("", 0))
        except OSError:
            sock.close()
            raise

    def take_id(self) -> int:
        """Return one that was not used, at random."""
        return self.ids.pop(int.from_bytes(os.urandom(2)) % len(self.ids))


class DnsSocket:
    """DNS query over UDP, from a port that is new every ``LASTS`` seconds."""

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
        what = slot, bytes(query[dns.HEADER :])
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
        id_ = dns.id_of(message)
        if id_ is None or (probe := self._outstanding.find((fd, id_), at)) is None:
            return None
        slot, question = probe.what
        if not is_from(packet, slot, sender[1]) or not dns.answers(message, question):
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
