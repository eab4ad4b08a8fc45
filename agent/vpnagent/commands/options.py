"""What commands share: options, and where the configuration and the control socket are."""

import math
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

import click

from vpnagent import own_files
from vpnagent.config.files import service_group
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ConfigError, ControlError, Problem
from vpnagent.finding import Severity
from vpnagent.own_files import MOST, of_operator, write_as_asked

DEFAULT_CONFIG = "/etc/vpnagent/vpnagent.yaml"
DEFAULT_SOCKET = "/run/vpnagent/control.sock"
DEFAULT_STATE = "/var/lib/vpnagent"
RUNBOOK_URL = "file:///usr/share/doc/vpnagent/runbook.md"
DEFAULT_VICI = "/var/run/charon.vici"

Command = Callable[..., Any]


def config_option(command: Command) -> Command:
    """Add ``--config``."""
    return click.option(
        "--config",
        "config_path",
        default=DEFAULT_CONFIG,
        show_default=True,
        type=click.Path(dir_okay=False),
        help="The configuration file.",
    )(command)


def socket_option(command: Command) -> Command:
    """Add ``--socket``."""
    return click.option(
        "--socket",
        "socket_path",
        type=click.Path(dir_okay=False),
        help="The daemon's control socket. Default: the configuration's.",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def fail_on_option(default: Severity, what: str) -> Callable[[Command], Command]:
    """Add ``--fail-on``."""
    return click.option(
        "--fail-on",
        type=click.Choice([severity.value for severity in Severity]),
        default=default.value,
        show_default=True,
        help=f"The least severity of {what} for which the exit status is 1.",
    )


def runbook_option(command: Command) -> Command:
    """Add ``--runbook-url``."""
    return click.option(
        "--runbook-url",
        default=RUNBOOK_URL,
        show_default=True,
        help="Where you keep docs/runbook.md; the name of an alert is added as #fragment.",
    )(command)


def output_option(command: Command) -> Command:
    """Add ``--output``, which may be ``-``."""
    return click.option(
        "--output",
        type=click.Path(dir_okay=False, allow_dash=True),
        default="-",
        help="The file to write. Default: standard output.",
    )(command)


def write(output: str, text: str) -> None:
    """Write what ``--output`` asks for: the whole file or none. Raises click.UsageError or OSError."""
    if output == "-":
        click.echo(text, nl=False)
        return
    try:
        write_as_asked(output, text.encode())
    except OSError as error:
        raise ControlError(f"{output}: cannot be written: {error.strerror or error}", USAGE) from error


def socket_for(socket_path: str | None, config_path: str) -> str:
    """Return the control socket: as asked, else the configuration's if it names one, else the default."""
    if socket_path:
        return socket_path
    if config_path == DEFAULT_CONFIG and Path(DEFAULT_SOCKET).exists():
        return DEFAULT_SOCKET
    return agent_key(config_path, "control_socket", DEFAULT_SOCKET)


def agent_key(config_path: str, key: str, default: str) -> str:
    """Return a key of ``agent`` in a file without judging the rest: pydantic costs 150 ms."""
    return file_key(config_path, "agent", key, default)


def file_key(config_path: str, section: str, key: str, default: str) -> str:
    """Return a key of a section in a file, likewise."""
    import yaml

    try:
        content = yaml.load(of_operator(config_path, MOST), Loader=yaml.CSafeLoader)
        found = content[section][key]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, RecursionError):
        return default
    return found if isinstance(found, str) else default


def has_capability(name: str) -> bool:
    """Return whether a capability is in effect: CAP_NET_ADMIN, CAP_NET_RAW."""
    from vpnagent.program import lacking_capabilities

    return name not in lacking_capabilities()


class Duration(click.ParamType[float]):
    """``5ms``, ``3s``, ``24h``, or a number of seconds; a bound is seconds."""

    name = "duration"

    def __init__(self, minimum: float = 0.0, maximum: float = math.inf) -> None:
        self._minimum = minimum
        self._maximum = maximum

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        from vpnagent.config.units import duration

        try:
            seconds = duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < self._minimum or seconds > self._maximum:
            bounds = f"{self._minimum:g}" + (f" to {self._maximum:g}" if self._maximum < math.inf else "")
            least = "" if self._maximum < math.inf else "at least "
            self.fail(f"must be {least}{bounds} seconds", param, ctx)
        return seconds


class AddressType(click.ParamType[IPv4Address]):
    """An IPv4 address."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> IPv4Address:
        """Return the address."""
        try:
            return IPv4Address(value)
        except ValueError:
            self.fail(f"{value!r} is no IPv4 address", param, ctx)


class Network(click.ParamType[IPv4Network]):
    """An IPv4 network."""

    name = "network"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> IPv4Network:
        """Return the network."""
        try:
            return IPv4Network(value)
        except ValueError:
            self.fail(f"{value!r} is no IPv4 network such as 10.1.0.0/16", param, ctx)


# Files that a command writes for an operator: whole or not at all, and never over something else unasked.

MOST_COMPARED: Final = 16 << 20  #: bytes of what is compared
OWNER_ONLY: Final = 0o600
OWNER_AND_GROUP: Final = 0o640
READABLE: Final = 0o644


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    group: int | None = None  #: id; None: whatever the directory gives

    def check(self, *, replace: bool) -> None:
        """See that nothing else is there. Raises ConfigError."""
        if self._is_there() is False and not replace:
            raise problem(self.path, "holds something else already; --force replaces it")

    def write(self, *, replace: bool) -> None:
        """Write the file, unless it is there already. Raises ConfigError."""
        there = self._is_there()
        try:
            if not there:
                self._place(replace=replace)
                say(f"{self.path}: {'written' if there is None else 'replaced: it held something else'}")
                return
            with own_files.rights_of_owner(self.path):
                if stat.S_IMODE(os.stat(self.path).st_mode) & ~self.mode:
                    os.chmod(self.path, self.mode)
        except OSError as error:
            raise problem(self.path, f"cannot be written: {error.strerror}") from error

    def _place(self, *, replace: bool) -> None:
        """Put the file in its place: at every moment there is the old one or the new, and whole."""
        place, name = os.path.split(os.path.abspath(self.path))
        scratch = f".vpnagent-{os.getpid()}"
        with own_files.folder(place) as folder:
            folder.clear(scratch)
            try:
                descriptor = folder.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                with open(descriptor, "wb") as file:
                    file.write(self.content)
                    file.flush()
                    if self.group is not None and folder.found.st_uid == os.geteuid():
                        os.fchown(descriptor, -1, self.group)
                    os.fchmod(descriptor, self.mode)
                    os.fsync(descriptor)
                here = folder.descriptor
                if replace:
                    os.replace(scratch, name, src_dir_fd=here, dst_dir_fd=here)
                else:  # unlike a rename, refuses what came in between
                    os.link(scratch, name, src_dir_fd=here, dst_dir_fd=here)
            finally:
                folder.remove(scratch)

    def _is_there(self) -> bool | None:
        """Return whether this is what is there; None where nothing is. Raises ConfigError."""
        try:
            with own_files.rights_of_owner(self.path):
                if os.path.lexists(self.path) and not os.path.isfile(self.path):
                    raise problem(self.path, "must be a regular file")
                found = own_files.of_operator(self.path, MOST_COMPARED)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise problem(self.path, f"cannot be read: {error.strerror}") from error
        return found.rstrip(b"\r\n") == self.content.rstrip(b"\r\n")  # an editor's newline


def key_file(path: str, content: bytes) -> File:
    """Return a pre-shared key's file: its owner's alone; made by root, its service's group's too."""
    group = service_group() if os.geteuid() == 0 else None
    return File(path, content, OWNER_ONLY if group is None else OWNER_AND_GROUP, group)


def problem(name: str, text: str) -> ConfigError:
    """Return an error about a file as a whole."""
    return ConfigError((Problem(name, 0, "", text),))


def say(text: str) -> None:
    """Tell on standard error, where it is in nobody's way."""
    click.echo(text, err=True)
