"""What is known besides replies; a target that answers so many probes a second makes no tunnel look dead."""

import pytest
from tests.probe.simulation import ESP, World, longest_gap, make_intent

from vpnagent.config.values import TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe import actions
from vpnagent.probe.evidence import SLOWEST, CounterReading, IkeDaemon, LimitStage, TargetLimit, TunnelTraffic

LIMITS = [5.0, 10.0, 15.0, 18.0]


def limited(limit: float, seed: int) -> World:
    world = World(make_intent(own=False), seed=seed)
    world.cloud.limit = limit
    return world


def done(world: World, kind: type) -> int:
    return sum(isinstance(a, kind) for _, a in world.shell.log)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_target_that_limits_its_answers_resets_nobody_and_is_told(limit: float, seed: int) -> None:
    world = limited(limit, seed)
    world.run(120.0)
    assert done(world, actions.TerminateTunnel) == 0
    assert {p.state for p in world.shell.core.paths()} <= {PathState.UP, PathState.DEGRADED}
    assert {f.code for f in world.shell.core.findings()} == {"ProbeTargetLimits"}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("limit", [8.0, 10.0, 15.0])
def test_a_target_that_begins_to_limit_its_answers_resets_nobody(limit: float, seed: int) -> None:
    world = World(make_intent(own=False), seed=seed)
    world.run(10.0 + 1.3 * seed)
    world.cloud.limit = limit
    world.run(60.0)
    assert done(world, actions.TerminateTunnel) == 0
    assert {f.code for f in world.shell.core.findings()} == {"ProbeTargetLimits"}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_fault_behind_a_limited_target_is_an_outage_of_seconds(limit: float) -> None:
    world = limited(limit, 1)
    world.run(120.0)
    world.stream(60.0, rate=100.0)
    world.run(0.5)
    start = world.clock.now
    world.fault("primary", ESP)
    world.run(30.0)
    assert world.shell.group() == [TunnelKey("hangzhou", "backup")]
    assert longest_gap(world.near, start, world.clock.now) <= 0.3 * SLOWEST + 2.0


@pytest.mark.parametrize("seed", range(10))
def test_a_fault_is_no_proof_that_there_is_no_limit_and_resets_nobody_else(seed: int) -> None:
    world = limited(10.0, seed)
    world.run(40.0 + 0.37 * seed)
    world.fault("primary", ESP)
    world.run(1.0)
    assert {f.code for f in world.shell.core.findings()} >= {"ProbeTargetLimits"}
    world.run(10.0)
    ended = {
        action.tunnel.tunnel for _, action in world.shell.log if isinstance(action, actions.TerminateTunnel)
    }
    assert ended == {"primary"}


@pytest.mark.parametrize("seed", range(4))
def test_a_line_that_loses_a_third_is_no_limit(seed: int) -> None:
    world = World(make_intent(own=False, detect_multiplier=9), seed=seed)
    for wire in world.wires.values():
        wire.loss = 0.18  # each way
    world.run(240.0)
    assert "ProbeTargetLimits" not in {f.code for f in world.shell.core.findings()}


def ask(limit: TargetLimit, now: float, seconds: float, rate: float, answered: float) -> float:
    """Ask and be answered as often as said; return when."""
    owed = 0.0
    for number in range(int(seconds * rate)):
        limit.sent(now + number / rate)
        owed += answered / rate
        if owed >= 1:
            owed -= 1
            limit.answered()
    return now + seconds


def test_a_limit_is_found_and_left_when_it_is_none_any_more() -> None:
    limit = TargetLimit()
    now = ask(limit, 0.0, 4.6, 20.0, 10.0)
    assert (limit.stage, limit.slower) == (LimitStage.TESTING, 2)
    now = ask(limit, now, 4.0, 10.0, 9.99)
    assert (limit.stage, limit.slower) == (LimitStage.LIMITED, 4)
    assert limit.rate == pytest.approx(10.0, abs=0.7)
    ask(limit, now, 610.0, 5.0, 5.0)
    assert (limit.stage, limit.slower) == (LimitStage.NORMAL, 1)


def test_a_share_that_is_lost_at_half_the_rate_too_is_the_lines() -> None:
    limit = TargetLimit()
    now = ask(limit, 0.0, 4.6, 20.0, 10.0)
    now = ask(limit, now, 4.0, 10.0, 5.0)
    assert (limit.stage, limit.slower) == (LimitStage.NORMAL, 1)
    ask(limit, now, 30.0, 20.0, 10.0)
    assert limit.stage is LimitStage.NORMAL  # and not tested again for a minute


def test_the_probe_never_becomes_slower_than_its_bound() -> None:
    limit = TargetLimit()
    now = ask(limit, 0.0, 4.6, 40.0, 1.5)
    ask(limit, now, 4.0, 20.0, 1.5)
    assert limit.slower in (1, SLOWEST)


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
