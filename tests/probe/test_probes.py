"""When probes leave, what becomes of them, and when that is not good enough."""

from ipaddress import IPv4Address
from itertools import pairwise
from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.actions import Cause
from vpnagent.probe.detector import COVER, Detector
from vpnagent.probe.intent import Limits, ProbeTarget
from vpnagent.probe.probes import (
    SEQUENCES,
    SPARE_EVERY,
    Grade,
    GradeStep,
    ProbeRecord,
    RoundTrip,
    Schedule,
    Window,
)
from vpnagent.probe.scheduler import Timetable

INTERVAL = 0.1
FIRST, SECOND, THIRD = (
    ProbeTarget(address=IPv4Address(f"172.16.0.{n}"), inside_peer=False) for n in (10, 11, 12)
)


def probes(schedule: Schedule, randoms: list[float]) -> list[tuple[float, list[tuple[ProbeTarget, bool]]]]:
    sent = []
    for random in randoms:
        now = schedule.due
        sent.append((now, schedule.take(now, random)))
    return sent


randoms = st.lists(st.floats(min_value=0, max_value=1, exclude_max=True), min_size=2, max_size=100)


@given(randoms)
def test_two_probes_never_lie_further_apart_than_one_covers_and_do_not_drift(randoms: list[float]) -> None:
    times = [at for at, _ in probes(Schedule(INTERVAL, (FIRST,), 5.0), randoms)]
    assert all(0.9 * INTERVAL <= b - a <= COVER * INTERVAL for a, b in pairwise(times))
    assert all(abs(at - 5.0 - n * INTERVAL) <= 0.05 * INTERVAL for n, at in enumerate(times))


def test_a_late_wake_up_sends_one_probe_not_those_that_were_missed() -> None:
    schedule = Schedule(INTERVAL, (FIRST,), 5.0)
    schedule.take(60.0, 0.5)
    assert schedule.due == 60.1


def test_other_targets_are_asked_now_and_then() -> None:
    sent = probes(Schedule(INTERVAL, (FIRST, SECOND, THIRD), 0.0), [0.5] * (4 * SPARE_EVERY))
    usual = [target for _, asked in sent for target, spare in asked if not spare]
    others = [target for _, asked in sent for target, spare in asked if spare]
    assert usual == [FIRST] * len(sent)
    assert len(others) == 4
    assert set(others) == {SECOND, THIRD}


def test_at_the_first_miss_everyone_is_asked() -> None:
    schedule = Schedule(INTERVAL, (FIRST, SECOND), 0.0)
    assert list(schedule.everyone()) == [(FIRST, False), (SECOND, True)]


def test_a_dead_target_is_outvoted_and_taken_back_when_it_answers() -> None:
    schedule = Schedule(INTERVAL, (FIRST, SECOND), 0.0)
    probes(schedule, [0.5])
    schedule.answered(SECOND)
    assert schedule.usual is FIRST
    probes(schedule, [0.5])
    schedule.answered(SECOND)
    assert schedule.usual is SECOND
    schedule.answered(FIRST)
    assert schedule.usual is FIRST


def test_a_hurried_tunnel_is_asked_more_often_until_it_answers() -> None:
    schedule = Schedule(INTERVAL, (FIRST,), 0.0)
    schedule.hurry(1.0)
    times = [at for at, _ in probes(schedule, [0.5] * 3)]
    assert [round(at, 3) for at in times] == [1.0, 1.025, 1.05]
    schedule.answered(FIRST)
    probes(schedule, [0.5])
    assert round(schedule.due - 1.075, 3) == 0.1


entries = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([1.0, 2.0, 3.0, inf])), max_size=30)


@given(entries)
def test_the_timetable_is_a_map_that_knows_its_minimum(entries: list[tuple[int, float]]) -> None:
    timetable, model = Timetable[int](), dict[int, float]()
    for what, due in entries:
        timetable.set(what, due)
        model[what] = due
        assert timetable.deadline() == min(model.values())
    while (what_ := timetable.pop(2.5)) is not None:
        assert model.pop(what_) <= 2.5
    assert all(due > 2.5 for due in model.values())


TARGET = ProbeTarget(address=IPv4Address("169.254.1.1"), inside_peer=True)
SIZE, LOSS_INTERVAL = 16, 0.5


def send(window: Window, at: float, *, spare: bool = False) -> ProbeRecord:
    slot = window.open(TARGET, spare=spare)
    slot.sent_at = at
    return slot


@given(st.lists(st.sampled_from(["answered", "late", "lost", "failed", "spare"]), max_size=80))
def test_the_window_shows_the_last_probes(fates: list[str]) -> None:
    window, slots = Window(SIZE, 0.3), []
    for number, fate in enumerate(fates):
        at = number * 1.0
        slot = send(window, at, spare=fate == "spare")
        slots.append(slot)
        if fate == "failed":
            slot.sent_at = None
            window.void(slot)
        elif fate == "answered":
            window.answer(slot, 0.1)
        window.settle(at + 1 - LOSS_INTERVAL)
        if fate == "late":
            window.answer(slot, 0.7)
    shown = [fate for fate in fates[-SIZE:] if fate in ("answered", "late", "lost")]
    lost = shown.count("lost")

    assert window.lost == lost
    assert window.resolved == len(shown)
    assert window.loss_ratio == (lost / len(shown) if shown else 0.0)
    assert window.totals.lost == fates.count("lost")
    assert window.totals.answered == fates.count("answered") + fates.count("late")
    rtts = [0.1 if fate == "answered" else 0.7 for fate in shown if fate != "lost"]
    assert (window.mean_rtt is None) == (not rtts)
    if window.mean_rtt is not None:
        assert abs(window.mean_rtt - sum(rtts) / len(rtts)) < 1e-9


def test_what_is_under_way_is_neither_answered_nor_lost() -> None:
    window = Window(SIZE, 0.3)
    send(window, 1.0)
    window.settle(1.0)
    assert window.resolved == 0
    window.settle(1.1)
    assert window.loss_ratio == 1.0


def test_a_second_reply_counts_once() -> None:
    window = Window(SIZE, 0.3)
    slot = send(window, 1.0)
    window.answer(slot, 0.1)
    window.answer(slot, 0.2)
    assert window.totals.answered == 1
    assert window.totals.rtt.total == 0.1


def test_a_probe_is_found_by_its_sequence_until_it_leaves_the_view() -> None:
    window = Window(SIZE, 0.3)
    slot = send(window, 0.0)
    for number in range(1, SEQUENCES + 3):
        slot = send(window, float(number))
        assert window.find(number % SEQUENCES) is slot
    assert window.find(2 - SIZE + SEQUENCES) is None
    assert window.find(2) is slot


def test_a_new_view_forgets_losses_but_not_totals() -> None:
    window = Window(SIZE, 0.3)
    slots = [send(window, float(number)) for number in range(5)]
    window.settle(10.0)
    window.clear()
    window.answer(slots[0], 9.0)
    assert (window.lost, window.resolved, window.totals.lost) == (0, 0, 5)


def test_a_probe_whose_fate_was_never_told_does_not_block_the_window() -> None:
    window = Window(SIZE, 0.3)
    window.open(TARGET, spare=False)
    for number in range(2 * SIZE):
        window.answer(send(window, float(number)), 0.1)
    window.settle(100.0)
    assert window.resolved == SIZE


@given(st.lists(st.floats(min_value=1e-4, max_value=2), min_size=1))
def test_patience_exceeds_the_round_trip_but_not_by_more_than_its_limit(rtts: list[float]) -> None:
    estimate: Any = RoundTrip(0.3)
    assert estimate.patience == 0.3
    for rtt in rtts:
        estimate.update(rtt)
    assert min(rtts) <= estimate.srtt <= max(rtts)
    assert estimate.srtt + RoundTrip.FLOOR <= estimate.patience <= estimate.srtt + 0.3 + 1e-9


def grade(window: Window, lost: int, answered: int) -> None:
    for n in range(lost + answered):
        slot = send(window, float(n))
        if n >= lost:
            window.answer(slot, 0.1)
    window.settle(1e9)


def test_two_looks_at_the_counters_come_before_worse_and_a_window_before_better() -> None:
    judge, detector = Grade(Limits(window=10.0)), Detector(5.0, 1.0, 0.0)
    detector.heard(0.0, 0.0)
    bad, good = Window(16, 0.3), Window(16, 0.3)
    grade(bad, 8, 8)
    grade(good, 1, 15)
    assert [judge.judge(bad, detector, at) for at in (1.0, 2.0, 3.0)] == [
        GradeStep.LOOK,
        GradeStep.LOOK,
        GradeStep.WORSE,
    ]

    detector.worse(Cause.QUALITY, "lossy", 3.0)
    assert judge.judge(good, detector, 12.9) is None
    assert judge.judge(bad, detector, 13.1) is None
    assert judge.judge(good, detector, 13.1) is GradeStep.BETTER


def test_between_the_limits_nothing_changes() -> None:
    judge, detector = Grade(Limits()), Detector(5.0, 1.0, 0.0)
    detector.heard(0.0, 0.0)
    window = Window(16, 0.3)
    grade(window, 3, 13)  # 19 %
    assert [judge.judge(window, detector, float(at)) for at in range(5)] == [None] * 5


def test_rtt_has_limits_of_its_own() -> None:
    judge, detector = Grade(Limits(rtt_enter=0.1, rtt_leave=0.05)), Detector(5.0, 1.0, 0.0)
    detector.heard(0.0, 0.0)
    window = Window(16, 0.3)
    grade(window, 0, 16)
    assert judge.judge(window, detector, 1.0) is GradeStep.LOOK
