"""However much is logged, only so much is written; what is not is counted."""

import logging
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.log import ALIKE, EQUAL, PERIOD, LogStorm

lines = st.lists(st.tuples(st.floats(0, 8), st.sampled_from("ab"), st.integers(0, 3)), max_size=80)


def drive(lines: list[tuple[float, str, int]]) -> tuple[list[tuple[float, tuple[str, int]]], int]:
    """Return which lines were written when, and the sum of the counts."""
    storm, written, counted = LogStorm(), [], 0
    for now, (_, kind, value) in zip(accumulate(pause for pause, _, _ in lines), lines, strict=True):
        counted += sum(s.lines for s in storm.ended(now))
        if storm.passes(kind, str(value), logging.INFO, now):
            written.append((now, (kind, value)))
    return written, counted + sum(s.lines for s in storm.ended(float("inf")))


@given(lines)
def test_every_line_is_written_or_counted(lines: list[tuple[float, str, int]]) -> None:
    written, counted = drive(lines)
    assert len(written) + counted == len(lines)


@given(lines.map(lambda lines: [(pause / 20, kind, value) for pause, kind, value in lines]))
def test_in_no_period_are_there_more_equal_lines_than_the_bound(lines: list[tuple[float, str, int]]) -> None:
    written, _ = drive(lines)
    for begin, line in written:
        assert sum(w == line and begin <= at < begin + PERIOD for at, w in written) <= 2 * EQUAL


def test_what_is_seldom_is_always_written() -> None:
    written, counted = drive([(PERIOD, "a", 1)] * 50)
    assert (len(written), counted) == (50, 0)


def test_lines_of_one_kind_with_other_values_have_a_bound_too() -> None:
    storm = LogStorm()
    passed = sum(storm.passes("applied %s", f"applied {n}", logging.INFO, 0.0) for n in range(3 * ALIKE))
    assert passed == ALIKE
    [suppressed] = storm.ended(PERIOD)
    assert (suppressed.lines, suppressed.text) == (2 * ALIKE, f"applied {3 * ALIKE - 1}")


def test_the_count_has_the_worst_level() -> None:
    storm = LogStorm()
    for level in [logging.INFO] * EQUAL + [logging.INFO, logging.ERROR, logging.INFO]:
        storm.passes("a", "a", level, 0.0)
    [suppressed] = storm.ended(PERIOD)
    assert (suppressed.lines, suppressed.level) == (3, logging.ERROR)
