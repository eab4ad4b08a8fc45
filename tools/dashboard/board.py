"""``./dev dashboard``: rows, variables, marks on the time axis and links, in Grafana's JSON."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from tools.dashboard.figures import failovers, paths, upkeep, utilisation
from tools.dashboard.look import BLUE, DATASOURCE, ORANGE, Panel
from tools.dashboard.promql import CONNECTION, GATEWAY, RATE, TUNNEL, occurrences, series
from tools.dashboard.states import overview, tunnels

from vpnagent.commands.options import RUNBOOK_URL
from vpnagent.finding import EventType

ROWS: Final[Mapping[str, Callable[[], Sequence[Panel]]]] = {
    "Overview": overview,
    "Tunnels": tunnels,
    "Failovers": failovers,
    "Paths": paths,
    "Utilisation": utilisation,
    "Upkeep": upkeep,
}

#: The metric whose series know all values of a label.
SOURCES: Final = {
    "job": "vpnagent_build_info",
    "instance": "vpnagent_build_info",
    "connection": "vpnagent_connection_bandwidth_limit_bits_per_second",
    "tunnel": "vpnagent_tunnel_up",
}


def board() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    built = dashboard.Dashboard("vpnagent").uid("vpnagent").tags(["vpnagent", "ipsec"])
    built.description("IPsec gateways to Alibaba Cloud. Receive and transmit are the gateway's view.")
    built.time("now-6h", "now").refresh("30s").tooltip(model.DashboardCursorSync.CROSSHAIR).timezone(
        "browser"
    )
    built.variables(
        [dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"), _runbook()]
    )
    for label in TUNNEL:
        built.with_variable(_variable(label))
    for mark in marks():
        built.annotation(mark)
    built.link(dashboard.DashboardLink("Runbook").url("${runbook}").icon("doc").target_blank(True))
    for title, panels in ROWS.items():
        built.with_row(dashboard.Row(title))
        for panel in panels():
            built.with_panel(panel)
    whole = built.build()
    for number, placed in enumerate(whole.panels or (), 1):
        placed.id_val = number
    found: dict[str, Any] = json.loads(json.dumps(whole, cls=JSONEncoder))
    return found


def text() -> str:
    """Return the dashboard as the package has it."""
    return json.dumps(board(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _runbook() -> dashboard.ConstantVariable:
    variable = dashboard.ConstantVariable("runbook").label("Runbook").value(RUNBOOK_URL)
    # Grafana before 11 reads a constant's present value only, for which the builder has no word.
    variable.build().current = model.VariableOption(True, RUNBOOK_URL, RUNBOOK_URL)
    return variable


def _variable(label: str) -> dashboard.QueryVariable:
    earlier = TUNNEL[: TUNNEL.index(label)]
    selector = series(SOURCES[label], chosen=earlier) if earlier else SOURCES[label]
    variable = dashboard.QueryVariable(label).label("Gateway" if label == "instance" else label.capitalize())
    variable.query({"query": f"label_values({selector}, {label})", "refId": label}).datasource(DATASOURCE)
    variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    variable.multi(True).include_all(True).current(model.VariableOption(True, ["All"], ["$__all"]))
    # Of the other labels ".*" is short; of jobs it would be everything that Prometheus has.
    return variable if label == "job" else variable.all_value(".*")


def marks() -> Sequence["TimeMark"]:
    """Return what is marked on the time axis of every panel."""
    marked = "|".join(type_.value for type_ in (EventType.FAILOVER, EventType.FAIL_BACK))
    return [
        TimeMark(
            name="Failovers",
            colour=ORANGE,
            expr=occurrences("vpnagent_failovers_total", (*CONNECTION, "reason"), RATE),
            title="Failover of {{connection}}",
            words="{{instance}}: {{reason}}",
            tags="connection,reason",
        ),
        TimeMark(
            name="Events",
            colour=BLUE,
            expr=occurrences("vpnagent_events_total", (*GATEWAY, "type"), RATE, f'type!~"{marked}"'),
            title="{{type}}",
            words="{{instance}}",
            tags="type",
        ),
    ]


class PrometheusAnnotation(model.AnnotationQuery):
    """An annotation with the fields of the Prometheus data source: the SDK's has those of all sources."""

    title: str
    words: str
    tags: str

    def to_json(self) -> dict[str, object]:
        """Return its fields as Grafana names them; ``{{label}}`` stands for a label's value."""
        own = {"titleFormat": self.title, "textFormat": self.words, "tagKeys": self.tags}
        return {**super().to_json(), **own}


class TimeMark(Builder[model.AnnotationQuery]):
    """Something that is marked where its expression has a value."""

    def __init__(self, *, name: str, colour: str, expr: str, title: str, words: str, tags: str) -> None:
        self._annotation = PrometheusAnnotation(name, DATASOURCE, icon_color=colour, expr=expr)
        self._annotation.title, self._annotation.words, self._annotation.tags = title, words, tags

    def build(self) -> model.AnnotationQuery:
        """Return the annotation."""
        return self._annotation


# Every query of a dashboard as Prometheus gets it: to be parsed, or asked of a real one. Pure.

#: What Grafana sets by itself: for six hours on a wide screen, scraped every 15 s.
BUILT_IN: Final = {
    "__rate_interval": "1m",
    "__interval": "15s",
    "__range": "6h",
}
_VARIABLE: Final = re.compile(r"\$(?:\{(?P<braced>\w+)(?::\w+)?\}|(?P<plain>\w+))")
_LABEL_VALUES: Final = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardQuery:
    """One question to Prometheus."""

    where: str  #: who asks: row, title and letter of a panel's query, a mark's or a variable's name
    expr: str
    legend: str = ""
    instant: bool = False  #: about one moment, not over the range


def queries(dashboard: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[BoardQuery]:
    """Yield all queries with ``values`` for the variables, by name. Raises KeyError for one without a value.

    A variable's ``label_values(selector, label)`` is no PromQL: it is told as its selector.
    """
    known = {**BUILT_IN, **values}
    row = ""
    for panel in dashboard["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        for target in panel.get("targets", []):
            yield BoardQuery(
                where=f"{row} / {panel['title']} / {target['refId']}",
                expr=substituted(target["expr"], known),
                legend=target.get("legendFormat", ""),
                instant=bool(target.get("instant")),
            )
    for mark in dashboard["annotations"]["list"]:
        yield BoardQuery(where=f"mark {mark['name']}", expr=substituted(mark["expr"], known))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            asked = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert asked, f"variable {variable['name']}: not label_values(selector, label)"
            yield BoardQuery(where=f"variable {variable['name']}", expr=substituted(asked["selector"], known))


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the values of its variables, ``$name`` or ``${name}``. Raises KeyError."""
    return _VARIABLE.sub(lambda found: values[found["braced"] or found["plain"]], text)


COMMITTED: Final = (
    Path(__file__).parents[2] / "agent" / "vpnagent" / "commands" / "dashboard" / "dashboard.json"
)

if __name__ == "__main__":
    COMMITTED.write_text(text(), encoding="utf-8")
