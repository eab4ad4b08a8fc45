"""The viewer of ``vpnagent status --watch``: looks at the status again and again, and draws it with rich.

Leaves the terminal as it was, however it ends: Ctrl-C, SIGTERM, SIGHUP, an error; Ctrl-Z gives it back too.
A shell.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.style import Style
from rich.text import Text

from vpnagent.commands.status import tables
from vpnagent.commands.status.canvas import (
    STYLES,
    Canvas,
    Line,
    Span,
    Tone,
    age,
    clock,
    line,
    milliseconds,
    paragraph,
    percent,
    plain,
    signed,
)
from vpnagent.commands.status.history import History, HistoryMark, rtt_top, sparkline
from vpnagent.commands.status.overview import facts, headline, stacked, told
from vpnagent.commands.status.terminal import canvas, has_colour
from vpnagent.control.protocol import UNREACHABLE
from vpnagent.errors import ControlError
from vpnagent.record import Json

# The screen of ``vpnagent status --watch``: no more lines than there is room for. Pure.

CHANGES_SHOWN = 8
LONGEST = 120  #: marks in a sparkline
SPREAD = len("0.0912ms to 0.0934ms")
BESIDE = len("    rtt   loss  up to 12.3%") + SPREAD + 1  #: what stands beside both sparklines
DEFAULT_WIDTH = 80
SHARE = 4  #: lines of the terminal that there must be for each tunnel that has sparklines


def live(history: History, now: datetime, canvas: Canvas) -> list[Line]:
    """Return the screen: what matters most is at the top, and what does not fit is cut off at the bottom."""
    if history.status is None:
        return cut([*_absent(history, now, canvas)], canvas)
    lines = _sections(history, history.status, now, canvas)
    if canvas.height is not None and len(lines) > canvas.height:
        lines = _sections(history, history.status, now, canvas, short=True)
    if history.error:
        stale = (tuple(span._replace(tone=Tone.FAINT) for span in told) for told in lines)
        lines = [*_absent(history, now, canvas), *stale]
    return cut(lines, canvas)


def _sections(
    history: History, status: Json, now: datetime, canvas: Canvas, *, short: bool = False
) -> list[Line]:
    roomy = canvas.height is None or len(history.marks) * SHARE <= canvas.height

    def sparklines(name: str) -> Iterable[Line]:
        return _sparklines(list(history.marks.get(name, ())), canvas) if roomy else ()

    return stacked(
        (
            (*_head(status, now, canvas), *(() if short else facts(status, now, canvas.width))),
            told(status, now, canvas),
            tables.connections(status, canvas) if len(status["connections"]) > 1 and not short else (),
            tables.tunnels(status, now, canvas, sparklines),
            _failover(status, now, canvas, short=short),
            _routes(status, canvas),
            _changes(history, canvas),
        )
    )


def cut(lines: list[Line], canvas: Canvas) -> list[Line]:
    """Return the lines that fit, and how many do not."""
    if canvas.height is None or len(lines) <= canvas.height:
        return lines
    kept = canvas.height - 1
    return [*lines[:kept], line(Span(f"{len(lines) - kept} more lines: enlarge the terminal", Tone.FAINT))]


def _head(status: Json, now: datetime, canvas: Canvas) -> Iterator[Line]:
    tone, answer = headline(status)
    time = f"{now:%H:%M:%S}Z"
    room = (canvas.width or 0) - len(answer) - len(time)
    if room > 0:
        yield line(Span(answer, tone), " " * room, Span(time, Tone.FAINT))
    else:
        yield from paragraph(answer, width=canvas.width, tone=tone)


def _absent(history: History, now: datetime, canvas: Canvas) -> Iterator[Line]:
    """Yield that nobody answers, and how old the rest of the screen is."""
    said = f"; below is what it said {age(history.taken_at.isoformat(), now)} ago" if history.taken_at else ""
    yield from paragraph(f"{history.error}{said}; asking again", width=canvas.width, tone=Tone.BAD)


def _sparklines(marks: Sequence[HistoryMark], canvas: Canvas) -> Iterator[Line]:
    """Yield one line of both, the latest mark at the right end of each; nothing while nothing is known."""
    width = max(0, min(((canvas.width or DEFAULT_WIDTH) - BESIDE) // 2, LONGEST))
    shown = marks[len(marks) - min(width, len(marks)) :]
    rtts, losses = [mark.rtt for mark in shown], [mark.loss for mark in shown]
    known = [rtt for rtt in rtts if rtt is not None]
    spread = f"{milliseconds(min(known))} to {milliseconds(max(known))}" if known else ""
    worst = max((loss for loss in losses if loss is not None), default=0.0)
    most = f"up to {percent(worst)}" if worst else "0%"
    if known or any(loss is not None for loss in losses):
        yield line(
            Span("    rtt ", Tone.FAINT),
            Span(f"{sparkline(rtts, rtt_top(known), canvas.glyphs):>{width}}", Tone.GOOD),
            Span(f" {spread:<{SPREAD}}  loss ", Tone.FAINT),
            Span(f"{sparkline(losses, 1.0, canvas.glyphs):>{width}}", Tone.WARN if worst else Tone.GOOD),
            Span(f" {most}", Tone.FAINT),
        )


def _failover(status: Json, now: datetime, canvas: Canvas, *, short: bool) -> Iterator[Line]:
    """Yield the story of the latest failover of all connections: a moment a line, or ``short``."""
    happened = [(c["name"], c["last_failover"]) for c in status["connections"] if c["last_failover"]]
    if not happened:
        return
    name, failover = max(happened, key=lambda pair: pair[1]["at"])
    old, new = ("+".join(failover[end]) or "none" for end in ("from", "to"))
    first = line(Span("FAILOVER", Tone.TITLE), f"  {name}, {age(failover['at'], now)} ago: ")
    why = failover.get("text") or failover["reason"]
    yield from paragraph(f"{old} {canvas.glyphs.arrow} {new}, {why}", width=canvas.width, first=first)
    moments = [(m, signed(m["offset_seconds"]) if m["offset_seconds"] else "") for m in failover["timeline"]]
    if short:
        told_in = ", ".join(f"{m['what']} {offset or clock(m['at'])}" for m, offset in moments)
        yield from paragraph(told_in, width=canvas.width, first=line("  "))
    else:
        for m, offset in moments:
            yield line(f"  {clock(m['at'])}", Span(f"{offset:>12}", Tone.NOTE), f"  {m['what']}")


def _changes(history: History, canvas: Canvas) -> Iterator[Line]:
    if history.changes:
        yield line(Span("CHANGES", Tone.TITLE))
    for change in list(history.changes)[: -CHANGES_SHOWN - 1 : -1]:
        first = line(Span(f"  {change.at:%H:%M:%S}Z  ", Tone.FAINT))
        whole = line(*first, *change.what)
        if canvas.width is None or len(plain(whole)) <= canvas.width:
            yield whole
        else:
            yield from paragraph(plain(change.what), width=canvas.width, first=first)


def _routes(status: Json, canvas: Canvas) -> Iterable[Line]:
    """Return the routes if one is not installed: else they say nothing new."""
    return tables.routes(status, canvas) if any(r["state"] != "installed" for r in status["routes"]) else ()


StatusLook = Callable[[], dict[str, Any]]


def watch(look: StatusLook, interval: float) -> None:
    """Draw what ``look`` returns every ``interval`` seconds until Ctrl-C.

    Raises ControlError, except where nobody answers: that is drawn.
    """
    history = History(encoding=canvas().encoding)
    console = Console(force_terminal=True, no_color=not has_colour(), highlight=False, emoji=False)
    view = Live(
        console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    signal.signal(signal.SIGTSTP, lambda *_: _suspend(view))
    try:
        with view:
            while True:
                began = time.monotonic()
                _look(look, history)
                view.update(drawn(live(history, datetime.now(UTC), canvas())), refresh=True)
                time.sleep(max(0.0, began + interval - time.monotonic()))
    except KeyboardInterrupt:
        return


def drawn(lines: Iterable[Line]) -> Text:
    """Return the lines as rich's text, which wraps nothing by itself."""
    text = Text(no_wrap=True, overflow="crop", end="")
    for number, spans in enumerate(lines):
        text.append("\n" * bool(number))
        for span in spans:
            look = STYLES.get(span.tone, {})
            text.append(span.text, Style(color=look.get("fg"), bold=look.get("bold"), dim=look.get("dim")))
    return text


def _look(look: StatusLook, history: History) -> None:
    try:
        history.take(look(), datetime.now(UTC))
    except ControlError as error:
        if error.exit_status != UNREACHABLE:
            raise
        history.miss(str(error), datetime.now(UTC))


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _suspend(view: Live) -> None:
    view.stop()
    os.kill(os.getpid(), signal.SIGSTOP)
    view.start(refresh=True)
