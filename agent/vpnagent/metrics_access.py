"""What the metrics' listener shows to its clients and asks of them, read from files. A shell: opens files."""

import os
import ssl
from dataclasses import dataclass

from vpnagent.config.secret_files import SecretFileError, read_secret
from vpnagent.config.tls_files import TlsFileError, server_context
from vpnagent.config.values import Agent, MetricsAuth, MetricsTls
from vpnagent.errors import AgentError
from vpnagent.secret import Secret

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
