"""The reasons' hints, against the configuration's own keys and the cloud's own fields."""

import pathlib
import re

import pytest

from vpnagent.config import file_models
from vpnagent.ipsec.failure_reason import IN_TRUTH, Reason

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
