"""Every query of a dashboard as Prometheus gets it: to be parsed, or asked of a real one. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: What Grafana sets by itself: for six hours on a wide screen, scraped every 15 s.
BUILT_IN: Final = {
    "__rate_interval": "1m",
    "__interval": "15s",
    "__range": "6h",
}
_VARIABLE: Final = re.compile(r"\$(?:\{(?P<braced>\w+)(?::\w+)?\}|(?P<plain>\w+))")
_LABEL_VALUES: Final = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question to Prometheus."""

    where: str  #: who asks: row, title and letter of a panel's query, a mark's or a variable's name
    expr: str
    legend: str = ""
    instant: bool = False  #: about one moment, not over the range


def queries(dashboard: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[Query]:
    """Yield all queries with ``values`` for the variables, by name. Raises KeyError for one without a value.

    A variable's ``label_values(selector, label)`` is no PromQL: it is told as its selector.
    """
    known = {**BUILT_IN, **values}
    row = ""
    for panel in dashboard["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        for target in panel.get("targets", []):
            yield Query(
                where=f"{row} / {panel['title']} / {target['refId']}",
                expr=substituted(target["expr"], known),
                legend=target.get("legendFormat", ""),
                instant=bool(target.get("instant")),
            )
    for mark in dashboard["annotations"]["list"]:
        yield Query(where=f"mark {mark['name']}", expr=substituted(mark["expr"], known))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            asked = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert asked, f"variable {variable['name']}: not label_values(selector, label)"
            yield Query(where=f"variable {variable['name']}", expr=substituted(asked["selector"], known))


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the values of its variables, ``$name`` or ``${name}``. Raises KeyError."""
    return _VARIABLE.sub(lambda found: values[found["braced"] or found["plain"]], text)
