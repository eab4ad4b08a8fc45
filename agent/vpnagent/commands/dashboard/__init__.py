"""``vpnagent dashboard``: the Grafana dashboard, fitted to one Grafana.

``dashboard.json`` is made by ``./dev dashboard`` from the declarations of the metrics, and committed; this
command only sets data source and runbook address in it, and prints it.

No I/O but reading that file and writing the result. Begin with ``fitted``; panels are changed in
tools/dashboard.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import click

from vpnagent.commands.options import output_option, runbook_option, write

# The Grafana dashboard: ``./dev dashboard`` makes `dashboard.json`; here it is fitted to a Grafana. Pure.

VARIABLE: Final = "datasource"  #: the dashboard's variable for the Prometheus that Grafana asks
RUNBOOK: Final = "runbook"  #: its constant for where the runbook is


def fitted(dashboard: Mapping[str, Any], *, runbook_url: str, datasource: str | None) -> dict[str, Any]:
    """Return the dashboard for a data source by its uid (None: its user chooses), with this runbook."""
    variables = [_set(v, runbook_url) for v in dashboard["templating"]["list"]]
    if datasource is None:
        return {**dashboard, "templating": {"list": variables}}
    variables = [v for v in variables if v["name"] != VARIABLE]
    found: dict[str, Any] = _replaced({**dashboard, "templating": {"list": variables}}, datasource)
    return found


def _set(variable: Mapping[str, Any], runbook_url: str) -> Mapping[str, Any]:
    if variable["name"] != RUNBOOK:
        return variable
    current = {"selected": True, "text": runbook_url, "value": runbook_url}
    return {**variable, "query": runbook_url, "current": current}


def _replaced(value: Any, datasource: str) -> Any:
    """Return JSON with every reference to the variable of data sources replaced."""
    if isinstance(value, dict):
        return {key: _replaced(item, datasource) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, datasource) for item in value]
    return datasource if value == f"${{{VARIABLE}}}" else value


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

    pass

    made = json.loads(files("vpnagent.commands.dashboard").joinpath("dashboard.json").read_text("utf-8"))
    shown = fitted(made, runbook_url=runbook_url, datasource=datasource)
    write(output, json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
