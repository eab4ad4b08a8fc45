"""The dashboard that is committed, and that it asks for nothing that the agent does not export."""

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.dashboard.board import COMMITTED, BoardQuery, board, queries, substituted, text
from tools.dashboard.promql import UP, labels_of

from vpnagent.commands.dashboard import fitted
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


# `vpnagent dashboard`: the committed dashboard, fitted to a Grafana.

RUNBOOK = "https://wiki.example.com/runbook"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    asked = [sys.executable, "-m", "vpnagent", "dashboard", *arguments]
    return subprocess.run(asked, check=False, capture_output=True, text=True, timeout=60)


def test_without_a_data_source_its_user_chooses() -> None:
    found = fitted(board(), runbook_url=RUNBOOK, datasource=None)
    assert found["panels"] == board()["panels"]
    assert "datasource" in [variable["name"] for variable in found["templating"]["list"]]


def test_with_a_data_source_nothing_refers_to_a_choice() -> None:
    found = fitted(board(), runbook_url=RUNBOOK, datasource="prometheus-1")
    assert "${datasource}" not in json.dumps(found)
    panels = [panel for panel in found["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"prometheus-1"}
    assert "datasource" not in [variable["name"] for variable in found["templating"]["list"]]


@pytest.mark.parametrize("datasource", [None, "prometheus-1"])
def test_links_lead_to_the_runbook(datasource: str | None) -> None:
    found = fitted(board(), runbook_url=RUNBOOK, datasource=datasource)
    [runbook] = [variable for variable in found["templating"]["list"] if variable["name"] == "runbook"]
    assert runbook["query"] == runbook["current"]["value"] == RUNBOOK
    links = [link["url"] for panel in found["panels"] for link in panel.get("links", [])]
    assert links
    assert all(link.startswith("${runbook}#") for link in links)


def test_the_command_prints_what_is_committed() -> None:
    done = command()
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == board()


def test_the_command_writes_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "vpnagent.json"
    done = command("--output", str(path), "--datasource", "prometheus-1", "--runbook-url", RUNBOOK)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(path.read_text()) == fitted(board(), runbook_url=RUNBOOK, datasource="prometheus-1")


@pytest.mark.parametrize("uid", ["", "${datasource}", "a" * 41])
def test_what_no_uid_can_be_is_a_usage_error(uid: str) -> None:
    done = command("--datasource", uid)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'--datasource': must be 1 to 40 letters, digits, - and _, not {uid!r}" in done.stderr


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: pathlib.Path) -> None:
    done = command("--output", str(tmp_path / "none" / "vpnagent.json"))
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1


NAMES = ("job", "instance", "connection", "tunnel")


@pytest.mark.parametrize("reference", ["$tunnel", "${tunnel}", "${tunnel:regex}"])
def test_a_variable_may_be_spelled_in_three_ways(reference: str) -> None:
    assert substituted(f'{{tunnel=~"{reference}"}}', {"tunnel": "a|b"}) == '{tunnel=~"a|b"}'


def test_the_longest_name_counts() -> None:
    assert substituted("$a_b $a", {"a": "1", "a_b": "2"}) == "2 1"


@given(st.dictionaries(st.from_regex(r"[a-z]\w{0,8}", fullmatch=True), st.text(max_size=9)))
def test_every_variable_gets_its_own_value_once(values: dict[str, str]) -> None:
    expression = " ".join(f"${name} ${{{name}}}" for name in values)
    assert substituted(expression, values) == " ".join(f"{value} {value}" for value in values.values())


def test_a_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="tunnel"):
        list(queries(board(), dict.fromkeys(NAMES[:-1], ".*")))


def test_panels_marks_and_variables_are_all_told() -> None:
    made = board()
    found = [query.where for query in queries(made, dict.fromkeys(NAMES, ".*"))]
    asked = [target for panel in made["panels"] for target in panel.get("targets", [])]
    assert len(found) == len(set(found)) == len(asked) + len(made["annotations"]["list"]) + len(NAMES)
    assert {"Paths / Loss / A", "mark Failovers", "variable tunnel"} <= set(found)


def test_nothing_of_grafanas_is_left_in_a_query() -> None:
    assert not [query for query in queries(board(), dict.fromkeys(NAMES, "x")) if "$" in query.expr]
