import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.status.canvas import ASCII, UNICODE, Glyphs
from vpnagent.commands.status.history import rtt_top, sparkline

RATIO = st.floats(0.0, 1.0)


@pytest.mark.parametrize("glyphs", [ASCII, UNICODE])
def test_zero_is_the_lowest_bar_all_the_highest_and_the_unknown_a_gap(glyphs: Glyphs) -> None:
    low, high = glyphs.levels[0], glyphs.levels[-1]
    assert sparkline([0.0, None, 1.0], 1.0, glyphs) == low + glyphs.gap + high


@given(RATIO, RATIO)
def test_a_greater_value_has_no_lower_bar(one: float, other: float) -> None:
    bars = [ASCII.levels.index(sparkline([value], 1.0, ASCII)) for value in sorted((one, other))]
    assert bars == sorted(bars)


@given(st.floats(min_value=1e-9, max_value=1.0))
def test_the_least_loss_is_seen(loss: float) -> None:
    assert sparkline([loss], 1.0, ASCII) != ASCII.levels[0]


@given(st.floats(1e-4, 10.0))
def test_a_steady_round_trip_time_is_half_high(rtt: float) -> None:
    assert sparkline([rtt] * 3, rtt_top([rtt] * 3), UNICODE) in ("▄▄▄", "▅▅▅")


@given(st.lists(st.floats(1e-4, 10.0), min_size=1))
def test_nothing_is_beyond_the_top(rtts: list[float]) -> None:
    assert rtt_top(rtts) >= max(rtts)


def test_nothing_heard_has_no_scale() -> None:
    assert sparkline([None, None], rtt_top([]), ASCII) == "  "
