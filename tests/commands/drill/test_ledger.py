"""The bookkeeping of a drill's stream, against a model that looks at every probe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.drill.ledger import Ledger

streams = st.lists(st.tuples(st.floats(0.001, 0.1), st.booleans()), min_size=1, max_size=40)


def ledger_of(stream: list[tuple[float, bool]]) -> tuple[Ledger, list[float]]:
    """Return the ledger of probes given as pause before and whether answered, and their times."""
    ledger, now, times = Ledger(), 0.0, []
    for number, (pause, answered) in enumerate(stream):
        now += pause
        times.append(now)
        ledger.sent(now)
        if answered:
            ledger.answered(number, now + 0.01, 7)
    return ledger, times


@given(streams, st.integers(0, 39), st.integers(0, 40))
def test_every_probe_of_a_span_is_answered_or_lost(
    stream: list[tuple[float, bool]], first: int, length: int
) -> None:
    ledger, times = ledger_of(stream)
    span = list(range(len(stream)))[first : first + length]
    begin = times[span[0]] if span else 0.0
    end = times[span[-1]] + 1e-9 if span else 0.0
    measure = ledger.measure(begin, end)
    lost = [n for n in span if not stream[n][1]]
    assert (measure.sent, measure.lost) == (len(span), len(lost))
    assert measure.replies_on.get(7, 0) == len(span) - len(lost)
    assert (measure.longest_gap > 0) == (bool(lost) and len(stream) > 1)


@given(streams)
def test_the_longest_gap_reaches_from_answered_to_answered(stream: list[tuple[float, bool]]) -> None:
    ledger, times = ledger_of(stream)
    expected = 0.0
    for number, (_, answered) in enumerate(stream):
        if not answered:
            before = max((n for n in range(number) if stream[n][1]), default=0)
            after = min((n for n in range(number, len(stream)) if stream[n][1]), default=len(stream) - 1)
            expected = max(expected, times[after] - times[before])
    assert ledger.measure(0.0, times[-1] + 1).longest_gap == pytest.approx(expected)


@given(streams, st.data())
def test_a_gap_counts_in_each_span_that_it_reaches_into(
    stream: list[tuple[float, bool]], data: st.DataObject
) -> None:
    ledger, times = ledger_of(stream)
    cut = times[data.draw(st.integers(0, len(times) - 1))]
    whole = ledger.measure(0.0, times[-1] + 1)
    parts = (ledger.measure(0.0, cut), ledger.measure(cut, times[-1] + 1))
    assert max(part.longest_gap for part in parts) == whole.longest_gap
    assert sum(part.lost for part in parts) == whole.lost


@given(streams, st.data())
def test_a_late_answer_never_lengthens_a_gap(stream: list[tuple[float, bool]], data: st.DataObject) -> None:
    ledger, times = ledger_of(stream)
    before = ledger.measure(0.0, times[-1] + 1)
    ledger.answered(data.draw(st.integers(0, len(stream) - 1)), times[-1] + 1, 7)
    after = ledger.measure(0.0, times[-1] + 1)
    assert after.longest_gap <= before.longest_gap
    assert after.lost <= before.lost


def test_without_loss_there_is_no_gap_however_late_the_stream_was() -> None:
    ledger, _ = ledger_of([(0.01, True), (5.0, True), (0.01, True)])
    measure = ledger.measure(0.0, 10.0)
    assert measure.longest_gap == 0.0
    assert measure.longest_pause == pytest.approx(5.0)


def test_the_first_answer_is_that_of_a_probe_sent_since() -> None:
    ledger, _ = ledger_of([(1.0, True), (1.0, False), (1.0, True), (1.0, True)])
    assert ledger.first_answer(1.5) == pytest.approx(3.01)
    assert ledger.first_answer(4.5) is None


def test_an_answer_counts_once_and_only_to_a_probe_that_was_sent() -> None:
    ledger, _ = ledger_of([(1.0, False)])
    ledger.answered(0, 2.0, 3)
    ledger.answered(0, 1.5, 4)
    ledger.answered(1, 2.0, 3)
    assert ledger.first_answer(0.0) == 2.0
    assert ledger.measure(0.0, 9.0).replies_on == {3: 1}
