"""Events survive restarts, torn lines and a disk that refuses, within their bounds."""

import errno
import os
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnagent.control.protocol import MAXIMUM_LINE, encode
from vpnagent.errors import ControlError
from vpnagent.events.event import LONGEST_FIELD, LONGEST_TEXT, MOST_FIELDS, Event, Happening, event_of
from vpnagent.events.store import FILE, MOST, MOST_BYTES, PAGE, Query, Store, chosen, page, query_of
from vpnagent.finding import EventType, Severity


def event(sequence: int, text: str = "down") -> Event:
    happening = Happening(type=EventType.TUNNEL_DOWN, at=1.5, severity=Severity.CRITICAL, text=text)
    return event_of(happening, sequence)


def events(first: int, last: int, text: str = "down") -> list[Event]:
    return [event(sequence, text) for sequence in range(first, last + 1)]


def kept(directory: pathlib.Path) -> list[Event]:
    """Return what another run of the daemon finds."""
    found = Store(str(directory)).read()
    assert found.problem is None
    return found.events


def test_the_first_run_finds_nothing_and_makes_the_directory(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "state"
    assert kept(directory) == []
    assert Store(str(directory)).append(events(1, 3)) is None
    assert kept(directory) == events(1, 3)
    assert (directory / FILE).stat().st_mode & 0o777 == 0o600


@settings(max_examples=10)
@given(st.lists(st.integers(1, 1300), max_size=5), st.booleans())
def test_the_newest_are_kept_in_order_and_within_the_bounds(
    tmp_path_factory: pytest.TempPathFactory, batches: list[int], restarts: bool
) -> None:
    directory, last = tmp_path_factory.mktemp("state"), 0
    running = Store(str(directory))
    for size in batches:
        running = Store(str(directory)) if restarts else running
        if restarts:
            running.read()
        assert running.append(events(last + 1, last + size)) is None
        last += size
    found = kept(directory)
    assert found == events(last - len(found) + 1, last)
    assert min(last, MOST) <= len(found) <= 2 * MOST


def test_the_files_never_grow_beyond_their_bytes(tmp_path: pathlib.Path) -> None:
    running, last = Store(str(tmp_path)), 0
    for _ in range(60):
        assert running.append(events(last + 1, last + 50, text="ä" * 500)) is None
        last += 50
        assert all(path.stat().st_size <= MOST_BYTES for path in tmp_path.iterdir())
    assert kept(tmp_path)[-1].sequence == last


@given(st.data())
def test_a_file_cut_anywhere_gives_what_is_whole_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("state")
    Store(str(directory)).append(events(1, 5))
    content = (directory / FILE).read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    (directory / FILE).write_bytes(content[:cut])
    whole = content[:cut].count(b"\n") + (content[cut : cut + 1] == b"\n")
    assert kept(directory) == events(1, whole)
    running = Store(str(directory))
    running.read()
    assert running.append(events(6, 7)) is None
    assert kept(directory) == [*events(1, whole), *events(6, 7)]


@given(content=st.binary(max_size=300))
def test_whatever_the_file_holds_it_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    directory = tmp_path_factory.mktemp("state")
    (directory / FILE).write_bytes(content)
    running = Store(str(directory))
    assert running.read().problem is None
    assert running.append([event(9)]) is None
    assert kept(directory)[-1] == event(9)


def test_what_was_written_twice_is_read_once(tmp_path: pathlib.Path) -> None:
    running = Store(str(tmp_path))
    running.append(events(1, 3))
    running.append(events(2, 4))
    assert kept(tmp_path) == events(1, 4)


def test_a_full_disk_is_told_in_one_line_and_tears_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Store(str(tmp_path))
    running.append(events(1, 2))
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if len(content) > 10:
            return write(descriptor, content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        problem = running.append(events(3, 3))
    assert problem == f"{tmp_path / FILE}: No space left on device"
    assert (tmp_path / FILE).read_bytes().count(b"\n") == 2
    assert kept(tmp_path) == events(1, 2)
    assert running.append(events(3, 4)) is None
    assert kept(tmp_path) == events(1, 4)


def test_nothing_is_written_through_a_symbolic_link(tmp_path: pathlib.Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    running = Store(str(tmp_path))
    assert f"{tmp_path / FILE}: is no file of vpnagent's: it is a link" in str(running.read().problem)
    assert running.append(events(1, 1)) is None
    assert not (tmp_path / "elsewhere").exists()
    assert (tmp_path / f"{FILE}.damaged").is_symlink()


def test_a_directory_that_cannot_be_used_is_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    running = Store(str(tmp_path / "file" / "state"))
    assert "Not a directory" in str(running.read().problem)
    assert "Not a directory" in str(running.append(events(1, 1)))


# Pages of events: everything that is asked for, once, in order, in answers of bounded size.


def numbered(sequence: int, severity: Severity = Severity.INFO) -> Event:
    kind = list(EventType)[sequence % 3]
    return event_of(Happening(type=kind, at=float(sequence), severity=severity, text="x"), sequence)


def pages(events: list[Event], asked: dict[str, Any]) -> list[int]:
    """Return the numbers that a client gets, as commands.events asks for them."""
    found: list[int] = []
    after, limit = 0, asked.get("limit")
    while True:
        answer = page(events, query_of({**asked, "after": after, "limit": limit}))
        assert len(answer["events"]) <= PAGE
        found += [e["sequence"] for e in answer["events"]]
        if not answer["more"]:
            assert answer["last"] == (events[-1].sequence if events else 0)
            return found
        after = found[-1]
        limit = None if limit is None else limit - len(answer["events"])


@given(st.integers(0, 900), st.integers(0, 900), st.none() | st.integers(0, 900))
def test_pages_together_are_what_was_asked_for(count: int, since: int, limit: int | None) -> None:
    events = [numbered(sequence) for sequence in range(5, 5 + count)]
    expected = [e.sequence for e in events if e.at >= since]
    if limit is not None:
        expected = expected[len(expected) - min(limit, len(expected)) :]
    assert pages(events, {"since": since, "limit": limit}) == expected


def test_the_longest_page_fits_into_an_answer() -> None:
    happening = Happening(
        type=EventType.CONNECTION_HEALTH_CHECK_FAILED,
        at=0.0,
        severity=Severity.CRITICAL,
        text="\U0001f600" * LONGEST_TEXT,
        connection="c" * 32,
        tunnel="t" * 32,
        fields={f"{'f' * 30}{n}": "\U0001f600" * LONGEST_FIELD for n in range(MOST_FIELDS)},
    )
    answer = page([event_of(happening, 2**40 + n) for n in range(PAGE)], Query())
    assert len(encode({"ok": True, "result": answer})) < MAXIMUM_LINE


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("info", True),
        ("warning", True),
        ("critical", False),
        ("TunnelUp", False),
        ("CertificateExpiry", True),
    ],
)
def test_a_word_is_a_type_or_the_least_severity(word: str, expected: bool) -> None:
    assert chosen(numbered(3, Severity.WARNING), [word]) is expected


@pytest.mark.parametrize(
    "asked",
    [
        {"after": -1},
        {"after": "1"},
        {"after": True},
        {"since": "yesterday"},
        {"limit": -1},
        {"limit": 1.5},
        {"types": "Failover"},
        {"types": [1]},
        {"types": ["failover"]},
    ],
)
def test_a_question_that_has_no_meaning_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ControlError) as refused:
        query_of({"command": "events", **asked})
    assert refused.value.exit_status == 2


def test_a_word_that_is_asked_for_many_times_is_looked_for_once() -> None:
    """Of two thousand events each: 10,000 words would hold the daemon's loop for seconds."""
    assert query_of({"types": ["info"] * 10_000 + ["TunnelDown"]}).words == ("info", "TunnelDown")
