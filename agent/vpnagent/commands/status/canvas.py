"""Lines of styled text: what the screens are made of, whoever draws them. Pure.

``terminal`` puts them on a terminal or into a pipe, ``viewer`` on a terminal that it draws again and again.
"""

import enum
import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from vpnagent.record import record


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
    "standby-device": Tone.NOTE,
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


# What a screen is drawn on: its size, and the characters it can show. Pure.


@record(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters that are not plain text."""

    arrow: str
    levels: str  #: of a sparkline, from nothing to all
    gap: str  #: in a sparkline: nobody knows


UNICODE: Final = Glyphs(arrow="→", levels="▁▂▃▄▅▆▇█", gap=" ")
ASCII: Final = Glyphs(arrow="->", levels="_.-:=+*#", gap=" ")


@record(frozen=True, slots=True, kw_only=True)
class Canvas:
    """A terminal, or a pipe, which has no edges and leaves nothing out."""

    width: int | None = None  #: columns; None: a pipe
    height: int | None = None  #: lines; None: as many as there are
    glyphs: Glyphs = ASCII
    encoding: str = "utf-8"  #: what it can show of other people's text

    @property
    def is_pipe(self) -> bool:
        """Whether programs read it: one line for each thing, and every column."""
        return self.width is None


def can_unicode(environ: Mapping[str, str], encoding: str) -> bool:
    """Return whether a terminal shows UTF-8, by locale(7).

    Python takes the C locale for UTF-8 and says so in LC_CTYPE (PEP 538), which the terminal need not be.
    """
    found = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or "C"
    coerced = (
        found == "C.UTF-8" and not environ.get("LC_ALL") and environ.get("LANG", "C") in ("", "C", "POSIX")
    )
    return _is_utf8(found.partition(".")[2] or found) and _is_utf8(encoding) and not coerced


def _is_utf8(name: str) -> bool:
    return name.lower().replace("-", "").startswith("utf8")


def legible(value: Any, encoding: str) -> Any:
    r"""Return a JSON value without what cannot be shown or steers a terminal: that is spelled out, ``\x1b``.

    Reasons quote what a peer sent and what a file says: neither may move the cursor.
    """
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() else _escaped(value, encoding)
    if isinstance(value, list):
        return [legible(part, encoding) for part in value]
    if isinstance(value, dict):
        return {key: legible(part, encoding) for key, part in value.items()}
    return value


def _escaped(text: str, encoding: str) -> str:
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)


# Times, rates and ratios in a few characters. Pure.

MINUTE, HOUR, DAY = 60, 3600, 86400


def age(since: str, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, in its two largest units."""
    seconds = max(0, int((now - datetime.fromisoformat(since).astimezone(UTC)).total_seconds()))
    if seconds < MINUTE:
        return f"{seconds}s"
    if seconds < HOUR:
        return f"{seconds // MINUTE}m{seconds % MINUTE:02}s"
    if seconds < DAY:
        return f"{seconds // HOUR}h{seconds % HOUR // MINUTE:02}m"
    return f"{seconds // DAY}d{seconds % DAY // HOUR:02}h"


def rate(bits_per_second: float) -> str:
    """Return a rate with a decimal unit, as the configuration writes it."""
    for unit, size in (("Gbps", 1e9), ("Mbps", 1e6), ("kbps", 1e3)):
        if bits_per_second >= size:
            return f"{bits_per_second / size:.3g}{unit}"
    return f"{bits_per_second:.0f}bps"


def milliseconds(seconds: float | None) -> str:
    """Return a time in milliseconds, or a dash where there is none."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.3g}ms" if seconds < 1 else f"{seconds * 1000:.0f}ms"


def signed(seconds: float) -> str:
    """Return a time before or after another one in milliseconds, to the hundredth, with its sign."""
    return f"{seconds * 1000:+.2f}ms"


def percent(ratio: float | None) -> str:
    """Return a ratio as a percentage, or a dash where there is none."""
    return "-" if ratio is None else f"{ratio * 100:.3g}%"


def loss_of(path: dict[str, Any]) -> float | None:
    """Return a path's loss ratio; None while nothing was answered and nothing lost: it is not probed."""
    loss: float | None = path["loss_ratio"]
    return loss if loss or path["rtt_seconds"] is not None else None


def clock(at: str) -> str:
    """Return the time of day of an RFC 3339 time in UTC, in the precision it has."""
    return at[11:]


def some(names: list[str], most: int) -> str:
    """Return names as a list of at most ``most`` of them, and how many are left out."""
    left = len(names) - most
    return ", ".join(names) if left <= 0 else f"{', '.join(names[:most])} and {left} more"
