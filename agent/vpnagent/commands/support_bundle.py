"""``vpnagent support-bundle``."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from vpnagent.commands.options import (
    DEFAULT_STATE,
    DEFAULT_VICI,
    agent_key,
    config_option,
    file_key,
    socket_for,
    socket_option,
)
from vpnagent.control import NOT_FINE, NOT_PERMITTED

if TYPE_CHECKING:
    from vpnagent.support.archive import Bundle

ENDING: Final = ".tar.gz"
OWNER_ONLY: Final = 0o600


@click.command("support-bundle")
@config_option
@socket_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="The file to write; - for standard output. Default: vpnagent-support-GATEWAY-TIME.tar.gz, here.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def support_bundle(config_path: str, socket_path: str | None, output: str | None, force: bool) -> None:
    r"""Write an archive for a support ticket: state, versions, logs, kernel and charon. No secrets.

    \b
    Example:
      vpnagent support-bundle
      vpnagent support-bundle --output /tmp/ticket-4711.tar.gz
      ssh root@gateway vpnagent support-bundle --output - > bundle.tar.gz
    It changes nothing, needs no daemon, and waits for nothing longer than 15 seconds. Its first page is
    SUMMARY.md. The finished files are searched for every secret that the configuration names, and what holds
    one is left out. docs/support.md lists what is in it.
    Exit status 0 when everything is in it, 1 when something is missing or was left out, 4 when root would get
    more; in each case the archive is written, and what is missing is told.
    """
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("an archive is not for a terminal: name a file, or pipe it")
    from vpnagent.commands.files import File
    from vpnagent.support.archive import packed

    if output not in (None, "-"):
        File(str(output), b"", OWNER_ONLY).check(replace=force)
    bundle = _bundle(config_path, socket_path)
    path, content = output or bundle.name + ENDING, packed(bundle)
    if path == "-":
        sys.stdout.buffer.write(content)
    else:
        file = File(path, content, OWNER_ONLY)
        file.check(replace=force)
        file.write(replace=force)
    _tell(bundle, to_stderr=path == "-")
    sys.exit(exit_status(bundle))


def _bundle(config_path: str, socket_path: str | None) -> "Bundle":
    from vpnagent.config.schema import keys
    from vpnagent.standing import STANDING
    from vpnagent.support.archive import bundle
    from vpnagent.support.collect import Places, collect
    from vpnagent.support.known_secrets import Secrets

    now = int(time.time())
    state_directory = agent_key(config_path, "state_directory", DEFAULT_STATE)
    standing = os.path.join(state_directory, STANDING)
    secrets = Secrets(os.path.dirname(os.path.abspath(config_path)))
    secrets.add_configuration(config_path)
    secrets.add_standing(standing)
    secrets.add_services()
    secrets.add_strongswan()
    places = Places(
        config_path=config_path,
        control_socket=socket_for(socket_path, config_path),
        vici_socket=agent_key(config_path, "vici_socket", DEFAULT_VICI),
        standing=standing,
        state_directory=state_directory,
        known_keys=keys(),
        is_there=secrets.is_there,
    )
    progress = _progress()
    parts = asyncio.run(collect(places, progress))
    progress("")
    gateway = file_key(config_path, "gateway", "name", os.uname().nodename)
    return bundle(parts, secrets.gathered(), gateway=gateway, at=now)


def _progress() -> Callable[[str], None]:
    """Return what is told of each file that is done: where somebody looks, it is shown."""
    if not sys.stderr.isatty():
        return lambda _name: None
    return lambda name: click.echo(f"\r\x1b[K{name}\r", err=True, nl=False)


def _tell(bundle: "Bundle", *, to_stderr: bool) -> None:
    for name, text in bundle.files.items():
        click.echo(f"{len(text.encode(errors='replace')):>9} {name}", err=to_stderr)
    for complaint in bundle.complaints:
        click.echo(f"vpnagent: {complaint}", err=True)


def exit_status(bundle: "Bundle") -> int:
    """Return the command's exit status."""
    if not bundle.complaints:
        return 0
    return NOT_PERMITTED if bundle.forbidden and not bundle.held else NOT_FINE
