from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.status.canvas import NARROWEST, Span, Tone, line, paragraph, plain, word
from vpnagent.knowledge.tunnels import ChildStatus, IkeStatus, TunnelState

WORDS = st.lists(st.text("abc:,-", min_size=1, max_size=12), min_size=1, max_size=20)


@given(WORDS, st.integers(min_value=40, max_value=200), st.integers(0, 20))
def test_a_paragraph_fits_is_aligned_and_keeps_every_word(words: list[str], width: int, indent: int) -> None:
    text = " ".join(words)
    lines = [plain(part) for part in paragraph(text, width=width, first=line("*" * indent))]
    assert all(len(part) <= width for part in lines)
    assert all(part[:indent] == " " * indent for part in lines[1:])
    assert " ".join(part[indent:] for part in lines) == text


@given(WORDS)
def test_without_a_width_a_paragraph_is_one_line(words: list[str]) -> None:
    assert len(list(paragraph(" ".join(words), width=None))) == 1


def test_in_less_than_nothing_a_paragraph_still_has_room() -> None:
    lines = [plain(part) for part in paragraph("one two three four five", width=5, first=line("      "))]
    assert max(map(len, lines)) <= 6 + NARROWEST


def test_every_state_has_a_tone() -> None:
    for state in (*TunnelState, *IkeStatus, *ChildStatus):
        assert word(state.value).tone is not Tone.PLAIN, state


def test_other_words_are_plain() -> None:
    assert word("hangzhou") == Span("hangzhou", Tone.PLAIN)
