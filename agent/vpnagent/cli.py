"""The command line: parses, calls, prints, nothing else.

Imports are lazy: ``status`` must not pay for pydantic, pyroute2 or prometheus-client. Every error is one
line on standard error; exit statuses are 0 fine, 1 not fine, 2 usage or configuration, 3 daemon
unreachable, 4 not permitted.
"""

import asyncio
import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from vpnagent import __version__
from vpnagent.control import NOT_FINE, NOT_PERMITTED, UNREACHABLE, USAGE
from vpnagent.control_client import ask
from vpnagent.errors import AgentError, ConfigError, ControlError, NetlinkError

if TYPE_CHECKING:
    from vpnagent.config.values import Config

DEFAULT_CONFIG = "/etc/vpnagent/vpnagent.yaml"
DEFAULT_SOCKET = "/run/vpnagent/control.sock"
CAP_NET_ADMIN = 12  #: bit, linux/capability.h
INTERRUPTED = 130

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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vpnagent")
def commands() -> None:
    r"""On-premises IPsec gateway agent for Alibaba Cloud.

    \b
    Example:
      vpnagent check --config /etc/vpnagent/vpnagent.yaml
      vpnagent status
    """


def main() -> NoReturn:
    """Run the command line; no traceback ever reaches a user."""
    try:
        status = commands.main(standalone_mode=False, prog_name="vpnagent")
    except click.ClickException as error:
        error.show()
        status = USAGE
    except (click.exceptions.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except AgentError as error:
        status = _complain(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing left to flush into it
        status = NOT_FINE
    except OSError as error:
        click.echo(f"vpnagent: {error.filename or 'system'}: {error.strerror or error}", err=True)
        status = NOT_FINE
    sys.exit(status or 0)


def _complain(error: AgentError) -> int:
    """Print an error, one line for each thing that is wrong, and return the exit status."""
    prefix = "" if isinstance(error, ConfigError) else "vpnagent: "
    for line in str(error).splitlines():
        click.echo(prefix + line, err=True)
    if isinstance(error, ControlError):
        return error.exit_status
    if isinstance(error, NetlinkError) and error.errno in (errno.EPERM, errno.EACCES):
        return NOT_PERMITTED
    return USAGE if isinstance(error, ConfigError) else NOT_FINE


@commands.command()
@config_option
@click.option("--debug", is_flag=True, help="Log more.")
def run(config_path: str, debug: bool) -> None:
    r"""Run the daemon in the foreground.

    \b
    Example:
      vpnagent run --config /etc/vpnagent/vpnagent.yaml
    SIGHUP reads the configuration again; SIGTERM stops and leaves tunnels and routes in place.
    """
    from vpnagent import log

    if not has_net_admin():
        raise ControlError("run needs root or the capability CAP_NET_ADMIN", NOT_PERMITTED)
    config = _load(config_path)
    log.configure(debug=debug)
    from vpnagent.daemon import Daemon

    _log_parameters(config_path, config)
    asyncio.run(Daemon(config_path, config).run())


def _log_parameters(config_path: str, config: "Config") -> None:
    agent = config.agent
    logging.getLogger("vpnagent").info(
        "starting version=%s config=%s gateway=%s connections=%d tunnels=%d vici=%s control=%s metrics=%s"
        " state=%s manage_sysctls=%s",
        __version__,
        config_path,
        config.gateway.name,
        len(config.connections),
        len(config.tunnels()),
        agent.vici_socket,
        agent.control_socket,
        agent.metrics_listen or "off",
        agent.state_directory,
        agent.manage_sysctls,
    )


@commands.command()
@config_option
@socket_option
@json_option
def status(config_path: str, socket_path: str | None, as_json: bool) -> None:
    r"""Show what is up, what is wrong, and what to do about it.

    \b
    Example:
      vpnagent status
      vpnagent status --json | jq .state
    Exit status 0 when everything is up, 1 when something is not.
    """
    answer = ask(_socket(socket_path, config_path), "status")
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        from vpnagent.render import status_text

        click.echo(status_text(answer, datetime.now(UTC)))
    sys.exit(0 if answer["state"] == "up" else NOT_FINE)


@commands.command()
@config_option
@json_option
def check(config_path: str, as_json: bool) -> None:
    r"""Check the configuration; print every problem and every weakness.

    \b
    Example:
      vpnagent check --config vpnagent.yaml
    Exit status 0 when there is nothing to say, 1 for a warning, 2 when the file cannot be used.
    """
    config = _load(config_path)
    from vpnagent.config.weaknesses import weaknesses

    found = weaknesses(config)
    if as_json:
        rows = [
            {"code": w.code, "severity": w.severity, "key": w.key, "text": w.text, "hint": w.hint}
            for w in found
        ]
        click.echo(json.dumps({"config": config_path, "findings": rows}, indent=2))
    else:
        for weakness in found:
            click.echo(f"{weakness.severity}: {weakness.key}: {weakness.text}\n    -> {weakness.hint}")
        tunnels = len(config.tunnels())
        click.echo(f"{config_path}: valid: {len(config.connections)} connections, {tunnels} tunnels")
    sys.exit(NOT_FINE if any(w.severity != "info" for w in found) else 0)


@commands.command()
@config_option
@socket_option
@json_option
@click.option(
    "--verdict",
    "verdict_words",
    multiple=True,
    metavar="TUNNEL=up|down|drained",
    help="Assume this of a tunnel; others as the daemon sees them, or up.",
)
def plan(config_path: str, socket_path: str | None, as_json: bool, verdict_words: tuple[str, ...]) -> None:
    r"""Show what would change in the kernel. Changes nothing, needs neither root nor the daemon.

    \b
    Example:
      vpnagent plan
      vpnagent plan --verdict primary=down
    Exit status 0 when nothing would change, 1 when something would.
    """
    from vpnagent.config.load import load
    from vpnagent.planning import planned, verdicts_of

    config = load(config_path, read_secrets=False)
    seen = _verdicts_seen(_socket(socket_path, config_path))
    lines = asyncio.run(planned(config, verdicts_of(config, seen, verdict_words)))
    if as_json:
        click.echo(json.dumps({"changes": lines}, indent=2))
    else:
        click.echo("\n".join(lines) if lines else "nothing would change")
    sys.exit(NOT_FINE if lines else 0)


def _verdicts_seen(socket_path: str) -> dict[str, bool]:
    try:
        return dict(ask(socket_path, "plan", timeout=3)["verdicts"])
    except ControlError:
        return {}


@commands.command()
@config_option
@socket_option
def reload(config_path: str, socket_path: str | None) -> None:
    r"""Have the daemon read its configuration again.

    \b
    Example:
      vpnagent check && vpnagent reload
    What did not change is not touched. A configuration with errors is refused and the one in force stays.
    """
    answer = ask(_socket(socket_path, config_path), "reload", timeout=30)
    click.echo("reloaded" if answer["changed"] else "nothing changed")


@commands.command()
@config_option
@socket_option
def down(config_path: str, socket_path: str | None) -> None:
    r"""Remove everything of ours from the kernel and from charon, and end the daemon.

    \b
    Example:
      vpnagent down
    Traffic to the cloud's networks then follows the router's other routes.
    """
    try:
        ask(_socket(socket_path, config_path), "down", timeout=30)
    except ControlError as error:
        if error.exit_status != UNREACHABLE:
            raise
        _down_without_daemon(config_path)
    click.echo("everything of ours is removed")


def _down_without_daemon(config_path: str) -> None:
    from vpnagent.config.load import load
    from vpnagent.planning import remove_everything

    if not has_net_admin():
        raise ControlError("down without the daemon needs root or CAP_NET_ADMIN", NOT_PERMITTED)
    config = load(config_path, read_secrets=False)
    for warning in asyncio.run(remove_everything(config)):
        click.echo(f"vpnagent: {warning}", err=True)


@commands.command()
@click.argument("tunnel")
@config_option
@socket_option
def drain(tunnel: str, config_path: str, socket_path: str | None) -> None:
    r"""Move traffic off TUNNEL until it is undrained.

    \b
    Example:
      vpnagent drain hangzhou/primary
    """
    _change_drain("drain", tunnel, _socket(socket_path, config_path))


@commands.command()
@click.argument("tunnel")
@config_option
@socket_option
def undrain(tunnel: str, config_path: str, socket_path: str | None) -> None:
    r"""Let TUNNEL carry traffic again.

    \b
    Example:
      vpnagent undrain hangzhou/primary
    """
    _change_drain("undrain", tunnel, _socket(socket_path, config_path))


def _change_drain(command: str, tunnel: str, socket_path: str) -> None:
    answer = ask(socket_path, command, tunnel=tunnel)
    click.echo(f"{answer['tunnel']}: {'drained' if answer['drained'] else 'not drained'}")
    if answer["warning"]:
        click.echo(f"vpnagent: {answer['warning']}", err=True)


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the completion script for SHELL.

    \b
    Example:
      vpnagent completion bash > /etc/bash_completion.d/vpnagent
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise ControlError(f"no completion for {shell}", USAGE)
    click.echo(kind(commands, {}, "vpnagent", "_VPNAGENT_COMPLETE").source())


def _load(config_path: str) -> "Config":
    from vpnagent.config.load import load

    return load(config_path)


def _socket(socket_path: str | None, config_path: str) -> str:
    """Return the control socket: as asked, else the configuration's if it names one, else the default."""
    if socket_path:
        return socket_path
    if config_path == DEFAULT_CONFIG and Path(DEFAULT_SOCKET).exists():
        return DEFAULT_SOCKET
    return _control_socket_in(config_path)


def _control_socket_in(config_path: str) -> str:
    """Return ``agent.control_socket`` of a file without judging the rest: pydantic costs 150 ms."""
    import yaml

    try:
        content = yaml.load(Path(config_path).read_bytes(), Loader=yaml.CSafeLoader)
        found = content["agent"]["control_socket"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, RecursionError):
        return DEFAULT_SOCKET
    return str(found)


def has_net_admin() -> bool:
    """Return whether this process may change the network (capabilities(7))."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_NET_ADMIN & 1)
    return os.geteuid() == 0
