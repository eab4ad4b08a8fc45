"""What is written is what prometheus-client writes, to the byte."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from vpnagent.metrics_text import text

words = st.text(max_size=8)
numbers = st.floats() | st.integers(0, 2**60) | st.booleans()


class Fixed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def registry(metrics: list[Metric]) -> CollectorRegistry:
    found = CollectorRegistry(auto_describe=False)
    found.register(Fixed(metrics))
    return found


@st.composite
def families(draw: st.DrawFn) -> list[Metric]:
    gauge = GaugeMetricFamily("a_gauge", draw(words), labels=("tunnel", "connection"))
    counter = CounterMetricFamily("a_counter", draw(words), labels=("reason",))
    histogram = HistogramMetricFamily("a_histogram", draw(words), labels=("tunnel",))
    plain = GaugeMetricFamily("plain", "without labels", value=draw(numbers))
    for _ in range(draw(st.integers(0, 3))):
        gauge.add_metric((draw(words), draw(words)), draw(numbers))
        counter.add_metric((draw(words),), draw(numbers))
        buckets = [("0.5", draw(numbers)), ("+Inf", draw(numbers))]
        histogram.add_metric((draw(words),), buckets, draw(numbers))
    return [gauge, counter, histogram, plain]


@given(families())
def test_the_text_is_the_librarys(metrics: list[Metric]) -> None:
    assert text(metrics, openmetrics=False) == generate_latest(registry(metrics))


@given(families())
def test_the_openmetrics_are_the_librarys(metrics: list[Metric]) -> None:
    assert text(metrics, openmetrics=True) == generate_openmetrics(registry(metrics))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("value", "written"),
    [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (True, "1.0"), (0, "0.0")],
)
def test_numbers_are_written_as_go_reads_them(value: float, written: str) -> None:
    assert text([GaugeMetricFamily("g", "", value=value)], openmetrics=False).endswith(
        f"g {written}\n".encode()
    )
