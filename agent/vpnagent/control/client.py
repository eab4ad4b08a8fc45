"""The command line's end of the control socket: blocking, with a deadline, standard library only."""

import socket
import struct
import time
from typing import Any

from vpnagent.control.protocol import MAXIMUM_LINE, NOT_PERMITTED, UNREACHABLE, answer_of, encode
from vpnagent.errors import ControlError
from vpnagent.own_files import rights_of_owner


def ask(path: str, command: str, *, timeout: float = 10.0, **arguments: object) -> Any:
    """Send one command and return its result; ``timeout`` in seconds, for all of it. Raises ControlError."""
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            _wait_until(deadline, connection)
            with rights_of_owner(path):  # what lies there may be a way to a socket that is only root's
                connection.connect(path)
            _send(connection, encode({"command": command, **arguments}))
            line = _read_line(connection, deadline)
    except PermissionError:
        raise ControlError(
            f"not permitted to use {path}: be root or a member of its group", NOT_PERMITTED
        ) from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(f"the daemon does not run: nothing listens on {path}", UNREACHABLE) from None
    except (TimeoutError, BlockingIOError):
        raise ControlError(
            f"the daemon does not answer on {path} within {timeout:g} s", UNREACHABLE
        ) from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}", UNREACHABLE) from None
    return answer_of(line)


def _wait_until(deadline: float, connection: socket.socket) -> None:
    """Let the next calls wait until then. Raises TimeoutError when it has come.

    In the kernel (socket(7)) and not by ``settimeout``, whose sockets do not block: such a one is turned away
    by connect(2) where others wait for their turn.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    seconds = struct.pack("ll", int(left), max(1, int(left % 1 * 1e6)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)


def _send(connection: socket.socket, request: bytes) -> None:
    try:
        connection.sendall(request)
    except (BrokenPipeError, ConnectionResetError):
        return  # it was refused at once: why can still be read


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        _wait_until(deadline, connection)
        part = connection.recv(65536)
        if not part:
            raise ControlError("the daemon closed the connection without an answer", UNREACHABLE)
        line += part
        if len(line) > MAXIMUM_LINE:
            raise ControlError("the daemon's answer is too long", UNREACHABLE)
    return bytes(line)
