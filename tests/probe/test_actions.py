from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.actions import RTT_BOUNDS, Histogram


@given(st.lists(st.floats(0, 10)))
def test_every_value_is_counted_once_in_the_bucket_that_holds_it(values: list[float]) -> None:
    histogram = Histogram(RTT_BOUNDS)
    for value in values:
        histogram.observe(value)
    for position, bound in enumerate(RTT_BOUNDS):
        assert sum(histogram.counts[: position + 1]) == sum(value <= bound for value in values)
    assert sum(histogram.counts) == len(values)
