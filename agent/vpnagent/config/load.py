"""Read the YAML and the secrets it names. The shell of ``config``, with ``files``.

Every problem is found in one go and reported in the order of the file: what cannot be read, what is not of
its kind, what does not fit together, and secrets. Nothing but ConfigError is raised, whatever the files hold.
"""

import os
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from vpnagent import own_files
from vpnagent.config.build import (
    absolute,
    build,
    contradictions,
    device_here,
    metrics_tls,
)
from vpnagent.config.draft import draft, known_part
from vpnagent.config.file_models import AgentSection, ConfigFile, TunnelSection
from vpnagent.config.files import (
    Absence,
    SecretFileError,
    check_readable,
    read_credential,
    read_secret,
    revision,
)
from vpnagent.config.hooks import HookSection, hook_contradictions
from vpnagent.config.odd_characters import sentence
from vpnagent.config.rules import violations
from vpnagent.config.values import Config, Tunnel
from vpnagent.config.wording import (
    KeyPath,
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

HOOK_FILES: Final = (("url_file",), ("token_file",), ("secret_file",), ("email", "password_file"))


@dataclass(frozen=True, slots=True)
class UnreadSecrets:
    """Which absences of secrets are no fault, and the keys of those that were not looked at for one."""

    tolerated: Collection[Absence] = ()
    paths: dict[KeyPath, SecretFileError] = field(default_factory=dict)


def load(
    path: str | os.PathLike[str],
    *,
    content: bytes | None = None,
    read_secrets: bool = True,
    hostname: str | None = None,
    unseen: UnreadSecrets | None = None,
) -> Config:
    """Return the configuration in a file. Raises ConfigError with every problem there is.

    ``content`` is used instead of the file's, as if the file held it.

    With ``read_secrets=False``, for ``plan`` on a laptop, only the YAML is opened, and every psk is None.
    ``unseen`` says which secrets need not be at hand, and is told which are not. ``hostname`` is the default
    of gateway.name; None asks the kernel.
    """
    name = os.fspath(path)
    document = read(content_of(name) if content is None else content)
    if document.faults and not document.data:
        raise ConfigError(_problems(name, document, ()))
    sketch = draft(document)
    folder = os.path.dirname(os.path.abspath(name))
    secrets = _Secrets(folder, UnreadSecrets() if unseen is None else unseen)
    if read_secrets:
        secrets.read(sketch.file)
    hostname = os.uname().nodename if hostname is None else hostname
    pair = sketch.file.gateway.pair
    config = build(
        sketch.file,
        hostname=hostname,
        folder=folder,
        psks=secrets.psks,
        hook_secrets=secrets.of_hooks,
        here=device_here(pair, hostname, _is_here) if pair else None,
    )
    found = [
        *(_nobody(config, hostname) if read_secrets and unseen is None else ()),
        *contradictions(sketch.file),
        *hook_contradictions(sketch.file.hooks, secrets.of_hooks),
        *violations(config),
        *secrets.refused,
    ]
    if problems := _problems(name, document, (*sketch.violations, *map(sketch.relocated, found))):
        raise ConfigError(problems)
    return with_revisions(config) if read_secrets else config


def _is_here(address: IPv4Address) -> bool:
    """Whether an address is this machine's: then the kernel sends from it to it. No packet is sent.

    Not by bind(2), which takes any address where net.ipv4.ip_nonlocal_bind is set, as it often is for VRRP.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(address), 9))
        except OSError:
            return False
        return bool(sock.getsockname()[0] == str(address))


def _nobody(config: Config, hostname: str) -> Iterator[Violation]:
    """Yield that a machine, which is to run this configuration, is none of a pair."""
    pair = config.gateway.pair
    if pair is not None and pair.here is None:
        rule = "must have this machine, by address or host: it has not just one of {} and {}, and is {}"
        text = said(rule, pair.a.address, pair.b.address, hostname)
        yield Violation(("gateway", "pair", "nodes"), text)


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
    found_all = [(fault.line, fault.path, without_values(fault.text)) for fault in document.faults]
    found_all += [(document.line(path), path, text) for path, text in found]
    problems = [
        Problem(name, line, key_path(known_part(path)), text, rule_of(text)) for line, path, text in found_all
    ]
    wrong = {problem.line for problem in problems}
    for line in sorted(wrong.intersection(odd.line for odd in document.odd)):
        odd = tuple(odd for odd in document.odd if odd.line == line)
        if not any(sentence(odd[:1]) in problem.text for problem in problems):
            text = without_values(sentence(odd))
            problems.append(Problem(name, line, "", text, rule_of(text)))
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))


class _Secrets:
    """What the files and credentials hold that a configuration names."""

    def __init__(self, folder: str, unseen: UnreadSecrets) -> None:
        self._folder = folder
        self._unseen = unseen
        self.psks: dict[tuple[int, int], Secret] = {}
        self.of_hooks: dict[tuple[int, str], Secret] = {}
        self.refused: list[Violation] = []

    def read(self, file: ConfigFile) -> None:
        """Read every secret, and see that the files of certificates are there."""
        self._read_metrics(file.agent)
        if file.gateway.pair and file.gateway.pair.secret_file:
            self._try(("gateway", "pair", "secret_file"), file.gateway.pair.secret_file)
        for i, connection in enumerate(file.connections):
            for j, tunnel in enumerate(connection.tunnels):
                for key, name in _files(tunnel):
                    try:
                        if psk := _use(key, name, self._folder):
                            self.psks[i, j] = psk
                    except SecretFileError as error:
                        self._refuse(("connections", i, "tunnels", j, *key), error, key, name)
        self._read_hooks(file.hooks)

    def _read_hooks(self, sections: Iterable[HookSection]) -> None:
        for i, hook in enumerate(sections):
            for key in HOOK_FILES:
                section = hook.email if len(key) > 1 else hook
                if (name := getattr(section, key[-1], None)) is None:
                    continue
                try:
                    self.of_hooks[i, key[-1]] = read_secret(absolute(self._folder, name))
                except SecretFileError as error:
                    self._refuse(("hooks", i, *key), error, key, name)

    def _read_metrics(self, agent: AgentSection) -> None:
        """Try the files of the metrics' listener, which reads them for itself."""
        if agent.metrics_auth is not None:
            self._try(("agent", "metrics_auth", "password_file"), agent.metrics_auth.password_file)
        if agent.metrics_tls is not None:
            from vpnagent.config.files import TlsFileError, server_context  # noqa: PLC0415 - OpenSSL

            try:
                server_context(metrics_tls(agent.metrics_tls, self._folder))
            except TlsFileError as error:
                name = getattr(agent.metrics_tls, error.key)
                self._refuse(("agent", "metrics_tls", error.key), error, (error.key,), name)

    def _try(self, path: KeyPath, name: str) -> None:
        """Try the file of a secret that is read again where it is used."""
        try:
            read_secret(absolute(self._folder, name))
        except SecretFileError as error:
            self._refuse(path, error, path[-1:], name)

    def _refuse(self, path: KeyPath, error: SecretFileError, key: KeyPath, name: str) -> None:
        if error.absence in self._unseen.tolerated:
            self._unseen.paths[path] = error
        else:
            self.refused.append(Violation(path, _refusal(error, key, name, self._folder)))


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


def _refusal(error: SecretFileError, key: KeyPath, name: str, folder: str) -> Wording:
    """Return what is wrong with a file, and which it was: not a bare word, which may be the key itself."""
    if key == ("psk_credential",):
        return without_values(str(error))
    if os.path.isabs(name) and not may_be_secret(name):
        return said(f"{error}: {{}}", name)
    return without_values(f"{error} (names are relative to {folder})")
