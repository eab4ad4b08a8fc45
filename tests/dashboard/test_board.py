"""The dashboard that is committed, and that it asks for nothing that the agent does not export."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tools.dashboard.board import COMMITTED, BoardQuery, board, queries, text
from tools.dashboard.promql import UP, labels_of

from vpnagent.metrics.declared import METRICS

BOARD = board()
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VALUES = dict.fromkeys(("job", "instance", "connection", "tunnel"), ".*")
QUERIES = list(queries(BOARD, VALUES))

WORDS = {"or", "by", "on"}  #: of PromQL, as far as we use it


def selectors(expression: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of every series in an expression, and the labels that it is selected by."""
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expression):
        yield name, re.findall(r"(\w+)[=!]", matchers)
    rest = re.sub(r"\w+\{[^}]*\}|\b(?:by|on) \([^)]*\)|\[[^]]*\]", " ", expression)
    for name in re.findall(r"\b[a-z_]\w*\b(?!\s*\()", rest):
        if name not in WORDS:
            yield name, []


def name_of(query: BoardQuery) -> str:
    return query.where


def test_the_committed_dashboard_is_what_the_generator_makes() -> None:
    # To renew it: ./dev dashboard
    assert COMMITTED.read_text(encoding="utf-8") == text()


@pytest.mark.parametrize("query", QUERIES, ids=name_of)
def test_every_query_is_of_declared_metrics_by_their_labels(query: BoardQuery) -> None:
    found = list(selectors(query.expr))
    assert found
    for name, labels in found:
        assert set(labels) <= set(labels_of(name)), name


@pytest.mark.parametrize("query", QUERIES, ids=name_of)
def test_a_legend_names_labels_of_the_series(query: BoardQuery) -> None:
    known = {label for name, _ in selectors(query.expr) for label in labels_of(name)}
    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= known


def test_the_search_for_series_finds_a_metric_that_nobody_declared() -> None:
    expression = 'sum by (job) (rate(vpnagent_typo{job=~".*"}[1m])) or another'
    assert list(selectors(expression)) == [("vpnagent_typo", ["job"]), ("another", [])]
    with pytest.raises(KeyError):
        labels_of("vpnagent_typo")


def test_every_metric_of_the_agent_has_its_place() -> None:
    asked = {name for query in QUERIES for name, _ in selectors(query.expr)} - {UP}
    assert {metric for metric in METRICS if not any(name.startswith(metric) for name in asked)} == set()


def test_no_two_panels_ask_the_same() -> None:
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert len(set(expressions)) == len(expressions)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_every_panel_explains_itself_and_asks_the_chosen_source(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["type"] in ("table", "heatmap", "state-timeline") or unit_of(panel)
    assert all(target["legendFormat"] for target in panel["targets"])


def test_links_lead_to_headings_of_the_runbook() -> None:
    runbook = (COMMITTED.parents[4] / "docs" / "runbook.md").read_text(encoding="utf-8")
    headings = {
        f"${{runbook}}#{heading.lower()}" for heading in re.findall(r"^### (\w+)$", runbook, re.MULTILINE)
    }
    assert {link["url"] for panel in PANELS for link in panel["links"]} <= headings


def unit_of(panel: dict[str, Any]) -> Any:
    return panel["fieldConfig"]["defaults"]["unit"]


def test_panels_fill_the_rows_and_do_not_overlap() -> None:
    taken: dict[tuple[int, int], int] = {}
    for panel in BOARD["panels"]:
        x, y, width, height = (panel["gridPos"][key] for key in "xywh")
        for cell in ((column, row) for column in range(x, x + width) for row in range(y, y + height)):
            assert taken.setdefault(cell, panel["id"]) == panel["id"]
    assert len(taken) == 24 * (1 + max(row for _, row in taken))
