"""Make before break: new SAs are negotiated beside those with other settings, which go when the new stand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ipsec.connections import make_child, make_connection, make_ike, make_ike_sa, make_state

from vpnagent.config.values import CertificateFiles
from vpnagent.ipsec.actions import (
    OUTDATED,
    REPLACED,
    CharonAction,
    CharonConnection,
    LoadConnection,
    Renew,
    Terminate,
    TerminateChild,
    UnloadSecret,
    Vacate,
)
from vpnagent.ipsec.plan import CarriedTraffic, LoadedConnections, plan, without_superseded
from vpnagent.ipsec.sa import CharonState, ChildSa, IkeSa
from vpnagent.secret import Secret

PRIMARY, BACKUP = make_connection("primary"), make_connection("backup", if_id=2)
KEYS = frozenset({PRIMARY.key, BACKUP.key})


def digest(connection: CharonConnection) -> str:
    return repr(replace(connection, psk=None)) + str(hash(connection.psk))


def aes256(connection: CharonConnection) -> CharonConnection:
    return replace(connection, ike=make_ike(encryption="aes256"))


def child(connection: CharonConnection, unique_id: str) -> ChildSa:
    return make_child(name=connection.key.tunnel, unique_id=unique_id, if_id=connection.if_id)


def sa(connection: CharonConnection, unique_id: str, *children: str) -> IkeSa:
    return make_ike_sa(
        connection.name,
        unique_id=unique_id,
        children=tuple(child(connection, each) for each in children),
    )


def state(*sas: IkeSa) -> CharonState:
    names = {PRIMARY.name, BACKUP.name}
    return make_state(*sas, connections=names, secrets=names)


def changed(new: CharonConnection, old: CharonConnection = PRIMARY) -> LoadedConnections:
    """What is remembered when a connection was loaded, and loaded again with other settings."""
    return LoadedConnections().after(LoadConnection(old), digest).after(LoadConnection(new), digest)


def planned(
    loaded: LoadedConnections,
    now: CharonState,
    *wanted: CharonConnection,
    traffic: CarriedTraffic | None = None,
) -> list[CharonAction]:
    desired = {each.name: each for each in (PRIMARY, BACKUP, *wanted)}
    loaded = replace(loaded, digests={name: digest(each) for name, each in desired.items()})
    return plan(desired, now, loaded, digest=digest, traffic=traffic or CarriedTraffic(), prune=True)


def test_a_changed_proposal_is_negotiated_beside_what_stands() -> None:
    new = aes256(PRIMARY)
    assert planned(changed(new), state(sa(PRIMARY, "1", "11")), new) == [
        Renew(PRIMARY.name, frozenset({"11"}))
    ]


def test_initiation_sees_a_tunnel_whose_sas_are_to_be_replaced_as_one_without() -> None:
    loaded = changed(aes256(PRIMARY)).after(Renew(PRIMARY.name, frozenset({"11"})), digest)
    [seen] = without_superseded([sa(PRIMARY, "1", "11", "12")], loaded)
    assert [each.unique_id for each in seen.children] == ["12"]


def test_nothing_ends_while_the_peer_refuses() -> None:
    new = aes256(PRIMARY)
    loaded = changed(new).after(Renew(PRIMARY.name, frozenset({"11"})), digest)
    assert planned(loaded, state(sa(PRIMARY, "1", "11")), new) == []


def test_the_old_ike_sa_ends_when_a_new_one_carries() -> None:
    new = aes256(PRIMARY)
    loaded = changed(new).after(Renew(PRIMARY.name, frozenset({"11"})), digest)
    now = state(sa(PRIMARY, "1", "11"), sa(PRIMARY, "2", "22"))
    assert planned(loaded, now, new) == [Terminate(PRIMARY.name, "1", REPLACED)]
    assert loaded.observed(state(sa(PRIMARY, "2", "22"))).superseded == {}


def test_only_the_old_child_ends_where_the_new_one_shares_its_ike_sa() -> None:
    new = aes256(PRIMARY)
    loaded = changed(new).after(Renew(PRIMARY.name, frozenset({"11"})), digest)
    now = state(sa(PRIMARY, "1", "11", "12"))
    assert planned(loaded, now, new) == [TerminateChild(PRIMARY.name, "11", REPLACED)]


@pytest.mark.parametrize(
    "changes",
    [
        {"psk": Secret(b"another")},
        {"psk": None, "certificates": CertificateFiles(certificate="c", private_key="k", ca="a")},
        {"if_id": 7},
        {"ike": make_ike(version=1)},
    ],
    ids=str,
)
def test_where_charon_would_use_the_old_ike_sa_again_it_is_terminated_first(
    changes: dict[str, object],
) -> None:
    new = replace(PRIMARY, **changes)  # type: ignore[arg-type]
    actions = planned(changed(new), state(sa(PRIMARY, "1", "11")), new)
    assert [type(action) for action in actions if not isinstance(action, UnloadSecret)] == [Terminate]


def test_a_change_on_top_of_one_that_could_not_be_renewed_cannot_either() -> None:
    key = replace(PRIMARY, psk=Secret(b"another"))
    loaded = changed(key).after(LoadConnection(aes256(key)), digest)
    assert loaded.outdated == {PRIMARY.name}
    assert not loaded.renewable


def test_the_active_waits_until_the_standby_is_renewed() -> None:
    news = aes256(PRIMARY), aes256(BACKUP)
    loaded = LoadedConnections()
    for each in (PRIMARY, BACKUP, *news):
        loaded = loaded.after(LoadConnection(each), digest)
    traffic = CarriedTraffic(
        usable=KEYS,
        forwarding={PRIMARY.key},
        alternatives={PRIMARY.key: {BACKUP.key}, BACKUP.key: {PRIMARY.key}},
    )
    now = state(sa(PRIMARY, "1", "11"), sa(BACKUP, "2", "22"))
    [first] = planned(loaded, now, *news, traffic=traffic)
    assert first == Renew(BACKUP.name, frozenset({"22"}))
    loaded = loaded.after(first, digest)
    assert planned(loaded, now, *news, traffic=traffic) == []
    now = state(sa(PRIMARY, "1", "11"), sa(BACKUP, "3", "33"))
    assert planned(loaded, now, *news, traffic=traffic) == [Renew(PRIMARY.name, frozenset({"11"}))]


OTHER_KEY = replace(PRIMARY, psk=Secret(b"another"))
BOTH_USABLE = CarriedTraffic(
    usable=KEYS,
    forwarding={PRIMARY.key},
    alternatives={PRIMARY.key: {BACKUP.key}, BACKUP.key: {PRIMARY.key}},
)


def test_traffic_is_moved_off_before_a_tunnel_is_taken_down() -> None:
    loaded, now = changed(OTHER_KEY), state(sa(PRIMARY, "1", "11"), sa(BACKUP, "2", "22"))
    [vacate] = planned(loaded, now, OTHER_KEY, traffic=BOTH_USABLE)
    assert vacate == Vacate(PRIMARY.key)
    loaded = loaded.after(vacate, digest).observed(now)
    assert planned(loaded, now, OTHER_KEY, traffic=BOTH_USABLE) == []
    moved = replace(BOTH_USABLE, forwarding={BACKUP.key})
    assert planned(loaded, now, OTHER_KEY, traffic=moved) == [Terminate(PRIMARY.name, "1", OUTDATED)]


def test_a_tunnel_is_not_taken_down_while_it_is_the_only_one_that_can_carry() -> None:
    loaded = changed(OTHER_KEY).after(Vacate(PRIMARY.key), digest)
    alone = replace(BOTH_USABLE, usable={PRIMARY.key})
    assert planned(loaded, state(sa(PRIMARY, "1", "11")), OTHER_KEY, traffic=alone) == []


def test_traffic_may_return_when_the_new_sa_stands() -> None:
    loaded = changed(OTHER_KEY).after(Vacate(PRIMARY.key), digest)
    loaded = loaded.after(Terminate(PRIMARY.name, "1", OUTDATED), digest)
    assert loaded.observed(state()).vacating == {PRIMARY.key}
    assert loaded.observed(state(sa(PRIMARY, "3", "33"))).vacating == frozenset()


@given(st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_what_ends_is_old_and_a_new_one_stands(old: set[int], standing: set[int]) -> None:
    new = aes256(PRIMARY)
    loaded = changed(new).after(Renew(PRIMARY.name, frozenset(map(str, old))), digest)
    sas = [sa(PRIMARY, str(100 + each), str(each)) for each in sorted(standing)]
    ending = {
        action.ike_sa
        for action in planned(loaded, state(*sas), new)
        if isinstance(action, Terminate) and action.reason == REPLACED
    }
    assert ending == ({str(100 + each) for each in standing & old} if standing - old else set())
