"""Netlink sockets on the loop: requests by the batch, dumps in slices, events; nobody waits for ever.

The kernel handles a request inside the sending system call, and its answers wait in the receive buffer
when that returns: so requests that are sent together are carried out together, even if we are killed the
moment after. pyroute2's AsyncIPRoute is not used: it knows no deadline, is dead for good after one ENOBUFS,
hangs on batches of 5,000 and takes 60 us of the loop's time to decode a message where 3 us do. A shell.
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TypeVar

from vpnagent.errors import NetlinkError
from vpnagent.netlink.message import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    SO_RCVBUFFORCE,
    SO_SNDBUFFORCE,
    SOL_NETLINK,
    Ack,
    NetlinkMessage,
    ack,
    messages,
    numbered,
    wants_answer,
)

T = TypeVar("T")
Interest = Callable[[NetlinkMessage], bool]

NETLINK_ROUTE = socket.NETLINK_ROUTE
NETLINK_NETFILTER = 12

DEADLINE = 5.0  #: seconds for one conversation; the kernel answers at once or not at all
SLICE = 128  #: requests per system call: under a millisecond of the loop's time
LOOK_UPS = 32  #: per system call: a good half of a millisecond
RECEIVE_SIZE = 32768  #: bytes; the kernel fills dumps up to this: some 400 routes, a millisecond to decode
BUFFER_SIZE = 4 << 20  #: bytes, each way
EVENT_BUFFER_SIZE = 8 << 20  #: bytes; 4 MiB overflowed at 10,000 route events
DATAGRAMS_AT_ONCE = 256  #: of events; then others get their turn on the loop
UNREADABLE = (struct.error, ValueError, LookupError)  #: what decoding raises of another kernel's answers
PENDING = Ack(errno.EINPROGRESS, "")
DUMP_ATTEMPTS = 3  #: tables that change while they are dumped are asked for again


def open_socket(
    protocol: int, *, groups: Sequence[int] = (), buffer_size: int = BUFFER_SIZE
) -> socket.socket:
    """Return a bound netlink socket that does not block. Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.setblocking(False)
        for forced, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, buffer_size)
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, plain, buffer_size)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            sock.setsockopt(SOL_NETLINK, option, 1)
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except BaseException:
        sock.close()
        raise
    return sock


async def listen(
    groups: Mapping[int, Sequence[int]], interest: Callable[[], Interest], on_change: Callable[[], None]
) -> None:
    """Call ``on_change`` after events of these groups, by protocol, until cancelled. Raises NetlinkError.

    ``interest`` is asked at each waking which events count; a lost one (ENOBUFS) counts as any other.
    """
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with contextlib.ExitStack() as stack:
        try:
            for protocol, of_protocol in groups.items():
                listener = _Listener(protocol, of_protocol, on_change, failed, interest)
                stack.callback(listener.close)
            await failed
        except OSError as error:
            raise NetlinkError("monitor", error.errno or 0, error.strerror or str(error)) from error


class _Listener:
    """One socket that hears some groups of one netlink protocol."""

    def __init__(
        self,
        protocol: int,
        groups: Sequence[int],
        on_change: Callable[[], None],
        failed: asyncio.Future[None],
        interest: Callable[[], Interest],
    ) -> None:
        self._protocol = protocol
        self._groups = groups
        self._on_change = on_change
        self._failed = failed
        self._interest = interest
        self._socket = self._open()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _open(self) -> socket.socket:
        sock = open_socket(self._protocol, groups=self._groups, buffer_size=EVENT_BUFFER_SIZE)
        asyncio.get_running_loop().add_reader(sock, self._read)
        return sock

    def _read(self) -> None:
        """Read what has arrived and tell of it, once."""
        try:
            if self._has_changed():
                self._on_change()
        except OSError as error:
            if not self._failed.done():
                self._failed.set_exception(error)

    def _has_changed(self) -> bool:
        changed = False
        concerns_us = self._interest()
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                datagram = self._socket.recv(RECEIVE_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._begin_anew()
                return True
            changed = changed or any(map(concerns_us, messages(datagram)))
        return changed

    def _begin_anew(self) -> None:
        """Drop what is in the buffer: until it is empty, the kernel loses further events without a word."""
        overrun = self._socket
        asyncio.get_running_loop().remove_reader(overrun)
        self._socket = self._open()
        overrun.close()


class NetlinkSocket:
    """Requests and dumps of one netlink protocol. After a failure the socket is opened anew."""

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._socket: socket.socket | None = None
        self._sequence = 0
        self._lock = asyncio.Lock()

    async def dump(self, request: bytes, decode: Callable[[bytes], T | None]) -> list[T]:
        """Return what ``decode`` makes of each message's body, without its Nones. Raises NetlinkError."""
        async with self._lock:
            for _ in range(DUMP_ATTEMPTS - 1):
                found, interrupted = await self._conversation(self._dump(request, decode))
                if not interrupted:
                    return found
            return (await self._conversation(self._dump(request, decode)))[0]

    async def execute(self, requests: Sequence[bytes], *, together: bool = False) -> list[Ack]:
        """Carry out requests; return the answers to those that ask for an acknowledgement.

        Up to SLICE requests, or all of a transaction, go in one system call. Raises NetlinkError when the
        kernel cannot be asked.
        """
        answers: list[Ack] = []
        size = max(len(requests), 1) if together else SLICE
        async with self._lock:
            for start in range(0, len(requests), size):
                answers += await self._conversation(self._execute(requests[start : start + size]))
                await asyncio.sleep(0)
        return answers

    async def look_up(self, requests: Sequence[bytes], decode: Callable[[bytes], T]) -> list[T | int]:
        """Return for each request what ``decode`` makes of its one answer, or the errno of a refusal.

        LOOK_UPS go in one system call, and their answers are there when it returns. Raises NetlinkError when
        the kernel cannot be asked.
        """
        found: list[T | int] = []
        async with self._lock:
            for start in range(0, len(requests), LOOK_UPS):
                found += await self._conversation(self._look_up(requests[start : start + LOOK_UPS], decode))
                await asyncio.sleep(0)
        return found

    def close(self) -> None:
        """Close the socket. A later call opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _conversation(self, exchange: Coroutine[None, None, T]) -> T:
        try:
            async with asyncio.timeout(DEADLINE):
                return await exchange
        except TimeoutError as error:
            self.close()
            raise NetlinkError("netlink", 0, f"no answer within {DEADLINE:g} s") from error
        except OSError as error:
            self.close()
            raise NetlinkError("netlink", error.errno or 0, os.strerror(error.errno or 0)) from error
        except UNREADABLE as error:
            self.close()
            raise NetlinkError("netlink", 0, f"an answer that is not understood: {error!r}") from error
        except NetlinkError:
            raise  # the kernel's refusal: the conversation is over
        except BaseException:
            self.close()  # half a conversation is still in the buffer
            raise

    async def _execute(self, requests: Sequence[bytes]) -> list[Ack]:
        sequences = await self._send(requests)
        asked = [s for s, request in zip(sequences, requests, strict=True) if wants_answer(request)]
        answers: dict[int, Ack] = dict.fromkeys(asked, PENDING)
        pending = len(asked)
        while pending:
            for reply in await self._receive():
                if reply.type != NLMSG_ERROR or reply.sequence not in sequences:
                    continue
                if reply.sequence not in answers:
                    # A transaction that was refused as a whole: nothing else will be answered.
                    return [ack(reply)] * len(asked)
                pending -= answers[reply.sequence] is PENDING
                answers[reply.sequence] = ack(reply)
        return [answers[sequence] for sequence in asked]

    async def _look_up(self, requests: Sequence[bytes], decode: Callable[[bytes], T]) -> list[T | int]:
        sequences = await self._send(requests)
        answers: dict[int, T | int] = {}
        while len(answers) < len(requests):
            for reply in self._received() or await self._receive():
                if reply.sequence in sequences:
                    refused = reply.type == NLMSG_ERROR
                    answers[reply.sequence] = ack(reply).errno if refused else decode(reply.body)
        return [answers[sequence] for sequence in sequences]

    def _received(self) -> list[NetlinkMessage]:
        """Return what has arrived already."""
        found: list[NetlinkMessage] = []
        if self._socket is not None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    found += messages(self._socket.recv(RECEIVE_SIZE))
        return found

    async def _dump(self, request: bytes, decode: Callable[[bytes], T | None]) -> tuple[list[T], bool]:
        [sequence] = await self._send([request])
        found: list[T] = []
        interrupted = False
        while True:
            for reply in await self._receive():
                if reply.sequence != sequence:
                    continue
                interrupted = interrupted or bool(reply.flags & NLM_F_DUMP_INTR)
                if reply.type in (NLMSG_DONE, NLMSG_ERROR):
                    answered = ack(reply)
                    if answered.errno:
                        raise NetlinkError("dump", answered.errno, answered.reason)
                    return found, interrupted
                value = decode(reply.body)
                if value is not None:
                    found.append(value)
            await asyncio.sleep(0)

    async def _send(self, requests: Sequence[bytes]) -> range:
        if self._socket is None:
            self._socket = open_socket(self._protocol)
        first = self._sequence + 1
        self._sequence += len(requests)
        data = b"".join(numbered(request, first + n) for n, request in enumerate(requests))
        await asyncio.get_running_loop().sock_sendall(self._socket, data)
        return range(first, first + len(requests))

    async def _receive(self) -> Iterator[NetlinkMessage]:
        if self._socket is None:
            raise OSError(errno.EBADF, "closed")
        return messages(await asyncio.get_running_loop().sock_recv(self._socket, RECEIVE_SIZE))
