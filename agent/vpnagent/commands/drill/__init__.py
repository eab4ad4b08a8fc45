"""``vpnagent drill``: rehearse a failover, measure it, and go back.

The command asks the running daemon for a drain, which it must renew: if the command is killed, the traffic
goes back by itself. Meanwhile it sends a stream of echo requests and measures every gap.

Judging and accounts are pure; ``rehearsal`` and ``capture`` do I/O: the control socket, raw and packet
sockets. Nothing but that drain is changed. Begin with ``rehearsal``; docs/drill.md is for the operator.
"""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from vpnagent.commands.options import (
    AddressType,
    Duration,
    config_option,
    has_capability,
    json_option,
    socket_for,
    socket_option,
)
from vpnagent.control.protocol import NOT_FINE, NOT_PERMITTED
from vpnagent.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vpnagent.commands.drill.rehearsal import DrillRecording


@click.command()
@click.argument("tunnel", required=False)
@config_option
@socket_option
@json_option
@click.option("--force", is_flag=True, help="Drill although no standby is healthy.")
@click.option("--capture", is_flag=True, help="Add a timeline of packets, in clear and as ESP.")
@click.option("--target", type=AddressType(), help="Measure with this host. Default: a probe target.")
@click.option(
    "--interval",
    type=Duration(0.001, 0.1),
    default="5ms",
    show_default=True,
    help="Time between the stream's probes, 1ms to 100ms.",
)
@click.option(
    "--dwell",
    type=Duration(0, 3600),
    default="3s",
    show_default=True,
    help="Time to stay on the standby.",
)
@click.option(
    "--count", type=click.IntRange(1, 100), default=1, show_default=True, help="Times there and back."
)
@click.option(
    "--max-gap",
    type=Duration(0.05, 60),
    default="1s",
    show_default=True,
    help="A longer time without an answer is a failure, and ends the drill.",
)
def drill(
    tunnel: str | None, config_path: str, socket_path: str | None, as_json: bool, **options: Any
) -> None:
    r"""Rehearse the failover of TUNNEL: off it, measured, and back.

    \b
    Example:
      vpnagent drill
      vpnagent drill hangzhou/primary --capture --dwell 30s
    TUNNEL is by default the one that carries traffic. Refused while no standby is healthy. The traffic is
    taken back whatever ends the drill; if it is killed, seconds later. Exit status 0 when the drill went
    well, 1 when it was refused or failed.
    """
    if not has_capability("CAP_NET_RAW"):
        raise ControlError("drill needs root or the capability CAP_NET_RAW", NOT_PERMITTED)
    from vpnagent.commands.drill.rehearsal import DrillOptions, end_on_signals, rehearse

    end_on_signals()
    chosen = DrillOptions(
        tunnel=tunnel,
        force=options["force"],
        target=options["target"],
        interval=options["interval"],
        dwell=options["dwell"],
        count=options["count"],
        capture=options["capture"],
        longest_gap=options["max_gap"],
    )
    report, recordings = rehearse(socket_for(socket_path, config_path), chosen)
    report.timeline = list(_timeline(recordings))
    if as_json:
        click.echo(json.dumps(report.plain(), indent=2))
    else:
        click.echo("\n".join(report.lines()))
    sys.exit(NOT_FINE if report.problems else 0)


def _timeline(recordings: "list[DrillRecording]") -> "Iterator[str]":
    if not recordings:
        return
    from vpnagent.commands.drill.ledger import timeline

    for title, (packets, dropped), moments, begin, until in recordings:
        yield f"{title}:"
        yield from timeline(packets, moments, begin=begin, until=until)
        if dropped:
            yield f"{dropped} packets did not fit into the capture's buffer"
