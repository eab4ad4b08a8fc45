"""The control daemon's end of the prober's socket: connect or start one, feed it, listen to it. A shell.

Nothing waits but ``run`` and ``accepted``. The loss of the prober is noticed when the kernel closes its
end, within a millisecond, and answered by starting another at once; traffic stays where it is meanwhile.
The daemon knows nothing of connections and generations: it says what it wants, as often as it likes.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from vpnagent.own_files import rights_of_owner
from vpnagent.probe.actions import FirstReply, PathChanged
from vpnagent.probe.intent import Configure, IntentUpdate, TunnelFlags, change_between
from vpnagent.probe.protocol import (
    DATAGRAM,
    VERSION,
    Accepted,
    Assembler,
    FailedOver,
    Hello,
    Message,
    ProberReport,
    ProtocolError,
    Quit,
    Refused,
    ToDaemon,
    datagrams,
)
from vpnagent.probe.server import TICK, note_end, peer_of, send_all
from vpnagent.record import replace

log = logging.getLogger(__name__)

START = 2.0  #: seconds after which a prober that has ended without listening is started again
SLOWEST_START = 60.0  #: seconds that a prober may take to listen, under emulation for instance
RETRY = 0.005  #: seconds between attempts to connect to one that starts
BATCH = 64  #: datagrams read before the loop has its turn
STUCK = 5.0  #: seconds without a word, of which there is one a second, after which it is replaced
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")

Start = Callable[[bool], None]  # with True the one that runs is to be replaced


class ProberClient:
    """Keep ``run`` running; what the prober tells goes to ``on_message``, its loss to ``on_lost``.

    ``on_connected`` is told the pid of each prober of our version.
    """

    def __init__(
        self,
        socket_path: str,
        *,
        start: Start,
        on_message: Callable[[ToDaemon], None],
        on_lost: Callable[[], None] = lambda: None,
        on_connected: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        self._path = socket_path
        self._start = start
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_connected = on_connected
        self._wanted: Configure | None = None
        self._link: _Link | None = None
        self._quitting = False
        self.pid = 0  #: of the prober that was last connected
        self._generation = 0  #: the highest that was ever sent or heard of
        self._sent_change = False  #: what was sent last was no whole configuration
        self._accepted = asyncio.Event()  #: the latest that was sent is in force

    @property
    def connected(self) -> bool:
        """Whether a prober of our version is connected: it alone writes the groups then."""
        return self._link is not None

    def configure(self, wanted: Configure) -> None:
        """Make the prober do this, now and after its restart; the generation is set here.

        Where only flags of tunnels differ from what it does already, only those are sent.
        """
        old, self._wanted = self._wanted, wanted
        if self._link is not None:
            self._send_wanted(since=old)

    async def accepted(self) -> None:
        """Wait until what was last asked for is in force and done."""
        await self._accepted.wait()

    async def quit(self) -> None:
        """End the prober for good, with what it was told; fine if none runs. For ``vpnagent down``.

        One that does not listen yet ends as soon as it would. ``run`` returns then, and may be started anew.
        """
        self._quitting = True
        try:
            note_end(self._path)  # before we connect: a prober looks after it has begun to listen
            await asyncio.sleep(TICK)  # what is started from now on is not meant
        except FileNotFoundError:
            pass  # not even its folder
        except OSError as error:
            log.warning("prober-end-not-noted %s: %s", error.filename, error.strerror)
        with contextlib.suppress(OSError):
            link = _Link(self._path, lambda _link, _message: None)
            link.send(Quit())
            await asyncio.wait((link.lost,), timeout=START)
            link.close()

    async def run(self) -> None:
        """Stay connected to a prober; start one where none runs."""
        self._quitting = False
        while (link := await self._connected()) is not None:
            try:
                await self._watch(link)
            finally:
                link.close()
                lost = self._link is link
                if lost:
                    self._link = None
            if lost:  # and not left by us, when the daemon ends
                self._on_lost()

    async def _connected(self) -> "_Link | None":
        """Return a connection, to a new prober if need be; None when there is to be none."""
        clock = asyncio.get_running_loop().time
        started_at = -START
        while not self._quitting:
            try:
                return _Link(self._path, self._take)
            except OSError:
                if clock() - started_at >= START:
                    started_at = clock()
                    self._start(False)
            await asyncio.sleep(RETRY)
        return None

    async def _watch(self, link: "_Link") -> None:
        """Return when the connection is lost; a prober that says nothing is replaced."""
        while not link.lost.done():
            messages = link.messages
            await asyncio.wait((link.lost,), timeout=STUCK)
            # If it was us who stood still, its words wait to be read.
            if link.messages == messages and not link.lost.done() and not link.readable():
                log.error("prober-stuck socket=%s", self._path)
                self._start(True)

    def _take(self, link: "_Link", message: Message) -> None:
        match message:
            case Hello():
                self._greet(link, message)
            case Accepted():
                if message.generation == self._generation:
                    self._accepted.set()
                self._on_message(message)
            case Refused():
                self._refused(message)
            case ProberReport() | PathChanged() | FailedOver() | FirstReply():
                self._on_message(message)
            case _:
                log.error("prober-speaks-out-of-turn kind=%s", type(message).__name__)

    def _greet(self, link: "_Link", hello: Hello) -> None:
        if self._link is link:  # nothing but a sign of life
            return
        self._generation = max(self._generation, hello.generation)
        if hello.version != VERSION:
            log.warning("prober-of-another-version version=%d ours=%d", hello.version, VERSION)
            self._start(True)
            return
        log.info("prober-connected pid=%d generation=%d", hello.pid, hello.generation)
        self._on_connected(hello.pid)
        self._link = link
        self.pid = hello.pid
        link.send(Hello(version=VERSION, pid=os.getpid(), generation=self._generation))
        self._send_wanted(since=None)

    def _refused(self, refusal: Refused) -> None:
        log.warning("intent-refused generation=%d reason=%s", refusal.generation, refusal.reason)
        self._on_message(refusal)
        stale = refusal.in_force >= refusal.generation
        if refusal.generation == self._generation and (stale or self._sent_change):
            self._generation = max(self._generation, refusal.in_force)
            self._send_wanted(since=None)

    def _send_wanted(self, *, since: Configure | None) -> None:
        """Send what is wanted, or what changed since."""
        if self._link is None or self._wanted is None:
            return
        wanted = self._wanted
        flags = None if since is None else _flags_between(since, wanted)
        if flags == ():
            return
        self._accepted.clear()
        base, self._generation = self._generation, self._generation + 1
        self._sent_change = flags is not None
        if flags is None:
            intent = replace(wanted.intent, generation=self._generation)
            self._link.send(replace(wanted, intent=intent))
        else:
            self._link.send(IntentUpdate(generation=self._generation, base=base, tunnels=flags))


class _Link:
    """One connection: datagrams out and messages in, on callbacks of the loop."""

    def __init__(self, path: str, on_message: Callable[["_Link", Message], None]) -> None:
        self._on_message = on_message
        self._assembler = Assembler()
        self._sending: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self.messages = 0  #: received so far
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        try:
            with rights_of_owner(path):
                self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._read)

    def readable(self) -> bool:
        """Whether something waits to be read."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def send(self, message: Message) -> None:
        """Send a message as the prober takes it, in order."""
        self._sending.extend(datagrams(message))
        self._flush()

    def close(self) -> None:
        """Drop the connection; may be called twice."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
        self._lose()

    def _flush(self) -> None:
        try:
            if not send_all(self._socket, self._sending):
                self._loop.add_writer(self._socket.fileno(), self._flush)
                return
        except OSError:
            self._lose()
        if self._socket.fileno() >= 0:
            self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        for _ in range(BATCH):
            try:
                datagram = self._socket.recv(DATAGRAM)
                message = self._assembler.feed(datagram) if datagram else None
            except BlockingIOError:
                return
            except (OSError, ProtocolError) as error:
                log.warning("prober-connection-broken error=%s", error)
                self._lose()
                return
            if not datagram:
                self._lose()
                return
            if message is not None:
                self.messages += 1
                self._on_message(self, message)

    def _lose(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
        if not self.lost.done():
            self.lost.set_result(None)


def _flags_between(old: Configure, new: Configure) -> tuple[TunnelFlags, ...] | None:
    if replace(old, intent=new.intent) != new:
        return None
    return change_between(old.intent, new.intent)


def prober_command(socket_path: str, *, realtime: bool) -> list[str]:
    """Return the command line of a prober."""
    return [sys.executable, "-P", "-m", "vpnagent.probe", "--socket", socket_path, *["--realtime"] * realtime]


class Spawner:
    """Starts probers that outlive this process: a session of their own, only standard error of ours."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._children: list[tuple[subprocess.Popen[bytes], bool, float]] = []  #: with replaces, started

    def __call__(self, replaces: bool) -> None:
        """Start one; with ``replaces`` it has the one that runs quit first.

        Not while one that was started so still may be on its way: on a slow machine that takes many
        seconds, and starting another every two makes it slower until its memory is gone.
        """
        now = time.monotonic()
        self._children = [child for child in self._children if child[0].poll() is None]  # reaped
        if any(how is replaces and now - started < SLOWEST_START for _, how, started in self._children):
            return
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*self._command, *["--replace"] * replaces],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
            cwd="/",
        )
        self._children.append((process, replaces, now))


class Supervised:
    """In a ``Spawner``'s place where a service manager runs the prober: starts none, ends a useless one.

    The manager starts the next, from what is installed: that is of our version unless we are outdated
    ourselves, and then ending it more often than every ``STUCK`` seconds would only keep it from working.
    """

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path
        self._ended_at = -STUCK

    def __call__(self, replaces: bool) -> None:
        """With ``replaces``, have the one that runs end: it leaves its state file and the kernel alone."""
        now = time.monotonic()
        if not replaces or now - self._ended_at < STUCK:
            return
        self._ended_at = now
        with contextlib.suppress(OSError):
            os.kill(_listener(self._path), signal.SIGKILL)  # SIGTERM does not end one that is stopped


def _listener(path: str) -> int:
    """Return the pid of the process that listens on a socket, as the kernel vouches for. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(START)
        connection.connect(path)
        return peer_of(connection)[0]
