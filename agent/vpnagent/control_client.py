"""The command line's end of the control socket: blocking, with a deadline, standard library only."""

import socket
from typing import Any

from vpnagent.control import MAXIMUM_LINE, NOT_PERMITTED, UNREACHABLE, answer_of, encode
from vpnagent.errors import ControlError


def ask(path: str, command: str, *, timeout: float = 10.0, **arguments: object) -> Any:
    """Send one command and return its result; ``timeout`` in seconds. Raises ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(encode({"command": command, **arguments}))
            line = _read_line(connection)
    except PermissionError:
        raise ControlError(
            f"not permitted to use {path}: be root or a member of its group", NOT_PERMITTED
        ) from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(f"the daemon does not run: nothing listens on {path}", UNREACHABLE) from None
    except TimeoutError:
        raise ControlError(
            f"the daemon does not answer on {path} within {timeout:g} s", UNREACHABLE
        ) from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}", UNREACHABLE) from None
    return answer_of(line)


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(65536)
        if not part:
            raise ControlError("the daemon closed the connection without an answer", UNREACHABLE)
        line += part
        if len(line) > MAXIMUM_LINE:
            raise ControlError("the daemon's answer is too long", UNREACHABLE)
    return line
