"""Read the YAML and the secrets it names. The shell of ``config``, with ``secret_files``.

Every problem is found in one go and reported in the order of the file: what cannot be read, what is not of
its kind, what does not fit together, and secrets. Nothing but ConfigError is raised, whatever the files hold.
"""

import os
from collections.abc import Iterator
from typing import Final

from vpnagent import own_files
from vpnagent.config import hooks
from vpnagent.config.build import Psks, absolute, build, contradictions, metrics_tls
from vpnagent.config.draft import draft
from vpnagent.config.file_errors import known_part
from vpnagent.config.file_models import AgentSection, ConfigFile, TunnelSection
from vpnagent.config.rules import violations
from vpnagent.config.secret_files import (
    SecretFileError,
    check_readable,
    read_credential,
    read_secret,
    revision,
)
from vpnagent.config.values import Config, Tunnel
from vpnagent.config.wording import (
    Path,
    Violation,
    Wording,
    key_path,
    may_be_secret,
    rule_of,
    said,
    without_values,
)
from vpnagent.config.yaml_positions import MAX_BYTES, Document, read
from vpnagent.errors import ConfigError, Problem
from vpnagent.record import replace
from vpnagent.secret import Secret

DEFAULT_PATH: Final = "/etc/vpnagent/vpnagent.yaml"


def load(
    path: str | os.PathLike[str],
    *,
    content: bytes | None = None,
    read_secrets: bool = True,
    hostname: str | None = None,
) -> Config:
    """Return the configuration in a file. Raises ConfigError with every problem there is.

    ``content`` is used instead of the file's, as if the file held it.

    With ``read_secrets=False``, for ``plan`` on a laptop, only the YAML is opened, and every psk is None.
    ``hostname`` is the default of gateway.name; None asks the kernel.
    """
    name = os.fspath(path)
    document = read(content_of(name) if content is None else content)
    if document.faults and not document.data:
        raise ConfigError(_problems(name, document, ()))
    sketch = draft(document)
    folder = os.path.dirname(os.path.abspath(name))
    secrets, refused = _secrets(sketch.file, folder) if read_secrets else ({}, [])
    hook_secrets: dict[tuple[int, str], Secret] = {}
    if read_secrets:
        hook_secrets = _hook_secrets(sketch.file, folder, refused)
    hostname = os.uname().nodename if hostname is None else hostname
    config = build(sketch.file, hostname=hostname, folder=folder, psks=secrets, hook_secrets=hook_secrets)
    found = [
        *contradictions(sketch.file),
        *hooks.contradictions(sketch.file, hook_secrets),
        *violations(config),
        *refused,
    ]
    if problems := _problems(name, document, (*sketch.violations, *map(sketch.relocated, found))):
        raise ConfigError(problems)
    return with_revisions(config) if read_secrets else config


def with_revisions(config: Config) -> Config:
    """Return the same with the revision of every tunnel's certificates: a renewed one is a change."""
    return replace(
        config,
        connections=tuple(
            replace(connection, tunnels=tuple(map(_with_revision, connection.tunnels)))
            for connection in config.connections
        ),
    )


def _with_revision(tunnel: Tunnel) -> Tunnel:
    if (files := tunnel.certificates) is None:
        return tunnel
    return replace(tunnel, certificates=replace(files, revision=revision(files)))


def content_of(name: str) -> bytes:
    """Return what a file holds, as far as it may be a configuration. Raises ConfigError."""
    try:
        return own_files.of_operator(name, MAX_BYTES)
    except OSError as error:
        reason = error.strerror
        text = f"cannot be read: {reason}"
        raise ConfigError((Problem(name, 0, "", text, text),)) from error
    except ValueError as error:  # a NUL in the name
        text = "cannot be read: not the name of a file"
        raise ConfigError((Problem(repr(name), 0, "", text, text),)) from error


def _problems(name: str, document: Document, found: tuple[Violation, ...]) -> tuple[Problem, ...]:
    """Return everything that is wrong, each once, in the order of the file."""
    wrong = [(fault.line, fault.path, without_values(fault.text)) for fault in document.faults]
    wrong += [(document.line(path), path, text) for path, text in found]
    problems = [
        Problem(name, line, key_path(known_part(path)), text, rule_of(text)) for line, path, text in wrong
    ]
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))


def _secrets(file: ConfigFile, folder: str) -> tuple[Psks, list[Violation]]:
    """Read every pre-shared key, and see that the files of certificates are there."""
    psks: dict[tuple[int, int], Secret] = {}
    refused = [*_metrics_refused(file.agent, folder)]
    for i, connection in enumerate(file.connections):
        for j, tunnel in enumerate(connection.tunnels):
            here = ("connections", i, "tunnels", j)
            for key, name in _files(tunnel):
                try:
                    if psk := _use(key, name, folder):
                        psks[i, j] = psk
                except SecretFileError as error:
                    refused.append(Violation((*here, *key), _refusal(error, key, name, folder)))
    return psks, refused


def _metrics_refused(agent: AgentSection, folder: str) -> Iterator[Violation]:
    """Return what is wrong with the files of the metrics' listener, which reads them for itself."""
    if agent.metrics_auth is not None:
        name = agent.metrics_auth.password_file
        try:
            read_secret(absolute(folder, name))
        except SecretFileError as error:
            text = _refusal(error, ("password_file",), name, folder)
            yield Violation(("agent", "metrics_auth", "password_file"), text)
    if agent.metrics_tls is not None:
        from vpnagent.config.tls_files import TlsFileError, server_context  # noqa: PLC0415 - OpenSSL

        try:
            server_context(metrics_tls(agent.metrics_tls, folder))
        except TlsFileError as error:
            text = _refusal(error, (error.key,), getattr(agent.metrics_tls, error.key), folder)
            yield Violation(("agent", "metrics_tls", error.key), text)


def _hook_secrets(file: ConfigFile, folder: str, refused: list[Violation]) -> dict[tuple[int, str], Secret]:
    """Read the addresses and tokens of hooks; what cannot be used is added to ``refused``."""
    secrets: dict[tuple[int, str], Secret] = {}
    for i, hook in enumerate(file.hooks):
        for key in ("url_file", "token_file"):
            if (name := getattr(hook, key)) is None:
                continue
            try:
                secrets[i, key] = read_secret(absolute(folder, name))
            except SecretFileError as error:
                refused.append(Violation(("hooks", i, key), _refusal(error, (key,), name, folder)))
    return secrets


def _files(tunnel: TunnelSection) -> Iterator[tuple[tuple[str, ...], str]]:
    """Return the keys that name a file or a credential, below the tunnel, and the names."""
    if tunnel.psk_file is not None:
        yield ("psk_file",), tunnel.psk_file
    if tunnel.psk_credential is not None:
        yield ("psk_credential",), tunnel.psk_credential
    if tunnel.certificate is not None:
        for key, name in tunnel.certificate:
            yield ("certificate", key), name


def _use(key: tuple[str, ...], name: str, folder: str) -> Secret | None:
    match key:
        case ("psk_file",):
            return read_secret(absolute(folder, name))
        case ("psk_credential",):
            return read_credential(name)
        case _:
            check_readable(absolute(folder, name), closed=key[-1] == "private_key")
            return None


def _refusal(error: SecretFileError, key: Path, name: str, folder: str) -> Wording:
    """Return what is wrong with a file, and which it was: not a bare word, which may be the key itself."""
    if key == ("psk_credential",):
        return without_values(str(error))
    if os.path.isabs(name) and not may_be_secret(name):
        return said(f"{error}: {{}}", name)
    return without_values(f"{error} (names are relative to {folder})")
