from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.actions import Cause
from vpnagent.probe.detector import CAP, TRANSITIONS, Detector, HoldDown, PathEvent, StateChange
from vpnagent.selection import PathState

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
