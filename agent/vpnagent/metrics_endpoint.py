"""The Prometheus endpoint on the daemon's own loop.

prometheus-client's own server runs in threads and, with TLS, is blocked by one idle client. Here a
connection has a deadline, from its first byte to its last, handshake and all, and of too many the oldest
goes: those that say nothing are in nobody's way. Each is served with what the files of certificates and
password said last, so that a new certificate needs no restart.
"""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from vpnagent.errors import AgentError
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge import Knowledge
from vpnagent.metrics import histograms, samples
from vpnagent.metrics_access import Access, State, files, read_access, state_of
from vpnagent.metrics_http import respond
from vpnagent.metrics_text import text

log = logging.getLogger(__name__)

DEADLINE: Final = 5.0  #: seconds for a whole connection
CONNECTIONS: Final = 32  #: at a time
HEADER_LIMIT: Final = 8192  #: bytes
PERIOD: Final = 5.0  #: seconds between looks whether the files changed
BACKLOG: Final = 64
BROKEN: Final = (OSError, EOFError, asyncio.LimitOverrunError)  # of TLS too, and TimeoutError


class Endpoint:
    """Answers scrapes. ``known.metrics_findings`` is its to write."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._agent = known.config.agent  # what it listens on changes with the next start
        self._access: Access | None = None
        self._read: State | None = None  #: of the files, when they were last read
        self._connections: dict[asyncio.Task[None], None] = {}  #: oldest first

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
                while True:
                    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                    self._make_room()
                    task = group.create_task(self._converse(connection, self._access))
                    self._connections[task] = None
                    task.add_done_callback(partial(self._ended, connection))

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
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cancel()

    def _ended(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)
        connection.close()  # of one that was cancelled before it began, too

    async def _converse(self, connection: socket.socket, access: Access) -> None:
        writer = None
        try:
            async with asyncio.timeout(DEADLINE):
                reader, writer = await _streams(connection, access)
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                writer.write(respond(request, self._expose, access.credentials))
                writer.close()
                await writer.wait_closed()
        except BROKEN as error:
            log.debug("scrape-dropped error=%r", error)
        finally:
            if writer is not None:
                writer.transport.abort()

    def _expose(self, openmetrics: bool) -> bytes:
        return text(samples(self._known), histograms(self._known), openmetrics=openmetrics)


async def _streams(
    connection: socket.socket, access: Access
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return the streams of an accepted connection, after its handshake if there is one."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=HEADER_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=access.context)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


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
