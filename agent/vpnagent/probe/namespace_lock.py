"""One configuration in a network namespace: the locks that daemon and prober hold while they live (ADR 11).

What is ours is told by marks that every configuration shares, so a second daemon would remove the first one's
tunnels and guards, and a second prober write over its groups. Whatever sockets are configured, the lock is a
file in /run/vpnagent named by the namespace's inode, one for the daemon and one for the prober; the kernel
gives it back however its holder ends. The file says who took it last. It stays behind: deleting it would let
two hold two locks of one name.

The folder is the service's, and root comes there too: `own_files` says how. A shell.
"""

import enum
import fcntl
import os
import stat
import time
from typing import Final, NamedTuple

from vpnagent import own_files
from vpnagent.errors import ControlError

DIRECTORY: Final = "/run/vpnagent"
NAMESPACE: Final = "/proc/thread-self/ns/net"
GRACE: Final = 0.5  #: seconds: one that was just killed may still be ending
NOT_FINE, NOT_PERMITTED = 1, 4  #: as in ``control``, which the prober does not import: it costs memory
MAXIMUM_NOTE: Final = 10240  #: bytes: two paths
NOTE_LINES: Final = 4  #: process, configuration, socket, nothing
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class LockRole(enum.Enum):
    """Whose lock it is."""

    DAEMON = "daemon"
    PROBER = "prober"


class Holder(NamedTuple):
    """Who took a lock, by its own word."""

    pid: int  #: 0: not told
    configuration: str  #: path of the file; empty: not told
    socket: str  #: the control socket, or the prober's; empty: not told

    def uses(self, socket: str) -> bool:
        """Whether it is the one that listens on a socket."""
        return bool(self.socket) and os.path.realpath(self.socket) == os.path.realpath(socket)

    def __str__(self) -> str:
        words = [f"process {self.pid or 'unknown'}"]
        if self.configuration:
            words.append(f"configuration {self.configuration}")
        if self.socket:
            words.append(f"socket {self.socket}")
        return ", ".join(words)


class LockError(ControlError):
    """A lock cannot be had."""

    def __init__(self, text: str, exit_status: int = NOT_FINE) -> None:
        super().__init__(text, exit_status)


class LockHeldError(LockError):
    """Somebody who lives holds the lock."""

    def __init__(self, role: LockRole, holder: Holder, hint: str = "") -> None:
        text = f"another {role.value} works in this network namespace: {holder}"
        super().__init__(f"{text}; {hint}" if hint else text)
        self.holder = holder


def acquire(role: LockRole, *, configuration: str = "", socket: str, wait: float | None = GRACE) -> int:
    """Return the descriptor that holds the lock for as long as it is open.

    ``wait`` is for how many seconds another may still end; None: until it does. Raises LockError.
    """
    fd = _open(role)
    try:
        _wait_for(fd, role, wait)
        _note(fd, Holder(os.getpid(), _absolute(configuration), _absolute(socket)))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _wait_for(fd: int, role: LockRole, seconds: float | None) -> None:
    deadline = time.monotonic() + (seconds or 0.0)
    while not _locked(fd, fcntl.LOCK_EX, block=seconds is None):
        if time.monotonic() >= deadline:
            raise LockHeldError(role, _noted(fd))
        time.sleep(0.005)


def hold_as_daemon(*, configuration: str, control_socket: str, prober_socket: str, hint: str = "") -> int:
    """Return the daemon's lock, once no prober works here but the one of that socket. Raises LockError."""
    try:
        fd = acquire(LockRole.DAEMON, configuration=configuration, socket=control_socket)
    except LockHeldError as error:
        raise LockHeldError(LockRole.DAEMON, error.holder, hint) from None
    try:
        _refuse_other_prober(prober_socket, hint)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _refuse_other_prober(socket: str, hint: str) -> None:
    prober = holder_of(LockRole.PROBER)
    if prober is not None and not prober.uses(socket):
        raise LockHeldError(LockRole.PROBER, prober, hint)


def holder_of(role: LockRole) -> Holder | None:
    """Return who holds a lock; None: nobody. Raises LockError."""
    fd = _open(role)
    try:
        return None if _locked(fd, fcntl.LOCK_SH) else _noted(fd)
    finally:
        os.close(fd)


def _open(role: LockRole) -> int:
    name = f"netns-{os.stat(NAMESPACE).st_ino}.{role.value}.lock"
    return open_lock(os.path.join(DIRECTORY, name), "this network namespace cannot be locked", make=0o755)


def open_lock(path: str, refusal: str, *, make: int | None = None) -> int:
    """Return the descriptor of a lock's file; ``make`` is the mode of its folder. Raises LockError."""
    directory, name = os.path.split(path)
    try:
        with own_files.folder(directory, make=make, follow=False) as opened:
            if make is not None and opened.found.st_mode & OTHERS_WRITE:
                raise LockError(f"{directory} may be written to by others: chmod go-w {directory}")
            return opened.open(name, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        status = NOT_PERMITTED if isinstance(error, PermissionError) else NOT_FINE
        mend = ": remove it" if isinstance(error, own_files.DamagedError) else ""
        raise LockError(f"{refusal}: {error.filename or path}: {error.strerror}{mend}", status) from error


def _locked(fd: int, kind: int, *, block: bool = False) -> bool:
    try:
        fcntl.flock(fd, kind if block else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _note(fd: int, holder: Holder) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, os.fsencode(f"{holder.pid}\n{holder.configuration}\n{holder.socket}\n"), 0)


def _noted(fd: int) -> Holder:
    """Read who took the lock; a holder that is just writing it, or a stranger's words, tell nothing."""
    lines = os.fsdecode(os.pread(fd, MAXIMUM_NOTE, 0)).split("\n")
    if len(lines) != NOTE_LINES or not lines[0].isdecimal() or not "".join(lines).isprintable():
        return Holder(0, "", "")
    return Holder(int(lines[0]), lines[1], lines[2])


def _absolute(path: str) -> str:
    return path and os.path.abspath(path)
