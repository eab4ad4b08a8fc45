"""Replies that arrive at an interface and are dropped on this machine: told, and no verdict on a tunnel."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.probe.simulation import ALL, BACKUP, ESP, PRIMARY, World, longest_gap, make_intent

from vpnagent.config.values import TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe import actions

BOTH = {PRIMARY, BACKUP}
DETECTION = 0.3
CODE = "ProbeRepliesFiltered"


def begin(own: bool, seed: int = 1) -> World:
    world = World(make_intent(own=own), seed=seed)
    world.run(4.0)
    world.stream(60.0, rate=100.0)
    world.run(0.2)
    world.shell.log.clear()
    return world


def states(world: World) -> list[PathState]:
    return [p.state for p in world.shell.core.paths()]


def codes(world: World) -> set[str]:
    return {f.code for f in world.shell.core.findings()}


def moved(world: World) -> list[object]:
    kinds = (actions.TerminateTunnel, actions.InitiateTunnel, actions.WriteGroup, actions.DeleteGroup)
    return [a for _, a in world.shell.log if isinstance(a, kinds)]


@pytest.mark.parametrize("own", [True, False])
def test_a_filter_of_all_replies_is_told_within_a_second_and_moves_and_resets_nothing(own: bool) -> None:
    world = begin(own)
    world.filtered = set(BOTH)
    world.run(1.0)
    assert codes(world) == {CODE}
    assert set(states(world)) == ({PathState.DEGRADED})
    start = world.clock.now
    world.run(30.0)
    assert not moved(world)
    assert codes(world) == {CODE}
    assert longest_gap(world.near, start, world.clock.now) < 0.1
    world.filtered = set()
    world.run(1.0)
    assert states(world) == [PathState.UP] * 2
    assert not codes(world)
    assert not world.shell.core.suspects_filter()


def test_a_filter_of_one_interface_leaves_the_traffic_where_it_is() -> None:
    world = begin(True)
    world.filtered = {PRIMARY}
    world.run(30.0)
    assert states(world) == [PathState.DEGRADED, PathState.UP]
    assert not moved(world)


@pytest.mark.parametrize("own", [True, False])
def test_a_filter_that_stands_at_the_start_is_told(own: bool) -> None:
    world = World(make_intent(own=own), seed=1)
    world.filtered = set(BOTH)
    world.run(10.0)
    assert codes(world) == {CODE}
    assert not any(isinstance(a, actions.TerminateTunnel) for _, a in world.shell.log)


@pytest.mark.parametrize("own", [True, False])
def test_behind_a_filter_a_dead_tunnel_is_found_as_any_other(own: bool) -> None:
    world = begin(own)
    world.filtered = set(BOTH)
    world.run(5.0)
    start = world.clock.now
    world.fault("primary", ESP)
    world.run(10.0)
    assert world.shell.group() == [BACKUP]
    assert longest_gap(world.near, start, world.clock.now) < 2.0


def test_what_is_silent_for_long_is_not_looked_for_for_ever() -> None:
    world = begin(True)
    world.wires[PRIMARY].ike_answers = False
    world.fault("primary", ALL)
    world.run(1.0)
    assert world.shell.core.suspects_filter()
    world.run(300.0)
    assert states(world)[0] is PathState.DOWN
    assert not world.shell.core.suspects_filter()


changes = st.lists(
    st.tuples(
        st.sampled_from([0.02, 0.11, 0.25, 0.4, 1.0, 7.0]), st.sets(st.sampled_from([PRIMARY, BACKUP]))
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.integers(0, 2**16), changes)
def test_no_filter_that_comes_and_goes_moves_or_resets_anything(
    own: bool, seed: int, happened: list[tuple[float, set[TunnelKey]]]
) -> None:
    world = begin(own, seed)
    for seconds, filtered in happened:
        world.filtered = filtered
        world.run(seconds)
        assert set(states(world)) <= {PathState.UP, PathState.DEGRADED}
    assert not moved(world)
    world.filtered = set()
    world.run(2.0)
    assert states(world) == [PathState.UP] * 2
    assert not codes(world)
