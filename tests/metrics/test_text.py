"""What is written is what prometheus-client writes, to the byte."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from vpnagent.metrics.declared import METRICS, Distribution, Histogram, Sample, text

words = st.text(max_size=8)
numbers = st.floats().map(lambda number: number + 0.0) | st.integers(0, 2**60) | st.booleans()


def labels(name: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.tuples(*[words] * len(METRICS[name].labels))


def of(names: list[str]) -> st.SearchStrategy[list[Sample]]:
    one = st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), labels(name), numbers))
    return st.lists(one, max_size=8)


samples = of([name for name in METRICS if METRICS[name].kind is not Histogram])
histograms = of([name for name in METRICS if METRICS[name].kind is Histogram]).map(
    lambda found: [(name, values, [("0.5", 1), ("+Inf", total)], total) for name, values, total in found]
)


class Fixed(Collector):
    """The library's way: families of sample objects."""

    def __init__(self, samples: list[Sample], histograms: list[Distribution]) -> None:
        self._families: dict[str, Any] = {
            name: declared.kind(name, declared.help, labels=declared.labels)
            for name, declared in METRICS.items()
        }
        for name, values, value in samples:
            self._families[name].add_metric(values, value)
        for name, values, buckets, total in histograms:
            self._families[name].add_metric(values, buckets, total)

    def collect(self) -> list[Metric]:
        return list(self._families.values())


def registry(samples: list[Sample], histograms: list[Distribution]) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(Fixed(samples, histograms))
    return found


@given(samples, histograms)
def test_the_text_is_the_librarys(samples: list[Sample], histograms: list[Distribution]) -> None:
    assert text(samples, histograms, openmetrics=False) == generate_latest(registry(samples, histograms))


@given(samples, histograms)
def test_the_openmetrics_are_the_librarys(samples: list[Sample], histograms: list[Distribution]) -> None:
    expected = generate_openmetrics(registry(samples, histograms))  # type: ignore[no-untyped-call]
    assert text(samples, histograms, openmetrics=True) == expected
