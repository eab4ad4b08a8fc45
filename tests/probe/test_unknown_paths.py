"""What is not known is not taken for health: probes that cannot be sent, replies that return elsewhere."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.probe.simulation import ALL, BACKUP, ESP, PRIMARY, World, longest_gap, make_intent

from vpnagent.config.values import TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe import actions

DETECTION = 0.3


def begin(own: bool, seed: int = 1) -> World:
    world = World(make_intent(own=own), seed=seed)
    world.run(4.0)
    world.stream(60.0, rate=100.0)
    world.run(0.2)
    world.shell.log.clear()
    return world


def states(world: World) -> list[PathState]:
    return [p.state for p in world.shell.core.paths()]


def of(world: World, *kinds: type) -> list[object]:
    return [a for _, a in world.shell.log if isinstance(a, kinds)]


@pytest.mark.parametrize("own", [True, False])
def test_a_tunnel_that_cannot_be_probed_is_told_at_once_and_left_for_one_that_is_up(
    own: bool,
) -> None:
    world = begin(own)
    world.unsendable = {PRIMARY}
    world.run(1.0)
    assert states(world) == [PathState.UNPROBED, PathState.UP]
    assert {f.code for f in world.shell.core.findings()} == {"PathUnprobed"}
    assert "EPERM" in world.shell.core.paths()[0].reason
    assert world.shell.group() == [BACKUP]
    world.run(30.0)
    assert not of(world, actions.TerminateTunnel)


@pytest.mark.parametrize("own", [True, False])
def test_tunnels_none_of_which_can_be_probed_move_and_reset_nothing(own: bool) -> None:
    world = begin(own)
    world.unsendable = {PRIMARY, BACKUP}
    world.run(1.0)
    assert states(world) == [PathState.UNPROBED] * 2
    world.fault("primary", ALL)
    world.run(30.0)
    assert not of(world, actions.TerminateTunnel, actions.WriteGroup)
    assert world.shell.group() == [PRIMARY]


def test_a_silent_tunnel_beside_one_that_cannot_be_probed_is_not_reset() -> None:
    world = begin(False)
    world.unsendable = {BACKUP}
    world.run(1.0)
    world.fault("primary", ESP)
    world.run(0.29)
    assert not of(world, actions.TerminateTunnel)


def test_what_is_heard_again_after_it_could_not_be_probed_proves_itself() -> None:
    world = begin(True)
    world.unsendable = {PRIMARY}
    world.run(2.0)
    world.unsendable = set()
    world.run(1.0)
    assert states(world) == [PathState.HOLD_DOWN, PathState.UP]
    world.run(6.0)
    assert states(world) == [PathState.UP] * 2
    assert world.shell.group() == [PRIMARY]


@pytest.mark.parametrize("own", [True, False])
def test_what_is_silent_when_it_can_be_probed_again_is_down(own: bool) -> None:
    world = begin(own)
    world.unsendable = {PRIMARY}
    world.run(1.0)
    world.fault("primary", ALL)
    world.unsendable = set()
    world.run(1.0)
    assert states(world)[0] is PathState.DOWN
    world.run(15.0)  # a cloud that returned on it is moved, too
    assert world.shell.group() == [BACKUP]


def test_replies_that_return_elsewhere_prove_the_way_out_and_move_nothing() -> None:
    world = begin(False)
    world.elsewhere = True
    world.run(1.0)
    assert states(world) == [PathState.ELSEWHERE] * 2
    assert {f.code for f in world.shell.core.findings()} == {"HeardElsewhere"}
    world.run(30.0)
    assert not of(world, actions.TerminateTunnel, actions.WriteGroup)
    world.elsewhere = False
    world.run(1.0)
    assert states(world) == [PathState.UP] * 2
    assert longest_gap(world.near, world.clock.now - 0.8, world.clock.now) < 0.1


def test_a_tunnel_whose_replies_return_elsewhere_dies_like_any_other() -> None:
    world = begin(True)
    world.elsewhere = True
    world.run(1.0)
    world.fault("primary", ESP)
    world.run(2 * DETECTION)
    assert states(world)[0] is PathState.DOWN
    assert world.shell.group() == [BACKUP]


# Replies that arrive at an interface and are dropped on this machine: told, and no verdict on a tunnel.

BOTH = {PRIMARY, BACKUP}
CODE = "ProbeRepliesFiltered"


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


# A mark that somebody on the way drops makes no tunnel look dead.


def probes(world: World) -> list[actions.SendProbe]:
    seen: list[actions.SendProbe] = []
    world.shell.watch = lambda action: seen.append(action) if isinstance(action, actions.SendProbe) else None
    return seen


@pytest.mark.parametrize("own", [True, False])
def test_where_marked_packets_are_dropped_probes_go_unmarked_and_nobody_is_reset(own: bool) -> None:
    world = World(make_intent(own=own), seed=1)
    world.run(4.0)
    world.drops_marks = True
    world.shell.log.clear()
    world.run(10.0)
    assert {p.state for p in world.shell.core.paths()} == {PathState.UP}
    assert not [a for _, a in world.shell.log if isinstance(a, actions.TerminateTunnel | actions.PathChanged)]
    assert {f.code for f in world.shell.core.findings()} == {"ProbeMarkDropped"}
    seen = probes(world)
    world.run(20.0)
    assert 1 <= sum(probe.marked for probe in seen) <= len(seen) / 50

    world.drops_marks = False
    world.run(25.0)
    assert world.shell.core.findings() == ()


def test_a_dead_tunnel_is_not_taken_for_a_dropped_mark() -> None:
    world = World(make_intent(own=True), seed=1)
    world.run(4.0)
    world.fault("primary", ESP)
    world.run(0.4)
    assert world.shell.core.paths()[0].state is PathState.DOWN


def test_without_a_dscp_no_probe_is_marked() -> None:
    world = World(make_intent(own=True, dscp=0), seed=1)
    seen = probes(world)
    world.run(4.0)
    assert seen
    assert not any(probe.marked for probe in seen)
