"""The dashboard's queries in a real Prometheus: all parse, and all find what the agent declares."""

import itertools
import pathlib
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml
from lab.deadline import eventually
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from tests.native.prometheus import Prometheus, running
from tools.dashboard.board import BoardQuery, board, queries

from vpnagent.knowledge.tunnels import TunnelState
from vpnagent.metrics.declared import METRICS, Counter, Histogram

#: what a label may be; a combination of them is a series
LABELS = {
    "connection": ["hangzhou"],
    "tunnel": ["primary", "backup"],
    "state": [state.value for state in TunnelState],
    "prefix": ["100.64.0.0/10"],
    "local": ["10.1.0.0/16"],
    "remote": ["100.64.0.0/10"],
    "code": ["NoStandby"],
    "severity": ["warning"],
    "direction": ["out", "in"],
    "reason": ["silent"],
    "kind": ["route"],
    "type": ["TunnelDown"],
    "version": ["0.1"],
    "hook": ["pager"],
}
CHOSEN = {"job": "vpnagent", "instance": ".*", "connection": "hangzhou", "tunnel": "primary|backup"}
SCRAPES = {"__rate_interval": "5s", "__range": "1m"}  # one every half a second
QUERIES = list(queries(board(), CHOSEN | SCRAPES))


class Declared(Collector):
    """Every declared metric with every combination of labels; counters go up with every scrape."""

    def __init__(self) -> None:
        self._scrapes = itertools.count(1)

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        number = next(self._scrapes)
        for name, declared in METRICS.items():
            family: Any = declared.kind(name, declared.help, labels=declared.labels)
            for labels in itertools.product(*(LABELS[label] for label in declared.labels)):
                if declared.kind is Histogram:
                    family.add_metric(
                        labels, [("0.1", number), ("0.5", 2 * number), ("+Inf", 2 * number)], 0.2 * number
                    )
                elif declared.kind is Counter:
                    family.add_metric(labels, number)
                else:
                    family.add_metric(labels, "state" not in declared.labels or "up" in labels)
            yield family


@pytest.fixture(scope="module")
def agent() -> Iterator[str]:
    """An endpoint with what an agent would export; its address and port."""
    registry = CollectorRegistry()
    registry.register(Declared())

    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(agent: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes it, and another one whose agent is down."""
    targets = {"vpnagent": agent, "gone": "127.0.0.1:1"}
    with running(tmp_path_factory.mktemp("prometheus"), targets, interval="500ms") as started:
        yield started


def test_promtool_finds_nothing_wrong_with_any_query(tmp_path: pathlib.Path) -> None:
    rules = [{"record": f"dashboard:query{n}", "expr": query.expr} for n, query in enumerate(QUERIES)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"SUCCESS: {len(QUERIES)} rules found" in done.stdout


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: str(query.where))
def test_every_query_finds_its_series(query: BoardQuery, prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.ask(query.expr), f"a sample of {query.expr}", within=30)


def test_a_gateway_whose_agent_is_down_keeps_its_line(prometheus: Prometheus) -> None:
    found = queries(board(), CHOSEN | SCRAPES | {"job": "gone"})
    columns = [query.expr for query in found if query.where.startswith("Overview / Gateways /")]
    eventually(lambda: prometheus.ask(columns[0]), "a line", within=30)
    values = [[sample["value"][1] for sample in prometheus.ask(column)] for column in columns]
    assert values == [["0"], ["0"], ["-1"], ["-1"]]


def test_a_query_of_what_nobody_exports_finds_nothing(prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.ask("vpnagent_build_info"), "a scrape", within=30)
    assert prometheus.ask('vpnagent_build_info{job="another"}') == []
