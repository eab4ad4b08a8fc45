"""The viewer of ``vpnagent status --watch``: looks at the status again and again, and draws it with rich.

Leaves the terminal as it was, however it ends: Ctrl-C, SIGTERM, SIGHUP, an error; Ctrl-Z gives it back too.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.style import Style
from rich.text import Text

from vpnagent.commands.status.canvas import STYLES, Line
from vpnagent.commands.status.history import History
from vpnagent.commands.status.live import live
from vpnagent.commands.status.terminal import canvas, has_colour
from vpnagent.control.protocol import UNREACHABLE
from vpnagent.errors import ControlError

Look = Callable[[], dict[str, Any]]


def watch(look: Look, interval: float) -> None:
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
    for number, line in enumerate(lines):
        text.append("\n" * bool(number))
        for span in line:
            look = STYLES.get(span.tone, {})
            text.append(span.text, Style(color=look.get("fg"), bold=look.get("bold"), dim=look.get("dim")))
    return text


def _look(look: Look, history: History) -> None:
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
