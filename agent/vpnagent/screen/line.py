"""Lines of styled text: what the screens are made of, whoever draws them. Pure.

``vpnagent.screen.terminal`` puts them on a terminal or a pipe, ``vpnagent.screen.viewer`` on a terminal that
it draws again and again.
"""

import enum
import textwrap
from collections.abc import Iterator
from typing import Any, Final, NamedTuple


class Tone(enum.Enum):
    """What a piece of text means to the reader."""

    PLAIN = "plain"
    GOOD = "good"
    NOTE = "note"
    WARN = "warn"
    BAD = "bad"
    FAINT = "faint"
    TITLE = "title"


class Span(NamedTuple):
    """A piece of text in one tone."""

    text: str
    tone: Tone = Tone.PLAIN


#: The look of each tone, for whoever draws.
STYLES: Final[dict[Tone, dict[str, Any]]] = {
    Tone.GOOD: {"fg": "green"},
    Tone.NOTE: {"fg": "cyan"},
    Tone.WARN: {"fg": "yellow"},
    Tone.BAD: {"fg": "red", "bold": True},
    Tone.FAINT: {"dim": True},
    Tone.TITLE: {"bold": True},
}

Line = tuple[Span, ...]
BLANK: Final[Line] = ()

TONES: Final = {
    "up": Tone.GOOD,
    "installed": Tone.GOOD,
    "established": Tone.GOOD,
    "rekeying": Tone.GOOD,
    "info": Tone.NOTE,
    "degraded": Tone.WARN,
    "drained": Tone.WARN,
    "init": Tone.WARN,
    "hold-down": Tone.WARN,
    "trial": Tone.WARN,
    "guarded": Tone.WARN,
    "connecting": Tone.WARN,
    "warning": Tone.WARN,
    "down": Tone.BAD,
    "missing": Tone.BAD,
    "diverted": Tone.BAD,
    "none": Tone.BAD,
    "critical": Tone.BAD,
}


def word(text: str) -> Span:
    """Return a word of the status contract in its tone."""
    return Span(text, TONES.get(text, Tone.PLAIN))


def line(*parts: str | Span) -> Line:
    """Return the parts as one line."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


def plain(line_: Line) -> str:
    """Return the text alone."""
    return "".join(span.text for span in line_)


def paragraph(
    text: str, *, width: int | None, first: Line = BLANK, tone: Tone = Tone.PLAIN
) -> Iterator[Line]:
    """Yield ``text`` after ``first``, wrapped at ``width`` under its own beginning; None: on one line."""
    indent = len(plain(first))
    room = None if width is None else max(width - indent, NARROWEST)
    parts = [text] if room is None else textwrap.wrap(text, room, break_on_hyphens=False) or [""]
    yield (*first, Span(parts[0], tone))
    for part in parts[1:]:
        yield line(" " * indent, Span(part, tone))


NARROWEST: Final = 20  #: characters; in less nothing can be read, and a terminal wraps by itself
