"""The events on disk: two files of JSON lines in the state directory, the older given up for a new one.

A shell, and blocking: it is called in threads only. A torn or foreign line is passed over, and so is one
that stands there twice; a full disk is told in one line and costs the memory of events, nothing else.
"""

import contextlib
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from vpnagent import own_files
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError
from vpnagent.events.event import Event, event_in
from vpnagent.finding import WORDS, Severity
from vpnagent.own_files import Folder
from vpnagent.record import record

# Which of the events are asked for, a page at a time: the request and its answer. Pure.

PAGE: Final = 200  #: events in an answer; so many of the longest stay below control.MAXIMUM_LINE
SEVERITIES: Final = [severity.value for severity in Severity]


@record(frozen=True, slots=True, kw_only=True)
class Query:
    """Which events."""

    after: int = 0  #: only those with a greater number
    since: float = 0.0  #: only those that are not older; wall clock, seconds
    words: tuple[str, ...] = ()  #: types, or severities as the least
    limit: int | None = None  #: of these the last so many


def query_of(request: Mapping[str, Any]) -> Query:
    """Return what a request asks for. Raises ControlError."""
    after, since = request.get("after", 0), request.get("since", 0.0)
    words, limit = request.get("types", []), request.get("limit")
    if type(after) is not int or after < 0:
        raise ControlError("after must be the number of an event", USAGE)
    if type(since) not in (int, float):
        raise ControlError("since must be seconds since 1970", USAGE)
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ControlError("limit must be a number of events", USAGE)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ControlError("types must be a list of names", USAGE)
    if unknown := [word for word in words if word not in WORDS]:
        raise ControlError(f"no type of event and no severity: {unknown[0][:40]!r}", USAGE)
    return Query(after=after, since=since, words=tuple(dict.fromkeys(words)), limit=limit)


def chosen(event: Event, words: Collection[str]) -> bool:
    """Whether an event is of one of these types, or at least as bad as one of these severities."""
    if event.type.value in words:
        return True
    level = SEVERITIES.index(event.severity.value)
    return any(word in words for word in SEVERITIES[: level + 1])


def page(events: Iterable[Event], query: Query) -> dict[str, Any]:
    """Return the answer: the first page of what is asked for, and whether there is more after it."""
    events = list(events)
    found = [
        event
        for event in events
        if event.sequence > query.after
        and event.at >= query.since
        and (not query.words or chosen(event, query.words))
    ]
    if query.limit is not None:
        found = found[max(0, len(found) - query.limit) :]
    return {
        "events": [event.plain() for event in found[:PAGE]],
        "more": len(found) > PAGE,
        "last": events[-1].sequence if events else 0,
    }


FILE: Final = "events.jsonl"
MOST: Final = 1000  #: events in a file; there are two
MOST_BYTES: Final = 1024 * 1024  #: of a file


class Kept(NamedTuple):
    """What was found on disk."""

    events: list[Event]
    problem: str | None  #: what could not be read, in one line


class Store:
    """The two files of one directory."""

    def __init__(self, directory: str) -> None:
        self._newer = Path(directory) / FILE
        self._older = self._newer.with_name(f"{FILE}.1")
        self._count = 0  #: events in the newer file
        self._one_at_a_time = threading.Lock()

    def read(self) -> Kept:
        """Return the events, oldest first; numbers only grow."""
        events: list[Event] = []
        problem = None
        for path in (self._older, self._newer):
            self._count = 0
            try:
                content = own_files.read(path, 2 * MOST_BYTES)
            except FileNotFoundError:
                continue
            except own_files.DamagedError as error:
                problem = f"{path}: {error}"  # who writes lays it aside
                continue
            except OSError as error:
                problem = f"{path}: {error.strerror or error}"
                continue
            for line in content.splitlines():
                self._count += 1
                event = event_in(line)
                if event is not None and (not events or event.sequence > events[-1].sequence):
                    events.append(event)
        return Kept(events, problem)

    def append(self, events: Sequence[Event]) -> str | None:
        """Add events; return what went wrong, in one line, or None. It may be tried again as a whole."""
        try:
            with self._one_at_a_time, own_files.folder(self._newer.parent, make=0o700) as folder:
                for batch in _batches(events):
                    self._write(folder, batch)
        except OSError as error:
            return f"{self._newer}: {error.strerror or error}"
        return None

    def _write(self, folder: Folder, lines: Sequence[bytes]) -> None:
        content = b"".join(lines)
        if self._count + len(lines) > MOST or self._size(folder) + len(content) + 1 > MOST_BYTES:
            folder.rename(self._newer.name, self._older.name)
            self._count = 0
        descriptor = self._open(folder)
        try:
            _append(descriptor, content)
        finally:
            os.close(descriptor)
        self._count += len(lines)

    def _size(self, folder: Folder) -> int:
        try:
            return os.lstat(self._newer.name, dir_fd=folder.descriptor).st_size
        except FileNotFoundError:
            return 0

    def _open(self, folder: Folder) -> int:
        """Open the newer file; what lies damaged in its place is laid aside."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        try:
            return folder.open(self._newer.name, flags)
        except own_files.DamagedError:
            folder.set_aside(self._newer.name)
            return folder.open(self._newer.name, flags)


def _batches(events: Sequence[Event]) -> Iterator[list[bytes]]:
    """Yield lines that a file can hold together."""
    batch: list[bytes] = []
    size = 0
    for event in events:
        line = event.line
        if batch and (len(batch) == MOST or size + len(line) + 1 > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield batch


def _append(descriptor: int, content: bytes) -> None:
    """Write to the end, behind what a crash may have torn; what is not written whole is taken away again."""
    size = os.fstat(descriptor).st_size
    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    rest = memoryview(b"\n" + content if torn else content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fdatasync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
