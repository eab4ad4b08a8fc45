"""The prober's end of its socket: one control daemon at a time, the latest; nothing here waits.

Whoever connects is told Hello. The first of our version to answer becomes the controller, and the one
before it is dropped: a daemon that wakes from a SIGSTOP finds its connection closed. Events are kept, in
bounds, until a controller reads them; reports are not.
"""

import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable

from vpnagent import own_files
from vpnagent.probe.inbox import Poller
from vpnagent.probe.protocol import DATAGRAM, VERSION, Assembler, Hello, Message, ProtocolError, datagrams

EVENTS = 512  #: kept while nobody reads
CONNECTIONS = 8  #: at once; the oldest is dropped
_SO_SNDBUFFORCE = 32
_SEND_BUFFER = 1024 * 1024  #: bytes
_BATCH = 256  #: datagrams taken from one connection at a time: probes have the right of way


class _Connection:
    """One process at the other end."""

    __slots__ = ("assembler", "sending", "socket")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.assembler = Assembler()
        self.sending: deque[bytes] = deque()  #: datagrams of messages already begun


class Server:
    """Listens on a path; hands messages to ``on_message``, whose answer goes back."""

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
        sending, fd = connection.sending, connection.socket.fileno()
        try:
            while sending:
                connection.socket.send(sending[0])
                sending.popleft()
        except BlockingIOError:
            self._poller.want_to_write(fd, wanted=True)
            return False
        except OSError:  # it is gone: the callback of the closed end comes next
            sending.clear()
            return False
        self._poller.want_to_write(fd, wanted=False)
        return True

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
    """Whether root or our own user is at the other end (SO_PEERCRED, unix(7))."""
    _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in (0, os.geteuid())
