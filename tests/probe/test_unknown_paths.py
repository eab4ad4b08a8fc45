"""What is not known is not taken for health: probes that cannot be sent, replies that return elsewhere."""

import pytest
from tests.probe.simulation import ALL, BACKUP, ESP, PRIMARY, World, longest_gap, make_intent

from vpnagent.policy.selection import PathState
from vpnagent.probe import actions

DETECTION = 0.3


def begin(own: bool) -> World:
    world = World(make_intent(own=own), seed=1)
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
