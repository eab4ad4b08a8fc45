"""The HTTP of the metrics: ``GET /metrics``, nothing else. A request's header in, a whole answer out.

Only the files of TLS and of the password are read, when one of them has changed.

Every answer ends its connection.
"""

import base64
import binascii
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vpnagent.config.files import SecretFileError, TlsFileError, read_secret, server_context
from vpnagent.config.values import Agent, MetricsAuth, MetricsTls
from vpnagent.errors import AgentError
from vpnagent.secret import Secret

OPENMETRICS: Final = "application/openmetrics-text"
TYPES: Final = {
    False: "text/plain; version=0.0.4; charset=utf-8",
    True: f"{OPENMETRICS}; version=1.0.0; charset=utf-8",
}

Expose = Callable[[bool, bool], bytes]  #: returns the metrics: whether as OpenMetrics, whether by gzip


def respond(request: str, expose: Expose, credentials: Secret | None = None) -> bytes:
    """Return the answer to a request. ``credentials``, as ``name:password``, are asked for if given."""
    line, *rows = request.split("\r\n")
    method, _, rest = line.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    asked = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
    if credentials is not None and given(asked) != credentials:
        challenge = {"WWW-Authenticate": 'Basic realm="vpnagent", charset="UTF-8"'}
        return _response("401 Unauthorized", challenge, b"")
    if method not in ("GET", "HEAD"):
        return _response("405 Method Not Allowed", {"Allow": "GET, HEAD"}, b"")
    if path != "/metrics":
        return _response("404 Not Found", {"Content-Type": "text/plain"}, b"the metrics are at /metrics\n")
    return _metrics(asked, expose, with_body=method == "GET")


def given(asked: Mapping[str, str]) -> Secret | None:
    """Return the credentials of a request (RFC 7617); their comparison takes the same time for all."""
    scheme, _, encoded = asked.get("authorization", "").partition(" ")
    try:
        return Secret(base64.b64decode(encoded, validate=True)) if scheme.lower() == "basic" else None
    except (binascii.Error, ValueError):
        return None


def takes(preferences: str, what: str) -> bool:
    """Return whether an Accept or Accept-Encoding has something and does not refuse it (RFC 9110 §12.4.2)."""
    for preference in preferences.split(","):
        name, *parameters = (part.strip().lower() for part in preference.split(";"))
        if name == what:
            return not any(p.startswith("q=") and not p[2:].strip("0.") for p in parameters)
    return False


def _metrics(asked: Mapping[str, str], expose: Expose, *, with_body: bool) -> bytes:
    openmetrics = takes(asked.get("accept", ""), OPENMETRICS)
    compressed = takes(asked.get("accept-encoding", ""), "gzip")
    body = expose(openmetrics, compressed)
    header = {"Content-Type": TYPES[openmetrics], "Vary": "Accept, Accept-Encoding"}
    if compressed:
        header["Content-Encoding"] = "gzip"
    response = _response("200 OK", header, body)
    return response if with_body else response[: len(response) - len(body)]


def _response(status: str, header: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in header.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


# What the metrics' listener shows to its clients and asks of them, read from files. A shell: opens files.

State = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """What the files say."""

    context: ssl.SSLContext | None  #: None: plain HTTP
    credentials: Secret | None  #: ``name:password``; None: anybody


def read_access(agent: Agent) -> Access:
    """Return what the files say now. Raises AgentError, which names the key, the file and the rule."""
    return Access(context=_context(agent.metrics_tls), credentials=_credentials(agent.metrics_auth))


def _context(tls: MetricsTls | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    try:
        return server_context(tls)
    except TlsFileError as error:
        key, path = error.key, getattr(tls, error.key)
        raise AgentError(f"agent.metrics_tls.{key}: {path}: {error}") from error


def _credentials(auth: MetricsAuth | None) -> Secret | None:
    if auth is None:
        return None
    path = auth.password_file
    try:
        return Secret(auth.username.encode() + b":" + read_secret(path).reveal())
    except SecretFileError as error:
        raise AgentError(f"agent.metrics_auth.password_file: {path}: {error}") from error


def files(agent: Agent) -> tuple[str, ...]:
    """Return the files that it is read from."""
    tls, auth = agent.metrics_tls, agent.metrics_auth
    found = [tls.certificate, tls.private_key, tls.client_ca] if tls else []
    return tuple(path for path in [*found, auth and auth.password_file] if path)


def state_of(paths: tuple[str, ...]) -> State:
    """Return what changes when one of the files does."""
    return tuple(map(_stamp, paths))


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
