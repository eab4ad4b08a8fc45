"""``status --watch`` as a person meets it: it draws, survives the daemon, and gives the terminal back."""

import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.listening import listening
from tests.terminal import Terminal, on_a_terminal
from tools.screens import NOW, document, watched

from vpnagent.commands.status.canvas import UNICODE, Canvas, Tone, plain
from vpnagent.commands.status.history import History
from vpnagent.commands.status.viewer import BESIDE, live
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


# The screen of ``--watch``: see also expected/watch.txt, which ./dev screens draws.

LATER = datetime(2026, 11, 23, 6, 32, 30, tzinfo=UTC)


def text(history: History, canvas: Canvas, now: datetime = LATER) -> list[str]:
    return [plain(told) for told in live(history, now, canvas)]


def after(*names: str) -> History:
    history = History()
    for name in names:
        history.take(document(name), NOW[name])
    return history


@pytest.mark.parametrize("width", range(60, 201, 7))
@pytest.mark.parametrize("height", [1, 10, 24, 40])
def test_a_screen_fits_the_terminal(width: int, height: int) -> None:
    lines = [plain(told) for told in watched(Canvas(width=width, height=height, glyphs=UNICODE))]
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [60, 80, 110])
@pytest.mark.parametrize("rtt", [0.00009234, 0.0123, 1.5])
def test_the_figures_beside_a_sparkline_fit_too(width: int, rtt: float) -> None:
    status = document("failover")
    status["connections"][0]["tunnels"][0]["path"].update(rtt_seconds=rtt, loss_ratio=0.2663)
    history = History()
    history.take(status, LATER)
    assert max(map(len, text(history, Canvas(width=width)))) <= width


def test_what_is_cut_off_is_counted() -> None:
    assert text(after("failover"), Canvas(width=80, height=10))[-1].endswith(
        "more lines: enlarge the terminal"
    )


def test_short_of_room_the_failover_is_told_in_a_sentence() -> None:
    assert "06:32:06.588889Z    +24.08ms  netlink sent" in "\n".join(
        text(after("failover"), Canvas(width=80))
    )
    assert "netlink sent +24.08ms" in " ".join(text(after("failover"), Canvas(width=80, height=24)))


def test_before_the_first_answer_it_says_whom_it_asks() -> None:
    history = History()
    history.miss("nothing listens on c.sock", LATER)
    assert text(history, Canvas(width=80, height=24)) == ["nothing listens on c.sock; asking again"]


def test_what_is_stale_is_faint_and_its_age_is_told() -> None:
    history = after("healthy")
    history.miss("nothing listens on c.sock", NOW["healthy"] + timedelta(seconds=4))
    lines = live(history, NOW["healthy"] + timedelta(seconds=9), Canvas(width=100))
    assert plain(lines[0]) == "nothing listens on c.sock; below is what it said 9s ago; asking again"
    assert {span.tone for told in lines[1:] for span in told} == {Tone.FAINT}


def test_the_latest_failover_of_all_is_told() -> None:
    history = after("failover")
    assert history.status
    later = {**document("outage")["connections"][0], "name": "beijing"}
    history.status["connections"].append(later)
    assert any(told.startswith("FAILOVER  beijing") for told in text(history, Canvas()))


def test_routes_are_shown_when_one_is_not_installed() -> None:
    assert not any(told.startswith("ROUTE") for told in text(after("healthy"), Canvas(width=80)))
    assert any(told.startswith("ROUTE") for told in text(after("outage"), Canvas(width=80)))
    assert any("unreachable" in told for told in text(after("outage"), Canvas(width=80)))


def test_a_tunnel_that_is_not_probed_has_no_sparklines() -> None:
    assert not any("rtt" in told for told in text(after("outage"), Canvas(width=80)))
    assert sum("rtt" in told for told in text(after("healthy"), Canvas(width=80))) == 2


def test_many_tunnels_leave_no_room_for_sparklines() -> None:
    status = document("healthy")
    [connection] = status["connections"]
    status["connections"] = [{**connection, "name": f"c{n}"} for n in range(8)]
    history = History()
    history.take(status, LATER)
    assert len(history.marks) == 16
    assert not any("rtt" in told for told in text(history, Canvas(width=80, height=63)))
    assert sum("rtt" in told for told in text(history, Canvas(width=80, height=64))) == 16


def test_the_latest_mark_is_at_the_right_end() -> None:
    history = after("healthy", "healthy")
    history.miss("gone", LATER)
    [shown, _] = [
        told for told in text(history, Canvas(width=80, glyphs=UNICODE)) if told.startswith("    rtt")
    ]
    bars = shown[len("    rtt ") :][: (80 - BESIDE) // 2]
    assert bars.endswith("▅▅ ")
    assert bars[:-3].isspace()
