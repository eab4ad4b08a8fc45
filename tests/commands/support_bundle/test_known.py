"""A known secret is found however it is spelled; what it is not, is not."""

import base64
import json
import shlex
import textwrap
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.support_bundle.known_secrets import LEAST, Known, Named
from vpnagent.secret import Secret

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
