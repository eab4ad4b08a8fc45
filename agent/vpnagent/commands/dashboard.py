"""``vpnagent dashboard``."""

import click

RUNBOOK_URL = "file:///usr/share/doc/vpnagent/runbook.md"


@click.command()
@click.option(
    "--datasource",
    metavar="UID",
    help="Grafana's uid of the Prometheus to ask. Default: the dashboard's user chooses.",
)
@click.option(
    "--runbook-url",
    default=RUNBOOK_URL,
    show_default=True,
    help="Where you keep docs/runbook.md; each panel adds its alerts' names as #fragment.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False), help="Where the JSON goes. Default: standard output."
)
def dashboard(datasource: str | None, runbook_url: str, output: str | None) -> None:
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
    with click.open_file(output or "-", "w", encoding="utf-8", atomic=output is not None) as file:
        file.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
