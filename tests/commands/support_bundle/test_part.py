"""Cleaning keeps what it can, and what is proven holds no known secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commands.support_bundle.test_known import AROUND, LONG, SHORT, SPELLINGS, known

from vpnagent.commands.support_bundle.known_secrets import LEFT_OUT, Content, Part, cleaned, cut, proven

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
