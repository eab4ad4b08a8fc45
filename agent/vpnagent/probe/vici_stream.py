"""The prober's connections to charon: prebuilt commands out, success or failure in, never waiting.

charon answers the commands of one connection in their order and an ``initiate`` takes as long as the
negotiation, so each request has a connection for itself. One is kept open in advance: when it is needed,
there is no time to lose.
"""

import contextlib
import socket
from collections.abc import Callable

from vpnagent.probe.poller import Poller
from vpnagent.probe.vici_message import Frames, failure, framed

DEADLINE = 60.0  #: seconds for an answer; a negotiation has ended by then, or charon is stuck
MAXIMUM = 64  #: connections
_READ = 64 * 1024  #: bytes

OnAnswer = Callable[[str | None], None]  #: told why the request failed, or None


class _Stream:
    """One connection to charon."""

    __slots__ = ("deadline", "done", "frames", "socket", "waiting")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.frames = Frames()
        self.waiting: list[bytes] = []  #: packets of the request not yet sent
        self.done: OnAnswer | None = None  #: None: idle
        self.deadline = 0.0


class ViciStreams:
    """Carries out requests through VICI."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._path = ""
        self._streams: list[_Stream] = []

    def use(self, path: str) -> None:
        """Take the path of charon's socket, and connect in advance."""
        if path != self._path:
            self._path = path
            for stream in [s for s in self._streams if s.done is None]:
                self._close(stream)
        self._open_one_in_advance()

    def ask(self, packets: tuple[bytes, ...], done: OnAnswer, *, now: float) -> None:
        """Send the packets one after the other, each when the one before succeeded; then call ``done``."""
        idle = [stream for stream in self._streams if stream.done is None]
        stream = idle[0] if idle else self._open()
        if stream is None or not packets:
            done(None if stream else f"{self._path} cannot be reached")
            return
        stream.done, stream.deadline, stream.waiting = done, now + DEADLINE, list(packets)
        self._send_next(stream)

    def tidy(self, now: float) -> None:
        """Give up what charon does not answer, and connect in advance. For once a second."""
        for stream in [s for s in self._streams if s.done and s.deadline <= now]:
            self._fail(stream, f"no answer within {DEADLINE:g} s")
        for stream in [s for s in self._streams if s.done is None][1:]:
            self._close(stream)
        self._open_one_in_advance()

    def close(self) -> None:
        """Drop all connections."""
        for stream in list(self._streams):
            self._close(stream)

    def _open_one_in_advance(self) -> None:
        if self._path and not any(stream.done is None for stream in self._streams):
            self._open()

    def _open(self) -> _Stream | None:
        if len(self._streams) >= MAXIMUM:
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            return None
        stream = _Stream(sock)
        self._streams.append(stream)
        self._poller.watch(sock.fileno(), lambda: self._readable(stream))
        return stream

    def _send_next(self, stream: _Stream) -> None:
        data = framed(stream.waiting.pop(0))
        try:
            sent = stream.socket.send(data)
        except OSError as error:
            self._fail(stream, f"cannot be asked: {error.strerror}")
            return
        if sent != len(data):
            self._fail(stream, "does not read")

    def _readable(self, stream: _Stream) -> None:
        try:
            data = stream.socket.recv(_READ)
            packets = stream.frames.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._fail(stream, str(error))
            return
        if not data:
            self._fail(stream, "closed the connection")
        for packet in packets:
            self._answered(stream, packet)

    def _answered(self, stream: _Stream, packet: bytes) -> None:
        if stream.done is None:
            return
        reason = failure(packet)
        if reason is None and stream.waiting:
            self._send_next(stream)
            return
        done, stream.done, stream.waiting = stream.done, None, []
        done(reason)

    def _fail(self, stream: _Stream, reason: str) -> None:
        self._close(stream)
        done, stream.done = stream.done, None
        if done:
            done(f"charon: {reason}")

    def _close(self, stream: _Stream) -> None:
        with contextlib.suppress(ValueError):
            self._streams.remove(stream)
        self._poller.forget(stream.socket.fileno())
        stream.socket.close()
