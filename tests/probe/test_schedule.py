from ipaddress import IPv4Address
from itertools import pairwise
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.detector import COVER
from vpnagent.probe.intent import ProbeTarget
from vpnagent.probe.probes import SPARE_EVERY, Schedule
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
