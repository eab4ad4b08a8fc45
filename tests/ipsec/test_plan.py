import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_charon import FakeCharon
from tests.ipsec.connections import (
    by_name,
    make_child,
    make_connection,
    make_esp,
    make_ike,
    make_ike_sa,
    make_state,
)

from vpnagent.config.values import TunnelKey
from vpnagent.ipsec import messages
from vpnagent.ipsec.actions import (
    DUPLICATE,
    OUTDATED,
    UNCONFIGURED,
    CharonAction,
    CharonConnection,
    LoadConnection,
    LoadSecret,
    Renew,
    Terminate,
    TerminateChild,
    UnloadConnection,
    UnloadSecret,
    Vacate,
)
from vpnagent.ipsec.plan import DUPLICATE_AGE, CarriedTraffic, LoadedConnections, plan
from vpnagent.ipsec.sa import CharonState, IkeSa, IkeState
from vpnagent.secret import Secret

PRIMARY, BACKUP = make_connection("primary"), make_connection("backup", if_id=2)
BOTH = by_name(PRIMARY, BACKUP)
NOTHING = make_state()


def digest(connection: CharonConnection) -> str:
    return messages.digest(connection, key=b"of this process")


def loaded(*connections: CharonConnection) -> LoadedConnections:
    return LoadedConnections(digests={c.name: digest(c) for c in connections})


def state_with(*sas: IkeSa, of: dict[str, CharonConnection] = BOTH) -> CharonState:
    return make_state(*sas, connections=of, secrets=of)


def planned(
    desired: dict[str, CharonConnection],
    state: CharonState,
    remembered: LoadedConnections,
    *,
    traffic: CarriedTraffic = CarriedTraffic(),  # noqa: B008 - frozen
    prune: bool = True,
) -> list[CharonAction]:
    return plan(desired, state, remembered, digest=digest, traffic=traffic, prune=prune)


def sa_of(connection: CharonConnection, unique_id: str = "1", **changes: object) -> IkeSa:
    child = make_child(connection.key.tunnel, if_id=connection.if_id)
    return make_ike_sa(connection.name, **{"unique_id": unique_id, "children": (child,)} | changes)


# loading


def test_at_first_everything_is_loaded_secret_first() -> None:
    assert planned(BOTH, NOTHING, LoadedConnections()) == [
        LoadSecret(PRIMARY),
        LoadConnection(PRIMARY),
        LoadSecret(BACKUP),
        LoadConnection(BACKUP),
    ]


def test_what_an_earlier_process_loaded_is_loaded_once_more() -> None:
    assert len(planned(BOTH, state_with(), LoadedConnections())) == 4


def test_what_is_loaded_is_left_alone() -> None:
    assert planned(BOTH, state_with(), loaded(PRIMARY, BACKUP)) == []


def test_what_somebody_else_unloaded_is_loaded_again() -> None:
    without = make_state(connections={BACKUP.name}, secrets=BOTH)
    assert planned(BOTH, without, loaded(PRIMARY, BACKUP)) == [LoadConnection(PRIMARY)]
    without = make_state(connections=BOTH, secrets={PRIMARY.name})
    assert planned(BOTH, without, loaded(PRIMARY, BACKUP)) == [LoadSecret(BACKUP)]


def test_a_connection_with_certificates_has_no_secret() -> None:
    connection = make_connection(psk=None)
    state = make_state(secrets={connection.name})
    assert planned(by_name(connection), state, LoadedConnections()) == [
        UnloadSecret(connection.name),
        LoadConnection(connection),
    ]


@pytest.mark.parametrize(
    "changed",
    [replace(PRIMARY, psk=Secret(b"new")), replace(PRIMARY, esp=make_esp(pfs_group=14))],
    ids=["key", "proposal"],
)
def test_what_changed_is_loaded_again(changed: CharonConnection) -> None:
    actions = planned({**BOTH, PRIMARY.name: changed}, state_with(), loaded(PRIMARY, BACKUP))
    assert actions == [LoadSecret(changed), LoadConnection(changed)]


def test_a_key_that_becomes_the_pairs_is_loaded_anew_and_no_sa_is_touched() -> None:
    pair = replace(PRIMARY, psk_by_pair=True)
    before = replace(loaded(PRIMARY, BACKUP), connections=BOTH)
    assert planned({**BOTH, PRIMARY.name: pair}, state_with(), before) == [LoadSecret(pair)]
    after = before.after(LoadSecret(pair), digest)
    assert planned({**BOTH, PRIMARY.name: pair}, state_with(), after) == []
    assert not after.outdated


# pruning


def test_what_is_no_longer_desired_is_unloaded_before_anything_is_loaded_and_then_terminated() -> None:
    state = make_state(sa_of(BACKUP), connections={BACKUP.name}, secrets={BACKUP.name})
    assert planned(by_name(PRIMARY), state, LoadedConnections()) == [
        UnloadConnection(BACKUP.name),
        UnloadSecret(BACKUP.name),
        LoadSecret(PRIMARY),
        LoadConnection(PRIMARY),
        Terminate(BACKUP.name, "1", UNCONFIGURED),
    ]


def test_nothing_is_removed_before_pruning_is_allowed() -> None:
    assert planned({}, state_with(sa_of(PRIMARY)), LoadedConnections(), prune=False) == []


def test_an_attempt_of_an_unconfigured_connection_has_nobody_to_tell() -> None:
    state = make_state(sa_of(BACKUP, state=IkeState.CONNECTING, children=()))
    assert planned({}, state, LoadedConnections()) == [Terminate(BACKUP.name, "1", UNCONFIGURED, force=True)]


def test_what_is_being_deleted_is_not_terminated_again() -> None:
    assert planned({}, make_state(sa_of(BACKUP, state=IkeState.DELETING)), LoadedConnections()) == []


names = st.sampled_from([PRIMARY.name, BACKUP.name, "vpnagent.old.gone", "vpnagents", "home", "a.vpnagent.b"])
ike_sas = st.builds(
    lambda name, number, state, age: make_ike_sa(
        name, unique_id=str(number), state=state, established_for=age
    ),
    names,
    st.integers(1, 99),
    st.sampled_from(IkeState),
    st.floats(0, 100),
)
states = st.builds(
    lambda sas, connections, secrets: make_state(*sas, connections=connections, secrets=secrets),
    st.lists(ike_sas, max_size=5, unique_by=lambda sa: sa.unique_id),
    st.frozensets(names),
    st.frozensets(names),
)
subsets = st.sampled_from([{}, by_name(PRIMARY), by_name(BACKUP), BOTH])
memories = st.sampled_from([LoadedConnections(), loaded(PRIMARY), loaded(PRIMARY, BACKUP)])


def touched(action: CharonAction) -> str:
    match action:
        case LoadSecret(connection) | LoadConnection(connection):
            return connection.name
        case UnloadConnection(name) | UnloadSecret(name):
            return name
        case Terminate() | TerminateChild() | Renew() | Vacate():
            return action.connection


@given(subsets, states, memories, st.booleans())
def test_only_what_bears_our_prefix_is_ever_touched(
    desired: dict[str, CharonConnection], state: CharonState, remembered: LoadedConnections, prune: bool
) -> None:
    actions = planned(desired, state, remembered, prune=prune)
    assert all(touched(action).startswith("vpnagent.") for action in actions)


@given(subsets, states, memories, st.booleans())
def test_no_sa_is_terminated_twice(
    desired: dict[str, CharonConnection], state: CharonState, remembered: LoadedConnections, prune: bool
) -> None:
    actions = planned(desired, state, remembered, prune=prune)
    ids = [action.ike_sa for action in actions if isinstance(action, Terminate)]
    assert len(ids) == len(set(ids))


@given(subsets, states, memories)
def test_without_pruning_no_tunnel_loses_its_last_sa_but_to_its_own_new_settings(
    desired: dict[str, CharonConnection], state: CharonState, remembered: LoadedConnections
) -> None:
    actions = planned(desired, state, remembered, prune=False)
    gone = {a.ike_sa for a in actions if isinstance(a, Terminate) and a.reason == DUPLICATE}
    for name in {sa.connection for sa in state.sas if sa.unique_id in gone}:
        assert any(
            sa.carrying_children for sa in state.sas if sa.connection == name and sa.unique_id not in gone
        )


# duplicates


def test_of_two_ike_sas_that_carry_the_same_the_older_goes() -> None:
    state = state_with(sa_of(PRIMARY, "7", established_for=60.0), sa_of(PRIMARY, "8", established_for=9.0))
    assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == [Terminate(PRIMARY.name, "7", DUPLICATE)]


def test_of_two_of_the_same_second_the_one_with_the_higher_id_is_newer() -> None:
    state = state_with(sa_of(PRIMARY, "10"), sa_of(PRIMARY, "9"))
    assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == [Terminate(PRIMARY.name, "9", DUPLICATE)]


def test_a_fresh_one_is_no_duplicate_yet() -> None:
    state = state_with(sa_of(PRIMARY, "7"), sa_of(PRIMARY, "8", established_for=DUPLICATE_AGE - 1))
    assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == []


def test_one_duplicate_goes_at_a_time() -> None:
    state = state_with(*(sa_of(PRIMARY, str(n)) for n in range(1, 5)))
    assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == [Terminate(PRIMARY.name, "1", DUPLICATE)]


def test_an_ike_sa_that_carries_nothing_is_no_duplicate() -> None:
    state = state_with(sa_of(PRIMARY, "1"), sa_of(PRIMARY, "2", children=()))
    assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == []


def test_an_ike_sa_that_carries_what_no_newer_one_does_stays() -> None:
    both = (make_child("primary"), make_child("primary.2"))
    state = state_with(sa_of(PRIMARY, "1", children=both), sa_of(PRIMARY, "2"))
    assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == []


def test_of_ikev1_only_the_older_child_goes_wherever_it_is() -> None:
    older, newer = make_child(unique_id="9"), make_child(unique_id="10")
    apart = state_with(
        sa_of(PRIMARY, "1", version=1, children=(newer,)), sa_of(PRIMARY, "2", version=1, children=(older,))
    )
    together = state_with(sa_of(PRIMARY, version=1, children=(older, newer)))
    for state in (apart, together):
        expected = [TerminateChild(PRIMARY.name, "9", DUPLICATE)]
        assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == expected


def test_of_ikev1_a_child_for_each_pair_of_selectors_stays() -> None:
    pairs = (make_child("primary", unique_id="1"), make_child("primary.2", unique_id="2"))
    state = state_with(sa_of(PRIMARY, version=1, children=pairs))
    assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == []


def test_of_ikev1_a_child_that_has_just_been_replaced_is_no_duplicate() -> None:
    pair = (make_child(unique_id="9"), make_child(unique_id="10", installed_for=DUPLICATE_AGE - 1))
    state = state_with(sa_of(PRIMARY, version=1, children=pair))
    assert planned(BOTH, state, loaded(PRIMARY, BACKUP)) == []


def test_the_sas_of_two_tunnels_are_no_duplicates() -> None:
    assert planned(BOTH, state_with(sa_of(PRIMARY, "1"), sa_of(BACKUP, "2")), loaded(PRIMARY, BACKUP)) == []


# renegotiation

NEW = {c.name: replace(c, ike=make_ike(encryption="aes256")) for c in (PRIMARY, BACKUP)}
UP = frozenset({PRIMARY.key, BACKUP.key})


def traffic(usable: frozenset[TunnelKey], forwarding: TunnelKey = PRIMARY.key) -> CarriedTraffic:
    return CarriedTraffic(
        usable=usable,
        forwarding={forwarding},
        alternatives={PRIMARY.key: {BACKUP.key}, BACKUP.key: {PRIMARY.key}},
    )


def outdated(**changes: object) -> LoadedConnections:
    fields: dict[str, object] = {"outdated": frozenset(NEW)}
    return replace(loaded(*NEW.values()), **fields | changes)  # type: ignore[arg-type]


UP_STATE = state_with(sa_of(PRIMARY, "1"), sa_of(BACKUP, "2"))


def test_the_standby_is_renegotiated_first() -> None:
    actions = planned(NEW, UP_STATE, outdated(), traffic=traffic(UP))
    assert actions == [Terminate(BACKUP.name, "2", OUTDATED)]


def test_the_active_waits_until_the_standby_is_back() -> None:
    waiting = outdated(outdated=frozenset({PRIMARY.name}), renegotiating=frozenset({BACKUP.name}))
    alone = state_with(sa_of(PRIMARY, "1"))
    assert planned(NEW, alone, waiting, traffic=traffic(frozenset({PRIMARY.key}))) == []
    back = state_with(sa_of(PRIMARY, "1"), sa_of(BACKUP, "3"))
    assert planned(NEW, back, waiting, traffic=traffic(UP)) == [Vacate(PRIMARY.key)]


def test_one_tunnel_is_renegotiated_at_a_time_though_a_third_could_carry() -> None:
    third = make_connection("third", if_id=3)
    among_three = CarriedTraffic(
        usable={PRIMARY.key, third.key}, forwarding=UP, alternatives={PRIMARY.key: {BACKUP.key, third.key}}
    )
    under_way = outdated(outdated=frozenset({PRIMARY.name}), renegotiating=frozenset({BACKUP.name}))
    state = state_with(sa_of(PRIMARY, "1"))
    assert planned(NEW, state, under_way, traffic=among_three) == []
    assert len(planned(NEW, state, replace(under_way, renegotiating=frozenset()), traffic=among_three)) == 1


def test_the_last_tunnel_that_can_carry_is_not_renegotiated() -> None:
    alone = state_with(sa_of(PRIMARY, "1"))
    assert planned(NEW, alone, outdated(), traffic=traffic(frozenset({PRIMARY.key}))) == []


def test_a_tunnel_that_carries_nothing_has_nothing_to_lose() -> None:
    actions = planned(NEW, UP_STATE, outdated(), traffic=traffic(frozenset()))
    assert [touched(action) for action in actions] == [BACKUP.name]


def test_a_tunnel_without_alternatives_is_renegotiated_at_once() -> None:
    actions = planned(NEW, UP_STATE, outdated(), traffic=CarriedTraffic(usable=UP, forwarding=UP))
    assert actions == [Terminate(PRIMARY.name, "1", OUTDATED)]


def test_sas_that_feed_another_interface_are_outdated_though_this_process_loaded_nothing() -> None:
    moved = {**BOTH, BACKUP.name: replace(BACKUP, if_id=7)}
    actions = planned(moved, UP_STATE, loaded(*moved.values()), traffic=traffic(UP))
    assert actions == [Terminate(BACKUP.name, "2", OUTDATED)]


def test_an_outdated_duplicate_is_terminated_once() -> None:
    moved = {**BOTH, PRIMARY.name: replace(PRIMARY, if_id=7)}
    state = state_with(sa_of(PRIMARY, "1"), sa_of(PRIMARY, "2"))
    actions = planned(moved, state, loaded(*moved.values()))
    assert actions == [Terminate(PRIMARY.name, "1", OUTDATED), Terminate(PRIMARY.name, "2", OUTDATED)]


# what is remembered


def test_the_first_load_outdates_nothing() -> None:
    after = LoadedConnections().after(LoadConnection(PRIMARY), digest)
    assert (after.digests, after.outdated) == (loaded(PRIMARY).digests, frozenset())


def test_a_changed_load_outdates() -> None:
    changed = NEW[PRIMARY.name]
    assert loaded(PRIMARY).after(LoadConnection(changed), digest).outdated == {PRIMARY.name}


def test_outdated_ends_with_the_sas() -> None:
    assert outdated().observed(state_with(sa_of(PRIMARY))).outdated == {PRIMARY.name}
    assert outdated().observed(state_with(sa_of(PRIMARY, state=IkeState.DELETING))).outdated == frozenset()


def test_renegotiating_begins_with_the_termination_and_ends_with_a_new_child() -> None:
    begun = outdated().after(Terminate(BACKUP.name, "2", OUTDATED), digest)
    assert (set(begun.outdated), set(begun.renegotiating)) == ({PRIMARY.name}, {BACKUP.name})
    assert begun.observed(state_with(sa_of(BACKUP, state=IkeState.DELETING))).renegotiating == {BACKUP.name}
    assert begun.observed(state_with(sa_of(BACKUP, "3"))).renegotiating == frozenset()


def test_what_is_unloaded_is_forgotten() -> None:
    forgotten = outdated().after(UnloadConnection(PRIMARY.name), digest)
    assert forgotten == replace(loaded(NEW[BACKUP.name]), outdated=frozenset({BACKUP.name}))


# with a charon


async def reconcile(
    charon: FakeCharon,
    desired: dict[str, CharonConnection],
    remembered: LoadedConnections,
    *,
    now: CarriedTraffic,
) -> LoadedConnections:
    """Apply plans until there is nothing left to do; initiate what is down, as the daemon would."""
    for _ in range(10):
        state = await charon.observe()
        remembered = remembered.observed(state)
        actions = planned(desired, state, remembered, traffic=now)
        for action in actions:
            await charon.apply(action)
            remembered = remembered.after(action, digest)
        up = {sa.connection for sa in (await charon.observe()).sas if sa.carrying_children}
        for name in desired.keys() - up:
            await charon.initiate(desired[name].key)
        charon.advance(DUPLICATE_AGE)
        if not actions and desired.keys() <= up:
            return remembered
    raise AssertionError("the plan does not come to an end")


EVERY = (PRIMARY, BACKUP, *NEW.values(), make_connection("third", if_id=3))
configurations = st.lists(st.sampled_from(EVERY), max_size=4).map(lambda chosen: by_name(*chosen))


@given(st.lists(configurations, min_size=1, max_size=4), st.booleans())
def test_any_walk_over_configurations_ends_as_desired_and_leaves_foreign_things_alone(
    walk: list[dict[str, CharonConnection]], restart: bool
) -> None:
    async def scenario() -> None:
        charon = FakeCharon()
        await charon.connect()
        charon.load_foreign("home")
        remembered = LoadedConnections()
        for desired in walk:
            now = traffic(UP)
            remembered = await reconcile(
                charon, desired, LoadedConnections() if restart else remembered, now=now
            )
            connections, secrets, _ = charon.everything()
            assert connections == secrets == desired.keys() | {"home"}
            assert {sa.connection for sa in (await charon.observe()).sas} == desired.keys()

    asyncio.run(scenario())


def test_duplicates_of_both_ends_come_down_to_one() -> None:
    async def scenario() -> set[str]:
        charon = FakeCharon()
        await charon.connect()
        remembered = await reconcile(charon, by_name(PRIMARY), LoadedConnections(), now=CarriedTraffic())
        newest = [charon.establish(PRIMARY.key, anew=True) for _ in range(3)][-1]
        charon.advance(DUPLICATE_AGE)
        await reconcile(charon, by_name(PRIMARY), remembered, now=CarriedTraffic())
        return charon.everything()[2] ^ {newest}

    assert asyncio.run(scenario()) == set()
