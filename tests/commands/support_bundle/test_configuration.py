"""The configuration as it is shown: its lines, without what could be a secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import EXAMPLE_YAML

from vpnagent.commands.support_bundle.veil import named_secrets, shown
from vpnagent.config.schema import keys

KEYS = keys()
WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=8, max_size=30)


def show(text: str, there: str = "") -> str:
    return shown(text, KEYS, lambda _key, value: value == there)


def test_what_is_harmless_stays_as_it_is_written() -> None:
    assert shown(EXAMPLE_YAML, KEYS, lambda _key, _value: True) == EXAMPLE_YAML


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
        ("a: ü\nname: idc\n", "***: ***\nname: idc\n"),
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
    assert value not in text or value in KEYS
    assert key not in text or key in KEYS


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
    text = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    assert "x" not in show(text)
