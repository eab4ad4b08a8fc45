"""The border of the core: what the shell may rely on."""

import errno
from collections.abc import Callable
from dataclasses import replace
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.probe.simulation import BACKUP, GROUP, PRIMARY, SHARED, make_intent, next_trial

from vpnagent.config.values import TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe import actions
from vpnagent.probe.core import Core
from vpnagent.probe.detector import COVER, JITTER
from vpnagent.probe.intent import ProbeTarget
from vpnagent.probe.prober import SLACK

NOBODY = TunnelKey("nobody", "nothing")
INTENT = make_intent()
TARGETS = {t.key: t.targets[0].address for t in INTENT.tunnels()}
IDS = {t.key: t.nexthop_id for t in INTENT.tunnels()}


def begin(intent: object = INTENT) -> Core:
    assert isinstance(intent, type(INTENT))
    return Core(intent, now=10.0, random=lambda: 0.5)


def drive(
    core: Core,
    until: float,
    *,
    answering: tuple[TunnelKey, ...] = (PRIMARY, BACKUP),
    enough: Callable[[list[actions.ProberAction]], bool] = lambda _: False,
) -> list[actions.ProberAction]:
    """Do what a shell does, with peers that answer within 10 ms, until then or enough; return it."""
    done: list[actions.ProberAction] = []
    replies: list[tuple[float, TunnelKey, int]] = []
    while True:
        deadline = core.deadline()
        due = min([inf if deadline is None else deadline, *(reply[0] for reply in replies)])
        if due > until or enough(done):
            return done
        while replies and replies[0][0] <= due:
            at, tunnel, sequence = replies.pop(0)
            core.probe_answered(tunnel, TARGETS[tunnel], sequence, heard_on=tunnel, at=at)
        for action in core.advance(due):
            done.append(action)
            if isinstance(action, actions.SendProbe):
                core.probe_sent(action.tunnel, action.sequence, at=due)
                if action.tunnel in answering:
                    replies.append((due + 0.01, action.tunnel, action.sequence))


def test_the_first_advance_writes_every_group_once() -> None:
    core = begin()
    [write] = [a for a in core.advance(10.0) if isinstance(a, actions.WriteGroup)]
    assert (write.group_id, write.members, write.cause) == (GROUP, ((IDS[PRIMARY], 1),), actions.Cause.START)
    assert not [a for a in drive(core, 12.0) if isinstance(a, actions.WriteGroup | actions.TrafficMoved)]
    assert core.groups() == {GROUP: ((IDS[PRIMARY], 1),)}
    assert core.selected() == {"hangzhou": ("primary",)}


def test_a_new_core_keeps_what_the_kernel_has() -> None:
    groups = (replace(INTENT.groups[0], members=((IDS[BACKUP], 1),)),)
    core = begin(replace(INTENT, groups=groups))
    core.advance(10.0)
    assert core.groups() == {GROUP: ((IDS[BACKUP], 1),)}


def test_answers_are_waited_for_only_while_a_path_is_in_doubt() -> None:
    core = begin()
    assert core.awaits_replies()  # nothing was heard yet
    drive(core, 11.0)
    assert not core.awaits_replies()
    drive(core, 11.2, answering=(PRIMARY,))
    assert core.awaits_replies()  # a probe was missed
    drive(core, 11.4)
    assert not core.awaits_replies()
    drive(core, 12.4, answering=(PRIMARY,))
    drive(core, 13.4)
    assert core.awaits_replies()  # heard again, and to prove itself
    drive(core, 20.0)
    assert not core.awaits_replies()


def test_a_stale_intent_is_refused_and_changes_nothing() -> None:
    core = begin(replace(INTENT, generation=5))
    drive(core, 11.0)
    for generation in (4, 5):
        with pytest.raises(ValueError, match=f"generation must exceed 5: {generation}"):
            core.replace_intent(replace(make_intent(drained=True), generation=generation), now=11.0)
    assert not [a for a in core.advance(11.0) if not isinstance(a, actions.SendProbe)]


def test_writes_come_first_and_what_is_told_comes_last() -> None:
    core = begin()
    drive(core, 11.5)
    done = drive(core, 11.85, answering=(BACKUP,))
    asked = actions.SendProbe | actions.ReadTraffic | actions.SendIkePing
    kinds = [type(a) for a in done if not isinstance(a, asked)]
    assert kinds[:3] == [actions.WriteGroup, actions.PathChanged, actions.TrafficMoved]


def looks(done: list[actions.ProberAction]) -> int:
    """Return how often the counters of the primary were asked for before the first change."""
    verdict = next((n for n, a in enumerate(done) if isinstance(a, actions.PathChanged)), len(done))
    return [a.tunnel for a in done[:verdict] if isinstance(a, actions.ReadTraffic)].count(PRIMARY)


def test_the_counters_are_asked_for_before_a_verdict() -> None:
    core = begin()
    drive(core, 12.0)
    assert looks(drive(core, 13.0, answering=(BACKUP,))) == 2  # at the first miss and just before


def test_the_counters_of_a_silence_that_ended_are_no_evidence_against_the_next() -> None:
    """The reply to the last probe of a detection time arrives just when it is over: as often as not."""
    core = begin()
    drive(core, 12.0)
    done = drive(core, 13.0, answering=(BACKUP,), enough=lambda done: looks(done) == 2)
    last = [a for a in done if isinstance(a, actions.SendProbe) and a.tunnel == PRIMARY][-1]
    core.probe_answered(PRIMARY, last.target.address, last.sequence, heard_on=PRIMARY, at=12.35)
    done = drive(core, 14.0, answering=(BACKUP,))
    assert looks(done) == 2
    assert any(isinstance(a, actions.PathChanged) for a in done)


def test_probes_that_could_not_be_sent_prove_nothing() -> None:
    core = begin()
    drive(core, 12.0)
    now = 12.0
    while now < 15.0:
        for action in core.advance(now):
            if isinstance(action, actions.SendProbe):
                core.probe_failed(action.tunnel, action.sequence, errno.ENOBUFS, at=now)
            assert not isinstance(action, actions.WriteGroup | actions.TerminateTunnel)
        now = max(now + 0.001, core.deadline() or 0.0)
    assert {p.state for p in core.paths()} == {PathState.UNPROBED}
    assert {f.code for f in core.findings()} == {"PathUnprobed"}


def test_a_receive_overflow_of_ours_gives_whom_it_concerns_a_new_chance() -> None:
    core = begin()
    drive(core, 12.0)
    drive(core, 12.2, answering=())
    core.overflowed([PRIMARY, NOBODY], at=12.2)
    drive(core, 12.45, answering=())
    assert [p.state for p in core.paths()] == [PathState.UP, PathState.DOWN]


def test_overflows_that_do_not_end_hold_a_verdict_back_once() -> None:
    core = begin()
    drive(core, 12.0)
    for step in range(1, 10):
        drive(core, 12.0 + step / 10, answering=())
        core.overflowed([PRIMARY, BACKUP], at=12.0 + step / 10)
    assert PathState.DOWN in {p.state for p in core.paths()}


def test_replies_that_are_nobodys_are_ignored() -> None:
    core = begin()
    probe = next(a for a in core.advance(10.0) if isinstance(a, actions.SendProbe))
    core.probe_answered(probe.tunnel, TARGETS[PRIMARY], probe.sequence, heard_on=None, at=10.0)  # never sent
    core.probe_sent(probe.tunnel, probe.sequence, at=10.0)
    core.probe_answered(probe.tunnel, SHARED, probe.sequence, heard_on=None, at=10.01)  # another's address
    core.probe_answered(probe.tunnel, TARGETS[PRIMARY], probe.sequence + 7, heard_on=None, at=10.01)
    core.probe_answered(NOBODY, SHARED, 0, heard_on=None, at=10.01)
    assert sum(p.answered for p in core.paths()) == 0
    core.probe_answered(probe.tunnel, probe.target.address, probe.sequence, heard_on=None, at=10.01)
    core.probe_answered(probe.tunnel, probe.target.address, probe.sequence, heard_on=None, at=10.02)  # twice
    assert sum(p.answered for p in core.paths()) == 1


def test_facts_about_tunnels_that_are_gone_are_ignored() -> None:
    core = begin()
    core.probe_sent(NOBODY, 0, at=10.0)
    core.probe_failed(NOBODY, 0, errno.ENODEV, at=10.0)
    core.ike_ping_answered(NOBODY, at=10.0)
    core.terminated(NOBODY, at=10.0)
    core.initiated(NOBODY, at=10.0)
    core.link_changed("lo", usable=False, at=10.0)
    core.traffic(NOBODY, rx_packets=1, rx_bytes=1, tx_packets=1, tx_bytes=1, at=10.0)
    assert len(core.paths()) == 2


def test_an_interface_that_was_lost_is_forgotten_with_the_last_tunnel_that_leaves_by_it() -> None:
    """A peer is routed elsewhere while its uplink has no address, and nobody tells that it has one again."""
    core = begin()
    drive(core, 12.0)
    core.link_changed("eth0", usable=False, at=12.0)
    assert {p.state for p in core.paths()} == {PathState.DOWN}
    core.replace_intent(replace(make_intent(outer_interface="eth1"), generation=2), now=12.1)
    core.replace_intent(replace(INTENT, generation=3), now=15.0)
    drive(core, 25.0)
    assert {p.state for p in core.paths()} == {PathState.UP}


def test_an_intent_that_repeats_itself_is_no_news_of_a_tunnel_that_was_reset_since() -> None:
    core = begin()
    drive(core, 11.5)
    done = drive(core, 12.0, answering=(BACKUP,))
    assert any(isinstance(a, actions.TerminateTunnel) for a in done)
    core.terminated(PRIMARY, at=12.01)
    core.replace_intent(replace(INTENT, generation=2), now=12.02)  # made before, and late
    done = drive(core, 13.0)
    assert {a.tunnel for a in done if isinstance(a, actions.SendProbe)} == {BACKUP}
    assert next_trial(core, PRIMARY) is not None


def test_a_tunnel_that_stays_keeps_its_history_under_a_new_intent() -> None:
    core = begin()
    drive(core, 12.0)
    before, since = core.paths()[0], core._scheduler.paths[PRIMARY].detector.since
    probed_otherwise = make_intent(interval=0.05)
    core.replace_intent(replace(probed_otherwise, generation=2), now=12.0)
    after = core.paths()[0]
    assert (after.state, after.sent) == (before.state, before.sent)
    assert core._scheduler.paths[PRIMARY].detector.since == since
    drive(core, 13.0)
    assert {p.state for p in core.paths()} == {PathState.UP}
    assert 18 <= core.paths()[0].sent - before.sent <= 22


def test_a_tunnel_that_is_gone_is_neither_probed_nor_used() -> None:
    core = begin()
    drive(core, 12.0)
    [connection] = INTENT.connections
    smaller = replace(connection, tunnels=connection.tunnels[1:])
    core.replace_intent(replace(INTENT, generation=2, connections=(smaller,)), now=12.0)
    done = drive(core, 12.5)
    assert {a.tunnel for a in done if isinstance(a, actions.SendProbe)} == {BACKUP}
    assert core.groups() == {GROUP: ((IDS[BACKUP], 1),)}


def test_a_tunnel_without_child_sa_is_not_probed_and_an_empty_group_is_deleted() -> None:
    core = begin(make_intent(child_sa_installed=False))
    done = drive(core, 12.0)
    assert [type(a) for a in done] == [actions.DeleteGroup]
    assert core.deadline() is None
    core.replace_intent(replace(INTENT, generation=2), now=12.0)
    assert core.deadline() is not None
    assert [a.members for a in core.advance(12.0) if isinstance(a, actions.WriteGroup)] == [
        ((IDS[PRIMARY], 1),)
    ]


def sent_together(core: Core, late: float = 0.0) -> int:
    """Return the most probes that left in one of the next wake-ups, each so much after its time."""
    wakes = [core.advance((core.deadline() or 0.0) + late) for _ in range(200)]
    return max(len([a for a in done if isinstance(a, actions.SendProbe)]) for done in wakes)


def test_probes_of_many_tunnels_do_not_leave_in_bursts() -> None:
    core = begin(make_intent(count=20))
    assert sent_together(core) <= 2
    core.advance(60.0)  # a stall
    assert sent_together(core) <= 2


def test_a_probe_covers_the_time_to_the_next_however_late_that_is() -> None:
    assert abs(1 + 2 * JITTER + SLACK - COVER) < 1e-9


@given(st.integers())
def test_wake_ups_that_wait_for_the_next_send_a_tenth_of_all_probes_at_most(seed: int) -> None:
    intent = make_intent(count=40)
    core = Core(intent, now=10.0, random=Random(seed).random)
    assert sent_together(core, SLACK * intent.tunnels()[0].interval) <= 40 / 10 + 1


def test_an_own_target_is_preferred_and_a_shared_one_outvotes_it() -> None:
    inside = INTENT.tunnels()[0].targets[0]
    shared = ProbeTarget(address=SHARED, inside_peer=False)
    core = begin(make_intent(targets=(inside, shared)))
    assert core.paths()[0].target == inside.address


def test_reports_of_a_flapping_tunnel_are_bounded() -> None:
    core = begin(make_intent(hold_down=0.0))
    now, told, suppressed = 10.0, 0, 0
    for generation in range(2, 402):
        now += 0.1
        installed = generation % 2 == 0
        flapping = make_intent(hold_down=0.0, child_sa_installed=installed)
        core.replace_intent(replace(flapping, generation=generation), now=now)
        for action in drive(core, now + 0.05):
            if isinstance(action, actions.TrafficMoved):
                told += 1
                suppressed += action.suppressed
    assert told <= 10 + 80 / 10 + 1
    assert suppressed > 100
