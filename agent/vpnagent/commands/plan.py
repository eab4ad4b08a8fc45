"""``vpnagent plan``."""

import asyncio
import json
import sys
from typing import Any

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
    metavar="TUNNEL=up|degraded|silent|down|drained",
    help="Assume this of a tunnel; others as the daemon sees them, or up.",
)
def plan(config_path: str, socket_path: str | None, as_json: bool, verdict_words: tuple[str, ...]) -> None:
    r"""Show which tunnels carry traffic and why, and what would change in the kernel.

    With the daemon, also what a reload of its file would do to the SAs, and for how long traffic would be
    interrupted. Changes nothing, needs neither root nor the daemon. Of a tunnel that is assumed to be
    degraded or silent the CHILD_SA is installed; one that is down has none.

    \b
    Example:
      vpnagent plan
      vpnagent plan --verdict primary=silent
    Exit status 0 when nothing would change, 1 when something would.
    """
    from vpnagent.choice import choices
    from vpnagent.config.load import load
    from vpnagent.planning import assumed, planned

    config = load(config_path, read_secrets=False)
    seen = _seen(socket_for(socket_path, config_path))
    verdicts, carrying = assumed(config, seen, verdict_words)
    sas = seen.get("reload", {}).get("tunnels", [])
    selection = choices(config, verdicts, carrying)
    changes = asyncio.run(planned(config, verdicts, carrying))
    if as_json:
        selected = [choice.plain() for choice in selection]
        document = {"selection": selected, "changes": changes, "reload": seen.get("reload")}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo("\n".join(line for choice in selection for line in (*choice.lines(), "")))
        click.echo("\n".join([*sas, *changes]) if sas or changes else "nothing would change")
    sys.exit(NOT_FINE if sas or changes else 0)


def _seen(socket_path: str) -> dict[str, Any]:
    """Return what the daemon knows, or nothing where there is none."""
    try:
        return dict(ask(socket_path, "plan", timeout=10))
    except ControlError:
        return {}
