"""A command on a terminal of its own, as a person runs it: what it writes, and how it leaves the terminal."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

DEADLINE = 30.0  #: seconds
NO_CHANGE: Mapping[str, str] = {}
CLEAN = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}


class Terminal:
    """A running command and everything it has written so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self.process = process
        self.written = b""
        self._master = master

    def wait_for(self, wanted: Callable[[bytes], object]) -> None:
        """Read until ``wanted`` is true of what was written; AssertionError with it at the deadline."""
        end = time.monotonic() + DEADLINE
        while not wanted(self.written):
            assert time.monotonic() < end, self.written[-2000:]
            self._read(0.05)

    def ended(self) -> int:
        """Return the exit status, once there is one and all is read."""
        end = time.monotonic() + DEADLINE
        while self.process.poll() is None:
            assert time.monotonic() < end, self.written[-2000:]
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def _read(self, patience: float) -> bool:
        if not select.select([self._master], [], [], patience)[0]:
            return False
        try:
            part = os.read(self._master, 65536)
        except OSError:  # nobody has the other end open any more
            return False
        self.written += part
        return bool(part)


@contextmanager
def on_a_terminal(
    *arguments: str, columns: int = 80, lines: int = 24, environ: Mapping[str, str] = NO_CHANGE
) -> Iterator[Terminal]:
    """Run vpnagent with a terminal of this size as its standard output and error."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "vpnagent", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**CLEAN, **environ},
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
