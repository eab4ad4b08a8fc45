"""``vpnagent plan``."""

import asyncio
import json
import sys

import click

from vpnagent.commands.options import config_option, json_option, socket_for, socket_option
from vpnagent.control import NOT_FINE
from vpnagent.control_client import ask
from vpnagent.errors import ControlError


@click.command()
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
    seen = _verdicts_seen(socket_for(socket_path, config_path))
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
