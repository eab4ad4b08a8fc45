import json
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.ipsec.events import LogLine
from vpnagent.ipsec.negotiation_failure import REMEMBERED, Diagnosis, NegotiationFailed, Reason, mismatch

RECORDED = json.loads(
    (pathlib.Path(__file__).parent.parent / "data/vici/negotiation_failures.json").read_text()
)
OURS = "vpnagent.hangzhou.primary"
INITIATOR, RESPONDER = "10.77.0.1", "10.77.0.2"

#: What each end makes of each failure; None: that end cannot know.
TOLD: dict[str, tuple[Reason | None, Reason | None]] = {
    "psk": (Reason.PSK_MISMATCH, Reason.PSK_MISMATCH),
    "ike-encryption": (Reason.PROPOSAL_MISMATCH, Reason.ENCRYPTION_MISMATCH),
    "ike-integrity": (Reason.PROPOSAL_MISMATCH, Reason.AUTHENTICATION_MISMATCH),
    "ike-dh-group": (Reason.PROPOSAL_MISMATCH, Reason.DH_GROUP_MISMATCH),
    "ike-all": (Reason.PROPOSAL_MISMATCH, Reason.PROPOSAL_MISMATCH),
    "esp-encryption": (Reason.PROPOSAL_MISMATCH, Reason.ENCRYPTION_MISMATCH),
    "traffic-selectors": (Reason.TRAFFIC_SELECTOR_MISMATCH, Reason.TRAFFIC_SELECTOR_MISMATCH),
    "responder-expects-another-id": (Reason.PSK_MISMATCH, Reason.PEER_ID_MISMATCH),
    "responder-has-another-id": (Reason.PSK_MISMATCH, Reason.PEER_ID_MISMATCH),
    "responder-without-connection": (Reason.PROPOSAL_MISMATCH, Reason.PEER_MISMATCH),
    "ike-version": (Reason.PROPOSAL_MISMATCH, Reason.PEER_MISMATCH),
    "ikev1-psk": (Reason.PSK_MISMATCH, Reason.PSK_MISMATCH),
    "ikev1-ike-encryption": (Reason.PROPOSAL_MISMATCH, Reason.ENCRYPTION_MISMATCH),
    "ikev1-pfs-group": (Reason.PROPOSAL_MISMATCH, Reason.PFS_MISMATCH),
    "ikev1-traffic-selectors": (Reason.TRAFFIC_SELECTOR_MISMATCH, Reason.TRAFFIC_SELECTOR_MISMATCH),
    "ikev1-responder-expects-another-id": (Reason.PSK_MISMATCH, Reason.PEER_ID_MISMATCH),
    "ikev1-responder-has-another-id": (Reason.PEER_ID_MISMATCH, None),
    "ikev1-mode": (Reason.PSK_MISMATCH, Reason.MODE_MISMATCH),
    "ikev1-aggressive-refused": (Reason.PSK_MISMATCH, Reason.MODE_MISMATCH),
    "pfs-group-at-rekey": (Reason.PFS_MISMATCH, Reason.PFS_MISMATCH),
    "no-answer": (Reason.NO_RESPONSE, None),
}


def diagnosis(remote: str = RESPONDER) -> Diagnosis:
    told = Diagnosis()
    told.expect(OURS, remote)
    return told


def line(text: str, connection: str | None = OURS, ike_sa: str | None = "1") -> LogLine:
    return LogLine(connection=connection, ike_sa=ike_sa, text=text)


def reasons(told: Diagnosis, lines: list[dict[str, Any]]) -> list[Reason]:
    heard = (told.heard(LogLine(**fields)) for fields in lines)
    return [failed.reason for failed in heard if failed]


def test_every_recorded_failure_has_its_reasons_here() -> None:
    assert TOLD.keys() == RECORDED.keys()


@pytest.mark.parametrize("scenario", RECORDED)
def test_a_failure_is_told_once_at_each_end(scenario: str) -> None:
    initiator, responder = TOLD[scenario]
    lines = RECORDED[scenario]
    assert reasons(diagnosis(RESPONDER), lines["initiator"]) == [initiator] * (initiator is not None)
    assert reasons(diagnosis(INITIATOR), lines.get("responder", [])) == [responder] * (responder is not None)


@pytest.mark.parametrize("scenario", RECORDED)
def test_failures_of_foreign_connections_are_not_ours(scenario: str) -> None:
    told = Diagnosis()
    told.expect("vpnagent.other.tunnel", "203.0.113.7")
    assert [reasons(told, lines) for lines in RECORDED[scenario].values()] == [[]] * len(RECORDED[scenario])


def test_what_was_forgotten_is_not_ours() -> None:
    told = diagnosis()
    told.forget(OURS)
    assert told.heard(line("received AUTHENTICATION_FAILED notify error")) is None


def test_a_failure_names_the_connection_and_quotes_charon() -> None:
    text = "received TS_UNACCEPTABLE notify, no CHILD_SA built"
    assert diagnosis().heard(line(text)) == NegotiationFailed(
        connection=OURS, reason=Reason.TRAFFIC_SELECTOR_MISMATCH, text=text
    )


def test_of_two_connections_with_one_peer_a_nameless_line_blames_neither() -> None:
    told = diagnosis(INITIATOR)
    told.expect("vpnagent.hangzhou.backup", INITIATOR)
    assert reasons(told, RECORDED["ike-encryption"]["responder"]) == []


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


def test_silence_after_the_first_answer_is_silence() -> None:
    """UDP 4500 may be closed where 500 is open: IKE_AUTH, message 1, gets no answer."""
    told = diagnosis()
    told.heard(line(f"initiating IKE_SA {OURS}[1] to 10.77.0.2"))
    failed = told.heard(line("retransmit 1 of request with message ID 1"))
    assert failed is not None
    assert failed.reason is Reason.NO_RESPONSE


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


OURS_IKE = "IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024"
OURS_ESP = "ESP:AES_CBC_128/HMAC_SHA1_96/MODP_1024/NO_EXT_SEQ"


@pytest.mark.parametrize(
    ("received", "configured", "reason"),
    [
        ("IKE:3DES_CBC/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024", OURS_IKE, Reason.ENCRYPTION_MISMATCH),
        ("IKE:AES_CBC_128/HMAC_MD5_96/PRF_HMAC_MD5/MODP_1024", OURS_IKE, Reason.AUTHENTICATION_MISMATCH),
        ("IKE:NULL/MODP_768, " + OURS_IKE.replace("1024", "2048"), OURS_IKE, Reason.DH_GROUP_MISMATCH),
        ("ESP:AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ", OURS_ESP, Reason.PFS_MISMATCH),
        ("ESP:AES_CBC_256/HMAC_SHA1_96/NO_EXT_SEQ", OURS_ESP, Reason.ENCRYPTION_MISMATCH),
        ("", OURS_IKE, Reason.PROPOSAL_MISMATCH),
    ],
)
def test_the_nearest_proposal_tells_what_differs(received: str, configured: str, reason: Reason) -> None:
    assert mismatch(received, configured) is reason


def test_reasons_are_the_clouds_codes_and_every_hint_is_one_line() -> None:
    assert Reason.PSK_MISMATCH.value == "PskMismatch"
    assert all(reason.hint and "\n" not in reason.hint for reason in Reason)


@given(st.lists(st.builds(line, st.text(), st.sampled_from([None, OURS]), st.sampled_from([None, "1", "2"]))))
def test_no_log_line_is_an_error(lines: list[LogLine]) -> None:
    told = diagnosis()
    for said in lines:
        told.heard(said)


@given(st.text(), st.text())
def test_no_proposal_is_an_error(received: str, configured: str) -> None:
    assert mismatch(received, configured) in Reason
