"""``vpnagent plan``. A shell."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from vpnagent.commands.options import config_option, fail_on_option, json_option, socket_for, socket_option
from vpnagent.control.client import ask
from vpnagent.control.protocol import NOT_FINE
from vpnagent.errors import ConfigError, ControlError, NetlinkError
from vpnagent.finding import Severity

if TYPE_CHECKING:
    from vpnagent.config.values import Config, Tunnel

KEYS = ("psk_file", "psk_credential")


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
@click.option(
    "--from",
    "old_path",
    type=click.Path(dir_okay=False),
    help="Compare with this file, and ask neither the daemon nor this machine's kernel.",
)
@fail_on_option(Severity.INFO, "a change")
def plan(
    config_path: str,
    socket_path: str | None,
    as_json: bool,
    verdict_words: tuple[str, ...],
    old_path: str | None,
    fail_on: str,
) -> None:
    r"""Show which tunnels carry traffic and why, and what would change in the kernel.

    With the daemon, also what a reload of its file would do to the SAs, and for how long traffic would be
    interrupted. Changes nothing, needs neither root nor the daemon, and opens no key. Of a tunnel that is
    assumed to be degraded or silent the CHILD_SA is installed; one that is down has none.

    \b
    Example:
      vpnagent plan
      vpnagent plan --verdict primary=silent
      vpnagent plan --from main.yaml --config mine.yaml --fail-on critical
    Exit status 0 when nothing would change, 1 when something would. A change is critical where it interrupts
    traffic, a warning where it moves it to another tunnel, else an info.
    """
    from vpnagent.config.load import load

    try:
        if old_path is None:
            config = load(config_path, read_secrets=False)
            seen = _seen(socket_for(socket_path, config_path))
            told, lines = _on_this_machine(config, seen, verdict_words)
        else:
            told, lines = _compared(_with_names_of_keys(old_path), _with_names_of_keys(config_path))
    except ConfigError as error:
        if as_json:
            from vpnagent.checks.judge import refused

            click.echo(json.dumps({"findings": [finding.plain() for finding in refused(error)]}, indent=2))
        raise
    click.echo(json.dumps(told, indent=2) if as_json else "\n".join([*lines, *_changes(told)]))
    worst = _worst(told)
    sys.exit(NOT_FINE if worst is not None and worst.reaches(Severity(fail_on)) else 0)


def _on_this_machine(
    config: "Config", seen: dict[str, Any], verdict_words: tuple[str, ...]
) -> tuple[dict[str, Any], list[str]]:
    """Return which tunnels carry, and what would change here, for JSON and for people."""
    from vpnagent.checks.judge import kernel_not_looked_at
    from vpnagent.daemon.planning import assumed, planned
    from vpnagent.policy.choice import choices

    verdicts, carrying = assumed(config, seen, verdict_words)
    selection = choices(config, verdicts, carrying)
    changes: list[str] = []
    findings = []
    try:
        changes = asyncio.run(planned(config, verdicts, carrying))
    except (NetlinkError, OSError) as error:
        findings = [kernel_not_looked_at(str(error))]
    told = {
        "selection": [choice.plain() for choice in selection],
        "changes": changes,
        "reload": seen.get("reload"),
        "findings": [finding.plain() for finding in findings],
    }
    return told, [line for choice in selection for line in (*choice.lines(), "")]


def _compared(old: "Config", new: "Config") -> tuple[dict[str, Any], list[str]]:
    """Return what differs between two files, and what a reload from one to the other would do."""
    from vpnagent.config.schema import differences
    from vpnagent.daemon.live_change import kernel_changes, preview

    found = differences(old, new)
    told = {
        "selection": [],
        "changes": kernel_changes(old, new),
        "reload": preview(old, new),
        "differences": found,
        "findings": [],
    }
    return told, [*found, ""] if found else []


def _with_names_of_keys(path: str) -> "Config":
    """Return a configuration whose keys are the names of their files: another name is another key."""
    from vpnagent.config.load import content_of, load
    from vpnagent.config.yaml_positions import read
    from vpnagent.record import replace
    from vpnagent.secret import Secret

    content = content_of(path)
    config = load(path, content=content, read_secrets=False)
    written: Any = read(content).data["connections"]

    def named(tunnel: "Tunnel", section: dict[str, Any]) -> "Tunnel":
        names = [section.get(key) for key in KEYS]
        return replace(tunnel, psk=Secret(repr(names).encode())) if any(names) else tunnel

    return replace(
        config,
        connections=tuple(
            replace(connection, tunnels=tuple(map(named, connection.tunnels, section["tunnels"])))
            for connection, section in zip(config.connections, written, strict=True)
        ),
    )


def _changes(told: dict[str, Any]) -> list[str]:
    """Return the lines on what would change."""
    reload = told["reload"] or {}
    lines = [f"the daemon would refuse the file: {reload['refused']}"] if reload.get("refused") else []
    lines += [*reload.get("tunnels", ()), *told["changes"]]
    lines += [f"{finding['severity']}: {finding['code']}: {finding['text']}" for finding in told["findings"]]
    return lines or ([] if told.get("differences") else ["nothing would change"])


def _worst(told: dict[str, Any]) -> Severity | None:
    """Return how grave the gravest change is; None where there is none."""
    reload = told["reload"] or {}
    if reload.get("refused"):
        return Severity.CRITICAL
    if reload.get("tunnels"):
        return Severity(reload.get("severity", Severity.CRITICAL.value))  # a former daemon tells none
    return Severity.INFO if told["changes"] or told.get("differences") else None


def _seen(socket_path: str) -> dict[str, Any]:
    """Return what the daemon knows, or nothing where there is none."""
    try:
        return dict(ask(socket_path, "plan", timeout=10))
    except ControlError:
        return {}
