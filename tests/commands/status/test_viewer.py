"""``status --watch`` as a person meets it: it draws, survives the daemon, and gives the terminal back."""

import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.listening import listening
from tests.terminal import Terminal, on_a_terminal
from tools.screens import document

from vpnagent.errors import ControlError

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"  # the alternate screen: xterm's ctlseqs
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"  # the cursor


@contextmanager
def daemon(path: pathlib.Path, *names: str) -> Iterator[threading.Event]:
    """A control socket that tells the first document, and the second once its event is set."""
    moved = threading.Event()

    async def answer(_request: dict[str, Any]) -> Any:
        return document(names[moved.is_set()])

    with listening(path, answer):
        yield moved


@contextmanager
def watching(path: pathlib.Path) -> Iterator[Terminal]:
    """The viewer on a terminal so wide that no line is wrapped, however long the path is."""
    with on_a_terminal(
        "status", "--watch", "--interval", "100ms", "--socket", str(path), columns=200, lines=40
    ) as terminal:
        yield terminal


def since(mark: int, text: bytes) -> Callable[[bytes], bool]:
    return lambda written: text in written[mark:]


def given_back(terminal: Terminal) -> bool:
    written = terminal.written
    return written.rindex(LEAVE) > written.rindex(ENTER) and written.rindex(SHOW) > written.rindex(HIDE)


def test_it_follows_what_happens_and_ctrl_c_gives_the_terminal_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "control.sock"
    with daemon(path, "healthy", "failover") as moved, watching(path) as terminal:
        terminal.wait_for(since(0, b"idc-lab: up, all is well"))
        moved.set()
        terminal.wait_for(since(0, b"hangzhou traffic primary to backup"))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == 0
        assert given_back(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    path = tmp_path / "control.sock"
    with daemon(path, "healthy", "healthy"), watching(path) as terminal:
        terminal.wait_for(since(0, b"all is well"))
        terminal.process.send_signal(number)
        assert terminal.ended() == 128 + number
        assert given_back(terminal)


def test_it_says_that_the_daemon_is_gone_and_meets_the_next_one(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "control.sock"
    with watching(path) as terminal:
        terminal.wait_for(since(0, b"the daemon does not run"))
        with daemon(path, "healthy", "healthy"):
            terminal.wait_for(since(0, b"all is well"))
            mark = len(terminal.written)
        terminal.wait_for(since(mark, b"below is what it said"))
        with daemon(path, "healthy", "healthy"):
            terminal.wait_for(since(mark, b"the daemon answers again"))


def test_an_error_gives_the_terminal_back_and_is_told_after_that(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "control.sock"

    async def refuse(_request: dict[str, Any]) -> Any:
        raise ControlError("not for you", 4)

    with listening(path, refuse), watching(path) as terminal:
        assert terminal.ended() == 4
        assert given_back(terminal)
        assert b"vpnagent: not for you" in terminal.written[terminal.written.rindex(LEAVE) :]
        assert b"Traceback" not in terminal.written
