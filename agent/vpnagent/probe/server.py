"""The prober's socket, and what lies beside it: one prober at a time, and one control daemon it listens to.

At most one prober works for a socket: it holds a lock that the kernel gives back when it dies, however it
dies. What a control daemon made it do is noted in the state file, for its successor (ADR 0002). The lock file
holds when ``vpnagent down`` last ended the prober: one that was just being started then did not listen yet,
and finds it there. A shell.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from vpnagent import own_files
from vpnagent.errors import AgentError
from vpnagent.probe.inbox import Poller
from vpnagent.probe.intent import Configure, IntentUpdate
from vpnagent.probe.namespace_lock import open_lock
from vpnagent.probe.protocol import (
    DATAGRAM,
    VERSION,
    Assembler,
    Hello,
    Message,
    ProtocolError,
    Quit,
    datagrams,
)

GRACE = 1.0  #: seconds that another prober has to end when it is asked to
REALTIME_PRIORITY = 10
TICK = 1 / os.sysconf("SC_CLK_TCK")  #: seconds
_LENGTH = struct.Struct("=I")
_TIME = struct.Struct("=d")
_MAXIMUM_STATE = 16 * 1024 * 1024  #: bytes
_STDERR = 2
_LONGEST = 1024  #: octets, below PIPE_BUF: a line is written whole or not at all

EVENTS = 512  #: kept while nobody reads
CONNECTIONS = 8  #: at once; the oldest is dropped
_SO_SNDBUFFORCE = 32
_SEND_BUFFER = 1024 * 1024  #: bytes
_BATCH = 256  #: datagrams taken from one connection at a time: probes have the right of way


class AnotherProberError(AgentError):
    """Another prober lives and works for this socket."""


class _Connection:
    """One process at the other end."""

    __slots__ = ("assembler", "sending", "socket")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.assembler = Assembler()
        self.sending: deque[bytes] = deque()  #: datagrams of messages already begun


class Server:
    """Listens on a path; hands messages to ``on_message``, whose answer goes back. Nothing here waits.

    Whoever connects is told Hello. The first of our version to answer becomes the controller, and the one
    before it is dropped: a daemon that wakes from a SIGSTOP finds its connection closed. Events are kept, in
    bounds, until a controller reads them; reports are not.
    """

    def __init__(
        self,
        path: str,
        poller: Poller,
        *,
        hello: Callable[[], Hello],
        on_message: Callable[[Message], Message | None],
    ) -> None:
        self._poller = poller
        self._hello = hello
        self._on_message = on_message
        self._connections: list[_Connection] = []
        self._controller: _Connection | None = None
        self._events: deque[Message] = deque(maxlen=EVENTS)
        self.events_lost = 0
        self._path = path
        self._listener = _listen(path)
        poller.watch(self._listener.fileno(), self._accept)

    @property
    def controlled(self) -> bool:
        """Whether a control daemon is connected."""
        return self._controller is not None

    def tell(self, event: Message) -> None:
        """Send an event to the controller, now or when there is one."""
        self.events_lost += len(self._events) == EVENTS
        self._events.append(event)
        self._flush_events()

    def report(self, report: Message) -> None:
        """Send a report if the controller reads; it is left out otherwise."""
        controller = self._controller
        if controller and not controller.sending and not self._events:
            controller.sending.extend(datagrams(report))
            self._flush(controller)

    def close(self) -> None:
        """Stop listening and drop all connections."""
        for connection in list(self._connections):
            self._drop(connection)
        self._poller.forget(self._listener.fileno())
        self._listener.close()
        with contextlib.suppress(OSError):
            own_files.remove(self._path)  # ours: we still hold the lock

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        if not _permitted(sock):
            sock.close()
            return
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        if len(self._connections) >= CONNECTIONS:
            self._drop(self._connections[0])
        connection = _Connection(sock)
        self._connections.append(connection)
        self._poller.watch(sock.fileno(), lambda: self._ready(connection))
        self._send(connection, self._hello())

    def _ready(self, connection: _Connection) -> None:
        if self._flush(connection) and connection is self._controller:
            self._flush_events()
        for _ in range(_BATCH):
            try:
                datagram = connection.socket.recv(DATAGRAM)
                message = connection.assembler.feed(datagram) if datagram else None
            except BlockingIOError:
                return
            except (OSError, ProtocolError):
                self._drop(connection)
                return
            if not datagram:
                self._drop(connection)
                return
            if message is not None:
                self._take(connection, message)

    def _take(self, connection: _Connection, message: Message) -> None:
        if isinstance(message, Hello):
            if message.version == VERSION:
                self._become_controller(connection)
            return
        answer = self._on_message(message)
        if answer is not None:
            self._send(connection, answer)

    def _become_controller(self, connection: _Connection) -> None:
        if self._controller not in (None, connection):
            self._drop(self._controller)
        self._controller = connection
        self._flush_events()

    def _flush_events(self) -> None:
        """Send kept events as long as the controller takes them."""
        while (controller := self._controller) and self._flush(controller) and self._events:
            controller.sending.extend(datagrams(self._events.popleft()))

    def _send(self, connection: _Connection, message: Message) -> None:
        connection.sending.extend(datagrams(message))
        self._flush(connection)

    def _flush(self, connection: _Connection) -> bool:
        """Send what was begun; return whether all of it is gone."""
        try:
            gone = send_all(connection.socket, connection.sending)
        except OSError:  # it is gone: the callback of the closed end comes next
            connection.sending.clear()
            return False
        self._poller.want_to_write(connection.socket.fileno(), wanted=not gone)
        return gone

    def _drop(self, connection: _Connection | None) -> None:
        if connection is None or connection not in self._connections:
            return
        self._connections.remove(connection)
        if connection is self._controller:
            self._controller = None
        self._poller.forget(connection.socket.fileno())
        connection.socket.close()


def _listen(path: str) -> socket.socket:
    """Listen for the owner of the process only; the caller holds the lock, so an old file is stale."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    own_files.bind(listener, path, 0o600)
    listener.setblocking(False)
    listener.listen(CONNECTIONS)
    return listener


def _permitted(sock: socket.socket) -> bool:
    """Whether root or our own user is at the other end."""
    _, uid = peer_of(sock)
    return uid in (0, os.geteuid())


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
            return peer_of(connection)[0]
        except OSError:
            return 0


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process at the other end: the kernel vouches (SO_PEERCRED, unix(7))."""
    pid, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid), int(uid)


def send_all(sock: socket.socket, sending: deque[bytes]) -> bool:
    """Send datagrams, in order, as far as the socket takes them; return whether all are gone."""
    try:
        while sending:
            sock.send(sending[0])
            sending.popleft()
    except BlockingIOError:
        return False
    return True


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


class StateFile:
    """What is in force, as the messages that made it so: a Configure and the updates since.

    A prober that finds no control daemon goes on with it at once.
    """

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


def line(text: str, *, priority: int = 6) -> None:
    """Write one line to standard error if it takes it at once (sd-daemon(3) for the priority).

    stdlib logging costs 2.4 MiB and writes to whatever reads standard error, however slowly. While a control
    daemon is connected it logs the events; these lines are for the times when there is none.
    """
    prefix = f"<{priority}>" if "JOURNAL_STREAM" in os.environ else "vpnagent-prober: "
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    with contextlib.suppress(OSError):
        if poll.poll(0):
            os.write(_STDERR, (prefix + text.replace("\n", " ")).encode()[: _LONGEST - 1] + b"\n")
