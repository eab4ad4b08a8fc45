"""Every secret that files of this machine name or hold is known; what cannot be read is told."""

import base64
import json
import os
import pathlib
import shlex
import textwrap
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.certificates import authority
from tests.commands.support_bundle.machine import Machine

from vpnagent.commands.support_bundle.known_secrets import (
    LEAST,
    LEFT_OUT,
    Content,
    Known,
    Named,
    Part,
    cleaned,
    cut,
    proven,
)
from vpnagent.secret import Secret


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def test_keys_and_passwords_in_files(machine: Machine) -> None:
    machine.write("etc/vpnagent/psk/primary", "Hush-of-psk\n")
    machine.write("etc/vpnagent/password", "Hush of two words\r\n")
    machine.config.write_text("a: {psk_file: psk/primary, password_file: password}\n")
    known = machine.secrets().gathered().known
    assert known.found_in("x Hush-of-psk y") == (f"{machine.folder}/psk/primary",)
    assert known.found_in("x Hush of two words y") == (f"{machine.folder}/password",)


@pytest.mark.parametrize(
    "shown",
    [
        "https://user:Hush-pw-1@a.example/services/T0001/AbCdEfGhIjKlMnOpQr?key=Hush-query",
        "a.example/services/T0001/AbCdEfGhIjKlMnOpQr",
        "Hush-pw-1",
        "AbCdEfGhIjKlMnOpQr",
        "Hush-query",
    ],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_a_webhooks_address_and_what_in_it_is_a_key(machine: Machine, shown: str, in_file: bool) -> None:
    url = "https://user:Hush-pw-1@a.example/services/T0001/AbCdEfGhIjKlMnOpQr?key=Hush-query"
    machine.write("etc/vpnagent/pager.url", url + "\n")
    key = "url_file: pager.url" if in_file else f"url: '{url}'"
    machine.config.write_text(f"hooks: [{{{key}}}]\n")
    known = machine.secrets().gathered().known
    assert known.found_in(f"posted {shown} .")
    assert not known.found_in("https://a.example/ services T0001 user vpn")


def test_a_private_key_by_any_of_its_lines(machine: Machine) -> None:
    key = authority(machine.folder, "gw").key
    machine.config.write_text("certificate: {private_key: gw.key}\n")
    known = machine.secrets().gathered().known
    body = [line for line in key.read_text().splitlines() if not line.startswith("-") and len(line) >= 16]
    assert body
    assert all(known.found_in(f"x {line} y") for line in body)
    assert not known.found_in((machine.folder / "gw.pem").read_text())


def test_credentials_of_running_services_also_those_that_nobody_names(machine: Machine) -> None:
    machine.write("run/credentials/vpnagent.service/primary", "Hush-credential\n")
    assert machine.secrets().gathered().known.found_in("Hush-credential")


def test_the_operators_own_secrets_for_charon_as_written_and_decoded(machine: Machine) -> None:
    machine.write(
        "etc/swanctl/conf.d/other.conf",
        'secrets { ike-a { secret = "Hush \\"quoted\\"" } ike-b { secret = 0sSHVzaC1iYXNlNjQ= }\n'
        " ike-c { secret = 0x487573682d686578 } eap-d { secret = Hush-bare } token-e { pin = 123456789 } }\n",
    )
    machine.write("etc/strongswan.d/charon/eap-radius.conf", "eap-radius {\n secret = Hush-radius\n}\n")
    machine.write("etc/ipsec.secrets", '192.0.2.1 : PSK "Hush-ipsec"\n')
    known = machine.secrets().gathered().known
    for secret in (
        'Hush "quoted"',
        "Hush-base64",
        "Hush-hex",
        "Hush-bare",
        "123456789",
        "Hush-radius",
        "Hush-ipsec",
    ):
        assert known.found_in(f"<{secret}>"), secret


def test_what_cannot_be_read_is_told(machine: Machine) -> None:
    os.mkfifo(machine.folder / "fifo")
    machine.config.write_text("a: {psk_file: psk/none, token_file: fifo}\nb: {psk_credential: primary}\n")
    assert set(machine.secrets().gathered().unsearched) == {
        f"{machine.folder}/psk/none: No such file or directory",
        f"{machine.folder}/fifo: it is no regular file",
        "credential primary: no running service has it",
    }


def test_a_missing_configuration_is_told(machine: Machine) -> None:
    machine.config.unlink()
    assert machine.secrets().gathered().unsearched == (f"{machine.config}: No such file or directory",)


# A known secret is found however it is spelled; what it is not, is not.

VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
LONG = st.text(VISIBLE, min_size=LEAST, max_size=100)
SHORT = st.text(VISIBLE, min_size=1, max_size=LEAST - 1)
AROUND = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

Spelling = Callable[[str], str]


def dump(text: str) -> str:
    """What charon dumps of a chunk, 16 bytes in a row, without the characters."""
    rows = textwrap.wrap(text.encode().hex(" ").upper(), 48)
    return "\n".join(rows)


SPELLINGS: dict[str, Spelling] = {
    "plain": str,
    "over lines": lambda text: f"{text[: len(text) // 2]}\n  {text[len(text) // 2 :]}",
    "json": json.dumps,
    "python": repr,
    "shell": shlex.quote,
    "url": lambda text: quote(text, safe=""),
    "0x": lambda text: "0x" + text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "aa:bb": lambda text: text.encode().hex(":"),
    "dump": dump,
    "0s": lambda text: "0s" + base64.b64encode(text.encode()).decode(),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 of user:password": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "base64 within": lambda text: base64.b64encode(f"ab{text}, and more".encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in JSON": lambda text: json.dumps(base64.encodebytes(text.encode()).decode()),
}


def known(*secrets: str) -> Known:
    return Known(Named(owner=f"key {i}", secret=Secret(s.encode())) for i, s in enumerate(secrets))


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(secret=LONG, before=AROUND, after=AROUND)
def test_a_secret_is_found_in_every_spelling_amid_anything(
    spelling: str, secret: str, before: str, after: str
) -> None:
    joint = "" if spelling == "plain" else "\n"  # a code goes on where more of its kind stands beside it
    text = f"{before}{joint}{SPELLINGS[spelling](secret)}{joint}{after}"
    assert known(secret).found_in(text) == ("key 0",)


@given(secret=SHORT, spelling=st.sampled_from(["plain", "json", "0x", "HEX", "0s"]))
def test_a_short_secret_is_found_as_a_word(secret: str, spelling: str) -> None:
    assert known(secret).found_in(f"key = {SPELLINGS[spelling](secret)}\n")


def test_a_short_secret_is_not_found_within_words() -> None:
    assert not known("vpn").found_in("vpnagent: vpn1 is up")


@given(st.lists(LONG, min_size=2, max_size=2, unique=True))
def test_each_is_told_by_its_owner(secrets: list[str]) -> None:
    first, second = secrets
    assert "key 1" in known(first, second).found_in(second)
    assert known(first).found_in(second) == (() if first not in second else ("key 0",))


@given(AROUND)
def test_no_secret_is_found_where_there_is_none(text: str) -> None:
    assert not known().found_in(text)
    assert not known("primary-Hush-7f3a").found_in(text)


def test_an_empty_secret_is_none() -> None:
    assert known("").owners == ()


def test_nothing_shows_it() -> None:
    found = known("primary-Hush-7f3a")
    assert "Hush" not in repr(found) + repr(vars(found))


# Cleaning keeps what it can, and what is proven holds no known secret.

PSK = "primary-Hush-7f3a"
LINES = st.lists(AROUND, max_size=5)


def clean(content: Content | None, *secrets: str, name: str = "a.txt", why: str = "") -> Part:
    return cleaned(Part(name=name, content=content, why=why), known(*secrets))


@given(secret=LONG | SHORT, before=LINES, after=LINES, spelling=st.sampled_from(sorted(SPELLINGS)))
def test_no_secret_in_any_text_survives(
    secret: str, before: list[str], after: list[str], spelling: str
) -> None:
    text = "\n".join([*before, f"key: {SPELLINGS[spelling](secret)} !", *after])
    part = proven(clean(text, secret), known(secret))
    assert not known(secret).found_in(part.text)
    assert secret not in part.text.split()
    assert len(secret) < 8 or secret not in part.text


@given(secret=LONG, spelling=st.sampled_from(sorted(SPELLINGS)), text=AROUND)
def test_no_secret_in_any_value_survives(secret: str, spelling: str, text: str) -> None:
    shown = SPELLINGS[spelling](secret)
    data = {"a": [text, {"b": shown, shown: 1}], "c": f"{text} {shown}", "d": 7}
    for name in ("a.json", "a.jsonl"):
        content: Content = data if name == "a.json" else [data]
        part = proven(clean(content, secret, name=name), known(secret))
        assert not known(secret).found_in(part.text)
        assert secret not in part.text


def test_only_the_line_that_holds_one_is_left_out_and_whose_it_was_is_told() -> None:
    part = clean(f"one\ntwo {PSK}\nthree\n", PSK)
    assert part.text == f"one\n{LEFT_OUT}\nthree\n"
    assert part.held == ("key 0",)
    assert proven(part, known(PSK)) == part


def test_only_the_value_that_holds_one_is_left_out() -> None:
    part = clean({"a": PSK, "b": [f"x {PSK}", "y"], PSK: 1, "n": 5}, PSK, name="a.json")
    assert json.loads(part.text) == {"a": LEFT_OUT, "b": [LEFT_OUT, "y"], "n": 5}


def test_one_that_goes_over_lines_costs_the_file() -> None:
    part = proven(clean(f"a {PSK[:9]}\n{PSK[9:]} b", PSK), known(PSK))
    assert (part.content, part.held) == (None, ("key 0",))
    assert not part.is_whole


def test_a_reason_is_cleaned_too() -> None:
    assert clean(None, PSK, why=f"refused: {PSK}").why == LEFT_OUT
    assert clean(None, PSK, why="refused: token=abc").why == "refused: token=***"


def test_what_holds_none_is_whole_and_as_it_was() -> None:
    part = clean("one\r\n\ttwo\n", PSK)
    assert (part.text, part.is_whole) == ("one\r\n\ttwo\n", True)


def test_lines_of_json_are_a_value_each() -> None:
    part = Part(name="events.jsonl", content=[{"a": 1}, {"b": "ü"}])
    assert part.text == '{"a": 1}\n{"b": "ü"}\n'


@pytest.mark.parametrize(
    ("keep_end", "kept"), [(False, "first\nsecond\n"), (True, "third\nfourth\n")], ids=["begin", "end"]
)
def test_a_cut_leaves_whole_lines(keep_end: bool, kept: str) -> None:
    text, lost = cut("first\nsecond\nthird\nfourth\n", keep_end=keep_end, most=14)
    assert text == kept
    assert lost.startswith("cut: ")


def test_what_fits_is_not_cut() -> None:
    assert cut("first\n", most=6) == ("first\n", "")
