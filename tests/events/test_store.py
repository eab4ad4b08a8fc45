"""Events survive restarts, torn lines and a disk that refuses, within their bounds."""

import errno
import os
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnagent.events.event import Event, Happening, event_of
from vpnagent.events.store import FILE, MOST, MOST_BYTES, Store
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
