"""The VICI transport: commands, their streamed answers, and events, on one asyncio unix socket. A shell.

Packets and messages are the ``vici`` package's. Its ``Session`` is not used: it blocks, answers the next
command with the previous one's answer after a timeout, and fails when an event comes before an answer.
Here, charon answers the commands of one connection in their order, so a FIFO of futures finds the owner
of each answer, even after the asker was cancelled.

A connection has one way to fail and does so once: closed by charon, garbage received, or a deadline
missed. All that is pending then raises, ``on_lost`` is told, and the owner connects again.

Protocol: strongSwan src/libcharon/plugins/vici/README.md, "Transport protocol" and "Packet types".
"""

import asyncio
import errno
import grp
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vici.exception import DeserializationException
from vici.protocol import FiniteStream, Message, Packet, Transport

from vpnagent.errors import ViciError, ViciUnavailableError
from vpnagent.ipsec.messages import ViciSection, text

HEADER = struct.Struct("!I")  #: length of the segment that follows
DEADLINE = 5.0  #: seconds for an answer; charon takes milliseconds, list-sas waits for an SA in use
HANGS = "charon hangs: it does not answer"
STREAMED = frozenset({"list-sa", "list-conn", "list-cert", "control-log"})  #: events that answer a command

_UNDECODABLE = (DeserializationException, UnicodeDecodeError, struct.error)


@dataclass(slots=True)
class _Pending:
    """A command that charon has not answered yet, and what it streamed so far."""

    command: str
    answer: asyncio.Future["_Answer"]
    streamed: list[ViciSection] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The packet that answers a command or a registration."""

    type: int
    message: ViciSection
    streamed: list[ViciSection]


async def connect(
    path: str,
    *,
    deadline: float = DEADLINE,
    on_event: Callable[[str, ViciSection], None] = lambda _name, _message: None,
    on_lost: Callable[[ViciUnavailableError], None] = lambda _error: None,
) -> "ViciConnection":
    """Connect to charon's VICI socket; ViciUnavailableError says what is wrong with it."""
    sock = _connected_socket(path)
    try:
        connection = ViciConnection(path, deadline, on_event, on_lost)
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=sock)
    except OSError as error:
        sock.close()
        raise ViciUnavailableError("connect", f"{path}: {error.strerror or error}") from error
    return connection


class ViciConnection(asyncio.Protocol):
    """One connection to charon. Commands may overlap: they are answered in order."""

    def __init__(
        self,
        path: str,
        deadline: float,
        on_event: Callable[[str, ViciSection], None],
        on_lost: Callable[[ViciUnavailableError], None],
    ) -> None:
        self._path = path
        self._deadline = deadline
        self._on_event = on_event
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._pending: deque[_Pending] = deque()
        self._failure: ViciUnavailableError | None = None

    async def request(self, command: str, message: ViciSection | None = None) -> ViciSection:
        """Return charon's answer; ViciError when it refuses, ViciUnavailableError when none comes."""
        return (await self._command(command, message)).message

    async def stream(self, command: str, message: ViciSection | None = None) -> list[ViciSection]:
        """Return what charon streams before its answer; the event must be subscribed to."""
        return (await self._command(command, message)).streamed

    async def subscribe(self, event: str) -> None:
        """Have charon send an event; ViciError when this version of charon does not know it."""
        answer = await self._exchange(f"register {event}", Packet.register_event(event))
        if answer.type != Packet.EVENT_CONFIRM:
            raise ViciError(f"register {event}", "this version of charon does not know the event")

    def close(self) -> None:
        """Close without telling ``on_lost``."""
        self._on_lost = lambda _error: None
        self._fail(ViciUnavailableError("close", "the connection was closed"))

    async def _command(self, command: str, message: ViciSection | None) -> _Answer:
        try:
            payload = Message.serialize(message) if message else None
        except (struct.error, UnicodeEncodeError):  # neither shows the value, but it may be a secret
            raise ViciError(command, "a value is too long or not text") from None
        answer = await self._exchange(command, Packet.request(command, payload))
        if answer.type == Packet.CMD_UNKNOWN:
            raise ViciError(command, "this version of charon does not know the command")
        if answer.message.get("success", b"yes") != b"yes":
            raise ViciError(command, _errmsg(answer.message))
        return answer

    async def _exchange(self, command: str, packet: bytes) -> _Answer:
        if self._failure or self._transport is None:
            raise ViciUnavailableError(command, self._failure.reason if self._failure else "not connected")
        pending = _Pending(command, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._transport.write(HEADER.pack(len(packet)) + packet)
        try:
            async with asyncio.timeout(self._deadline):
                return await pending.answer
        except TimeoutError:
            failure = ViciUnavailableError(command, f"{self._path}: {HANGS}")
            self._fail(failure)
            raise failure from None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream's transport is one
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take every whole segment out of what has been received."""
        self._received += data
        try:
            while (segment := self._next_segment()) is not None and not self._failure:
                self._receive(segment)
        except (ValueError, *_UNDECODABLE) as error:
            self._fail(ViciUnavailableError("receive", f"{self._path} does not speak VICI: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everything that is pending."""
        reason = f": {exc}" if exc else ""
        self._fail(ViciUnavailableError("receive", f"{self._path} was closed by charon{reason}"))

    def _next_segment(self) -> bytes | None:
        if len(self._received) < HEADER.size:
            return None
        (length,) = HEADER.unpack_from(self._received)
        if length > Transport.MAX_SEGMENT:
            raise ValueError(f"a segment of {length} bytes")
        end = HEADER.size + length
        if len(self._received) < end:
            return None
        segment = bytes(self._received[HEADER.size : end])
        del self._received[:end]
        return segment

    def _receive(self, segment: bytes) -> None:
        packet = Packet.parse(segment)
        if isinstance(packet, Packet.ParsedEventPacket):
            if len(packet.event_type) != segment[1]:
                raise ValueError("an event that is cut short")
            name, message = packet.event_type.decode(), _message(packet.payload)
            if name in STREAMED and self._pending:
                self._pending[0].streamed.append(message)
            else:
                self._on_event(name, message)
            return
        if not self._pending:
            raise ValueError("an answer that nobody asked for")
        message = _message(packet.payload)
        pending = self._pending.popleft()
        if not pending.answer.done():
            pending.answer.set_result(_Answer(packet.response_type, message, pending.streamed))

    def _fail(self, failure: ViciUnavailableError) -> None:
        if self._failure:
            return
        self._failure = failure
        if self._transport:
            self._transport.abort()
        for pending in self._pending:
            if not pending.answer.done():
                pending.answer.set_exception(ViciUnavailableError(pending.command, failure.reason))
        self._pending.clear()
        self._on_lost(failure)


def _errmsg(message: ViciSection) -> str:
    try:
        return text(message, "errmsg")
    except ValueError:
        return "refused without a reason"


class _WholeStream(FiniteStream):
    """The package's own returns less than is asked for where a message is cut short."""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size is not None and len(content) < size:
            raise ValueError("a message that is cut short")
        return content


def _message(payload: FiniteStream) -> ViciSection:
    return Message.deserialize(_WholeStream(payload.read()))


def _connected_socket(path: str) -> socket.socket:
    """Return a connected, non-blocking socket.

    Not left to asyncio, which takes EAGAIN, a listen queue that a hanging charon does not empty, for
    "in progress" and then for success. A unix socket connects at once or not at all.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise ViciUnavailableError("connect", f"{path}: {_reason(path, error)}") from error
    return sock


def _reason(path: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return "no such socket: is charon running, with its vici plugin?"
        case errno.ECONNREFUSED:
            return "nobody listens: charon is not running"
        case errno.EAGAIN:
            return HANGS  # its listen queue is full of those who gave up
        case errno.EACCES | errno.EPERM:
            group = _group(path)
            if group == "root":
                return (
                    "permission denied: it is root's alone (a drop-in of strongswan.service gives it a group)"
                )
            return f"permission denied: the user must be in group {group}"
        case _:
            return error.strerror or str(error)


def _group(path: str) -> str:
    """Return the group that may open the socket."""
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "vici"
