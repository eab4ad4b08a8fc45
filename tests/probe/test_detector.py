"""Silence is what probes cover, a hold-down grows with the falls, and the table is all there is."""

from dataclasses import dataclass
from itertools import pairwise
from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause
from vpnagent.probe.detector import (
    CAP,
    COVER,
    TRANSITIONS,
    Detector,
    HoldDown,
    PathEvent,
    Silence,
    StateChange,
)

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


def silences(steps: list[Step], extra: list[float]) -> list[float]:
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
    assert silences(steps, extra) == silences(steps, [])


@given(st.lists(steps, max_size=40))
def test_never_complete_without_a_full_detection_time_of_probes_really_sent(steps: list[Step]) -> None:
    happened = facts(steps)
    for at in silences(steps, []):
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


HOLD_DOWN, GAP = 5.0, 0.22

Happening = tuple[str, float]
happenings = st.lists(
    st.tuples(
        st.sampled_from(["heard", "heard", "heard", "lost", "missed", "worse", "better"]),
        st.floats(min_value=0.01, max_value=3.0),
    ),
    max_size=60,
)


def run(happened: list[Happening]) -> list[StateChange]:
    detector, now, log = Detector(HOLD_DOWN, GAP, 0.0), 0.0, []
    for what, gap in happened:
        now += gap
        if what == "heard":
            log += detector.heard(now, now)
        elif what == "lost":
            log += detector.lost(Cause.SILENT, "silent", now)
        elif what == "missed":
            detector.missed(now)
        elif what == "worse" and detector.state is not PathState.DOWN:
            log += detector.worse(Cause.QUALITY, "lossy", now)
        elif what == "better":
            log += detector.better("good", now)
    return log


def hear(detector: Detector, start: float, seconds: float) -> list[StateChange]:
    log, steps = [], round(seconds / 0.1)
    for step in range(steps + 1):
        log += detector.heard(start + step * 0.1, start + step * 0.1)
    return log


@given(happenings)
def test_every_transition_starts_where_the_last_one_ended(happened: list[Happening]) -> None:
    log = run(happened)
    assert all(a.new is b.old and a.at <= b.at for a, b in pairwise(log))
    assert all(t.new in TRANSITIONS[t.old].values() for t in log)


@given(happenings)
def test_never_up_again_without_a_full_hold_down_and_without_a_miss(happened: list[Happening]) -> None:
    began = None
    times = list(zip((w for w, _ in happened), accumulated(happened), strict=True))
    for t in run(happened):
        if t.old is PathState.HOLD_DOWN and t.new is PathState.UP:
            assert began is not None
            assert t.at >= began + HOLD_DOWN
            assert not any(w == "missed" and t.at - HOLD_DOWN < at <= t.at for w, at in times)
        if t.new is PathState.HOLD_DOWN:
            began = t.at


def accumulated(happened: list[Happening]) -> list[float]:
    now, times = 0.0, []
    for _, gap in happened:
        now += gap
        times.append(now)
    return times


def test_the_first_reply_is_trusted() -> None:
    [transition] = Detector(HOLD_DOWN, GAP, 0.0).heard(0.0, 0.01)
    assert transition.new is PathState.UP


def test_a_recovered_path_is_up_after_the_hold_down() -> None:
    detector = Detector(HOLD_DOWN, GAP, 0.0)
    detector.lost(Cause.SILENT, "silent", 1.0)

    log = hear(detector, 2.0, 4.9)
    assert [t.new for t in log] == [PathState.HOLD_DOWN]

    assert [t.new for t in hear(detector, 7.0, 0.1)] == [PathState.UP]


def test_silence_in_between_does_not_count_as_proof() -> None:
    detector = Detector(HOLD_DOWN, GAP, 0.0)
    detector.lost(Cause.SILENT, "silent", 1.0)
    hear(detector, 2.0, 1.0)

    assert detector.heard(60.0, 60.0) == []
    assert [t.new for t in hear(detector, 60.1, 4.0)] == [PathState.UP]


def test_a_reply_to_a_probe_of_before_the_verdict_does_not_change_it() -> None:
    detector = Detector(HOLD_DOWN, GAP, 0.0)
    detector.heard(0.0, 0.01)
    detector.lost(Cause.SILENT, "silent", 1.0)

    assert detector.heard(0.9, 1.1) == []
    assert detector.state is PathState.DOWN


def test_without_hold_down_a_recovered_path_is_up_at_once() -> None:
    detector = Detector(0.0, GAP, 0.0)
    detector.lost(Cause.SILENT, "silent", 1.0)
    assert [t.new for t in detector.heard(2.0, 2.0)] == [PathState.HOLD_DOWN, PathState.UP]


def test_a_wrong_verdict_is_taken_back_and_not_counted() -> None:
    detector = Detector(HOLD_DOWN, GAP, 0.0)
    detector.heard(0.0, 0.01)
    detector.lost(Cause.RETURN, "blamed", 1.0)
    detector.worse(Cause.TARGET, "the target", 2.0)
    assert detector.hold_down.falls == 0


def test_each_fall_doubles_the_hold_down_up_to_a_cap() -> None:
    damping, lengths = HoldDown(5.0), []
    for at in range(9):
        damping.fell(float(at))
        damping.begin(float(at))
        lengths.append(damping.length)
    assert lengths == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, CAP, CAP, CAP]


def test_being_up_lets_falls_be_forgotten() -> None:
    damping = HoldDown(5.0)
    for at in range(4):
        damping.fell(float(at))
    damping.up(10.0)
    damping.fell(10.0 + 4 * 40.0 + 4 * 20.0 + 1)
    assert damping.falls == 3


@given(st.floats(min_value=0.5, max_value=500), st.floats(min_value=0.5, max_value=500))
def test_the_rate_of_flaps_is_bounded(up: float, down: float) -> None:
    """Whatever the rhythm in which the path works and fails: it comes up a few times, then seldom."""
    detector, now, ups = Detector(HOLD_DOWN, 1e9, 0.0), 0.0, []
    while now < 20_000:
        for at in (now, now + up):  # replies at both ends of the good time, no miss between them
            ups += [t.at for t in detector.heard(at, at) if t.new is PathState.UP]
        now += up
        detector.lost(Cause.SILENT, "silent", now)
        now += down
    for start in range(0, 20_000, 500):
        assert len([at for at in ups if start <= at < start + 500]) <= 12


@pytest.mark.parametrize("state", PathState)
def test_every_state_can_be_left(state: PathState) -> None:
    assert TRANSITIONS[state]
    assert PathEvent.LOST in TRANSITIONS[state] or state is PathState.DOWN
