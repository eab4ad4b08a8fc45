import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.status.canvas import ASCII, UNICODE, can_unicode, legible


@pytest.mark.parametrize(
    ("environ", "encoding", "can"),
    [
        ({"LANG": "en_US.UTF-8"}, "utf-8", True),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8"}, "utf-8", True),
        ({"LANG": "C", "LC_CTYPE": "zh_CN.utf8"}, "utf-8", True),
        ({"LC_CTYPE": "UTF-8"}, "utf-8", True),
        ({"LANG": "C"}, "utf-8", False),
        ({}, "utf-8", False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "utf-8", False),  # Python's own doing: PEP 538
        ({"LC_CTYPE": "C.UTF-8"}, "utf-8", False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, "utf-8", False),
        ({"LC_ALL": "C.UTF-8"}, "utf-8", True),
        ({"LANG": "zh_CN.GB18030"}, "gb18030", False),
        ({"LANG": "en_US.UTF-8"}, "ascii", False),
    ],
)
def test_unicode_is_drawn_only_where_the_locale_has_it(
    environ: dict[str, str], encoding: str, *, can: bool
) -> None:
    assert can_unicode(environ, encoding) is can


def test_the_ascii_glyphs_are_ascii_and_as_many() -> None:
    assert (ASCII.arrow + ASCII.levels + ASCII.gap).isascii()
    assert len(ASCII.levels) == len(UNICODE.levels) == len(set(ASCII.levels))


@given(st.text(), st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_nothing_that_steers_a_terminal_or_cannot_be_shown_is_left(text: str, encoding: str) -> None:
    shown = legible([{"reason": text}], encoding)[0]["reason"]
    assert shown.isprintable()
    assert shown.encode(encoding).decode(encoding) == shown


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert legible(text, "ascii") == text


def test_a_peers_escape_sequence_is_spelled_out() -> None:
    assert legible("id '\x1b[2J'", "utf-8") == r"id '\x1b[2J'"
    assert legible("杭州", "utf-8") == "杭州"
    assert legible("杭", "ascii") == r"\u676d"


def test_what_is_no_text_is_not_touched() -> None:
    assert legible({"loss_ratio": 0.5, "rtt_seconds": None, "up": True}, "ascii") == {
        "loss_ratio": 0.5,
        "rtt_seconds": None,
        "up": True,
    }
