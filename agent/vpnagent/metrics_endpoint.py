"""The Prometheus endpoint on the daemon's own loop: ``GET /metrics``, nothing else.

prometheus-client's own server runs in threads and, with TLS, is blocked by one idle client; here a
connection has a deadline and the number of connections a bound.
"""

import asyncio
import gzip
import logging
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from vpnagent.metrics import AgentCollector

log = logging.getLogger(__name__)

DEADLINE: Final = 5.0  #: seconds for a whole request and its answer
CONNECTIONS: Final = 8  #: at a time; more wait
HEADER_LIMIT: Final = 8192  #: bytes


async def serve(listen: str, collector: AgentCollector) -> None:
    """Answer scrapes on ``listen`` (address:port) until cancelled. Raises OSError when it is taken."""
    registry = CollectorRegistry()
    registry.register(collector)
    host, _, port = listen.rpartition(":")
    gate = asyncio.Semaphore(CONNECTIONS)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with gate, asyncio.timeout(DEADLINE):
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                writer.write(respond(request, registry))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
            log.debug("scrape-dropped")
        finally:
            writer.close()

    server = await asyncio.start_server(converse, host.strip("[]"), int(port), limit=HEADER_LIMIT)
    async with server:
        await server.serve_forever()


def respond(request: str, registry: CollectorRegistry) -> bytes:
    """Return the whole HTTP/1.1 response to a request's header."""
    line, *headers = request.split("\r\n")
    method, _, rest = line.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if method not in ("GET", "HEAD"):
        return _response("405 Method Not Allowed", {"Allow": "GET, HEAD"}, b"")
    if path != "/metrics":
        return _response("404 Not Found", {"Content-Type": "text/plain"}, b"the metrics are at /metrics\n")
    body = generate_latest(registry)
    header = {"Content-Type": CONTENT_TYPE_LATEST}
    if any(h.lower().startswith("accept-encoding:") and "gzip" in h.lower() for h in headers):
        body = gzip.compress(body, 1)
        header["Content-Encoding"] = "gzip"
    response = _response("200 OK", header, body)
    return response if method == "GET" else response[: len(response) - len(body)]


def _response(status: str, header: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in header.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
