import json
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ipsec.negotiation_failures import TOLD

from vpnagent.ipsec.failure_reason import ABSENCES, Reason
from vpnagent.ipsec.negotiation_failure import REMEMBERED, Diagnosis, NegotiationFailed
from vpnagent.ipsec.sa import LogLine

RECORDED = json.loads(
    (pathlib.Path(__file__).parent.parent / "data/vici/negotiation_failures.json").read_text()
)
OURS = "vpnagent.hangzhou.primary"
INITIATOR, RESPONDER = "10.77.0.1", "10.77.0.2"


def diagnosis(remote: str = RESPONDER, version: int = 2) -> Diagnosis:
    told = Diagnosis()
    told.expect(OURS, remote, version)
    return told


def line(text: str, connection: str | None = OURS, ike_sa: str | None = "1") -> LogLine:
    return LogLine(connection=connection, ike_sa=ike_sa, text=text)


def reasons(told: Diagnosis, lines: list[dict[str, Any]]) -> list[Reason]:
    heard = (told.heard(LogLine(**fields)) for fields in lines)
    return [failed.reason for failed in heard if failed]


def version_of(scenario: str, role: str) -> int:
    """Return the version of IKE that this end has configured."""
    version = 2 if scenario.startswith("ikev2-") else 1
    other = role == "responder" and scenario.endswith("-responder-with-other-version")
    return 3 - version if other else version


def test_every_recorded_failure_has_its_reasons() -> None:
    assert TOLD.keys() == RECORDED.keys()


@pytest.mark.parametrize("scenario", RECORDED)
@pytest.mark.parametrize(("role", "peer"), [("initiator", RESPONDER), ("responder", INITIATOR)])
def test_a_recorded_failure_is_told(scenario: str, role: str, peer: str) -> None:
    told = diagnosis(peer, version_of(scenario, role))
    reasons(told, RECORDED[scenario][f"{role}-before"])
    expected = TOLD[scenario][role == "responder"]
    heard = reasons(told, RECORDED[scenario][role])
    assert [reason for reason in heard if reason is expected or reason not in ABSENCES] == (
        [expected] * heard.count(expected) if expected else []
    )
    assert expected is None or expected in heard


@pytest.mark.parametrize("scenario", RECORDED)
def test_failures_of_foreign_connections_are_not_ours(scenario: str) -> None:
    told = Diagnosis()
    told.expect("vpnagent.other.tunnel", "203.0.113.7", 2)
    assert [reasons(told, lines) for lines in RECORDED[scenario].values()] == [[]] * len(RECORDED[scenario])


def test_what_was_forgotten_is_not_ours() -> None:
    told = diagnosis()
    told.forget(OURS)
    assert told.heard(line("received AUTHENTICATION_FAILED notify error")) is None


def test_a_failure_names_the_connection_and_quotes_charon() -> None:
    text = "received TS_UNACCEPTABLE notify, no CHILD_SA built"
    assert diagnosis().heard(line(text)) == NegotiationFailed(
        connection=OURS,
        reason=Reason.TRAFFIC_SELECTOR_MISMATCH,
        text=text,
        hint=Reason.TRAFFIC_SELECTOR_MISMATCH.hint,
    )


def test_of_two_connections_with_one_peer_a_nameless_line_blames_neither() -> None:
    told = diagnosis(INITIATOR)
    told.expect("vpnagent.hangzhou.backup", INITIATOR, 2)
    assert reasons(told, RECORDED["ikev2-ike-encryption"]["responder"]) == []


def test_a_lost_packet_of_an_established_ike_sa_is_no_failure() -> None:
    told = diagnosis()
    told.heard(line(f"IKE_SA {OURS}[1] established between 10.77.0.1[10.77.0.1]...10.77.0.2[10.77.0.2]"))
    assert told.heard(line("retransmit 1 of request with message ID 0")) is None


def test_an_established_ike_sa_that_charon_gives_up_has_timed_out() -> None:
    told = diagnosis()
    told.heard(line(f"IKE_SA {OURS}[1] established between 10.77.0.1[10.77.0.1]...10.77.0.2[10.77.0.2]"))
    failed = told.heard(line("giving up after 5 retransmits"))
    assert failed is not None
    assert failed.reason is Reason.DPD_TIMEOUT


BEGUN = f"initiating IKE_SA {OURS}[1] to 10.77.0.2"
STANDS = f"IKE_SA {OURS}[1] established between 10.77.0.1[10.77.0.1]...10.77.0.2[10.77.0.2]"
UNANSWERED = "retransmit 1 of request with message ID {}"
REFUSED = "received NO_PROPOSAL_CHOSEN notify error"


def told_of(*texts: str, version: int = 2) -> list[Reason]:
    told = diagnosis(version=version)
    return [failed.reason for failed in (told.heard(line(text)) for text in texts) if failed]


def test_silence_after_the_first_answer_is_told_apart() -> None:
    """UDP 4500 may be closed where 500 is open: IKE_AUTH, message 1, gets no answer."""
    answered = "parsed IKE_SA_INIT response 0 [ SA KE No ]"
    assert told_of(BEGUN, UNANSWERED.format(0)) == [Reason.NO_RESPONSE]
    assert told_of(BEGUN, answered, UNANSWERED.format(1)) == [Reason.PHASE1_TIMEOUT]


def test_an_answer_after_silence_is_told_too() -> None:
    parsed = "parsed IKE_SA_INIT response 0 [ N(NO_PROP) ]"
    assert told_of(BEGUN, UNANSWERED.format(0), parsed, REFUSED) == [
        Reason.NO_RESPONSE,
        Reason.PROPOSAL_MISMATCH,
    ]


def test_an_attempt_that_charon_repeats_by_itself_is_told_again() -> None:
    assert told_of(BEGUN, UNANSWERED.format(0), BEGUN, REFUSED) == [
        Reason.NO_RESPONSE,
        Reason.PROPOSAL_MISMATCH,
    ]


def test_an_ike_sa_that_came_late_may_fail_at_its_child() -> None:
    refused = "received TS_UNACCEPTABLE notify, no CHILD_SA built"
    assert told_of(BEGUN, UNANSWERED.format(0), STANDS, refused) == [
        Reason.NO_RESPONSE,
        Reason.TRAFFIC_SELECTOR_MISMATCH,
    ]


def test_the_successor_of_an_ike_sa_is_known_to_stand() -> None:
    told = diagnosis()
    for text in (STANDS, f"initiating IKE_SA {OURS}[2] to 10.77.0.2"):
        told.heard(line(text))
    told.heard(line(f"IKE_SA {OURS}[2] rekeyed between 10.77.0.1[10.77.0.1]...10.77.0.2[10.77.0.2]"))
    assert told.heard(line(UNANSWERED.format(0), ike_sa="2")) is None
    failed = told.heard(line("giving up after 5 retransmits", ike_sa="2"))
    assert failed is not None
    assert failed.reason is Reason.DPD_TIMEOUT


def test_the_answer_to_our_own_deletion_is_none_of_the_peer() -> None:
    deletion = "received DELETE for ESP CHILD_SA with SPI af8f0fee"
    assert told_of(STANDS, "parsed INFORMATIONAL response 0 [ D ]", deletion) == []
    assert told_of(STANDS, "parsed INFORMATIONAL request 0 [ D ]", deletion) == [Reason.RECEIVE_DELETE]


@pytest.mark.parametrize("notify", ["TEMPORARY_FAILURE", "CHILD_SA_NOT_FOUND"])
def test_rekeyings_that_collide_are_no_failure(notify: str) -> None:
    assert told_of(STANDS, f"received {notify} notify, no CHILD_SA built") == []


def test_a_notify_of_which_nothing_is_known_is_told_in_charons_words() -> None:
    assert told_of(BEGUN, "received INVALID_SYNTAX notify error") == [Reason.NEGOTIATION_FAILED]


@pytest.mark.parametrize(
    ("texts", "key", "field"),
    [
        ((BEGUN, REFUSED), "ike.encryption", "IkeEncAlg"),
        (
            (
                STANDS,
                "generating IKE_AUTH request 1 [ IDi AUTH SA TSi TSr ]",
                "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built",
            ),
            "esp.encryption",
            "IpsecEncAlg",
        ),
        (
            (
                f"received proposals: {'IKE:AES_CBC_128/MODP_1024'}",
                "configured proposals: IKE:AES_CBC_256/MODP_1024",
            ),
            "ike.encryption",
            "IkeEncAlg",
        ),
        (
            (
                f"received proposals: {'ESP:AES_CBC_128/NO_EXT_SEQ'}",
                "configured proposals: ESP:AES_CBC_256/NO_EXT_SEQ",
            ),
            "esp.encryption",
            "IpsecEncAlg",
        ),
    ],
    ids=["ike-initiator", "esp-initiator", "ike-responder", "esp-responder"],
)
def test_the_hint_names_the_key_and_the_field_of_the_phase(
    texts: tuple[str, ...], key: str, field: str
) -> None:
    told = diagnosis()
    *_, failed = (told.heard(line(text)) for text in texts)
    assert failed is not None
    assert f"{key}" in failed.hint
    assert field in failed.hint


def test_each_failed_attempt_at_a_child_counts() -> None:
    told = diagnosis()
    told.heard(line(f"IKE_SA {OURS}[1] established between 10.77.0.1[10.77.0.1]...10.77.0.2[10.77.0.2]"))
    text = "received TS_UNACCEPTABLE notify, no CHILD_SA built"
    assert told.heard(line(text)) == told.heard(line(text)) is not None


def test_a_scanner_cannot_make_us_forget_or_remember_more_than_a_bound() -> None:
    told = diagnosis(INITIATOR)
    for number in range(3 * REMEMBERED):
        told.heard(line(f"198.51.100.{number % 256} is initiating an IKE_SA", None, str(number)))
    assert len(told._ike_sas) == REMEMBERED


@given(st.lists(st.builds(line, st.text(), st.sampled_from([None, OURS]), st.sampled_from([None, "1", "2"]))))
def test_no_log_line_is_an_error(lines: list[LogLine]) -> None:
    told = diagnosis()
    for said in lines:
        told.heard(said)


SAID = sorted({fields["text"] for roles in RECORDED.values() for lines in roles.values() for fields in lines})


@given(
    st.lists(st.builds(line, st.sampled_from(SAID), st.just(OURS), st.sampled_from(["1", "2"])), max_size=60)
)
def test_what_was_told_is_not_told_again_before_something_new_begins(lines: list[LogLine]) -> None:
    told = diagnosis()
    for said in lines:
        failed = told.heard(said)
        stands = told._ike_sas[said.ike_sa or ""].established
        if failed is not None and not stands and failed.reason is not Reason.RECEIVE_DELETE:
            assert told.heard(said) is None
