"""What means something else on the wire than it looks like is said, and nothing of a key is shown."""

import string
from ipaddress import IPv4Interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config

from vpnagent.config.notation import key_notation, notation, sort_of
from vpnagent.config.weaknesses import weaknesses
from vpnagent.secret import Secret

ADDRESS_AND_NAMES = [
    "198.51.100.10", "office.example.com", "office", "gw-1", "CN=gw,O=Example,C=CN",
    "C=CN, O=Example, CN=gw 1",
    "/C=CN/CN=gw", "198.51.100.10.example.com", "3com.example", "0x7f", "emailAddress=a@b.example,CN=gw",
]  # fmt: skip

#: identity -> what charon makes of it (strongSwan 6.0.6, src/libstrongswan/utils/identification.c)
ODD = {
    "@office.example.com": "a name",
    "@@ops@example.com": "a mail address",
    "ops@example.com": "a mail address",
    "@#cafe": "a key id",
    "office:1": "a key id",
    "key=value": "a key id",
    "KEYID:office": "the type keyid",
    "fqdn:office": "the type fqdn",
    "{11}:office": "the type 11",
    "2001:db8::1": "an IPv6 address",
    "198.51.100": "a name",
    "198.51.100.010": "a name",
    "198.51.100.256": "a name",
    "1234": "a name",
    "8.xx.xx.192": "a name",
    "8.XXX.0.192": "a name",
    "office gw": "a name",
}


@pytest.mark.parametrize("identity", ADDRESS_AND_NAMES)
def test_addresses_names_and_subjects_are_what_they_look_like(identity: str) -> None:
    assert sort_of(identity) is None
    config = make_config(primary={"local_id": identity, "remote_id": identity})
    assert [f for f in notation(config) if f.code == "IdentityNotation"] == []


@pytest.mark.parametrize("identity", ODD)
@pytest.mark.parametrize("key", ["local_id", "remote_id"])
def test_an_identity_that_charon_reads_otherwise_is_a_warning(identity: str, key: str) -> None:
    [finding] = notation(make_config(backup={key: identity}))
    assert (finding.code, finding.severity.value) == ("IdentityNotation", "warning")
    assert finding.subject == f"connections[0].tunnels[1].{key}"
    assert ODD[identity] in finding.text
    assert identity not in finding.text + finding.hint


KEYS = {
    '"my-Hush-key"': "is in quotes",
    "'my-Hush-key'": "is in quotes",
    "0sbXktSHVzaC1rZXk=": "begins with 0s",
    "0x6d792d48757368": "begins with 0x",
    "0X6D792D48757368": "begins with 0x",
    "Hush****": "asterisks",
    "*****": "asterisks",
    "Hush" * 25 + "x": "longer than 100 characters",
    "Hush" * 25: None,
    "0sHush!": None,
    "0xHush": None,
    "Hu**sh": None,
    '"Hush': None,
    '"': None,
}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_with_the_notation_of_another_program_is_told_without_it(key: str) -> None:
    expected = KEYS[key]
    found = list(key_notation(Secret(key.encode("latin-1"))))
    assert [finding.code for finding in found] == (["KeyNotation"] if expected else [])
    if expected:
        [of_config] = notation(make_config(primary={"psk": Secret(key.encode("latin-1"))}))
        assert of_config.subject == "connections[0].tunnels[0]"
        assert expected in of_config.text
        assert "Hush" not in of_config.text + of_config.hint
        assert key not in of_config.text + of_config.hint


visible = st.text(string.ascii_letters + string.digits + "!#$%&()+-;<=>?@[]^_{|}~", min_size=12, max_size=100)


@given(visible)
def test_an_ordinary_key_has_nothing_to_be_told_of(key: str) -> None:
    assert key[:2].casefold() in ("0s", "0x") or list(key_notation(Secret(key.encode()))) == []


INSIDE = [
    ("169.254.10.2/30", False),
    ("169.254.7.2/30", False),
    ("169.254.0.6/30", False),
    ("169.254.0.2/30", True),
    ("169.254.6.1/30", True),
    ("169.254.169.254/30", True),
    ("10.255.0.2/30", True),
    ("169.253.255.254/30", True),
]


@pytest.mark.parametrize(("address", "forbidden"), INSIDE)
def test_an_inside_address_that_the_cloud_forbids_is_a_warning(address: str, forbidden: bool) -> None:
    found = list(notation(make_config(primary={"inside_address": IPv4Interface(address)})))
    expected = [("InsideAddressForbidden", "connections[0].tunnels[0].inside_address")]
    assert [(f.code, f.subject) for f in found] == (expected if forbidden else [])


def test_what_is_said_of_notation_is_among_the_weaknesses() -> None:
    changes: dict[str, Any] = {"local_id": "@office", "psk": Secret(b"0x00")}
    codes = {finding.code for finding in weaknesses(make_config(primary=changes))}
    assert {"IdentityNotation", "KeyNotation"} <= codes
