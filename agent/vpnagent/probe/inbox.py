"""What waits on the sockets, and how it is taken in: when to wake up, what passes, how much, since when.

``Poller`` tells that something waits, ``attach`` says what the kernel lets in, an ``Inbox`` takes it from a
socket, an ``Allowance`` bounds that for all sockets together, ``ReceiveTime`` says when it came, and a
``Tap`` sees what came to an interface and reached no socket. A shell.
"""

import contextlib
import ctypes
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

_READ = select.EPOLLIN
_WRITE = select.EPOLLIN | select.EPOLLOUT

_SO_ATTACH_FILTER = 26
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

STEP = 1_000_000  #: ns by which the clocks may part between two drains of the socket
SLEW = 1_000  #: 1/SLEW: the rate at which adjtime(3) may move them, twice over

GRACE: Final = 0.005  #: seconds that a packet may take from its interface to the ICMP socket
LINGER: Final = 10.0  #: seconds that a tap stays open
REFUSED: Final = 60.0  #: seconds after which one that could not be opened is tried again
_ETH_P_IP: Final = 0x0800
_PACKET_HOST: Final = 0  #: addressed to us: what is not, no filter of ours need drop
_HEADERS: Final = 128  #: octets, of which the last ones that matter are the echo's
_MOST: Final = 4096  #: replies that wait for the grace

Callback = Callable[[], None]
#: A packet (from the IP header on, or from behind the UDP header), its sender, the destination in its header
#: (four octets), index of the arrival interface, and monotonic seconds when the kernel received it.
Received = tuple[bytes, tuple[str, int], bytes, int, float]
#: Tells of an IPv4 packet which slot and sequence it answers; None: none.
ReadReply = Callable[[bytes], tuple[int, int] | None]
#: Slot and sequence that are answered, name of the arrival interface, monotonic seconds.
TappedReply = tuple[int, int, str, float]


class Poller:
    """epoll with a callback for each file descriptor, and a time to wake up at: all there is of a loop.

    epoll's own timeout is rounded up to a millisecond, and a timerfd costs two system calls and two visits of
    the scheduler's timers. So the wait is a select(2), in microseconds, for the epoll instance itself.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._writers: set[int] = set()

    def watch(self, fd: int, callback: Callback) -> None:
        """Call back when the file descriptor is readable, closed or broken."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, _READ)

    def want_to_write(self, fd: int, *, wanted: bool) -> None:
        """Call back when it is writable too, or no longer."""
        if wanted != (fd in self._writers):
            self._epoll.modify(fd, _WRITE if wanted else _READ)
            (self._writers.add if wanted else self._writers.discard)(fd)

    def forget(self, fd: int) -> None:
        """Call back no more."""
        self._writers.discard(fd)
        if self._callbacks.pop(fd, None):
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def wait(self, due: float) -> list[int]:
        """Return the file descriptors for which something waits; none at ``due``, on the monotonic clock."""
        seconds = due - time.monotonic()
        if seconds > 0 and not select.select((self._epoll,), (), (), seconds)[0]:
            return []
        return [fd for fd, _ in self._epoll.poll(0)]

    def call(self, fd: int) -> None:
        """Run the callback; one that an earlier callback has taken back is not run."""
        callback = self._callbacks.get(fd)
        if callback:
            callback()


def attach(sock: socket.socket, program: bytes) -> None:
    """Let only what a classic BPF program passes into the socket, in place of what another one passed.

    What came in before the filter stands is still there: whoever reads it must tell it apart. Raises OSError:
    ENOMEM beyond net.core.optmem_max, EINVAL for what is no program (socket(7)).
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: number of instructions of eight octets, and where they are.
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


class ReceiveTime:
    """Kernel receive stamps on the monotonic scale; bracket every drain with ``begin`` and ``end``.

    SO_TIMESTAMPNS tells wall time. What was received before a step of the wall clock would come out wrong by
    the step, so a drain in which the two clocks parted falls back to its own time, and no stamp may lie
    outside the time since the socket was last seen empty. Both clocks are arguments, in nanoseconds.
    """

    def __init__(self, monotonic: int, wall: int) -> None:
        self._offset = wall - monotonic
        self._emptied = monotonic
        self._now = monotonic
        self._stepped = False

    def begin(self, monotonic: int, wall: int) -> None:
        """Note the clocks, read one right after the other, before the first packet is taken."""
        offset = wall - monotonic
        tolerance = STEP + (monotonic - self._now) // SLEW
        self._stepped = abs(offset - self._offset) > tolerance
        self._offset = offset
        self._now = monotonic

    def of(self, stamp: int | None) -> int:
        """Return when a packet with this stamp was received; None: the kernel gave no stamp."""
        if stamp is None or self._stepped:
            return self._now
        return max(self._emptied, min(stamp - self._offset, self._now))

    def end(self) -> None:
        """Note that the socket is empty: what comes now came after ``begin()``."""
        self._emptied = self._now


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


class Inbox:
    """Takes packets from one socket: no more than is allowed, each with its arrival interface and time.

    An overflow is what our own full buffer lost, and nothing else. The kernel's count of drops (SO_RXQ_OVFL,
    socket(7)) holds, for UDP, wrong checksums and what the filter refuses as well, so it is believed only
    where so much waited that the buffer can have been full: nobody but us takes anything out.
    """

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


class Tap:
    """Sees the replies to our echo requests as they arrive at the interfaces, before any packet filter.

    A packet socket (packet(7)), open from its making until ``close``; OSError if it cannot be. What it has
    and the ICMP socket has not was dropped on this machine: by an input or prerouting chain, a reverse-path
    rule, ``rp_filter``. It is behind the ingress hook: a filter there drops what is forwarded as well.
    """

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


class Taps:
    """At most one tap: opened when it is wanted, closed a while after it was wanted last.

    To close a packet socket takes the kernel some milliseconds (it waits until nobody uses it), in which
    nothing is probed: so not at once, and rarely.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._tap: Tap | None = None
        self._wanted_at = -inf
        self._refused_until = -inf

    def want(self, make: Callable[[], Tap] | None, *, wanted: bool, now: float) -> None:
        """Open a tap, keep it, or close it; None: there is nothing to be tapped."""
        if wanted:
            self._wanted_at = now
            if self._tap is None and now >= self._refused_until and make is not None:
                self._open(make, now)
        elif self._tap is not None and now >= self._wanted_at + LINGER:
            self._poller.forget(self._tap.fileno())
            self._tap.close()
            self._tap = None

    def _open(self, make: Callable[[], Tap], now: float) -> None:
        try:
            self._tap = make()
        except OSError:  # a sandbox without AF_PACKET: then a local filter is taken for what it looks like
            self._refused_until = now + REFUSED
        else:
            self._poller.watch(self._tap.fileno(), lambda: None)  # drained at every wake-up

    @property
    def open(self) -> bool:
        """Whether there is one."""
        return self._tap is not None

    @property
    def due(self) -> float:
        """When to drain at the latest."""
        return self._tap.due if self._tap is not None else inf

    def expect(self, program: bytes) -> None:
        """Take what another filter passes from now on."""
        if self._tap is not None:
            self._tap.expect(program)

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[TappedReply]:
        """Return what was seen, as ``Tap`` says."""
        return self._tap.drain(monotonic, wall, allowance) if self._tap is not None else []

    def forget(self) -> None:
        """Drop what was seen."""
        if self._tap is not None:
            self._tap.forget()
