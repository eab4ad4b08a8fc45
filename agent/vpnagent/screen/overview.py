"""The screen of ``vpnagent status``: is it fine, what is wrong and what to do, then the tables. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from vpnagent.screen import tables
from vpnagent.screen.canvas import Canvas, legible
from vpnagent.screen.headline import facts, headline
from vpnagent.screen.line import BLANK, Line, paragraph
from vpnagent.screen.problems import told

Json = dict[str, Any]


def overview(status: Json, now: datetime, canvas: Canvas) -> list[Line]:
    """Return the lines of the whole screen."""
    status = legible(status, canvas.encoding)
    tone, answer = headline(status)
    sections: tuple[Iterable[Line], ...] = (
        (*paragraph(answer, width=canvas.width, tone=tone), *facts(status, now, canvas.width)),
        told(status, now, canvas),
        tables.connections(status, canvas) if status["connections"] else (),
        tables.tunnels(status, now, canvas) if status["connections"] else (),
        tables.routes(status, canvas) if status["routes"] else (),
        tables.failovers(status, now, canvas),
    )
    return stacked(sections)


def stacked(sections: Iterable[Iterable[Line]]) -> list[Line]:
    """Return the sections that have lines, a blank line between each two."""
    lines: list[Line] = []
    for section in sections:
        found = list(section)
        if found:
            lines += [BLANK, *found] if lines else found
    return lines
