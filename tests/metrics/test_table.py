"""docs/metrics.md is that of the declarations, and its queries ask for nothing else."""

import re
from pathlib import Path

import pytest

from vpnagent.metrics.declared import METRICS, Gauge, Histogram, table

MANUAL = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def test_the_documented_metrics_are_those_that_are_declared() -> None:
    # To renew them: python -m vpnagent.metrics.declared
    written = MANUAL.partition("metrics.declared` -->\n")[2].partition("<!-- end of metrics -->")[0]

    assert written.strip() == table().strip()


def test_the_queries_ask_for_declared_metrics() -> None:
    queries = MANUAL.partition("```promql\n")[2].partition("```")[0]
    asked = {name.removesuffix("_bucket") for name in re.findall(r"vpnagent_\w+", queries)}

    assert asked
    assert asked <= METRICS.keys()


@pytest.mark.parametrize("name", METRICS)
def test_a_name_is_of_its_type_and_unit(name: str) -> None:
    metric = METRICS[name]
    counter = metric.kind not in (Gauge, Histogram)
    assert name.endswith("_total") == counter
    assert metric.unit != "seconds" or name.endswith("_seconds")
    assert not (counter and metric.unit == "bytes") or name.endswith("_bytes_total")
    assert metric.help.endswith(".")
    assert "|" not in metric.help
