"""``vpnagent events``. A shell."""

import json
import time
from typing import Any, Final

import click

from vpnagent.commands.options import Duration, config_option, json_option, socket_for, socket_option
from vpnagent.control.client import ask

COLOURS: Final = {"info": "cyan", "warning": "yellow", "critical": "red"}
PERIOD: Final = 0.5  #: seconds between questions of --follow
RECENT: Final = 10  #: events that --follow begins with


@click.command()
@config_option
@socket_option
@json_option
@click.option("--follow", "-f", is_flag=True, help="Go on, and print events as they happen.")
@click.option("--since", type=Duration(), help="Only the last 15m, 1h, 24h …")
@click.option(
    "--type",
    "types",
    metavar="TYPE",
    multiple=True,
    help="Only events of this type, or of this severity and worse: info, warning, critical. May be repeated.",
)
@click.option("--limit", metavar="N", type=click.IntRange(0), help="Only the last N; with --follow 10.")
def events(  # noqa: PLR0913 - an option each
    config_path: str,
    socket_path: str | None,
    as_json: bool,
    follow: bool,
    since: float | None,
    types: tuple[str, ...],
    limit: int | None,
) -> None:
    r"""Show what happened: failovers, tunnels down and up, changes, and the cloud's own system events.

    \b
    Example:
      vpnagent events --since 1h
      vpnagent events --follow --type Failover --type critical
      vpnagent events --json | jq 'select(.type == "Failover") | .fields'
    The daemon keeps the last 1000 at least, over restarts; docs/events.md names the types. With --json each
    event is a line of its own.
    """
    asked: dict[str, Any] = {
        "types": list(types),
        "since": 0.0 if since is None else time.time() - since,
    }
    if limit is None and follow:
        limit = RECENT
    socket = socket_for(socket_path, config_path)
    after = _print(socket, as_json, asked, limit=limit)
    while follow:
        time.sleep(PERIOD)
        after = _print(socket, as_json, asked, after=after)


def _print(
    socket: str, as_json: bool, asked: dict[str, Any], *, after: int = 0, limit: int | None = None
) -> int:
    """Print every page of what is asked for; return the number of the last event there is."""
    while True:
        answer = ask(socket, "events", **asked, after=after, limit=limit)
        for event in answer["events"]:
            click.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
        if not answer["more"]:
            return int(answer["last"])
        after = answer["events"][-1]["sequence"]
        limit = None if limit is None else limit - len(answer["events"])


def _line(event: dict[str, Any]) -> str:
    severity = click.style(f"{event['severity']:<8}", fg=COLOURS.get(event["severity"]))
    return f"{event['at']} {severity} {event['type']}: {event['text']}"
