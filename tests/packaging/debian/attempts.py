"""Try what a program in a unit's sandbox can do: Python statements in a JSON file, outcomes as a JSON list.

Run by the unit under test, on Debian's Python: the standard library only. An outcome is "done", the name of
an error number, or what else was raised.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call a function of libc that returns -1 for failure."""
    if getattr(LIBC, name)(*arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def outcome(attempt: Callable[[], object]) -> str:
    """Return how an attempt ends."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def connect(path: str) -> None:
    """Connect to a unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


def write(path: str, content: str = "") -> None:
    """Write a file, which may be new."""
    with open(path, "w") as file:
        file.write(content)


def read(path: str) -> None:
    """Read a file."""
    with open(path, "rb") as file:
        file.read(1)


def root_by(program: str) -> None:
    """Have a set-user-ID copy of id(1) run; refused is who is not root by it."""
    if subprocess.run([program, "-u"], capture_output=True, check=True).stdout != b"0\n":
        raise PermissionError(errno.EPERM, "not root")


NAMES = {
    **{name: globals()[name] for name in ("call", "connect", "write", "read", "root_by")},
    **{"mmap": mmap, "os": os, "socket": socket, "subprocess": subprocess, "time": time},
}

if __name__ == "__main__":
    with open(sys.argv[1], encoding="ascii") as given:
        attempts = json.load(given)
    print(json.dumps([outcome(partial(exec, code, dict(NAMES))) for code in attempts]))
