"""What looks like a secret is hidden, and what does not stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import EXAMPLE_YAML

from vpnagent.commands.support_bundle.veil import is_telling, named_secrets, shown, veiled, veiled_data
from vpnagent.config.schema import keys

#: iproute2 6.1, `ip xfrm state`; keys made up.
XFRM_STATE = """\
src 192.0.2.2 dst 203.0.113.1
\tproto esp spi 0xc1a2b3c4(3248665540) reqid 1(0x00000001) mode tunnel
\treplay-window 0 seq 0x00000000 flag af-unspec (0x00100000)
\tauth-trunc hmac(sha1) 0x{auth} (160 bits) 96
\tenc cbc(aes) 0x{enc} (128 bits)
\tencap type espinudp sport 4500 dport 4500 addr 0.0.0.0
\tanti-replay context: seq 0x0, oseq 0x1b, bitmap 0x00000000
\tif_id 0x1
src 203.0.113.1 dst 192.0.2.2
\tproto esp spi 0xc9d8e7f6(3386435574) reqid 1(0x00000001) mode tunnel
\taead rfc4106(gcm(aes)) 0x{aead} (160 bits) 128
"""
KEYS = {"auth": "0102030405060708090a0b0c0d0e0f1011121314", "enc": "a" * 32, "aead": "bc" * 20}

#: Before, and after.
CASES = [
    ("https://user:hush-hush@alerts.example.com/vpn", "https://***@alerts.example.com/vpn"),
    ("POST https://x.example/hook?key=hush&v=1 failed", "POST https://x.example/hook?*** failed"),
    ("Authorization: Basic dXNlcjpodXNoaHVzaA==", "Authorization: Basic ***"),
    ("-H 'Authorization: Bearer hush'", "-H 'Authorization: Bearer ***'"),
    ("sent bearer eyJhbGciOi.hush", "sent bearer ***"),
    ("token=hush, next=1", "token=***, next=1"),
    ('{"password": "hush \\" hush", "a": 1}', '{"password": ***, "a": 1}'),
    ("AUTH_TOKEN=hush", "AUTH_TOKEN=***"),
    ("    secret = 0shushhush==", "    secret = ***"),
    ("curl --token hush", "curl --token ***"),
    ("admin:$2y$10$abcdefghijklmnopqrstuv", "admin:***"),
    ("root:$6$salt$hushhush:19000:", "root:***:19000:"),
    ("secret => 16 bytes @ 0x7f00", "secret => 16 bytes @ 0x7f00"),
    ("14[IKE]    0: 3A 5B 00 FF  :[..", "14[IKE]    0: ***"),
    ("key 0s3f8Q+hushhush/w==", "key ***"),
    (
        "hooks.pager.command=/usr/bin/curl,-H,'X-Key: hush',https://a/ hooks.pager.retries=3",
        "hooks.pager.command=/usr/bin/curl,*** hooks.pager.retries=3",
    ),
    (
        "a\n-----BEGIN EC PRIVATE KEY-----\nhush\n-----END EC PRIVATE KEY-----\nb",
        "a\n***\nb",
    ),
    ("-----BEGIN PRIVATE KEY-----\nhush\ncut off", "***"),
]
HARMLESS = [
    "psk_file: psk/primary",
    "tunnel-up connection=hangzhou tunnel=primary spi=0xc1a2b3c4",
    "https://example.com/docs/runbook.md#tunneldown",
    "2026-11-23T11:40:42 idc charon[1]: 05[IKE] no shared key found for '192.0.2.2' - '203.0.113.1'",
    "inet 10.1.0.1/16 scope global lan0",
    "ct state established,related counter packets 12 bytes 3456 accept",
    "-----BEGIN CERTIFICATE-----",
]


@pytest.mark.parametrize(("before", "after"), CASES)
def test_a_secret_is_hidden_by_its_shape(before: str, after: str) -> None:
    assert veiled(before) == after


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert veiled(text) == text


def test_keys_of_sas_are_hidden_and_nothing_else() -> None:
    assert veiled(XFRM_STATE.format(**KEYS)) == XFRM_STATE.replace("0x{auth}", "***").replace(
        "0x{enc}", "***"
    ).replace("0x{aead}", "***")


@given(st.binary(min_size=8, max_size=64), st.sampled_from(["enc cbc(des)", "auth hmac(md5)", "aead"]))
def test_no_key_of_an_sa_survives(key: bytes, algorithm: str) -> None:
    assert key.hex() not in veiled(f"\t{algorithm} 0x{key.hex()} ({len(key) * 8} bits) 96\n")


@given(st.text())
def test_what_is_veiled_stays_as_it_is(text: str) -> None:
    assert veiled(veiled(text)) == veiled(text)


def test_values_are_hidden_by_their_name_wherever_they_stand() -> None:
    data = {"a": [{"auth_token": "hush", "count": 3, "text": "password=hush"}], "secrets": ["named"]}
    assert veiled_data(data) == {
        "a": [{"auth_token": "***", "count": 3, "text": "password=***"}],
        "secrets": ["named"],
    }


@pytest.mark.parametrize("name", ["psk", "PASSWORD", "client_secret", "x-api-key", "session_cookie"])
def test_a_telling_name(name: str) -> None:
    assert is_telling(name)


@pytest.mark.parametrize("name", ["psk_file", "has_privkey", "pinned", "secrets"])
def test_a_name_that_tells_nothing(name: str) -> None:
    assert not is_telling(name)


# The configuration as it is shown: its lines, without what could be a secret.

SCHEMA_KEYS = keys()
WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=8, max_size=30)


def show(text: str, there: str = "") -> str:
    return shown(text, SCHEMA_KEYS, lambda _key, value: value == there)


def test_what_is_harmless_stays_as_it_is_written() -> None:
    assert shown(EXAMPLE_YAML, SCHEMA_KEYS, lambda _key, _value: True) == EXAMPLE_YAML


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("gateway: {name: idc}  # hush\n", "gateway: {name: idc}  \n"),
        ("gateway:\n  nonsense: hush\n", "gateway:\n  ***: ***\n"),
        ("psk: hush\n", "***: ***\n"),
        ("psk_file: hush/hush==\n", "psk_file: ***\n"),
        ("psk_file: 'psk/primary'\n", "psk_file: 'psk/primary'\n"),
        ("psk_credential: hush\n", "psk_credential: ***\n"),
        ("psk_file:\n  hush\n", "psk_file:\n  ***\n"),
        ("psk_file:\n  hush: x\n", "psk_file:\n  ***: ***\n"),
        ("hooks:\n- url: https://a.example/hush\n", "hooks:\n- url: ***\n"),
        ("hooks: [{command: [/bin/a, --key, hush]}]\n", "hooks: [{command: [/bin/a, ***, ***]}]\n"),
        ("name: |\n  hush\n  hush\nmtu: 1\n", "name: ***\n\n\nmtu: 1\n"),
        ("name: &hush x\nmtu: *hush\n", "name: ***\nmtu: \n"),
        ("name: !hush x\n", "name: ***\n"),
        ('name: "a \\\n  hush"\n', "name: ***\n\n"),
        ("? [hush]\n: x\n", "? []\n: ***\n"),
        ("q: ü\nname: idc\n", "***: ***\nname: idc\n"),
    ],
)
def test_what_could_be_a_secret_does_not(text: str, after: str) -> None:
    assert show(text, there="psk/primary") == after
    assert text.count("\n") == show(text).count("\n")


@given(
    WORDS,
    WORDS,
    st.sampled_from(["{0}: {1}", "gateway:\n  {0}: [{1}, {1}]", "version: 1 # {0} {1}", "a: {{{0}: {1}}}"]),
)
def test_nothing_survives_under_a_key_that_nobody_knows(key: str, value: str, layout: str) -> None:
    text = show(layout.format(key, value))
    assert value not in text or value in SCHEMA_KEYS
    assert key not in text or key in SCHEMA_KEYS


@pytest.mark.parametrize(
    "text", ["a: [hush", "a: 'hush", "\thush", "a: b: hush", "x: !!python/name:hush [", "hush", ""]
)
def test_what_is_not_yaml_is_not_shown_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="it cannot be read as YAML") as caught:
        show(text)
    assert "hush" not in str(caught.value)


def test_what_names_a_secret_is_found_wherever_it_stands() -> None:
    text = "a: {psk_file: one}\nb: [{url: two, psk_credential: three}]\nc: {private_key: 4}\n"
    assert set(named_secrets(text)) == {
        ("psk_file", "one"),
        ("url", "two"),
        ("psk_credential", "three"),
        ("private_key", "4"),
    }


def test_of_what_is_not_yaml_lines_are_read() -> None:
    text = "a: [\n  psk_file: one\n  - {token_file: 'two', url: https://a/b}\n  # psk_file: three\n"
    assert [value for _, value in named_secrets(text)] == ["one", "two", "https://a/b"]


def test_a_billion_laughs_are_no_matter() -> None:
    text = "m: &m [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("mnopqrstuv", "nopqrstuvw", strict=True)
    )
    assert "x" not in show(text)
