from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.remedy import (
    DISTURBING,
    FIRST_REST,
    HELD,
    MAINTENANCE,
    MAINTENANCE_REST,
    UNTOLD,
    Phase,
    Remedy,
    Step,
)

RTT = 0.01


def begin(random: float = 0.5) -> Remedy:
    remedy = Remedy(lambda: random)
    assert remedy.begin(100.0, RTT) == [Step.PING]
    return remedy


def advance(remedy: Remedy, *, known: bool = True, busy: bool = False) -> tuple[float, list[Step]]:
    """Let the remedy's own time pass."""
    at = remedy.until
    return at, remedy.advance(at, ike_known=known, rtt=RTT, busy=busy)


def reset(remedy: Remedy, at: float) -> None:
    remedy.reset(at)
    remedy.terminated(at, done=True)


def test_an_answer_asks_for_a_reset_and_a_reset_leaves_the_tunnel_down() -> None:
    remedy = begin()
    assert remedy.answered(100.01) == [Step.WANT_RESET]
    reset(remedy, 100.02)
    assert (remedy.phase, remedy.trials) == (Phase.RESTING, 0)
    assert remedy.until == pytest.approx(105.02)


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_the_space_between_trials_grows_to_five_minutes(random: float) -> None:
    remedy = begin(random)
    remedy.answered(100.01)
    reset(remedy, 100.02)
    rests, now = [], 100.02
    for _ in range(10):
        at, steps = advance(remedy)
        assert steps == [Step.INITIATE]
        rests.append(at - now)
        assert remedy.initiated(at, done=True) == [Step.LISTEN]
        assert remedy.silent(at + 0.3) == [Step.WANT_RESET]
        now = at + 0.3
        reset(remedy, now)
    expected = [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    assert all(0.9 * e - 1e-6 <= r <= 1.1 * e + 1e-6 for r, e in zip(rests, expected, strict=True))


def test_a_tunnel_is_tried_often_while_the_cloud_replaces_its_endpoints() -> None:
    remedy, at = begin(), 100.0
    reset(remedy, at)
    for _ in range(6):
        at, _ = advance(remedy)
        remedy.initiated(at + 1.0, done=False)
    assert remedy.until > at + 200
    remedy.hasten(at + 1.0)
    assert remedy.until == at + 1.0 + FIRST_REST
    tried = []
    while remedy.until < at + MAINTENANCE:
        at_, _ = advance(remedy)
        tried.append(at_)
        remedy.initiated(at_ + 1.0, done=False)
    assert max(b - a for a, b in pairwise(tried)) <= MAINTENANCE_REST + 1.0
    assert len(tried) >= 50


def test_a_trial_that_cannot_be_initiated_is_a_failed_one() -> None:
    remedy = begin()
    reset(remedy, 100.0)
    advance(remedy)
    assert remedy.initiated(110.0, done=False) == []
    assert (remedy.phase, remedy.trials) == (Phase.RESTING, 1)


def test_a_trial_gives_way_to_the_reset_of_another_tunnel() -> None:
    remedy = begin()
    reset(remedy, 100.0)
    at, steps = advance(remedy, busy=True)
    assert steps == []
    assert remedy.until > at
    assert advance(remedy)[1] == [Step.INITIATE]


def test_silence_of_a_known_daemon_means_that_the_underlay_is_dead() -> None:
    remedy = begin()
    assert advance(remedy)[1] == [Step.PING]
    assert advance(remedy)[1] == []
    phases = [remedy.phase]
    assert advance(remedy)[1] == [Step.PING]
    assert remedy.answered(120.0) == [Step.LISTEN]
    assert [*phases, remedy.phase] == [Phase.WAITING, Phase.RETURNED]


def test_what_the_cloud_forgot_is_tried_at_once_after_its_reset() -> None:
    remedy = begin()
    advance(remedy), advance(remedy)
    remedy.answered(120.0)
    assert remedy.silent(120.3) == [Step.WANT_RESET]
    reset(remedy, 120.31)
    assert remedy.until == 120.31
    assert remedy.advance(120.31, ike_known=True, rtt=RTT, busy=False) == [Step.INITIATE]


def test_silence_of_an_unknown_daemon_leaves_it_to_the_policy() -> None:
    remedy = begin()
    advance(remedy, known=False)
    assert advance(remedy, known=False)[1] == [Step.WANT_RESET]


def test_questions_that_lead_to_nothing_become_rarer() -> None:
    remedy, times = begin(), []
    for _ in range(9):
        remedy.keep(remedy.until)
        at, steps = advance(remedy)
        assert steps == [Step.PING]
        times.append(at)
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(300, rel=0.02)


def test_a_peer_that_brings_the_tunnel_up_itself_is_tried_at_once_a_few_times() -> None:
    remedy = begin()
    reset(remedy, 100.0)
    tried = 0
    for _ in range(10):
        if remedy.child_sa_came(101.0) == [Step.LISTEN]:
            tried += 1
            remedy.silent(101.3)
            reset(remedy, 101.3)
    assert tried == 3


def test_a_new_prober_goes_on_with_the_next_trial() -> None:
    remedy = Remedy(lambda: 0.5)
    remedy.resume(3, 100.0)
    assert (remedy.phase, remedy.until) == (Phase.RESTING, 140.0)


def test_the_daemon_is_asked_in_peace_until_it_has_answered_or_three_times() -> None:
    remedy = Remedy(lambda: 0.5)
    remedy.path_up(100.0, ike_known=False)
    asked = []
    while remedy.until < 1e9:
        at, steps = advance(remedy, known=False)
        asked += [at] * len(steps)
    assert asked == [102.0, 162.0, 762.0]
    remedy.path_up(800.0, ike_known=True)
    assert remedy.until > 1e9


def test_a_mistaken_reset_is_put_right_until_it_succeeds() -> None:
    remedy = begin()
    reset(remedy, 100.0)
    assert remedy.restore(101.0) == [Step.INITIATE]
    assert advance(remedy)[1] == [Step.INITIATE]
    assert remedy.initiated(120.0, done=True) == [Step.LISTEN]
    assert (remedy.phase, remedy.trials) == (Phase.NONE, None)


def test_a_refused_terminate_is_tried_again_later() -> None:
    remedy = begin()
    remedy.reset(100.0)
    remedy.terminated(100.1, done=False)
    assert remedy.phase is Phase.KEPT


def test_a_tunnel_is_either_held_or_untold_or_nothing_is_done_about_it() -> None:
    assert set(Phase) - {Phase.NONE} == HELD | UNTOLD
    assert not HELD & UNTOLD
    assert DISTURBING < HELD


ACTS: dict[str, Callable[[Remedy, float], list[Step] | None]] = {
    "answered": lambda remedy, now: remedy.answered(now),
    "terminated": lambda remedy, now: remedy.terminated(now, done=True),
    "refused": lambda remedy, now: remedy.terminated(now, done=False),
    "came": lambda remedy, now: remedy.child_sa_came(now),
    "went": lambda remedy, now: remedy.child_sa_went(now),
    "silent": lambda remedy, now: remedy.silent(now),
    "initiated": lambda remedy, now: remedy.initiated(now, done=True),
    "advance": lambda remedy, now: remedy.advance(now, ike_known=True, rtt=RTT, busy=False),
    "busy": lambda remedy, now: remedy.advance(now, ike_known=True, rtt=RTT, busy=True),
}


@given(st.lists(st.sampled_from(sorted(ACTS)), max_size=80))
def test_no_order_of_events_resets_without_a_bound(acts: list[str]) -> None:
    remedy, now, resets = begin(), 100.0, []
    for act in acts:
        now += 0.01
        if act in ("advance", "busy"):
            now = max(now, min(remedy.until, now + 1000))
        steps = ACTS[act](remedy, now) or []
        if Step.ASK in steps:
            remedy.begin(now, RTT)
        if Step.WANT_RESET in steps:
            remedy.reset(now)
            resets.append(now)
    assert all(later - first > 5 for first, later in zip(resets, resets[6:], strict=False))
