"""The daemon and what is asked of it: run, reload, confirm, down, drain, undrain; before it: guard.

A shell.
"""

import asyncio
import gc
import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from vpnagent import __version__
from vpnagent.commands.options import (
    DEFAULT_SOCKET,
    DEFAULT_STATE,
    DEFAULT_VICI,
    Duration,
    agent_key,
    config_option,
    has_capability,
    socket_for,
    socket_option,
)
from vpnagent.control.client import ask
from vpnagent.control.protocol import NOT_FINE, NOT_PERMITTED, UNREACHABLE
from vpnagent.errors import ConfigError, ControlError

if TYPE_CHECKING:
    from vpnagent.config.values import Config
    from vpnagent.daemon.memory import Loaded, Standing


@click.command()
@config_option
@click.option("--no-prober", is_flag=True, help="Start no prober: vpnagent-prober.service runs it.")
@click.option("--debug", is_flag=True, help="Log more.")
def run(config_path: str, no_prober: bool, debug: bool) -> None:
    r"""Run the daemon in the foreground.

    \b
    Example:
      vpnagent run --config /etc/vpnagent/vpnagent.yaml
    SIGHUP reads the configuration again; SIGTERM stops and leaves tunnels and routes in place.
    """
    gc.disable()  # while loading, where nothing is garbage: looking for some took a sixth of the start
    from vpnagent import log

    if not has_capability("CAP_NET_ADMIN"):
        raise ControlError("run needs root or the capability CAP_NET_ADMIN", NOT_PERMITTED)
    from vpnagent.daemon.memory import Standing
    from vpnagent.secret import close_memory

    close_memory()
    standing = Standing(config_path, agent_key(config_path, "state_directory", DEFAULT_STATE))
    loaded = _started(standing)
    log.configure(debug=debug)
    from vpnagent.daemon.daemon import Daemon

    gc.freeze()
    gc.enable()
    _log_parameters(config_path, loaded.config)
    if loaded.error:
        problem = loaded.error.replace("\n", "; ")
        logging.getLogger("vpnagent").error("configuration-refused the last good one runs: %s", problem)
    asyncio.run(Daemon(config_path, loaded, standing, prober_supervised=no_prober).run())


def _started(standing: "Standing") -> "Loaded":
    """Return what a start is to run. Raises ConfigError without a value: our terminal is the journal."""
    try:
        return standing.start()
    except ConfigError as error:
        raise error.discreet() from None


def _log_parameters(config_path: str, config: "Config") -> None:
    from vpnagent.config.schema import effective

    logging.getLogger("vpnagent").info(
        "starting version=%s config=%s %s", __version__, config_path, effective(config)
    )


@click.command()
@config_option
@socket_option
@click.option(
    "--confirm",
    type=Duration(),
    help="Take the change back by itself after this time, unless vpnagent confirm is run: 5m, 90s.",
)
def reload(config_path: str, socket_path: str | None, confirm: float | None) -> None:
    r"""Have the daemon read its configuration again.

    \b
    Example:
      vpnagent plan; vpnagent reload --confirm 5m
      vpnagent status && vpnagent confirm
    What did not change is not touched. A configuration with errors is refused and the one in force stays.
    A change that was not confirmed in time, or before a restart of the machine, is not used again until it
    is reloaded; the file is left as it is.
    """
    answer = ask(socket_for(socket_path, config_path), "reload", timeout=30, confirm_within=confirm)
    click.echo("reloaded" if answer["changed"] else "nothing changed")
    if confirm is not None:
        click.echo(f"takes itself back in {confirm:g} s unless you run: vpnagent confirm")
    if answer["warning"]:
        click.echo(f"vpnagent: {answer['warning']}", err=True)


@click.command()
@config_option
@socket_option
def confirm(config_path: str, socket_path: str | None) -> None:
    r"""Let the change of ``reload --confirm`` stand.

    \b
    Example:
      vpnagent confirm
    Exit status 1 when no change waits for it.
    """
    ask(socket_for(socket_path, config_path), "confirm")
    click.echo("confirmed")


@click.command()
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
        ask(socket_for(socket_path, config_path), "down", timeout=30)
    except ControlError as error:
        if error.exit_status != UNREACHABLE:
            raise
        _down_without_daemon(config_path)
    click.echo("everything of ours is removed")


def _down_without_daemon(config_path: str) -> None:
    from vpnagent.daemon.planning import remove_everything
    from vpnagent.daemon.prober import socket_beside
    from vpnagent.probe import namespace_lock

    if not has_capability("CAP_NET_ADMIN"):
        raise ControlError("down without the daemon needs root or CAP_NET_ADMIN", NOT_PERMITTED)
    control_socket = agent_key(config_path, "control_socket", DEFAULT_SOCKET)
    vici_socket = agent_key(config_path, "vici_socket", DEFAULT_VICI)
    lock = namespace_lock.hold_as_daemon(
        configuration=config_path,
        control_socket=control_socket,
        prober_socket=socket_beside(control_socket),
        hint="nothing was removed",
    )
    try:
        for warning in asyncio.run(remove_everything(control_socket, vici_socket)):
            click.echo(f"vpnagent: {warning}", err=True)
    finally:
        os.close(lock)


@click.command()
@config_option
def guard(config_path: str) -> None:
    r"""Put the unreachable routes under the remote networks and the leak guard in place, nothing else.

    \b
    Example:
      vpnagent guard
    vpnagent-guard.service runs it at boot, before anything is forwarded: until the daemon has made the
    tunnels' routes, no packet for the cloud leaves in clear. Where the configuration cannot be used, the last
    good one is. Needs no key and no daemon.
    """
    from vpnagent.daemon.memory import Standing
    from vpnagent.daemon.planning import put_guards

    if not has_capability("CAP_NET_ADMIN"):
        raise ControlError("guard needs root or the capability CAP_NET_ADMIN", NOT_PERMITTED)
    directory = agent_key(config_path, "state_directory", DEFAULT_STATE)
    loaded = _started(Standing(config_path, directory, read_secrets=False))
    if loaded.error:
        click.echo(
            f"{loaded.error}\nvpnagent: the networks of the last good configuration are guarded", err=True
        )
    problems = asyncio.run(put_guards(loaded.config))
    for problem in problems:
        click.echo(f"vpnagent: {problem}", err=True)
    sys.exit(NOT_FINE if problems else 0)


@click.command()
@click.argument("tunnel")
@config_option
@socket_option
def drain(tunnel: str, config_path: str, socket_path: str | None) -> None:
    r"""Move traffic off TUNNEL until it is undrained.

    \b
    Example:
      vpnagent drain hangzhou/primary
    """
    _change_drain("drain", tunnel, socket_for(socket_path, config_path))


@click.command()
@click.argument("tunnel")
@config_option
@socket_option
def undrain(tunnel: str, config_path: str, socket_path: str | None) -> None:
    r"""Let TUNNEL carry traffic again.

    \b
    Example:
      vpnagent undrain hangzhou/primary
    """
    _change_drain("undrain", tunnel, socket_for(socket_path, config_path))


def _change_drain(command: str, tunnel: str, socket_path: str) -> None:
    answer = ask(socket_path, command, tunnel=tunnel)
    click.echo(f"{answer['tunnel']}: {'drained' if answer['drained'] else 'not drained'}")
    if answer["warning"]:
        click.echo(f"vpnagent: {answer['warning']}", err=True)
