"""The reasons' hints, against the configuration's own keys and the cloud's own fields."""

import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.config import file_models
from vpnagent.ipsec.failure_reason import IN_TRUTH, Reason, mismatch

REPOSITORY = pathlib.Path(__file__).parent.parent.parent
PAGE = (REPOSITORY / "docs/negotiation.md").read_text()
KEYS = {
    "ike": file_models.IkeSection.model_fields,
    "esp": file_models.EspSection.model_fields,
    "gateway": file_models.GatewaySection.model_fields,
}
FLAT = file_models.TunnelSection.model_fields.keys() | file_models.ConnectionSection.model_fields.keys()
#: of DescribeVpnConnection, its IkeConfig and IpsecConfig, and the customer gateway
FIELDS = {
    *("IkeConfig", "IkeVersion", "IkeMode", "IkeEncAlg", "IkeAuthAlg", "IkePfs", "IkeLifetime"),
    *("IpsecConfig", "IpsecEncAlg", "IpsecAuthAlg", "IpsecPfs", "IpsecLifetime"),
    *("Psk", "LocalId", "RemoteId", "LocalSubnet", "RemoteSubnet", "InternetIp", "IpAddress"),
}
HINTS = sorted({hint for reason in Reason for hint in (reason.hint, reason.phase2_hint)})


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_is_one_line_and_names_only_keys_that_exist(hint: str) -> None:
    assert "\n" not in hint
    for section, key in re.findall(r"\b(ike|esp|gateway)\.(\w+)", hint):
        assert key in KEYS[section]
    for key in re.findall(r"(?<![.\w])[a-z]+(?:_[a-z]+)+", hint):
        assert key in FLAT


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_names_only_fields_that_the_clouds_documents_have(hint: str) -> None:
    assert set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b|\bPsk\b", hint)) <= FIELDS


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_on_the_page_for_operators(reason: Reason) -> None:
    assert f"`{reason.value}`" in PAGE


def test_what_a_reason_may_be_in_truth_is_another_one() -> None:
    assert all(reason not in truths for reason, truths in IN_TRUTH.items())


OURS_IKE = "IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024"
OURS_ESP = "ESP:AES_CBC_128/HMAC_SHA1_96/MODP_1024/NO_EXT_SEQ"
GCM = "IKE:AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048"


@pytest.mark.parametrize(
    ("received", "configured", "reason"),
    [
        ("IKE:3DES_CBC/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024", OURS_IKE, Reason.ENCRYPTION_MISMATCH),
        ("IKE:AES_CBC_128/HMAC_MD5_96/PRF_HMAC_MD5/MODP_1024", OURS_IKE, Reason.AUTHENTICATION_MISMATCH),
        ("IKE:NULL/MODP_768, " + OURS_IKE.replace("1024", "2048"), OURS_IKE, Reason.DH_GROUP_MISMATCH),
        (GCM.replace("SHA2_256", "SHA2_384"), GCM, Reason.AUTHENTICATION_MISMATCH),
        ("ESP:AES_GCM_16_128/NO_EXT_SEQ", OURS_ESP, Reason.ENCRYPTION_MISMATCH),
        ("ESP:AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ", OURS_ESP, Reason.PFS_MISMATCH),
        ("ESP:AES_CBC_256/HMAC_SHA1_96/NO_EXT_SEQ", OURS_ESP, Reason.ENCRYPTION_MISMATCH),
        ("ESP:AES_CBC_256/HMAC_MD5_96/NO_EXT_SEQ", OURS_ESP, Reason.ALGORITHM_MISMATCH),
        ("AH:HMAC_SHA1_96/NO_EXT_SEQ", OURS_ESP, Reason.SECURITY_PROTOCOL_MISMATCH),
        (OURS_ESP.replace("NO_EXT_SEQ", "EXT_SEQ"), OURS_ESP, Reason.PROPOSAL_MISMATCH),
        (OURS_IKE, OURS_IKE, Reason.PROPOSAL_MISMATCH),
    ],
)
def test_the_nearest_proposal_tells_what_differs(received: str, configured: str, reason: Reason) -> None:
    assert mismatch(received, configured)[0] is reason


def test_the_text_has_what_differs_and_nothing_else() -> None:
    received = OURS_IKE.replace("MODP_1024", "MODP_2048")
    assert mismatch(received, OURS_IKE)[1] == "received MODP_2048, configured MODP_1024"


@given(st.text(), st.text())
def test_no_proposal_is_an_error(received: str, configured: str) -> None:
    assert mismatch(received, configured)[0] in Reason
