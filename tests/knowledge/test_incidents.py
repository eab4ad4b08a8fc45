"""One fault is one incident: from its first symptom, over flaps, trials and restarts, to recovery."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.incidents import (
    CHARON,
    RECOVERED_AFTER,
    TOGETHER,
    Incidents,
    Sign,
    SymptomKey,
    incidents_in,
    of_tunnel,
    plain,
)

BEGIN = 1_000_000.0
PRIMARY, BACKUP = (of_tunnel(TunnelKey("hangzhou", name)) for name in ("primary", "backup"))
KEYS = (PRIMARY, BACKUP, CHARON)
SIGNS = st.fixed_dictionaries(dict.fromkeys(KEYS, st.sampled_from(Sign)))
#: Looks, each some seconds after the one before, and whether the daemon starts anew between them.
LOOKS = st.lists(st.tuples(st.floats(0.2, 40), SIGNS, st.booleans()), min_size=1, max_size=40)


def of_one(key: SymptomKey, sign: Sign) -> dict[SymptomKey, Sign]:
    return {**dict.fromkeys(KEYS, Sign.FINE), key: sign}


def ids(incidents: Incidents) -> list[str]:
    return [incident.id for incident in incidents.open]


def restarted(incidents: Incidents) -> Incidents:
    return Incidents(incidents_in(json.loads(json.dumps(plain(incidents.open)))))


@given(st.lists(st.tuples(st.floats(0.2, RECOVERED_AFTER - 0.01), st.sampled_from(Sign)), max_size=40))
def test_a_fault_with_flaps_shorter_than_a_recovery_is_one_incident(looks: list[tuple[float, Sign]]) -> None:
    incidents, at = Incidents(), BEGIN
    incidents.update(of_one(PRIMARY, Sign.FAULT), at)
    [first] = incidents.open
    for seconds, sign in looks:
        at += seconds
        incidents.update(of_one(PRIMARY, sign), at)
        at += 0.2
        incidents.update(of_one(PRIMARY, Sign.FAULT), at)
        [same] = incidents.open
        assert (same.id, same.began, same.symptoms[PRIMARY].since) == (first.id, BEGIN, BEGIN)


@given(LOOKS)
def test_a_restart_of_the_daemon_changes_no_incident(
    looks: list[tuple[float, dict[SymptomKey, Sign], bool]],
) -> None:
    steady, often, at = Incidents(), Incidents(), BEGIN
    for seconds, signs, restart in looks:
        at += seconds
        often = restarted(often) if restart else often
        steady.update(signs, at)
        often.update(signs, at)
        assert often.open == steady.open


@given(LOOKS)
def test_each_fault_is_in_exactly_one_incident_and_no_incident_is_without_one(
    looks: list[tuple[float, dict[SymptomKey, Sign], bool]],
) -> None:
    incidents, at = Incidents(), BEGIN
    for seconds, signs, _ in looks:
        at += seconds
        incidents.update(signs, at)
        held = [key for incident in incidents.open for key in incident.symptoms]
        assert len(held) == len(set(held))
        assert {key for key, sign in signs.items() if sign is Sign.FAULT} <= set(held)
        assert all(incident.symptoms for incident in incidents.open)
        assert len(set(ids(incidents))) == len(incidents.open)


@given(LOOKS)
def test_an_incident_that_is_over_never_returns(
    looks: list[tuple[float, dict[SymptomKey, Sign], bool]],
) -> None:
    incidents, at = Incidents(), BEGIN
    seen: list[list[str]] = []
    for seconds, signs, _ in looks:
        at += seconds
        incidents.update(signs, at)
        seen.append(ids(incidents))
    over: set[str] = set()
    for before, now in pairwise(seen):
        over |= set(before) - set(now)
        assert over.isdisjoint(now)


@given(LOOKS)
def test_when_all_is_fine_for_long_enough_nothing_is_left(
    looks: list[tuple[float, dict[SymptomKey, Sign], bool]],
) -> None:
    incidents, at = Incidents(), BEGIN
    for seconds, signs, _ in looks:
        at += seconds
        incidents.update(signs, at)
    fine = dict.fromkeys(KEYS, Sign.FINE)
    incidents.update(fine, at + 1)
    incidents.update(fine, at + 1 + RECOVERED_AFTER)
    assert incidents.open == ()


@given(st.lists(SIGNS, max_size=20))
def test_looking_again_changes_nothing(looks: list[dict[SymptomKey, Sign]]) -> None:
    incidents = Incidents()
    for number, signs in enumerate(looks):
        incidents.update(signs, BEGIN + number)
        before = incidents.open
        assert not incidents.update(signs, BEGIN + number)
        assert incidents.open is before


def test_what_fails_together_is_one_incident_and_what_fails_later_another() -> None:
    incidents = Incidents()
    incidents.update(of_one(PRIMARY, Sign.FAULT), BEGIN)
    both = {**of_one(PRIMARY, Sign.FAULT), BACKUP: Sign.FAULT}
    together = Incidents(incidents.open)
    together.update(both, BEGIN + TOGETHER - 1)
    assert len(together.open) == 1
    incidents.update(both, BEGIN + TOGETHER)
    assert [incident.cause for incident in incidents.open] == [PRIMARY, BACKUP]


def test_what_fails_while_charon_is_gone_is_of_its_incident_whenever_it_fails() -> None:
    incidents = Incidents()
    incidents.update(of_one(CHARON, Sign.FAULT), BEGIN)
    incidents.update(dict.fromkeys(KEYS, Sign.FAULT), BEGIN + 3600)
    [whole] = incidents.open
    assert whole.cause == CHARON
    assert whole.symptoms[PRIMARY].since == BEGIN + 3600


def test_an_incident_goes_on_until_its_last_symptom_has_ended() -> None:
    incidents = Incidents()
    incidents.update({PRIMARY: Sign.FAULT, BACKUP: Sign.FAULT}, BEGIN)
    for at in (BEGIN + 10, BEGIN + 10 + RECOVERED_AFTER):
        incidents.update({PRIMARY: Sign.FINE, BACKUP: Sign.FAULT}, at)
    [whole] = incidents.open
    assert set(whole.symptoms) == {BACKUP}
    assert whole.began == BEGIN


def test_a_clock_that_steps_back_delays_no_recovery() -> None:
    incidents = Incidents()
    incidents.update(of_one(PRIMARY, Sign.FAULT), BEGIN)
    incidents.update(of_one(PRIMARY, Sign.FINE), BEGIN + 1)
    incidents.update(of_one(PRIMARY, Sign.FINE), BEGIN - 86400)
    incidents.update(of_one(PRIMARY, Sign.FINE), BEGIN - 86400 + RECOVERED_AFTER)
    assert incidents.open == ()


def test_a_tunnel_that_is_no_longer_configured_has_no_incident() -> None:
    incidents = Incidents()
    incidents.update({PRIMARY: Sign.FAULT}, BEGIN)
    incidents.update({}, BEGIN + 1)
    assert incidents.open == ()


def finding(code: str, subject: str) -> Finding:
    return Finding(code=code, subject=subject, severity=Severity.WARNING, text="", hint="")


@pytest.mark.parametrize(
    ("code", "subject", "explained"),
    [
        ("TunnelDown", "hangzhou/primary", True),
        ("NoStandby", "hangzhou", True),
        ("PathDown", "hangzhou/primary", True),
        ("TunnelLeftDown", "hangzhou/primary", True),
        ("PathDown", "hangzhou/backup", False),
        ("NoStandby", "shanghai", False),
        ("RouteDiverted", "hangzhou", False),
        ("IkePortTaken", "", False),
    ],
)
def test_only_consequences_are_explained(code: str, subject: str, explained: bool) -> None:
    incidents = Incidents()
    incidents.update(of_one(PRIMARY, Sign.FAULT), BEGIN)
    assert (incidents.explaining(finding(code, subject)) is not None) is explained


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        [1],
        [{"id": "x", "began": 1.0}],
        [{"id": "x", "began": "1", "symptoms": [["a", "b", 1.0, None]]}],
        [{"id": "x", "began": 1.0, "symptoms": [["a", "b", float("nan"), None]]}],
        [{"id": "x", "began": 1e300, "symptoms": [["a", "b", 1.0, None]]}],
        [{"id": 7, "began": 1.0, "symptoms": [["a", "b", 1.0, None]]}],
        [{"id": "x", "began": 1.0, "symptoms": [["a" * 1000, "b", 1.0, None]]}],
    ],
)
def test_a_damaged_file_is_refused_and_never_believed(damaged: object) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        incidents_in(damaged)
