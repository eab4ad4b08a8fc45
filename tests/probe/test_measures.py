"""What is done about it is done at a bounded rate."""

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.measures import Budget


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=200))
def test_a_budget_bounds_the_rate_and_loses_no_count(gaps: list[float]) -> None:
    budget, now, given_, refused = Budget(3, 10.0), 100.0, [], 0
    for gap in gaps:
        now += gap
        suppressed = budget.take(now)
        if suppressed is not None:
            given_.append(now)
            refused += suppressed
    assert len(given_) + refused + budget.suppressed == len(gaps)
    for first, later in zip(given_, given_[3:], strict=False):
        assert later - first >= 10.0 - 1e-6
