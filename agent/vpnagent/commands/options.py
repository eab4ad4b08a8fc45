"""What commands share: options, and where the configuration and the control socket are."""

import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import click

from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError
from vpnagent.finding import Severity
from vpnagent.own_files import MOST, of_operator, write_as_asked

DEFAULT_CONFIG = "/etc/vpnagent/vpnagent.yaml"
DEFAULT_SOCKET = "/run/vpnagent/control.sock"
DEFAULT_STATE = "/var/lib/vpnagent"
RUNBOOK_URL = "file:///usr/share/doc/vpnagent/runbook.md"
DEFAULT_VICI = "/var/run/charon.vici"
CAP_NET_ADMIN = 12  #: bit, linux/capability.h

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


def has_net_admin() -> bool:
    """Return whether this process may change the network."""
    return has_capability(CAP_NET_ADMIN)


def has_capability(bit: int) -> bool:
    """Return whether a capability is in effect (capabilities(7))."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> bit & 1)
    return os.geteuid() == 0


class Address(click.ParamType[IPv4Address]):
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
