"""Laws of the whole core, over worlds in which anything happens at any time."""

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.probe.simulation import (
    ALL,
    ESP,
    SHARED,
    World,
    confirmed,
    last_heard,
    make_connections,
    make_intent,
    next_trial,
)

from vpnagent.config.values import Forwarding, TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe import actions
from vpnagent.probe.intent import Intent

FAULTS = [ESP, ALL, frozenset({"esp-out"}), frozenset({"esp-in"}), frozenset({"ike-in"}), frozenset()]
Happening = tuple[float, str, int, int]  # seconds before it, what, which tunnel, which variety

happenings = st.lists(
    st.tuples(
        st.sampled_from([0.02, 0.15, 0.4, 1.0, 3.0, 7.0]),
        st.sampled_from(["fault", "fault", "fault", "stop", "delete", "target", "drain", "loss", "link"]),
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    max_size=14,
)
intents = st.sampled_from(
    [
        make_intent(own=True),
        make_intent(own=False),
        make_intent(own=False, count=3),
        make_intent(own=True, count=3),
        make_intent(own=False, count=1),
        make_intent(own=False, forwarding=Forwarding.ECMP),
        make_connections(3),
        confirmed(make_intent(own=True)),
        confirmed(make_intent(own=False)),
    ]
)
slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def happen(world: World, what: str, which: int, variety: int) -> None:  # noqa: C901 - a case each
    key = list(world.wires)[which % len(world.wires)]
    wire = world.wires[key]
    match what:
        case "fault":
            world.fault(str(key), FAULTS[variety])
        case "stop":
            world.shell.stop([0.05, 0.2, 0.35, 1.0, 5.0, 0.3][variety])
        case "delete":
            if wire.here:
                world.peer_deletes(str(key))
        case "target":
            world.cloud.dead_targets ^= {SHARED}
        case "drain":
            world.change(key, drained=variety < 3)
        case "loss":
            wire.loss = [0.0, 0.0, 0.05, 0.1, 0.3, 0.6][variety]
        case "link":
            now = world.clock.now
            world.shell.tell(lambda core: core.link_changed(f"vpn-{which}", usable=variety > 2, at=now))
        case _:
            raise AssertionError(what)


def play(intent: Intent, happened: list[Happening], *, wakes: tuple[float, ...] = ()) -> World:
    world = World(intent, seed=7)
    for seconds in wakes:
        world.clock.after(seconds, world.shell.wake)
    world.run(2.0)
    for seconds, what, which, variety in happened:
        world.run(seconds)
        happen(world, what, which, variety)
    world.run(5.0)
    return world


def story(world: World) -> list[tuple[float, actions.ProberAction]]:
    return world.shell.log


@slow
@given(intents, happenings, st.lists(st.floats(min_value=0, max_value=30), max_size=50))
def test_waking_early_or_often_changes_nothing(
    intent: Intent, happened: list[Happening], wakes: list[float]
) -> None:
    assert story(play(intent, happened, wakes=tuple(wakes))) == story(play(intent, happened))


@slow
@given(intents, happenings)
def test_one_tunnel_is_reset_at_a_time_and_never_the_last_one_that_carries(
    intent: Intent, happened: list[Happening]
) -> None:
    world = World(intent, seed=3)
    being_reset: dict[TunnelKey, float] = {}

    def watch(action: actions.ProberAction) -> None:
        now = world.clock.now
        for path in world.shell.core.paths():
            if path.state is not PathState.DOWN or not (path.held or path.trial):
                being_reset.pop(path.tunnel, None)  # heard again, or given up
            elif next_trial(world.shell.core, path.tunnel) is not None:
                being_reset.pop(path.tunnel, None)  # it rests
        if isinstance(action, actions.TerminateTunnel | actions.InitiateTunnel):
            assert set(being_reset) <= {action.tunnel}
            being_reset[action.tunnel] = now
        if isinstance(action, actions.TerminateTunnel):
            check_not_the_last(world, action.tunnel)

    world.shell.watch = watch
    world.run(2.0)
    for seconds, what, which, variety in happened:
        world.run(seconds)
        happen(world, what, which, variety)
    world.run(30.0)


def check_not_the_last(world: World, dead: TunnelKey) -> None:
    """Another tunnel carries; or none does, this one least of all."""
    paths = {p.tunnel: p for p in world.shell.core.paths()}
    core = world.shell.core
    heard = last_heard(core, dead)
    assert paths[dead].state is PathState.DOWN
    assert heard is None or world.clock.now - heard >= 0.3 - 1e-6
    usable = [p for k, p in paths.items() if k != dead and world.wires[k].here]
    heard_at = [last_heard(core, p.tunnel) for p in usable]
    recent = [at for at in heard_at if at is not None and world.clock.now - at < 0.15]
    assert any(p.state is not PathState.DOWN for p in usable) or not recent


@slow
@given(intents, happenings)
def test_something_is_selected_exactly_while_something_is_installed(
    intent: Intent, happened: list[Happening]
) -> None:
    world = World(intent, seed=5)
    world.initiates = False
    for seconds, what, which, variety in happened:
        world.run(seconds)
        happen(world, what if what != "link" else "fault", which, variety)
    world.shell.stop(0.0)
    world.run(0.02)
    installed = [t.key for t in world.intent.tunnels() if world.wires[t.key].here]
    assert bool(world.shell.group()) == bool(installed)
    assert set(world.shell.group()) <= set(installed)


@slow
@given(
    st.sampled_from([make_intent(own=True), make_intent(own=False), confirmed(make_intent(own=False))]),
    st.integers(0, 2**16),
)
def test_stalls_of_our_own_cause_nothing(intent: Intent, seed: int) -> None:
    world = World(intent, seed=seed)
    world.run(3.0)
    world.shell.log.clear()
    for _ in range(20):
        world.shell.stop(world.random.choice([0.02, 0.11, 0.26, 0.3, 0.33, 0.6, 5.0]))
        world.run(world.random.uniform(0.3, 6.0))
    assert [a for _, a in world.shell.log if not isinstance(a, actions.SendIkePing)] == []


@slow
@given(
    st.sampled_from([make_intent(own=True), make_intent(own=False), confirmed(make_intent(own=True))]),
    st.floats(0.2, 12.0),
    st.floats(0.2, 12.0),
)
def test_flapping_is_bounded(intent: Intent, good: float, bad: float) -> None:
    world = World(intent, seed=11)
    world.run(2.0)
    end = world.clock.now + 240.0
    while world.clock.now < end:
        world.fault("primary", ESP)
        world.run(bad)
        world.fault("primary", frozenset())
        world.run(good)
    log = world.shell.log
    writes = [(at, a.cause) for at, a in log if isinstance(a, actions.WriteGroup)]
    moves = [at for at, _ in writes]
    resets = [at for at, a in log if isinstance(a, actions.TerminateTunnel)]
    reports = [at for at, a in log if isinstance(a, actions.PathChanged)]
    assert len(moves) <= 14
    assert len(resets) <= 20
    assert len(reports) <= 10 + 10 + 2 * 240 / 10 + 4
    for (earlier, _), (later, cause) in pairwise(writes):
        # Two paths may leave their hold-down one right after the other: to a path that was heard for so long.
        # Suspicion is bounded otherwise.
        bounded = cause in (actions.Cause.RECOVERED, actions.Cause.SUSPECTED)
        assert later - earlier >= 0.3 - 1e-6 or bounded
