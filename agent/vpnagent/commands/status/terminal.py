"""Standard output: what it can show, and lines put on it by click. Only this module asks the environment."""

import os
import sys
from collections.abc import Iterable

import click

from vpnagent.commands.status.canvas import ASCII, STYLES, UNICODE, Canvas, Line, can_unicode, plain

DEFAULT_SIZE = (80, 24)  #: of a terminal that does not tell, as serial lines do not


def canvas() -> Canvas:
    """Return what standard output is: a terminal of some size, or a pipe."""
    encoding = sys.stdout.encoding or "ascii"
    if not sys.stdout.isatty():
        return Canvas(encoding=encoding)
    unicode = can_unicode(os.environ, encoding)
    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    return Canvas(
        width=columns or DEFAULT_SIZE[0],
        height=lines or DEFAULT_SIZE[1],
        glyphs=UNICODE if unicode else ASCII,
        encoding="utf-8" if unicode else "ascii",
    )


def has_colour() -> bool:
    """Return whether to colour: on a terminal that can, unless NO_COLOR says no (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show(lines: Iterable[Line]) -> None:
    """Print the lines."""
    colour = has_colour()
    click.echo("\n".join(painted(line) if colour else plain(line) for line in lines), color=colour)


def painted(line: Line) -> str:
    """Return the line with its colours as escape sequences (ECMA-48 SGR)."""
    return "".join(click.style(s.text, **STYLES[s.tone]) if s.tone in STYLES else s.text for s in line)
