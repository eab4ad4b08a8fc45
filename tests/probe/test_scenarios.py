"""Every lab scenario of the failover, in the simulated world: what happens, what is told, how long it takes.

``pytest -s`` prints the blackouts as multiples of the detection time.
"""

import math
from dataclasses import replace
from itertools import pairwise
from statistics import median

import pytest
from tests.probe.simulation import (
    ALL,
    BACKUP,
    ESP,
    GROUP,
    PRIMARY,
    SECOND,
    SHARED,
    World,
    longest_gap,
    make_connections,
    make_intent,
)

from vpnagent.config.values import Forwarding, OnPathDown, TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe import actions
from vpnagent.probe.actions import Cause
from vpnagent.probe.intent import GroupIntent, Intent, ProbeTarget
from vpnagent.probe.recovery import BRISK, TRIAL

DETECTION = 0.3
TRIALS = 7
IN, OUT = frozenset({"esp-in"}), frozenset({"esp-out"})


def begin(intent: Intent, *, seed: int = 1, ecmp: bool = False, stream: float = 60.0) -> World:
    """Return a world in which everything is up and traffic flows."""
    world = World(intent, seed=seed, ecmp=ecmp)
    world.run(4.0 + world.random.random() * 0.1)
    world.stream(stream)
    world.run(0.2)
    world.shell.log.clear()
    return world


def of(world: World, *kinds: type) -> list[object]:
    return [a for _, a in world.shell.log if isinstance(a, kinds)]


def changes(world: World) -> list[str]:
    """Return the story of the paths: ``primary up>down silent``."""
    return [
        f"{a.tunnel.tunnel} {a.old.value}>{a.new.value} {a.cause.value}"
        for _, a in world.shell.log
        if isinstance(a, actions.PathChanged)
    ]


def resets(world: World) -> list[str]:
    return [a.tunnel.tunnel for _, a in world.shell.log if isinstance(a, actions.TerminateTunnel)]


def moves(world: World) -> list[tuple[tuple[str, ...], tuple[str, ...], Cause]]:
    return [(a.old, a.new, a.cause) for _, a in world.shell.log if isinstance(a, actions.TrafficMoved)]


def states(world: World) -> dict[str, PathState]:
    return {p.tunnel.tunnel: p.state for p in world.shell.core.paths()}


def test_a_tunnel_that_comes_up_second_takes_its_place_and_that_counts_as_the_start() -> None:
    intent = make_intent()
    [connection] = intent.connections
    primary, backup = connection.tunnels
    late = replace(connection, tunnels=(replace(primary, child_sa_installed=False), backup))
    world = World(replace(intent, connections=(late,)))
    world.run(6.0)
    assert moves(world)[-1] == (("backup",), ("primary",), Cause.START)
    world.fault("primary", ESP)
    world.run(1.0)
    assert moves(world)[-1] == (("primary",), ("backup",), Cause.SILENT)


def blackouts(*, own: bool, faults: frozenset[str], delay: float = 0.005) -> tuple[list[float], list[float]]:
    """Return sorted outbound and two-way blackouts in detection times, over fresh worlds; check the blame."""
    outbound, both_ways = [], []
    for seed in range(TRIALS):
        world = World(make_intent(own=own), seed=seed)
        for wire in world.wires.values():
            wire.delay = delay
        world.run(4.0 + world.random.random() * 0.1)
        world.stream(1.0)
        world.run(0.1)
        start = world.clock.now
        world.fault("primary", faults)
        world.run(0.88)
        assert world.shell.group() == [BACKUP]
        assert states(world)["primary"] is PathState.DOWN, seed
        assert states(world)["backup"] is not PathState.DOWN, seed
        outbound.append(longest_gap(world.far, start, start + 0.85) / DETECTION)
        both_ways.append(longest_gap(world.near, start, start + 0.85) / DETECTION)
    return sorted(outbound), sorted(both_ways)


@pytest.mark.parametrize(
    ("own", "faults", "delay", "most"),
    [
        pytest.param(True, ESP, 0.005, (1.15, 1.4), id="ESP dropped, tunnel targets"),
        pytest.param(True, ESP, 0.02, (1.15, 1.4), id="ESP dropped, tunnel targets, 40 ms"),
        pytest.param(False, ESP, 0.005, (1.3, 1.8), id="ESP dropped, shared targets"),
        pytest.param(False, ESP, 0.02, (1.3, 1.8), id="ESP dropped, shared targets, 40 ms"),
        pytest.param(True, IN, 0.005, (1.15, 1.4), id="ESP in dropped, tunnel targets"),
        pytest.param(False, IN, 0.005, (1.3, 1.8), id="ESP in dropped, shared targets"),
        pytest.param(True, OUT, 0.005, (1.15, 1.4), id="ESP out dropped, tunnel targets"),
        pytest.param(False, OUT, 0.005, (1.3, 1.8), id="ESP out dropped, shared targets"),
    ],
)
def test_two_way_blackout(
    own: bool,
    faults: frozenset[str],
    delay: float,
    most: tuple[float, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, both_ways = blackouts(own=own, faults=faults, delay=delay)
    with capsys.disabled():
        print(f" two-way p50 {median(both_ways):.2f}, worst {both_ways[-1]:.2f} of {most} ", end="")
    assert median(both_ways) <= most[0]
    assert both_ways[-1] <= most[1]


@pytest.mark.parametrize("own", [True, False], ids=["tunnel targets", "shared targets"])
def test_outbound_blackout_when_everything_is_dropped(own: bool, capsys: pytest.CaptureFixture[str]) -> None:
    outbound, _ = blackouts(own=own, faults=ALL)
    with capsys.disabled():
        print(f" outbound p50 {median(outbound):.2f}, worst {outbound[-1]:.2f} ", end="")
    assert median(outbound) <= 1.1
    assert outbound[-1] <= 1.3


def test_a_tunnel_that_was_reset_is_left_down_and_tried_at_growing_intervals() -> None:
    world = begin(make_intent(own=False), stream=100.0)
    start = world.clock.now
    world.fault("primary", ESP)
    world.run(90.0)

    trials = [at for at, a in world.shell.log if isinstance(a, actions.InitiateTunnel)]
    rests = [b - a for a, b in zip([start, *trials], trials, strict=False)]
    assert [round(math.log2(rest / 5.0)) for rest in rests] == list(range(len(rests)))
    assert len(trials) == 4
    assert set(moves(world)) == {(("primary",), ("backup",), Cause.RETURN)}
    for trial in trials:  # the cloud goes back to the dead tunnel for one detection time, no longer
        assert longest_gap(world.near, trial - 0.1, trial + 2.0) <= 1.4 * DETECTION + 0.05


def test_a_tunnel_that_dies_during_the_trial_of_another_waits_for_its_reset() -> None:
    world = begin(make_intent(count=3))
    world.negotiation = 3.0
    world.fault("primary", ESP)
    world.run(7.0)
    assert not resets(world)[1:]
    assert world.shell.core.paths()[0].trial
    start = world.clock.now
    world.fault("backup", ESP)
    world.run(8.0)
    story = [
        (a.tunnel.tunnel, at - start) for at, a in world.shell.log if isinstance(a, actions.TerminateTunnel)
    ]
    assert [name for name, _ in story] == ["primary", "primary", "backup"]
    assert story[1][1] < story[2][1] < story[1][1] + 1.2


def test_recovery_is_followed_after_the_hold_down() -> None:
    world = begin(make_intent())
    world.fault("primary", ESP)
    world.run(1.0)
    world.fault("primary", frozenset())
    world.run(12.0)
    assert changes(world) == [
        "primary up>down silent",
        "primary down>hold-down recovered",
        "primary hold-down>up recovered",
    ]
    assert world.shell.group() == [PRIMARY]
    assert [a.tunnel for _, a in world.shell.log if isinstance(a, actions.FirstReply)] == [BACKUP, PRIMARY]


def test_a_dead_underlay_keeps_its_sas_and_says_what_it_waits_for() -> None:
    world = begin(make_intent(own=False))
    world.fault("primary", ALL)
    world.run(5.0)
    assert resets(world) == []
    assert changes(world) == ["primary up>down underlay", "backup up>degraded return"]
    assert world.shell.core.paths()[0].waiting_for_peer
    assert "waiting for the cloud" in world.shell.core.paths()[1].reason

    world.fault("primary", frozenset())  # before the cloud's DPD: the SAs work again at once
    world.run(1.0)
    assert resets(world) == []
    assert states(world) == {"primary": PathState.HOLD_DOWN, "backup": PathState.UP}


def test_an_sa_that_the_cloud_forgot_is_reset_when_ike_is_back() -> None:
    world = begin(make_intent(own=True))
    world.fault("primary", ALL)
    world.run(20.0)  # longer than the cloud's DPD
    assert longest_gap(world.near, world.clock.now - 5, world.clock.now) < 0.05
    assert resets(world) == []
    world.fault("primary", frozenset())
    world.run(15.0)
    assert resets(world) == ["primary"]
    assert states(world) == {"primary": PathState.UP, "backup": PathState.UP}


def test_esp_that_was_native_is_forced_into_udp_at_the_first_trial() -> None:
    world = begin(make_intent(own=False, encapsulated=False))
    world.fault("primary", ESP)
    world.run(12.0)
    initiates = [a for _, a in world.shell.log if isinstance(a, actions.InitiateTunnel)]
    assert [i.force_encapsulation for i in initiates] == [True]
    assert states(world)["primary"] is PathState.UP


def test_a_signal_is_acted_upon_at_once() -> None:
    world = begin(make_intent())
    start = world.clock.now
    world.peer_deletes("primary")
    world.run(1.0)
    assert longest_gap(world.near, start, start + 0.9) <= 0.02
    assert moves(world)[0] == (("primary",), ("backup",), Cause.CHILD_SA)


def test_carrier_loss_is_acted_upon_at_once() -> None:
    world = begin(make_intent())
    now = world.clock.now
    world.shell.tell(lambda core: core.link_changed("vpn-1", usable=False, at=now))
    assert world.shell.group() == [BACKUP]
    assert moves(world) == [(("primary",), ("backup",), Cause.LINK)]
    world.run(2.0)
    world.shell.tell(lambda core: core.link_changed("vpn-1", usable=True, at=now + 2.0))
    world.run(8.0)
    assert world.shell.group() == [PRIMARY]


def test_a_dead_shared_target_moves_and_resets_nothing() -> None:
    world = begin(make_intent(own=False))
    world.cloud.dead_targets = {SHARED}
    world.run(30.0)
    assert (moves(world), resets(world)) == ([], [])
    assert changes(world) == ["primary up>degraded target", "backup up>degraded target"]
    assert {f.code for f in world.shell.core.findings()} == {"ProbeTargetSilent"}
    world.cloud.dead_targets = set()
    world.run(1.0)
    assert set(states(world).values()) == {PathState.UP}
    assert (moves(world), resets(world)) == ([], [])


def test_a_dead_target_in_an_idle_network_has_bounded_and_restored_consequences() -> None:
    world = begin(make_intent(own=False), stream=0.0)
    world.cloud.dead_targets = {SHARED}
    world.run(55.0)
    assert resets(world) == ["primary"]
    assert world.shell.group() == [PRIMARY]
    assert world.wire("primary").here
    world.run(3600.0)
    assert len(resets(world)) <= 8


def test_a_second_target_outvotes_a_dead_one() -> None:
    targets = tuple(ProbeTarget(address=a, inside_peer=False) for a in (SHARED, SECOND))
    world = begin(make_intent(own=False, targets=targets))
    world.cloud.dead_targets = {SHARED}
    world.run(20.0)
    assert changes(world) == []
    assert {p.target for p in world.shell.core.paths()} == {SECOND}


def test_a_full_tunnel_is_not_a_dead_one() -> None:
    world = begin(make_intent(bandwidth=8e6), stream=120.0)
    world.full, world.bandwidth_drop = PRIMARY, 0.6
    world.run(110.0)
    assert (moves(world), resets(world)) == ([], [])
    assert states(world)["primary"] is PathState.DEGRADED
    assert world.shell.core.paths()[0].cause is Cause.CONGESTION


def test_a_lossy_tunnel_is_left_for_a_better_one_and_the_way_back_is_damped() -> None:
    world = begin(make_intent())
    world.wire("primary").loss = 0.2  # each way
    world.run(20.0)
    assert moves(world)[0][:2] == (("primary",), ("backup",))
    assert resets(world) in ([], ["primary"])


def test_when_both_are_dead_they_are_tried_in_turn_and_the_way_out_is_found() -> None:
    world = begin(make_intent(own=False), stream=90.0)
    world.fault("backup", ESP)
    world.run(10.0)
    assert moves(world) == []
    world.fault("primary", ESP)
    world.run(9.0)
    tried = [(a.tunnel.tunnel, at) for at, a in world.shell.log if isinstance(a, actions.InitiateTunnel)]
    assert [name for name, _ in tried[-4:]] in (["backup", "primary"] * 2, ["primary", "backup"] * 2)
    assert all(b[1] - a[1] <= TRIAL + 0.1 for a, b in pairwise(tried[-4:]))
    world.fault("backup", frozenset())
    world.run(TRIAL + 0.5)
    assert world.shell.group() == [BACKUP]
    assert states(world)["backup"] is PathState.HOLD_DOWN


@pytest.mark.parametrize("own", [False, True], ids=["shared target", "tunnel targets"])
@pytest.mark.parametrize("dead_for", [20.0, 150.0, 600.0])
def test_a_standby_that_healed_is_found_when_the_active_tunnel_dies(own: bool, dead_for: float) -> None:
    world = begin(make_intent(own=own), stream=dead_for + 60.0)
    world.fault("backup", ESP)
    world.run(dead_for)
    world.fault("backup", frozenset())
    world.run(1.0)
    start = world.clock.now
    world.fault("primary", ESP)
    world.run(30.0)
    assert longest_gap(world.near, start, world.clock.now) <= TRIAL


def test_a_standby_left_down_is_tried_soon_when_the_peer_ends_the_other_tunnel() -> None:
    world = begin(make_intent(own=True, count=3), stream=0.0)
    world.fault("t3", ESP)
    world.run(300.0)
    world.fault("t3", frozenset())
    world.peer_deletes("backup")
    world.run(6.5)
    assert states(world)["t3"] is not PathState.DOWN


def test_while_everything_is_dead_rounds_without_rest_become_rounds_with_rests_up_to_ten_seconds() -> None:
    world = begin(make_intent(own=False), stream=200.0)
    for name in ("primary", "backup"):
        world.fault(name, ESP)
    world.run(180.0)
    tried = [at - 104.0 for at, a in world.shell.log if isinstance(a, actions.InitiateTunnel)]
    gaps = [(a, b - a) for a, b in pairwise(tried)]
    assert max(gap for at, gap in gaps if 1 < at < BRISK - TRIAL) <= TRIAL + 0.1
    rests = [gap - TRIAL for at, gap in gaps if at > BRISK and gap > TRIAL + 0.5]
    assert rests == pytest.approx([1, 2, 4, 8, *[10] * (len(rests) - 4)], abs=0.2)
    assert len(rests) >= 8


def test_when_all_is_dead_the_last_choice_stays_until_the_last_sa_is_gone() -> None:
    world = begin(make_intent())
    world.initiates = False
    world.fault("primary", ALL)
    world.fault("backup", ALL)
    world.run(5.0)
    assert world.shell.group() == [BACKUP] or world.shell.group() == [PRIMARY]
    for key in (PRIMARY, BACKUP):
        world.wires[key].here = False
        world.change(key, child_sa_installed=False)
    assert GROUP not in world.shell.groups
    assert of(world, actions.DeleteGroup)


def test_drain_and_undrain_move_at_once_and_for_that_reason() -> None:
    world = begin(make_intent())
    world.change(PRIMARY, drained=True)
    assert world.shell.group() == [BACKUP]
    world.change(PRIMARY, drained=False)
    assert world.shell.group() == [PRIMARY]
    assert [m[2] for m in moves(world)] == [Cause.DRAIN, Cause.DRAIN]
    world.run(1.0)
    assert longest_gap(world.near, world.clock.now - 1.1, world.clock.now) <= 0.02


def test_where_resets_are_not_wanted_only_our_direction_moves() -> None:
    world = begin(make_intent(policy=OnPathDown.KEEP))
    world.fault("primary", ESP)
    world.run(30.0)
    assert resets(world) == []
    assert world.shell.group() == [BACKUP]


def test_a_peer_that_never_answers_the_ping_leaves_it_to_the_policy() -> None:
    world = World(make_intent(own=False), seed=1)
    for wire in world.wires.values():
        wire.ike_answers = False
    world.run(4.0)
    world.stream(20.0)
    world.fault("primary", ESP)
    world.run(3.0)
    assert resets(world) == ["primary"]
    assert states(world)["backup"] is PathState.UP


def test_ecmp_of_two_tunnels_loses_only_the_dead_member() -> None:
    world = begin(make_intent(own=True, forwarding=Forwarding.ECMP), ecmp=True)
    assert world.shell.group() == [PRIMARY, BACKUP]
    world.fault("primary", ESP)
    world.run(2.0)
    assert world.shell.group() == [BACKUP]
    world.fault("primary", frozenset())
    world.run(12.0)
    assert world.shell.group() == [PRIMARY, BACKUP]


@pytest.mark.parametrize("own", [True, False])
def test_ecmp_of_sixteen_connections_loses_only_the_dead_one(own: bool) -> None:
    world = begin(make_connections(16, own=own), ecmp=True)
    assert len(world.shell.group()) == 16
    world.fault("c5/only", ESP)
    world.run(2.0)
    gone = TunnelKey("c5", "only")
    assert set(world.wires) - set(world.shell.group()) == {gone}
    assert resets(world) == ["only"]


def test_five_percent_of_loss_and_a_multiplier_of_five_is_no_fault() -> None:
    world = World(make_intent(detect_multiplier=5), seed=3)
    for wire in world.wires.values():
        wire.loss = 0.0254  # each way: 5 % of round trips
    world.run(600.0)
    assert [c for c in changes(world) if ">down" in c] == []


def test_a_restarted_prober_moves_nothing_and_goes_on_with_its_trials() -> None:
    intent = make_intent(own=False, failed_trials=2)
    down = replace(intent.connections[0].tunnels[0], child_sa_installed=False)
    up = replace(intent.connections[0].tunnels[1], failed_trials=None)
    intent = replace(
        intent,
        connections=(replace(intent.connections[0], tunnels=(down, up)),),
        groups=(GroupIntent(id=GROUP, connections=("hangzhou",), members=((up.nexthop_id, 1),)),),
    )
    world = World(intent)
    world.wires[PRIMARY].faults = ESP
    world.run(15.0)
    writes = [a.members for _, a in world.shell.log if isinstance(a, actions.WriteGroup)]
    assert writes == [((up.nexthop_id, 1),)]
    assert not of(world, actions.InitiateTunnel)
    world.run(10.0)
    assert len(of(world, actions.InitiateTunnel)) == 1
    assert resets(world) == ["primary"]
