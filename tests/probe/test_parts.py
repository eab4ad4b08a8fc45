"""The small parts: evidence, grade, suspicion, budget, groups, outlook."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.probe.simulation import ESP, GROUP, World, make_intent, next_trial
from tests.probe.test_window import send

from vpnagent.config.values import TunnelKey
from vpnagent.probe.actions import Cause
from vpnagent.probe.detector import Detector
from vpnagent.probe.evidence import CounterReading, IkeDaemon, TunnelTraffic
from vpnagent.probe.intent import Limits
from vpnagent.probe.measures import Budget
from vpnagent.probe.probes import Grade, GradeStep, Window
from vpnagent.probe.situation import Suspicion, SuspicionStage
from vpnagent.probe.switchover import Groups
from vpnagent.selection import PathState, Verdict

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")


def reading(at: float, packets: int) -> CounterReading:
    return CounterReading(at, packets, 1000 * packets, packets, 1000 * packets)


def test_packets_of_others_are_traffic_and_replies_are_not() -> None:
    traffic = TunnelTraffic()
    traffic.read(reading(0.0, 1000))
    traffic.begin()
    found = []
    for replies, at, packets in ((0, 1.0, 2000), (3, 1.2, 2003), (0, 1.3, 2006), (0, 1.4, 0)):
        for _ in range(replies):
            traffic.reply()
        traffic.read(reading(at, packets))
        found.append(traffic.inbound)
    assert found == [False, False, True, False]  # at last the interface was made anew


def test_a_tunnel_is_full_near_its_bandwidth_or_packet_rate() -> None:
    traffic = TunnelTraffic()
    assert not traffic.full(8e6, 0)
    traffic.read(reading(0.0, 0))
    assert not traffic.full(8e6, 0)
    traffic.read(reading(1.0, 900))  # 7.2 Mbit/s and 1800 packets/s, both ways together
    assert traffic.full(8e6, 0)
    assert not traffic.full(16e6, 0)
    assert traffic.full(0, 2000)
    assert not traffic.full(0, 0)


def test_an_open_question_is_a_silence() -> None:
    ike = IkeDaemon()
    ike.ask(1.0)
    assert not ike.silent_since(0.0)  # it never answered: cannot tell
    ike.answer(1.02)
    assert ike.answered_since(1.0)
    assert not ike.silent_since(0.0)
    ike.ask(5.0)
    assert ike.silent_since(4.0)
    assert not ike.silent_since(6.0)


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


def test_a_wrong_guess_blocks_the_next_ones_for_longer_and_longer() -> None:
    suspicion, now, blocks = Suspicion(), 0.0, []
    for _ in range(9):
        suspicion.failed(now)
        blocks.append(next(s for s in range(0, 4000, 10) if suspicion.may_guess(now + s)))
        now += 10_000
    assert blocks == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    suspicion.ask(PRIMARY, frozenset({PRIMARY}), now, 0.01)
    suspicion.helped()
    suspicion.failed(now)
    assert suspicion.may_guess(now + 60)


def test_a_question_is_repeated_once_to_those_who_did_not_answer() -> None:
    suspicion = Suspicion()
    suspicion.ask(PRIMARY, frozenset({PRIMARY, BACKUP}), 1.0, 0.01)
    suspicion.answer(BACKUP, 1.01)
    assert suspicion.repeat(suspicion.until) == frozenset({PRIMARY})
    assert suspicion.repeat(suspicion.until) == frozenset()
    assert suspicion.stage is SuspicionStage.ASKING


def test_what_was_asked_ahead_of_a_verdict_is_not_asked_again() -> None:
    suspicion = Suspicion()
    suspicion.ask(None, frozenset({PRIMARY, BACKUP}), 1.0, 0.01)
    suspicion.answer(BACKUP, 1.01)
    suspicion.answer(PRIMARY, 1.02)
    assert suspicion.repeat(suspicion.until) == frozenset()
    assert not suspicion.stale(1.1)
    suspicion.accuse(PRIMARY, 1.1)
    assert (suspicion.stage, suspicion.until, suspicion.answered) == (
        SuspicionStage.ASKING,
        1.1,
        {PRIMARY, BACKUP},
    )
    assert suspicion.stale(3.0)


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


def test_groups_begin_with_what_the_kernel_has_and_follow_the_verdicts() -> None:
    intent = make_intent()
    ids = {t.key: t.nexthop_id for t in intent.tunnels()}
    groups = Groups(replace(intent, groups=(replace(intent.groups[0], members=((ids[BACKUP], 1),)),)))
    verdicts = dict.fromkeys(ids, Verdict(child_sa_installed=True))
    assert groups.reselect(verdicts) == [GROUP]
    assert groups.selected == {"hangzhou": ("backup",)}
    assert groups.reselect(verdicts) == []
    verdicts[BACKUP] = Verdict(child_sa_installed=True, path=PathState.UP)
    assert groups.reselect(verdicts) == []  # the primary was not heard yet
    verdicts[PRIMARY] = Verdict(child_sa_installed=True, path=PathState.UP)
    assert groups.reselect(verdicts) == [GROUP]
    assert groups.selected == {"hangzhou": ("primary",)}


def test_findings_say_what_is_wrong_and_what_to_do() -> None:
    world = World(make_intent(own=False))
    world.run(5.0)
    assert world.shell.core.findings() == ()
    world.fault("primary", ESP)
    world.run(3.0)
    [finding] = world.shell.core.findings()
    assert (finding.code, finding.subject) == ("TunnelLeftDown", "hangzhou/primary")
    report = world.shell.core.paths()[0]
    assert report.held
    assert report.failed_trials == 0
    assert next_trial(world.shell.core, PRIMARY) is not None
