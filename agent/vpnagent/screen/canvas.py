"""What a screen is drawn on: its size, and the characters it can show. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from vpnagent.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters that are not plain text."""

    arrow: str
    levels: str  #: of a sparkline, from nothing to all
    gap: str  #: in a sparkline: nobody knows


UNICODE: Final = Glyphs(arrow="→", levels="▁▂▃▄▅▆▇█", gap=" ")
ASCII: Final = Glyphs(arrow="->", levels="_.-:=+*#", gap=" ")


@dataclass(frozen=True, slots=True, kw_only=True)
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
