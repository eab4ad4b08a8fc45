"""``vpnagent dashboard``."""

import click

from vpnagent.commands.options import output_option, runbook_option, write


@click.command()
@click.option(
    "--datasource",
    metavar="UID",
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

    from vpnagent.dashboard import fitted

    made = json.loads(files("vpnagent.dashboard").joinpath("dashboard.json").read_text("utf-8"))
    shown = fitted(made, runbook_url=runbook_url, datasource=datasource)
    write(output, json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
