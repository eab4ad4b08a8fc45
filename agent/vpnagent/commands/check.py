"""``vpnagent check``."""

import json
import sys

import click

from vpnagent.commands.options import config_option, json_option, load_config
from vpnagent.control import NOT_FINE
from vpnagent.finding import Severity


@click.command()
@config_option
@json_option
def check(config_path: str, as_json: bool) -> None:
    r"""Check the configuration; print every problem and every weakness.

    \b
    Example:
      vpnagent check --config vpnagent.yaml
    Exit status 0 when there is nothing to say, 1 for a warning, 2 when the file cannot be used.
    """
    config = load_config(config_path)
    from vpnagent.config.weaknesses import weaknesses

    found = weaknesses(config)
    if as_json:
        rows = [
            {"code": w.code, "severity": w.severity.value, "key": w.subject}
            | {"text": w.text, "hint": w.hint}
            for w in found
        ]
        click.echo(json.dumps({"config": config_path, "findings": rows}, indent=2))
    else:
        for weakness in found:
            click.echo(
                f"{weakness.severity.value}: {weakness.subject}: {weakness.text}\n    -> {weakness.hint}"
            )
        tunnels = len(config.tunnels())
        click.echo(f"{config_path}: valid: {len(config.connections)} connections, {tunnels} tunnels")
    sys.exit(NOT_FINE if any(w.severity is not Severity.INFO for w in found) else 0)
