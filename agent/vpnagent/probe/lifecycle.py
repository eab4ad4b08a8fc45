"""How a prober begins, ends and follows another: the lock and the state file (ADR 0002).

At most one prober works for a socket: it holds a lock that the kernel gives back when it dies, however it
dies. What a control daemon made it do is noted beside the socket, so that a prober which finds no daemon
can go on at once. The lock file holds when ``vpnagent down`` last ended the prober: one that was just being
started then did not listen yet, and finds it there.
"""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import time

from vpnagent import own_files
from vpnagent.errors import AgentError
from vpnagent.namespace_lock import open_lock
from vpnagent.probe.intent import Configure, IntentUpdate
from vpnagent.probe.journal import line
from vpnagent.probe.protocol import Assembler, ProtocolError, Quit, datagrams

GRACE = 1.0  #: seconds that another prober has to end when it is asked to
REALTIME_PRIORITY = 10
TICK = 1 / os.sysconf("SC_CLK_TCK")  #: seconds
_LENGTH = struct.Struct("=I")
_TIME = struct.Struct("=d")
_MAXIMUM_STATE = 16 * 1024 * 1024  #: bytes


class AnotherProberError(AgentError):
    """Another prober lives and works for this socket."""


def acquire_lock(socket_path: str, *, replace: bool) -> int:
    """Return the file descriptor that holds the lock; with ``replace`` the one that holds it must go."""
    fd = open_lock(f"{os.path.abspath(socket_path)}.lock", "the prober's socket cannot be locked")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not replace:
            os.close(fd)
            raise AnotherProberError(f"another prober listens on {socket_path}") from None
        _take_over(fd, socket_path)
    return fd


def note_end(socket_path: str) -> None:
    """Have every prober that has begun by now end, also one that does not listen yet. Raises OSError."""
    directory, name = os.path.split(os.path.abspath(socket_path))
    with own_files.folder(directory) as opened:  # root comes here too, and gives nothing to anybody
        fd = opened.open(f"{name}.lock", os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(fd, _TIME.pack(time.clock_gettime(time.CLOCK_BOOTTIME)), 0)
    finally:
        os.close(fd)


def end_noted(lock: int) -> bool:
    """Whether ``note_end`` was called since this process began. To be asked once it listens."""
    noted = os.pread(lock, _TIME.size, 0)
    return len(noted) == _TIME.size and _TIME.unpack(noted)[0] >= _began()


def _began() -> float:
    """Return when this process began: CLOCK_BOOTTIME, to a clock tick (starttime, proc(5))."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[19]) * TICK


def be_realtime(pid: int) -> None:
    """Put a process (0: this one) under SCHED_FIFO, not what it starts. Raises OSError (sched(7))."""
    os.sched_setscheduler(pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(REALTIME_PRIORITY))


def _take_over(fd: int, socket_path: str) -> None:
    """Ask the living prober to end, and make it end if it does not."""
    pid = _ask_to_quit(socket_path)
    deadline = time.monotonic() + GRACE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.002)
                continue
            if pid:  # stopped or hung; the kernel vouches that it listens on our socket
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            fcntl.flock(fd, fcntl.LOCK_EX)
        return


def _ask_to_quit(socket_path: str) -> int:
    """Return the pid of who listens; 0: nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(GRACE)
        try:
            connection.connect(socket_path)
            for datagram in datagrams(Quit()):
                connection.send(datagram)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return 0
    return int(struct.unpack("iII", credentials)[0])


class StateFile:
    """What is in force, as the messages that made it so: a Configure and the Changes since."""

    def __init__(self, socket_path: str) -> None:
        self._path = f"{os.path.abspath(socket_path)}.state"

    def replace(self, configure: Configure) -> None:
        """Note a whole configuration, in place of all before."""
        own_files.replace_file(self._path, _record(configure), sync=False)

    def append(self, change: IntentUpdate) -> None:
        """Note a change."""
        directory, name = os.path.split(self._path)
        with own_files.folder(directory) as opened:
            fd = opened.open(name, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, _record(change))
        finally:
            os.close(fd)

    def read(self) -> list[Configure | IntentUpdate]:
        """Return the messages; none when there is no file, or from the first that cannot be read on."""
        try:
            return _messages(own_files.read(self._path, _MAXIMUM_STATE))
        except own_files.DamagedError as error:
            line(
                f"prober-state-damaged {error.filename}: {error.strerror}: {own_files.set_aside(self._path)}"
            )
        except OSError:
            pass
        return []

    def remove(self) -> None:
        """Forget: the next prober starts with nothing to do."""
        own_files.remove(self._path)


def _record(message: Configure | IntentUpdate) -> bytes:
    return b"".join(_LENGTH.pack(len(datagram)) + datagram for datagram in datagrams(message))


def _messages(data: bytes) -> list[Configure | IntentUpdate]:
    messages: list[Configure | IntentUpdate] = []
    assembler = Assembler()
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        try:
            message = assembler.feed(data[at : at + length])
        except ProtocolError:  # of another version, or cut off
            break
        at += length
        if isinstance(message, Configure | IntentUpdate):
            messages.append(message)
    return messages
