"""A mark that somebody on the way drops makes no tunnel look dead."""

import pytest
from tests.probe.simulation import ESP, World, make_intent

from vpnagent.policy.selection import PathState
from vpnagent.probe import actions


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
