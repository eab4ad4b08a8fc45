"""The screen of ``--watch``: see also expected/watch.txt, which ./dev screens draws."""

from datetime import UTC, datetime, timedelta

import pytest
from tools.screens import NOW, document, watched

from vpnagent.commands.status.canvas import UNICODE, Canvas, Tone, plain
from vpnagent.commands.status.history import History
from vpnagent.commands.status.viewer import BESIDE, live

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
