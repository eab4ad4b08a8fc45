"""Suspicion: what a missed probe and its unanswered confirmation move, what they do not, and how often."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.probe.simulation import (
    ALL,
    BACKUP,
    ESP,
    PRIMARY,
    World,
    confirmed,
    last_heard,
    longest_gap,
    make_connections,
    make_intent,
)
from tests.probe.test_laws import happen, happenings, slow

from vpnagent.config.values import Forwarding
from vpnagent.policy.selection import PathState
from vpnagent.probe import actions
from vpnagent.probe.actions import Cause
from vpnagent.probe.confirmation import Confirmation
from vpnagent.probe.intent import Intent

DETECTION = 0.3
OUT = frozenset({"esp-out"})


INTENTS = [
    confirmed(make_intent(own=True)),
    confirmed(make_intent(own=False)),
    confirmed(make_intent(own=True, forwarding=Forwarding.ECMP)),
    confirmed(make_intent(own=False, count=3)),
    confirmed(make_connections(3)),
]
own_or_shared = pytest.mark.parametrize("own", [True, False], ids=["tunnel targets", "shared targets"])


def begin(*, own: bool, seed: int = 1, delay: float = 0.005) -> World:
    """Return a world in which both tunnels are up and the active one carries."""
    world = World(confirmed(make_intent(own=own)), seed=seed)
    for wire in world.wires.values():
        wire.delay = delay
    world.run(4.0 + world.random.random() * 0.1)
    world.stream(60.0)
    world.run(0.2)
    world.shell.log.clear()
    return world


def moved(world: World) -> list[tuple[float, Cause]]:
    return [(at, a.cause) for at, a in world.shell.log if isinstance(a, actions.WriteGroup)]


def told(world: World, *kinds: type) -> list[actions.ProberAction]:
    return [a for _, a in world.shell.log if isinstance(a, kinds)]


def flinches(world: World) -> dict[str, int]:
    return {p.tunnel.tunnel: p.flinches for p in world.shell.core.paths()}


@own_or_shared
@pytest.mark.parametrize("faults", [ESP, ALL, OUT], ids=["ESP", "all", "the way out"])
def test_our_direction_leaves_a_dead_tunnel_in_half_of_the_detection_time(
    faults: frozenset[str], *, own: bool
) -> None:
    outbound = []
    for seed in range(15):
        world = begin(own=own, seed=seed, delay=0.0005)
        start = world.clock.now
        world.fault("primary", faults)
        world.run(0.6)
        outbound.append(longest_gap(world.far, start, start + 0.6) / DETECTION)
    assert median(outbound) <= 0.5
    assert max(outbound) <= 0.75


@own_or_shared
def test_what_is_heard_again_before_certainty_is_a_flinch_and_no_failover(*, own: bool) -> None:
    world = begin(own=own)
    world.fault("primary", ESP)
    while not moved(world):
        world.run(0.01)
    assert world.shell.group() == [BACKUP]
    world.fault("primary", frozenset())
    healed = world.clock.now
    world.run(1.0)
    assert world.shell.group() == [PRIMARY]
    assert [at - healed <= 0.12 for at, _ in moved(world)[1:]] == [True]
    assert told(world, actions.TrafficMoved, actions.TerminateTunnel, actions.PathChanged) == []
    assert flinches(world) == {"primary": 1, "backup": 0}


@own_or_shared
def test_a_failover_is_reported_once_at_certainty_with_the_time_at_which_traffic_left(*, own: bool) -> None:
    world = begin(own=own)
    world.fault("primary", ESP)
    world.run(3.0)
    [(left_at, cause)] = moved(world)
    [failover] = told(world, actions.TrafficMoved)
    assert isinstance(failover, actions.TrafficMoved)
    assert cause is Cause.SUSPECTED
    assert (failover.old, failover.new, failover.at) == (("primary",), ("backup",), left_at)
    assert failover.cause is not Cause.SUSPECTED
    assert failover.last_heard is not None
    assert 0 < failover.at - failover.last_heard < DETECTION
    [reply] = told(world, actions.FirstReply)
    assert isinstance(reply, actions.FirstReply)
    assert reply.at >= left_at
    [down] = told(world, actions.PathChanged)
    assert isinstance(down, actions.PathChanged)
    assert down.at - failover.last_heard >= DETECTION - 1e-6


def test_without_another_tunnel_that_is_heard_nothing_moves() -> None:
    world = begin(own=True)
    for name in ("primary", "backup"):
        world.fault(name, ESP)
    world.run(0.18)
    assert moved(world) == []


def test_a_target_that_dies_costs_no_packet_and_no_failover() -> None:
    world = begin(own=False)
    start = world.clock.now
    world.cloud.dead_targets = {t.address for tunnel in world.intent.tunnels() for t in tunnel.targets}
    world.run(10.0)
    assert longest_gap(world.near, start, world.clock.now) < 0.03
    assert told(world, actions.TerminateTunnel, actions.TrafficMoved) == []
    assert {p.state for p in world.shell.core.paths()} == {PathState.DEGRADED}
    assert world.shell.group() == [PRIMARY]


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_a_lossy_line_is_asked_little_more_and_moves_little(loss: float) -> None:
    def probes(intent: Intent) -> int:
        world = World(intent, seed=4)
        sent = 0

        def count(action: actions.ProberAction) -> None:
            nonlocal sent
            sent += isinstance(action, actions.SendProbe)

        world.run(3.0)
        world.shell.watch = count
        for wire in world.wires.values():
            wire.loss = loss
        world.run(120.0)
        assert sum(p.flinches for p in world.shell.core.paths()) <= 3 + 12
        return sent

    assert probes(confirmed(make_intent(own=True))) <= 1.15 * probes(make_intent(own=True))


@slow
@given(st.sampled_from(INTENTS), happenings)
def test_suspicion_leaves_no_tunnel_for_one_of_which_less_is_known(
    intent: Intent, happened: list[tuple[float, str, int, int]]
) -> None:
    world = World(intent, seed=9)
    wrong = []

    def watch(action: actions.ProberAction) -> None:
        if isinstance(action, actions.WriteGroup) and action.cause is Cause.SUSPECTED:
            chosen = world.shell.core.selected()
            for path in world.shell.core.paths():
                if path.tunnel.tunnel in chosen[path.tunnel.connection]:
                    heard_at = last_heard(world.shell.core, path.tunnel)
                    fresh = heard_at is not None and world.clock.now - heard_at <= 2 * DETECTION
                    if path.suspected or not fresh or path.state not in (PathState.UP, PathState.DEGRADED):
                        wrong.append(path)

    world.shell.watch = watch
    world.run(2.0)
    for seconds, what, which, variety in happened:
        world.run(seconds)
        happen(world, what, which, variety)
    world.run(5.0)
    assert wrong == []


def test_a_burst_is_counted_from_its_first_probe_and_ends_with_patience() -> None:
    confirmation = Confirmation(3, 0.02)
    confirmation.begin(10.0, worth_it=True)
    assert confirmation.take(10.01, 0.03) is None
    assert confirmation.take(10.02, 0.03) == 1
    assert confirmation.take(10.04, 0.03) == 2
    assert confirmation.take(10.06, 0.03) is None
    assert not confirmation.unanswered
    assert confirmation.take(10.07, 0.03) is None
    assert confirmation.unanswered


def test_after_a_stall_of_ours_the_burst_gets_its_chance() -> None:
    confirmation = Confirmation(2, 0.02)
    confirmation.begin(10.0, worth_it=True)
    assert confirmation.take(10.02, 0.03) == 1
    confirmation.stalled(12.0, 0.03)
    assert confirmation.take(12.0, 0.03) is None
    assert not confirmation.unanswered


def test_a_miss_soon_after_another_is_not_confirmed() -> None:
    confirmation = Confirmation(3, 0.02)
    confirmation.begin(10.0, worth_it=False)
    confirmation.begin(11.0, worth_it=True)
    assert confirmation.take(11.1, 0.03) is None
    confirmation.begin(13.5, worth_it=True)
    assert confirmation.take(13.6, 0.03) == 1
