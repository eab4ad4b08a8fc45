"""The daemon's end of the control socket: who may ask, what that may cost, and one answer a request.

Whoever may open the socket (its group) may read. Changes are for root, the daemon's own user and the
admin group, by the credentials that the kernel vouches for (unix(7), SO_PEERCRED, SO_PEERGROUPS).

Who may read can cost the daemon little, whatever he does. A user has so many connections, all of them
together so many, and root has some besides that nobody else can take. A connection has one request at work,
within a deadline for what it says and for what it reads. The requests of others than root and the daemon's
own user are answered one after the other, the users in turn, and take a quarter of the time at most.
"""

import asyncio
import contextlib
import grp
import logging
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from vpnagent import own_files
from vpnagent.control.protocol import (
    CHANGE_COMMANDS,
    NOT_FINE,
    NOT_PERMITTED,
    UNREACHABLE,
    encode,
    request_of,
)
from vpnagent.errors import AgentError, ControlError

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

READ_GROUP = "vpnagent-status"
ADMIN_GROUP = "vpnagent-admin"
SO_PEERGROUPS = 59
MOST_GROUPS: Final = 256  #: CPython lets getsockopt have 1024 bytes; who is in more is not in that of admins
IDLE_TIMEOUT = 10.0  #: seconds for a whole request
WRITE_TIMEOUT = 5.0  #: seconds in which an answer is to be read
LINE_LIMIT = 64 * 1024  #: bytes of a request
MOST_OF_A_USER: Final = 16  #: connections
MOST: Final = 64  #: connections of all users but root
RESERVE: Final = 16  #: connections of root's
BACKLOG: Final = 64
ACCEPTS: Final = 16  #: connections taken before the loop has its turn
PAUSE: Final = 0.5  #: seconds without accepting where there are no descriptors
REST: Final = 3.0  #: times what an answer took until the next one of others than root is made
LONGEST_REST: Final = 1.0  #: seconds
TELL: Final = 10.0  #: seconds between two lines on refused connections
NO_ROOM: Final = encode(
    {"ok": False, "error": "the daemon has no room for more connections of yours", "exit_status": UNREACHABLE}
)
ALIVE: Final = 2.0  #: seconds that another daemon may take to accept

Responder = Callable[[dict[str, Any]], Awaitable[Any]]


async def serve(path: str, answer: Responder) -> None:
    """Listen on ``path`` until cancelled; a stale socket file is replaced, a live one refused.

    Raises AgentError where that cannot be.
    """
    await refuse_if_alive(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
        listener.setblocking(False)
        try:
            own_files.bind(listener, path, 0o660, group=_group(READ_GROUP))
        except OSError as error:
            raise AgentError(f"nobody can ask the daemon: {path}: {error.strerror or error}") from error
        listener.listen(BACKLOG)
        try:
            await _Server(listener, answer).run()
        finally:
            with contextlib.suppress(OSError):
                own_files.remove(path)


async def refuse_if_alive(path: str) -> None:
    """Raise ControlError when another daemon answers on ``path``."""
    try:
        async with asyncio.timeout(ALIVE):
            _, writer = await asyncio.open_unix_connection(path)
    except TimeoutError:
        pass  # it lives, and has its hands full
    except OSError:
        return
    else:
        drop(writer)
    raise ControlError(f"another daemon already runs: it listens on {path}", NOT_FINE)


def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


@dataclass(slots=True, eq=False)
class _Talk:
    """One connection."""

    uid: int
    turn: asyncio.Lock  #: of its user's: one request of each is at work, or waits to be
    idle: bool = True  #: between two requests
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class _Server:
    """Accepts connections and answers what comes by them."""

    def __init__(self, listener: socket.socket, answer: Responder) -> None:
        self._listener = listener
        self._answer = answer
        self._talks: list[_Talk] = []  #: oldest first
        self._privileged = {0, os.geteuid()}
        self._others = asyncio.Lock()  #: of all that are not privileged
        self._rested_at = 0.0  #: monotonic; when the next of them may be answered
        self._group = asyncio.TaskGroup()
        self._accepting = False
        self._refused: Counter[int] = Counter()  #: since it was told, by uid
        self._told_at = -TELL  #: monotonic

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        async with self._group:
            loop.add_reader(self._listener, self._accept)
            self._accepting = True
            try:
                await loop.create_future()
            finally:
                self._accepting = False
                loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("control-accept-failed error=%r", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener)
                loop.call_later(PAUSE, self._accept_again)
                return
            self._admit(connection)

    def _accept_again(self) -> None:
        if self._accepting:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _admit(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        uid = peer_uid(connection)
        if not self._has_room(uid):
            with contextlib.suppress(OSError):
                connection.send(NO_ROOM)
            connection.close()
            self._tell_of_refusals(uid)
            return
        turn = next((talk.turn for talk in self._talks if talk.uid == uid), None) or asyncio.Lock()
        talk = _Talk(uid, turn)
        self._talks.append(talk)
        talk.task = self._group.create_task(self._converse(connection, talk))
        talk.task.add_done_callback(partial(self._ended, talk, connection))

    def _tell_of_refusals(self, uid: int) -> None:
        """Log who has more connections than his own, a few times a minute: whoever makes many has no end."""
        self._refused[uid] += 1
        now = time.monotonic()
        if now >= self._told_at + TELL:
            for user, count in self._refused.items():
                log.warning("control-connections-refused uid=%d count=%d", user, count)
            self._refused.clear()
            self._told_at = now

    def _ended(self, talk: _Talk, connection: socket.socket, _task: asyncio.Task[None]) -> None:
        if talk in self._talks:
            self._talks.remove(talk)
        connection.close()  # also of one that was cancelled before it began

    def _has_room(self, uid: int) -> bool:
        """Whether one more of a user fits; who has most of all gives way, if he is silent."""
        mine = sum(talk.uid == uid for talk in self._talks)
        if mine >= (RESERVE if uid == 0 else MOST_OF_A_USER):
            return False
        if uid == 0 or len(self._talks) < MOST:
            return True
        held = Counter(talk.uid for talk in self._talks)
        if held.total() - held[0] < MOST:
            return True
        del held[0]
        [(largest, most)] = held.most_common(1)
        silent = next((talk for talk in self._talks if talk.uid == largest and talk.idle), None)
        if silent is None or mine + 1 >= most:
            return False
        self._talks.remove(silent)
        if silent.task is not None:
            silent.task.cancel()
        return True

    async def _converse(self, connection: socket.socket, talk: _Talk) -> None:
        writer = None
        try:
            reader, writer = await streams(connection, LINE_LIMIT)
            writer.transport.set_write_buffer_limits(high=0)  # an answer is read before the next is made
            change_allowed = may_change(connection)
            while True:
                async with asyncio.timeout(IDLE_TIMEOUT):
                    line = await reader.readline()
                if not line:
                    break
                talk.idle = False
                writer.write(encode(await self._in_turn(line, talk, change_allowed=change_allowed)))
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await writer.drain()
                talk.idle = True
                await asyncio.sleep(0)
        except (OSError, ValueError) as error:
            log.debug("control-client-dropped uid=%d error=%r", talk.uid, error)
        finally:
            if writer is not None:
                drop(writer)

    async def _in_turn(self, line: bytes, talk: _Talk, *, change_allowed: bool) -> dict[str, Any]:
        if talk.uid in self._privileged:
            return await answer_to(line, self._answer, change_allowed=change_allowed)
        async with talk.turn, self._others:
            await asyncio.sleep(max(0.0, self._rested_at - time.monotonic()))
            began = time.monotonic()
            try:
                return await answer_to(line, self._answer, change_allowed=change_allowed)
            finally:
                ended = time.monotonic()
                self._rested_at = ended + min(LONGEST_REST, REST * (ended - began))


async def streams(
    connection: socket.socket, limit: int, context: "ssl.SSLContext | None" = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return the streams of an accepted connection, after its handshake if there is one.

    ``limit`` is how many bytes may be read at a time.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def drop(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, whatever is not sent: close() waits for who does not read."""
    with contextlib.suppress(AttributeError):  # asyncio's, of a transport that was closed and is gone
        writer.transport.abort()


async def answer_to(line: bytes, answer: Responder, *, change_allowed: bool) -> dict[str, Any]:
    """Return the answer to a request, whatever it is."""
    try:
        request = request_of(line)
        if request["command"] in CHANGE_COMMANDS and not change_allowed:
            text = f"not permitted: {request['command']} is for root and the group {ADMIN_GROUP}"
            return {"ok": False, "error": text, "exit_status": NOT_PERMITTED}
        return {"ok": True, "result": await answer(request)}
    except ControlError as error:
        return {"ok": False, "error": str(error), "exit_status": error.exit_status}
    except AgentError as error:
        return {"ok": False, "error": str(error), "exit_status": NOT_FINE}
    except Exception:
        log.exception("control-command-crashed")
        return {"ok": False, "error": "the daemon failed; its log says how", "exit_status": NOT_FINE}


def peer_uid(peer: socket.socket) -> int:
    """Return whose process is at the other end."""
    _, uid, _ = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def may_change(peer: socket.socket) -> bool:
    """Return whether the process at the other end may change something."""
    _, uid, gid = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid in (0, os.geteuid()):
        return True
    admins = _group(ADMIN_GROUP)
    if admins is None:
        return False
    try:
        raw = peer.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    except OSError:
        return bool(admins == gid)
    return admins in {gid, *struct.unpack(f"{len(raw) // 4}I", raw)}
