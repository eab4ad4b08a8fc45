"""What the viewer remembers, as a screenplay: statuses in, marks and changes out."""

from datetime import UTC, datetime, timedelta

from tools.screens import document

from vpnagent.commands.status.canvas import plain
from vpnagent.commands.status.history import MARKS, History, HistoryMark
from vpnagent.record import Json

BEGIN = datetime(2026, 11, 23, 6, 32, tzinfo=UTC)


def at(second: int) -> datetime:
    return BEGIN + timedelta(seconds=second)


def changes(history: History) -> list[str]:
    return [f"{change.at:%S} {plain(change.what)}" for change in history.changes]


def test_a_failover_is_told_as_it_is_seen() -> None:
    history = History()
    history.take(document("healthy"), at(0))
    assert changes(history) == []
    history.take(document("failover"), at(1))
    assert changes(history) == [
        "01 idc-lab up to degraded",
        "01 hangzhou/primary up to down: nothing heard for 0.3 s",
        "01 hangzhou traffic primary to backup",
        "01 began: critical TunnelDown hangzhou/primary",
        "01 began: warning NoStandby hangzhou",
        "01 began: warning TunnelLeftDown hangzhou/primary",
    ]
    history.take(document("failover"), at(2))
    assert len(history.changes) == 6


def test_what_is_the_same_is_no_change() -> None:
    history = History()
    for second in range(5):
        history.take(document("outage"), at(second))
    assert changes(history) == []


def test_charon_goes_and_comes() -> None:
    history = History()
    for second, name in enumerate(("healthy", "charon-down", "healthy")):
        history.take(document(name), at(second))
    assert changes(history) == [
        "01 charon unreachable",
        "01 began: critical CharonUnreachable",
        "02 charon connected",
        "02 ended: CharonUnreachable",
    ]


def test_an_absent_daemon_leaves_a_gap_and_is_told_once() -> None:
    history = History()
    history.take(document("healthy"), at(0))
    for second in (1, 2, 3):
        history.miss("nothing listens", at(second))
    assert (history.error, history.status is not None, history.taken_at) == ("nothing listens", True, at(0))
    history.take(document("healthy"), at(4))
    assert history.error == ""
    assert changes(history) == ["01 the daemon does not answer", "04 the daemon answers again"]
    gap, heard = HistoryMark(None, None), HistoryMark(0.0039, 0.0)
    assert list(history.marks["hangzhou/primary"]) == [heard, gap, gap, gap, heard]


def test_a_tunnel_that_went_with_a_reload_is_forgotten() -> None:
    history = History()
    history.take(document("healthy"), at(0))
    status = document("healthy")
    status["config"]["loaded_at"] = "2026-11-23T06:32:00Z"
    del status["connections"][0]["tunnels"][1]
    history.take(status, at(1))
    assert set(history.marks) == {"hangzhou/primary"}
    assert changes(history) == ["01 configuration loaded", "01 hangzhou/backup up to absent"]


def test_memory_is_bounded() -> None:
    history = History()
    for second in range(MARKS + 10):
        history.take(document(("healthy", "failover")[second % 2]), at(second))
    assert len(history.marks["hangzhou/backup"]) == MARKS
    assert history.changes.maxlen == len(history.changes)


def test_what_a_peer_said_is_remembered_legibly() -> None:
    evil: Json = document("failover")
    evil["connections"][0]["tunnels"][0]["reason"] = "\x1b[2J"
    history = History()
    history.take(document("healthy"), at(0))
    history.take(evil, at(1))
    history.miss("\x1b[2J", at(2))
    assert all(told.isprintable() for told in (*changes(history), history.error))
