from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.meter import RTT_BOUNDS, Histogram, RoundTrips


@given(st.lists(st.floats(0, 10)))
def test_every_value_is_counted_once_in_the_bucket_that_holds_it(values: list[float]) -> None:
    histogram = Histogram(RTT_BOUNDS)
    for value in values:
        histogram.observe(value)
    for position, bound in enumerate(RTT_BOUNDS):
        assert sum(histogram.counts[: position + 1]) == sum(value <= bound for value in values)
    assert sum(histogram.counts) == len(values)


def test_the_first_answer_to_each_probe_counts() -> None:
    trips = RoundTrips()
    trips.sent(5, at=1.0)
    trips.answered(5, at=1.002)
    trips.answered(5, at=1.9)
    assert sum(trips.histogram.counts) == 1
    assert trips.histogram.counts[RTT_BOUNDS.index(0.0025)] == 1


def test_an_answer_to_a_probe_long_gone_does_not_count() -> None:
    trips = RoundTrips()
    trips.sent(5, at=1.0)
    trips.sent(5 + 256, at=2.0)
    trips.answered(5, at=2.1)
    assert sum(trips.histogram.counts) == 0
