"""The Prometheus endpoint on the daemon's own loop. A shell.

prometheus-client's own server runs in threads and, with TLS, is blocked by one idle client. Here a
connection has a deadline, from its first byte to its last, handshake and all. Of too many the oldest goes
that has not asked yet, and one that has only when all have: those that say nothing are in nobody's way. Who
scrapes now and then gets what is so now; of many scrapes those beyond a few share one exposition a second.
And few connections are taken before the loop has its turn: so no number of clients keeps Prometheus out. Each
is served with what the files of certificates and password said last, so that a new certificate needs no
restart.
"""

import asyncio
import gzip
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from vpnagent.control.server import drop, streams
from vpnagent.errors import AgentError
from vpnagent.events.damping import Bucket
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.metrics.declared import histograms, samples, text
from vpnagent.metrics.http import Access, State, files, read_access, respond, state_of

log = logging.getLogger(__name__)

DEADLINE: Final = 5.0  #: seconds for a whole connection
CONNECTIONS: Final = 64  #: at a time
ACCEPTS: Final = 8  #: taken at a time: one that asks has asked before it is the oldest
REST: Final = 0.002  #: seconds until more are taken: the loop has other things to do
PAUSE: Final = 0.1  #: seconds without accepting where there are no descriptors
FRESH: Final = 1.0  #: expositions a second, in the long run
FRESH_BURST: Final = 5.0  #: expositions that may be made at once
HEADER_LIMIT: Final = 8192  #: bytes
PERIOD: Final = 5.0  #: seconds between looks whether the files changed
BACKLOG: Final = 1024
BROKEN: Final = (OSError, EOFError, asyncio.LimitOverrunError)  # of TLS too, and TimeoutError


class Endpoint:
    """Answers scrapes. ``known.metrics_findings`` is its to write."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._agent = known.config.agent  # what it listens on changes with the next start
        self._access: Access | None = None
        self._read: State | None = None  #: of the files, when they were last read
        self._connections: dict[asyncio.Task[None], bool] = {}  #: oldest first: whether it has asked
        self._accepting = False
        self._fresh = Bucket(FRESH_BURST, FRESH, time.monotonic())
        self._expositions: dict[bool, bytes] = {}  #: the last ones, by whether they are OpenMetrics
        self._compressed: dict[bool, tuple[bytes, bytes]] = {}  #: likewise, and of what

    async def serve(self) -> None:
        """Answer scrapes until cancelled. Raises AgentError while it cannot."""
        await self.renew()
        if self._access is None:
            raise AgentError(self._known.metrics_findings[0].text)
        with self._listener() as listener:
            self._known.metrics_findings = ()
            async with asyncio.TaskGroup() as group:
                if files(self._agent):
                    group.create_task(self._keep_renewing())
                loop = asyncio.get_running_loop()
                accept = partial(self._accept, listener, group)
                loop.add_reader(listener, accept)
                self._accepting = True
                try:
                    await loop.create_future()
                finally:
                    self._accepting = False
                    loop.remove_reader(listener)

    def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("metrics-accept-failed error=%r", error.strerror)
                self._rest(listener, group, PAUSE)
                return
            connection.setblocking(False)
            if (access := self._access) is None:
                connection.close()
                continue
            self._make_room()
            task = group.create_task(self._converse(connection, access))
            self._connections[task] = False
            task.add_done_callback(partial(self._ended, connection))
        self._rest(listener, group, REST)

    def _rest(self, listener: socket.socket, group: asyncio.TaskGroup, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(seconds, self._accept_again, listener, group)

    def _accept_again(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        if self._accepting:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener, group)

    async def renew(self) -> None:
        """Read the files if they changed; those that cannot be used change nothing but the findings."""
        paths = files(self._agent)
        state = await asyncio.to_thread(state_of, paths)
        if state == self._read:
            return
        try:
            access = await asyncio.to_thread(read_access, self._agent)
        except AgentError as error:
            self._read = None  # it is tried again: a folder may be to blame
            self._known.metrics_findings = (_refused(error, self._access),)
            return
        if self._access is not None:
            log.info("metrics-files-read")
        self._read, self._access = state, access
        self._known.metrics_findings = ()

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            await self.renew()

    @contextmanager
    def _listener(self) -> Iterator[socket.socket]:
        host, _, port = self._agent.metrics_listen.rpartition(":")
        try:
            listener = socket.create_server((host, int(port)), backlog=BACKLOG)
        except OSError as error:
            found = _not_listening(self._agent.metrics_listen, error)
            self._known.metrics_findings = (found,)
            raise AgentError(found.text) from error
        with listener:
            listener.setblocking(False)
            yield listener

    def _make_room(self) -> None:
        if len(self._connections) >= CONNECTIONS:
            silent = (task for task, asked in self._connections.items() if not asked)
            goes = next(silent, None) or next(iter(self._connections))
            del self._connections[goes]
            goes.cancel()

    def _ended(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)
        connection.close()  # of one that was cancelled before it began, too

    async def _converse(self, connection: socket.socket, access: Access) -> None:
        writer = None
        try:
            async with asyncio.timeout(DEADLINE):
                reader, writer = await streams(connection, HEADER_LIMIT, access.context)
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                if (task := asyncio.current_task()) in self._connections:
                    self._connections[task] = True
                writer.write(respond(request, self._expose, access.credentials))
                writer.close()
                await writer.wait_closed()
        except BROKEN as error:
            log.debug("scrape-dropped error=%r", error)
        finally:
            if writer is not None:
                drop(writer)

    def _expose(self, openmetrics: bool, compressed: bool) -> bytes:
        """Return the metrics as they are now, or where too many ask, as they were a moment ago."""
        made = self._expositions.get(openmetrics)
        if made is None or self._fresh.level(time.monotonic()) >= 1.0:
            self._fresh.take()
            made = text(samples(self._known), histograms(self._known), openmetrics=openmetrics)
            self._expositions[openmetrics] = made
        if not compressed:
            return made
        source, packed = self._compressed.get(openmetrics, (b"", b""))
        if source is not made:
            packed = gzip.compress(made, 1)
            self._compressed[openmetrics] = made, packed
        return packed


def _refused(error: AgentError, standing: Access | None) -> Finding:
    consequence = "what it was before stays in use" if standing else "nobody can scrape the metrics"
    return Finding(
        code="MetricsFileRefused",
        subject="agent",
        severity=Severity.WARNING,
        text=f"{error}: {consequence}",
        hint=f"mend the file; it is looked at every {PERIOD:g} s",
    )


def _not_listening(listen: str, error: OSError) -> Finding:
    return Finding(
        code="MetricsNotListening",
        subject="agent.metrics_listen",
        severity=Severity.WARNING,
        text=f"agent.metrics_listen: {listen}: {error.strerror}: nobody can scrape the metrics",
        hint="stop who else listens there, or give the address to an interface; it is tried again",
    )
