"""The Grafana dashboard: ``./dev dashboard`` makes `dashboard.json`; here it is fitted to a Grafana. Pure."""

from collections.abc import Mapping
from typing import Any, Final

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
