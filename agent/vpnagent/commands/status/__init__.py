"""``vpnagent status``: the status as a screen, as JSON, or as a screen that follows what happens.

All of it is drawn from the JSON document that the daemon answers with; nothing is judged here. Screens are
lines of styled text, which click prints once and rich draws again and again for ``--watch``.

``viewer`` and ``terminal`` touch the terminal; all else is pure. Begin with ``overview``; columns of tables
are in ``tables``.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from vpnagent.commands.options import Duration, config_option, json_option, socket_for, socket_option
from vpnagent.control.client import ask
from vpnagent.control.protocol import NOT_FINE
from vpnagent.errors import ControlError

SHORTEST = 0.1  #: seconds between two looks
INTERVAL = 1.0  #: seconds, where none is asked for
PATIENCE = 2.0  #: seconds for which --watch waits for an answer


@click.command()
@config_option
@socket_option
@json_option
@click.option("--watch", "watching", is_flag=True, help="Follow it on the terminal until Ctrl-C.")
@click.option("--interval", type=Duration(SHORTEST), help="Time between two looks of --watch. Default: 1s.")
def status(
    config_path: str, socket_path: str | None, as_json: bool, watching: bool, interval: float | None
) -> None:
    r"""Show what is up, what is wrong, and what to do about it.

    \b
    Example:
      vpnagent status
      vpnagent status --watch --interval 500ms
      vpnagent status --json | jq .state
      vpnagent status | grep '^critical'
    The first line says whether it is fine; problems follow, worst first. A star marks a tunnel that carries
    traffic. Exit status 0 when everything is up, 1 when something is not; --watch ends with 0 at Ctrl-C.
    """
    path = socket_for(socket_path, config_path)
    if watching:
        _watch(path, as_json, interval)
        return
    if interval is not None:
        raise click.UsageError("--interval goes with --watch")
    answer = ask(path, "status")
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        from vpnagent.commands.status.overview import overview
        from vpnagent.commands.status.terminal import canvas, show

        with _of_our_version():
            lines = overview(answer, datetime.now(UTC), canvas())
        show(lines)
    sys.exit(0 if answer["state"] == "up" else NOT_FINE)


def _watch(path: str, as_json: bool, interval: float | None) -> None:
    if as_json:
        raise click.UsageError("--watch draws on a terminal: --json is asked for again and again instead")
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        raise click.UsageError("--watch draws on a terminal, and standard output is none: leave it out")
    from vpnagent.commands.status.viewer import watch

    with _of_our_version():
        watch(lambda: ask(path, "status", timeout=PATIENCE), interval or INTERVAL)


@contextmanager
def _of_our_version() -> Iterator[None]:
    """Tell in one line of a status that lacks what the screens are made of: a daemon not yet restarted."""
    try:
        yield
    except (LookupError, TypeError, AttributeError) as error:
        raise ControlError(
            f"the daemon's status cannot be drawn ({error!r}): is the daemon of another version? Use --json",
            NOT_FINE,
        ) from error
