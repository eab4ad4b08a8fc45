"""A steady UDP stream between two hosts, one way or both, which tells the directions apart.

Each end sends its own stream and records what it hears of the other's, so a dead direction does not hide the
other. Both ends are processes forked before the measurement: nothing is started while it runs. All times are
CLOCK_MONOTONIC, which both ends share.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from lab.deadline import EMULATED, PATIENCE
from lab.namespace import Namespace

RATE = 100 if EMULATED else 1000
PACKET = struct.Struct("!I")
SO_RCVBUFFORCE = 33
LATE = 0.05  # an earlier tick than this is made up for, so that the rate holds; a later one is left out
OUTAGE = 0.1  # seconds without an arrival that count as an outage, and with arrivals that end it
GRACE = 0.5 * PATIENCE  # for what is still on its way when the sender stops
Sent = list[float]  # sequence: sent at
Heard = dict[int, float]  # sequence: heard at


class Outage(NamedTuple):
    """A time in which nothing that was sent arrived, on the sender's clock."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """What became of one direction's packets."""

    sent: int
    lost: int
    blackout: float
    """Longest time in which nothing that was sent arrived, on the sender's clock: 0 without loss."""
    silence: float
    """Longest time between two arrivals."""
    outages: tuple[Outage, ...]
    """The blackouts that are long enough to be one."""
    heard: tuple[float, ...] = field(default=(), repr=False)
    """When each arrived."""

    def longest_gap(self, *, after: float = 0.0, before: float = float("inf")) -> float:
        """The longest time without an arrival that ended in this span."""
        return max((b - a for a, b in pairwise(self.heard) if after <= b <= before), default=0.0)

    def __str__(self) -> str:
        return (
            f"{self.lost} of {self.sent} lost, blackout {self.blackout:.3f} s, silence {self.silence:.3f} s"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """Both directions, as the IDC sees them."""

    outbound: Direction
    inbound: Direction

    @property
    def lost(self) -> int:
        return self.outbound.lost + self.inbound.lost

    @property
    def blackout(self) -> float:
        """The worse of the two directions."""
        return max(self.outbound.blackout, self.inbound.blackout)

    @property
    def outages(self) -> list[Outage]:
        """The times in which not both directions flowed, in order."""
        return merged([*self.outbound.outages, *self.inbound.outages])

    def __str__(self) -> str:
        return f"outbound {self.outbound}; inbound {self.inbound}"


class MeasuredStream:
    """Two processes, idle until `start`."""

    def __init__(
        self,
        near: tuple[Namespace, str],
        far: tuple[Namespace, str],
        *,
        port: int = 5000,
        rate: int = RATE,
        size: int = PACKET.size,
        back: bool = True,
    ) -> None:
        self.rate = rate
        (here, near_host), (there, far_host) = near, far
        near_end = End((near_host, port), (far_host, port), size)
        far_end = End((far_host, port), (near_host, port), size, sends=back)
        self._ends = [here.fork(near_end.main), there.fork(far_end.main)]

    def start(self) -> None:
        """Both ends listen, then both begin to send."""
        for _process, pipe in self._ends:
            pipe.send(self.rate)
        for _process, pipe in self._ends:
            self._receive(pipe)
        for _process, pipe in self._ends:
            pipe.send("go")

    def stop(self) -> StreamResult:
        """Both ends stop sending, listen a little longer, report, and end."""
        for _process, pipe in self._ends:
            pipe.send("stop")
        (near_sent, near_heard), (far_sent, far_heard) = (
            self._receive(pipe) for _process, pipe in self._ends
        )
        self.close()
        return StreamResult(outbound=judge(near_sent, far_heard), inbound=judge(far_sent, near_heard))

    @staticmethod
    def _receive(pipe: Connection) -> Any:
        assert pipe.poll(20 * PATIENCE), "an end of the stream does not answer"
        return pipe.recv()

    @contextlib.contextmanager
    def running(self) -> Iterator[MeasuredStream]:
        """Started for the body, processes ended after it; call `stop` inside for the result."""
        self.start()
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """End both processes, also in the middle of a measurement that nobody waits for any more."""
        for process, pipe in self._ends:
            process.kill()
            process.join(10 * PATIENCE)
            pipe.close()


def judge(sent: Sent, heard: Heard) -> Direction:
    """Loss and gaps of one direction; what is lost at an edge counts up to the edge."""
    edges = [-1, *sorted(heard), len(sent)]
    gaps = [Outage(sent[max(a, 0)], sent[min(b, len(sent) - 1)]) for a, b in pairwise(edges) if b != a + 1]
    arrivals = sorted(heard.values())
    return Direction(
        sent=len(sent),
        lost=len(sent) - len(heard),
        blackout=max((gap.seconds for gap in gaps), default=0.0),
        silence=max((b - a for a, b in pairwise(arrivals)), default=0.0),
        outages=tuple(gap for gap in gaps if gap.seconds >= OUTAGE),
        heard=tuple(arrivals),
    )


def merged(outages: list[Outage]) -> list[Outage]:
    """Those that overlap, or are no further apart than counts as flowing, as one."""
    whole: list[Outage] = []
    for each in sorted(outages):
        if whole and each.begin - whole[-1].end < OUTAGE:
            whole[-1] = Outage(whole[-1].begin, max(whole[-1].end, each.end))
        else:
            whole.append(each)
    return whole


class End:
    """One end, in a process of its own."""

    def __init__(
        self, local: tuple[str, int], remote: tuple[str, int], size: int, *, sends: bool = True
    ) -> None:
        self._local = local
        self._remote = remote
        self._padding = bytes(size - PACKET.size)
        self._sends = sends

    def main(self, pipe: Connection) -> None:
        """Measure once, and end."""
        self._let_go(pipe)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self._socket.bind(self._local)
        self._socket.setblocking(False)
        gc.disable()
        # A starved stream would look like a dead one.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        with contextlib.suppress(EOFError, OSError):
            pipe.send(self._measure(pipe, 1 / pipe.recv()))
        os._exit(0)

    @staticmethod
    def _let_go(pipe: Connection) -> None:
        """Close what was open when this process was forked: it must not hold a peer's connection open."""
        for descriptor in {int(each) for each in os.listdir("/proc/self/fd")} - {0, 1, 2, pipe.fileno()}:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _measure(self, pipe: Connection, interval: float) -> tuple[Sent, Heard]:
        self._drain({})
        heard: Heard = {}
        sent: Sent = []
        pipe.send("ready")
        while not pipe.poll():
            self._hear_until(time.monotonic() + interval, heard)
        pipe.recv()
        due = time.monotonic()
        while not select.select([pipe], [], [], 0)[0]:
            now = time.monotonic()
            if now >= due:
                if self._sends:
                    self._send(len(sent))
                    sent.append(now)
                due = max(due + interval, now - LATE)
            self._hear_until(due, heard)
        pipe.recv()
        self._hear_until(time.monotonic() + GRACE, heard)
        return sent, heard

    def _send(self, sequence: int) -> None:
        with contextlib.suppress(OSError):  # unreachable and the like: the packet counts as sent, and lost
            self._socket.sendto(PACKET.pack(sequence) + self._padding, self._remote)

    def _hear_until(self, deadline: float, heard: Heard) -> None:
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                self._drain(heard)

    def _drain(self, heard: Heard) -> None:
        with contextlib.suppress(OSError):  # empty, or an ICMP error of an earlier send
            while True:
                heard[PACKET.unpack(self._socket.recv(PACKET.size))[0]] = time.monotonic()


# One TCP connection that is asked and answered on, all the time.

QUESTION = b"?"
PAUSE = 0.02 * PATIENCE  # seconds between two questions


class Conversation:
    """A connection from one host to another, made by `start`; `stop` tells how it went."""

    def __init__(self, near: tuple[Namespace, str], far: tuple[Namespace, str], *, port: int = 5100) -> None:
        (here, self._near), (there, host) = near, far
        self._far = (host, port)
        self._server, self._served = there.fork(self._answer)
        assert self._served.poll(10 * PATIENCE), "nobody listens"
        self._client, self._pipe = here.fork(self._ask)

    def start(self) -> None:
        """Connect, and begin to ask."""
        assert self._pipe.poll(10 * PATIENCE), "it does not connect"
        self._pipe.recv()

    def stop(self, *, within: float) -> float:
        """The longest time without an answer, in seconds; a last one must come `within` so many."""
        self._pipe.send("stop")
        try:
            assert self._pipe.poll(within), "the connection is dead: no answer any more"
            gap: float = self._pipe.recv()
        finally:
            for process in (self._client, self._server):
                process.kill()
                process.join(10 * PATIENCE)
        return gap

    def _ask(self, pipe: Connection) -> None:
        with socket.create_connection(self._far, source_address=(self._near, 0)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pipe.send("connected")
            last, gap = time.monotonic(), 0.0
            while not pipe.poll(PAUSE):
                connection.sendall(QUESTION)
                connection.recv(1)
                now = time.monotonic()
                last, gap = now, max(gap, now - last)
            connection.sendall(QUESTION)
            connection.recv(1)
            pipe.send(max(gap, time.monotonic() - last))

    def _answer(self, pipe: Connection) -> None:
        with socket.create_server(self._far) as server:
            pipe.send("listening")
            connection, _ = server.accept()
            while question := connection.recv(1):
                connection.sendall(question)
