from dataclasses import dataclass
from math import inf, nextafter

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.detector import COVER, Silence

INTERVAL, MULTIPLIER, PATIENCE = 0.1, 3, 0.02
DETECTION = INTERVAL * MULTIPLIER


@dataclass
class Step:
    """After ``gap`` seconds a probe is sent; it is answered after ``rtt``, or never."""

    gap: float
    rtt: float | None


gaps = st.floats(min_value=0.05, max_value=0.11)
steps = st.builds(Step, gap=gaps, rtt=st.none() | st.floats(min_value=0.001, max_value=0.04))


def facts(steps: list[Step]) -> list[tuple[float, str, int]]:
    """Return what happens, in the order of time."""
    now, happened = 0.0, []
    for number, step in enumerate(steps):
        now += step.gap
        happened.append((now, "sent", number))
        if step.rtt is not None:
            happened.append((now + step.rtt, "heard", number))
    return sorted(happened)


def run(steps: list[Step], extra: list[float]) -> list[float]:
    """Return when the silence became complete, waking when due and at the ``extra`` times."""
    silence, now, completed, wakes = Silence(INTERVAL, MULTIPLIER, 0.0), 0.0, [], sorted(extra)

    def wake(until: float) -> None:
        while (
            due := min([silence.deadline(PATIENCE), *(w for w in wakes if w > now)], default=inf)
        ) <= until:
            was = silence.complete
            silence.advance(due, PATIENCE)
            if silence.complete and not was:
                completed.append(due)
            while wakes and wakes[0] <= due:
                wakes.pop(0)

    for at, what, number in facts(steps):
        wake(at)
        now = at
        if what == "sent":
            silence.sent(number, at)
        else:
            silence.heard(number, at)
    wake(now + 10)
    return completed


@given(st.lists(steps, max_size=30), st.lists(st.floats(min_value=0, max_value=4)))
def test_waking_early_or_often_changes_nothing(steps: list[Step], extra: list[float]) -> None:
    assert run(steps, extra) == run(steps, [])


@given(st.lists(steps, max_size=40))
def test_never_complete_without_a_full_detection_time_of_probes_really_sent(steps: list[Step]) -> None:
    happened = facts(steps)
    for at in run(steps, []):
        last_heard = max((t for t, what, _ in happened if what == "heard" and t <= at), default=0.0)
        asked = [t for t, what, _ in happened if what == "sent" and t <= at]
        covering = [t for t in asked if t + COVER * INTERVAL > last_heard]
        covered = covered_by(covering, last_heard, at)
        overdue = [n for t, what, n in happened if what == "sent" and t + PATIENCE <= at + 1e-9]
        answered = [n for t, what, n in happened if what == "heard" and t <= at]
        assert at >= last_heard + DETECTION - 1e-6
        assert covered >= DETECTION - 1e-6
        assert len([n for n in overdue if n > max(answered, default=-1)]) >= MULTIPLIER


def covered_by(probes: list[float], start: float, end: float) -> float:
    total, mark = 0.0, start
    for probe in sorted(probes):
        begin, stop = max(mark, probe), min(end, probe + COVER * INTERVAL)
        if stop > begin:
            total += stop - begin
            mark = stop
    return total


def steady(silence: Silence, count: int, start: float = 0.0, rtt: float | None = 0.01) -> float:
    """Send ``count`` probes an interval apart, answered or not; return when the last one was sent."""
    at = start
    for number in range(count):
        at = start + number * INTERVAL
        silence.sent(number, at)
        if rtt is not None:
            silence.heard(number, at + rtt)
    return at


def test_complete_exactly_one_detection_time_after_the_last_reply() -> None:
    silence = Silence(INTERVAL, MULTIPLIER, 0.0)
    last = steady(silence, 10)
    for number, at in enumerate((1.0, 1.02, 1.1, 1.2), 10):  # the second is the one after the first miss
        silence.sent(number, at)
    silence.advance(nextafter(last + 0.01 + DETECTION - 1e-9, 0), PATIENCE)
    assert silence.quiet
    assert not silence.complete

    silence.advance(last + 0.01 + DETECTION + 1e-9, PATIENCE)

    assert silence.complete


def test_nothing_sent_proves_nothing() -> None:
    silence = Silence(INTERVAL, MULTIPLIER, 0.0)
    steady(silence, 10)

    silence.advance(3600.0, PATIENCE)

    assert not silence.quiet
    assert silence.deadline(PATIENCE) == inf


def test_a_stopped_process_starts_with_what_it_had_sent_before() -> None:
    silence = Silence(INTERVAL, MULTIPLIER, 0.0)
    last = steady(silence, 10)
    silence.sent(10, last + INTERVAL)  # and then SIGSTOP, for an hour
    silence.stalled(last + INTERVAL + 0.001, 3600.0)
    silence.advance(3600.0, PATIENCE)
    assert not silence.quiet

    silence.sent(11, 3600.0)
    silence.sent(12, 3600.1)
    silence.advance(3600.15, PATIENCE)

    assert not silence.complete
    silence.sent(13, 3600.2)
    silence.advance(3600.3, PATIENCE)
    assert silence.complete


def test_a_late_wake_up_covers_nothing() -> None:
    punctual, late = Silence(INTERVAL, MULTIPLIER, 0.0), Silence(INTERVAL, MULTIPLIER, 0.0)
    for silence in punctual, late:
        steady(silence, 3, rtt=None)
    late.stalled(0.25, 0.35)

    punctual.advance(0.36, PATIENCE)
    late.advance(0.36, PATIENCE)

    assert punctual.complete
    assert not late.complete


def test_a_reply_ends_the_silence_also_for_what_was_sent_before_it() -> None:
    silence = Silence(INTERVAL, MULTIPLIER, 0.0)
    steady(silence, 6, rtt=None)
    silence.heard(4, 0.51)
    silence.advance(0.53, PATIENCE)

    assert silence.quiet is (0.5 + PATIENCE <= 0.53)
    assert not silence.complete


def test_an_extended_silence_takes_that_much_longer() -> None:
    silence = Silence(INTERVAL, MULTIPLIER, 0.0)
    steady(silence, 10, rtt=None)
    completed = []
    for at in (0.31, 0.79, 0.91):
        silence.advance(at, PATIENCE)
        completed.append(silence.complete)
        if at < 0.5:
            silence.extend(0.5)
    assert completed == [True, False, True]
