"""``vpnagent dashboard``: the committed dashboard, fitted to a Grafana."""

import re
from typing import Final

import click

from vpnagent.commands.options import output_option, runbook_option, write

UID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")


def _uid(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not UID.fullmatch(value):
        raise click.BadParameter(f"must be 1 to 40 letters, digits, - and _, not {value!r}", context, option)
    return value


@click.command()
@click.option(
    "--datasource",
    metavar="UID",
    callback=_uid,
    help="Grafana's uid of the Prometheus to ask. Default: the dashboard's user chooses.",
)
@runbook_option
@output_option
def dashboard(datasource: str | None, runbook_url: str, output: str) -> None:
    r"""Print the Grafana dashboard, for one gateway or many. Asks neither the daemon nor for root.

    \b
    Example:
      vpnagent dashboard --output /var/lib/grafana/dashboards/vpnagent.json
      vpnagent dashboard --datasource prometheus-1 --runbook-url https://wiki.example.com/vpnagent
    Needs Grafana 10.1 or newer. docs/dashboard.md says how to import it and what each row tells.
    """
    import json
    from importlib.resources import files

    from vpnagent.commands.dashboard.fitted import fitted

    made = json.loads(files("vpnagent.commands.dashboard").joinpath("dashboard.json").read_text("utf-8"))
    shown = fitted(made, runbook_url=runbook_url, datasource=datasource)
    write(output, json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
