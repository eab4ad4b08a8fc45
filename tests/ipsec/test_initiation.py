import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ipsec.connections import by_name, make_child, make_connection, make_ike, make_ike_sa

from vpnagent.ipsec.actions import STANDBY, CharonConnection, Terminate
from vpnagent.ipsec.initiation import (
    ATTEMPT_TIMEOUT,
    FIRST_DELAY,
    JITTER,
    LONGEST_DELAY,
    NO_ANSWER,
    STABLE_AFTER,
    Initiate,
    Initiation,
    given_up,
)
from vpnagent.ipsec.sa import IkeSa, IkeState

CONNECTION = make_connection()
DESIRED = by_name(CONNECTION)
START = Initiate(CONNECTION.key, "primary")
CONNECTING = make_ike_sa(state=IkeState.CONNECTING, children=())
CARRYING = make_ike_sa()
CHILDLESS = make_ike_sa(children=())
NEGOTIATING = make_ike_sa(children=(), negotiating_child=True)
DELETING = make_ike_sa(state=IkeState.DELETING)
GIVE_UP = Terminate(CONNECTION.name, "1", NO_ANSWER, force=True)


def initiation(jitter: float = 0.0) -> Initiation:
    return Initiation(random=lambda: jitter)


def test_a_tunnel_without_sas_is_initiated_at_once() -> None:
    assert initiation().due(7.0, DESIRED, ()) == [START]


def test_an_established_ike_sa_without_child_is_given_its_child() -> None:
    assert initiation().due(0.0, DESIRED, (CHILDLESS,)) == [START]


@pytest.mark.parametrize(("here", "sa"), [(True, CARRYING), (False, CARRYING), (True, CONNECTING)])
def test_what_the_other_gateway_has_is_ended_and_told_only_in_our_own_name(here: bool, sa: IkeSa) -> None:
    [end] = given_up([sa], {CONNECTION.name: here})
    assert end == Terminate(CONNECTION.name, "1", STANDBY, force=sa.connecting or not here)


def test_nothing_else_is_given_up_and_nothing_twice() -> None:
    assert given_up([CARRYING], {}) == []
    assert given_up([DELETING], {CONNECTION.name: False}) == []


@pytest.mark.parametrize("negotiating", [False, True])
def test_what_is_being_deleted_does_not_keep_the_next_from_starting(negotiating: bool) -> None:
    deleting = make_ike_sa(state=IkeState.DELETING, negotiating_child=negotiating)
    assert initiation().due(0.0, DESIRED, (deleting,)) == [START]


@pytest.mark.parametrize("sa", [CONNECTING, CARRYING, NEGOTIATING])
def test_nothing_is_initiated_beside_what_carries_or_is_on_its_way(sa: IkeSa) -> None:
    assert initiation().due(0.0, DESIRED, (sa,)) == []


def test_every_missing_child_is_initiated() -> None:
    many = make_connection(ike=make_ike(version=1), remote_ts=("100.64.0.0/10", "172.16.0.0/16"))
    first_up = make_ike_sa(children=(make_child("primary"),))
    assert initiation().due(0.0, by_name(many), ()) == [START, Initiate(many.key, "primary.2")]
    assert initiation().due(0.0, by_name(many), (first_up,)) == [Initiate(many.key, "primary.2")]


def test_a_held_connection_is_left_alone_and_then_initiated_at_once() -> None:
    tunnels = initiation()
    assert tunnels.due(0.0, DESIRED, (CONNECTING,), held={CONNECTION.name}) == []
    assert tunnels.deadline() is None
    assert tunnels.due(1.0, DESIRED, ()) == [START]


def test_an_attempt_without_an_answer_is_given_up_and_a_fresh_one_started() -> None:
    tunnels = initiation()
    tunnels.due(0.0, DESIRED, ())
    assert tunnels.due(math.nextafter(ATTEMPT_TIMEOUT, 0), DESIRED, (CONNECTING,)) == []
    assert tunnels.due(ATTEMPT_TIMEOUT, DESIRED, (CONNECTING,)) == [GIVE_UP]
    assert tunnels.due(ATTEMPT_TIMEOUT, DESIRED, ()) == [START]


def test_an_adopted_attempt_has_its_time_from_when_it_was_first_seen() -> None:
    tunnels = initiation()
    assert tunnels.due(100.0, DESIRED, (CONNECTING,)) == []
    assert tunnels.due(110.0, DESIRED, (CONNECTING,)) == []
    assert tunnels.deadline() == 100.0 + ATTEMPT_TIMEOUT
    assert tunnels.due(100.0 + ATTEMPT_TIMEOUT, DESIRED, (CONNECTING,)) == [GIVE_UP]


def test_an_ike_sa_on_which_a_child_gets_no_answer_is_given_up() -> None:
    tunnels = initiation()
    tunnels.due(0.0, DESIRED, (CHILDLESS,))
    assert tunnels.due(ATTEMPT_TIMEOUT, DESIRED, (NEGOTIATING,)) == [GIVE_UP]


def test_an_ike_sa_that_carries_another_child_is_not_given_up() -> None:
    many = make_connection(ike=make_ike(version=1), remote_ts=("100.64.0.0/10", "172.16.0.0/16"))
    one_up = make_ike_sa(children=(make_child("primary"),), negotiating_child=True)
    tunnels = initiation()
    tunnels.due(0.0, by_name(many), (one_up,))
    assert tunnels.due(ATTEMPT_TIMEOUT, by_name(many), (one_up,)) == []


def test_what_lasted_is_initiated_again_at_once_when_it_is_lost() -> None:
    tunnels = initiation()
    tunnels.due(0.0, DESIRED, ())
    tunnels.due(0.1, DESIRED, (CARRYING,))
    assert tunnels.due(0.1 + STABLE_AFTER, DESIRED, ()) == [START]


def test_what_did_not_last_was_a_failed_attempt() -> None:
    """A peer that deletes what it has just accepted must not have us initiate at line rate."""
    tunnels = initiation()
    tunnels.due(0.0, DESIRED, ())
    tunnels.due(0.1, DESIRED, (CARRYING,))
    assert tunnels.due(0.2, DESIRED, ()) == []
    assert tunnels.due(FIRST_DELAY, DESIRED, ()) == [START]


def test_other_settings_are_tried_at_once_whatever_failed_before() -> None:
    tunnels = initiation()
    for failures in range(5):
        tunnels.due(2.0**failures, DESIRED, ())
    assert tunnels.due(17.0, DESIRED, ()) == []
    tunnels.forget(CONNECTION.name)
    assert tunnels.due(17.0, DESIRED, ()) == [START]


def test_a_connection_that_is_no_longer_desired_is_forgotten() -> None:
    tunnels = initiation()
    tunnels.due(0.0, DESIRED, ())
    assert tunnels.due(1.0, {}, ()) == []
    assert tunnels.deadline() is None


# laws


@dataclass
class Peer:
    """A peer that rejects, ignores or accepts each attempt, as it is told; and a clock."""

    answers: list[str]
    jitter: float = 0.0
    now: float = 0.0
    sas: tuple[IkeSa, ...] = ()
    starts: list[float] = field(default_factory=list)
    deletes: bool = True  #: what was accepted is deleted at once

    def drive(
        self, tunnels: Initiation, desired: dict[str, CharonConnection], *, nap: float = math.inf
    ) -> None:
        """Wake at every deadline, and after every nap at the latest, until the answers are used up."""
        while self.answers:
            for action in tunnels.due(self.now, desired, self.sas):
                self._act(action)
            deadline = tunnels.deadline()
            assert deadline is not None or self.sas
            self.now = max(self.now, min(self.now + nap, deadline if deadline is not None else self.now))
            if self.sas and self.sas[0].carrying_children:
                tunnels.due(self.now, desired, self.sas)
                self.sas = ()

    def _act(self, action: Initiate | Terminate) -> None:
        if isinstance(action, Terminate):
            self.sas = ()
            return
        self.starts.append(self.now)
        answer = self.answers.pop(0)
        self.sas = {"reject": (), "ignore": (CONNECTING,), "accept": (CARRYING,)}[answer]


answers = st.lists(st.sampled_from(["reject", "ignore", "accept"]), min_size=2, max_size=12)
jitters = st.floats(0, 1, exclude_max=True)


@given(answers, jitters)
def test_attempts_are_never_closer_than_the_first_delay_nor_farther_than_the_longest(
    told: list[str], jitter: float
) -> None:
    peer = Peer(told)
    peer.drive(initiation(jitter), DESIRED)
    gaps = [b - a for a, b in zip(peer.starts, peer.starts[1:], strict=False)]
    assert all(FIRST_DELAY - 1e-6 <= gap <= LONGEST_DELAY + 1e-6 for gap in gaps)


@given(jitters)
def test_the_delay_doubles_up_to_its_bound(jitter: float) -> None:
    peer = Peer(["reject"] * 12)
    peer.drive(initiation(jitter), DESIRED)
    gaps = [b - a for a, b in zip(peer.starts, peer.starts[1:], strict=False)]
    for n, gap in enumerate(gaps):
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2**n)
        assert max(FIRST_DELAY, (1 - JITTER) * longest) - 1e-6 <= gap <= longest + 1e-6


@given(answers, st.floats(0.3, 5))
def test_waking_early_or_often_changes_nothing(told: list[str], nap: float) -> None:
    patient, restless = Peer(list(told)), Peer(list(told))
    patient.drive(initiation(), DESIRED)
    restless.drive(initiation(), DESIRED, nap=nap)
    assert restless.starts == pytest.approx(patient.starts)


@given(answers)
def test_nothing_is_due_before_the_deadline_and_something_at_the_second_at_latest(told: list[str]) -> None:
    tunnels, now = initiation(), 0.0
    tunnels.due(now, DESIRED, ())
    for answer in told:
        sas = (CONNECTING,) if answer == "ignore" else ()
        actions: list[Initiate | Terminate] = []
        for _ in range(2):
            now = max(now, tunnels.deadline() or now) if not actions else now
            assert actions or tunnels.due(math.nextafter(now, 0), DESIRED, sas) == []
            actions = actions or tunnels.due(now, DESIRED, sas)
        if actions == [GIVE_UP]:
            now = max(now, tunnels.deadline() or now)
            actions = tunnels.due(now, DESIRED, ())
        assert actions == [START]


STATES = [CONNECTING, CARRYING, CHILDLESS, NEGOTIATING, DELETING, None]


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(STATES))))
def test_nothing_is_ever_initiated_beside_what_carries_or_is_on_its_way(
    history: list[tuple[float, IkeSa | None]],
) -> None:
    tunnels, now = initiation(), 0.0
    for gap, sa in history:
        now += gap
        actions = tunnels.due(now, DESIRED, () if sa is None else (sa,))
        if sa in (CONNECTING, CARRYING, NEGOTIATING):
            assert not any(isinstance(action, Initiate) for action in actions)


@given(st.integers(0, 40))
def test_success_starts_the_delay_again(failures: int) -> None:
    peer = Peer(["reject"] * (failures + 1))
    tunnels = initiation()
    peer.drive(tunnels, DESIRED)
    up = peer.now + LONGEST_DELAY
    tunnels.due(up, DESIRED, (CARRYING,))
    assert tunnels.due(up + STABLE_AFTER, DESIRED, ()) == [START]
    tunnels.due(up + STABLE_AFTER, DESIRED, ())
    assert tunnels.deadline() == up + STABLE_AFTER + FIRST_DELAY


def test_each_tunnel_has_its_own_delay() -> None:
    other = make_connection("backup")
    both = by_name(CONNECTION, other)
    tunnels = initiation()
    tunnels.due(0.0, both, ())
    assert tunnels.due(0.5, both, ()) == []
    up = make_ike_sa(other.name, children=(make_child("backup"),))
    assert tunnels.due(FIRST_DELAY, both, (up,)) == [START]
