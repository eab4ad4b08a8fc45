"""The daemon's end of the control socket: who may ask, and one answer a request.

Whoever may open the socket (its group) may read. Changes are for root, the daemon's own user and the
admin group, by the credentials that the kernel vouches for (unix(7), SO_PEERCRED, SO_PEERGROUPS).
"""

import asyncio
import contextlib
import grp
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from vpnagent.control import CHANGE_COMMANDS, NOT_FINE, NOT_PERMITTED, encode, request_of
from vpnagent.errors import AgentError, ControlError

log = logging.getLogger(__name__)

READ_GROUP = "vpnagent"
ADMIN_GROUP = "vpnagent-admin"
SO_PEERGROUPS = 59
IDLE_TIMEOUT = 30.0  #: seconds
LINE_LIMIT = 64 * 1024  #: bytes of a request

Answer = Callable[[dict[str, Any]], Awaitable[Any]]


async def serve(path: str, answer: Answer) -> None:
    """Listen on ``path`` until cancelled; a stale socket file is replaced, a live one refused."""
    await refuse_if_alive(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _converse(reader, writer, answer), path, limit=LINE_LIMIT
    )
    os.chmod(path, 0o660)
    _give_to_group(path)
    try:
        async with server:
            await server.serve_forever()
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


async def refuse_if_alive(path: str) -> None:
    """Raise ControlError when another daemon answers on ``path``."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    raise ControlError(f"another daemon already runs: it listens on {path}", NOT_FINE)


def _give_to_group(path: str) -> None:
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(READ_GROUP).gr_gid)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    peer = writer.get_extra_info("socket")
    try:
        while True:
            async with asyncio.timeout(IDLE_TIMEOUT):
                line = await reader.readline()
            if not line:
                break
            writer.write(encode(await _answer(line, may_change(peer), answer)))
            await writer.drain()
    except (ConnectionError, TimeoutError, ValueError):
        log.debug("control-client-dropped")
    finally:
        writer.close()


async def _answer(line: bytes, change_allowed: bool, answer: Answer) -> dict[str, Any]:
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


def may_change(peer: socket.socket) -> bool:
    """Return whether the process at the other end may change something."""
    _, uid, gid = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid in (0, os.geteuid()):
        return True
    try:
        admins = grp.getgrnam(ADMIN_GROUP).gr_gid
    except KeyError:
        return False
    raw = peer.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * 1024)
    return admins in {gid, *struct.unpack(f"{len(raw) // 4}I", raw)}
