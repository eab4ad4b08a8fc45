"""Where the log goes: to a journald of our own, to standard error, and never waited for."""

import io
import logging
import os
import pathlib
import re
import socket
import sys
from collections.abc import Iterator
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.events.event import Happening, event_of
from vpnagent.finding import EventType, Severity
from vpnagent.log import (
    ALIKE,
    EQUAL,
    LOGGERS,
    PERIOD,
    LogStorm,
    configure,
    datagram,
    entry,
    leads_to_journal,
    tell_of_storms,
)

log = logging.getLogger("vpnagent.test")


class Journal:
    """A socket as journald has it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(10)

    def read(self) -> dict[str, bytes]:
        content, files, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        if files:
            with open(files[0], "rb") as file:
                content = os.pread(file.fileno(), 1 << 24, 0)
        return fields_in(content)

    def waiting(self) -> list[str]:
        """Return the messages that have arrived."""
        self._socket.setblocking(False)
        messages = []
        while True:
            try:
                messages.append(fields_in(self._socket.recv(1 << 20))["MESSAGE"].decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    loggers = list(map(logging.getLogger, LOGGERS))
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers.clear()
    yield
    for logger, was in zip(loggers, before, strict=True):
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)
            handler.close()
        logger.handlers[:], logger.level, logger.propagate = was


@pytest.fixture
def journal(tmp_path: pathlib.Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "socket")
    yield journal
    journal.close()


def under_systemd(tmp_path: pathlib.Path, journal: str) -> io.TextIOWrapper:
    """Log as a service does whose standard error systemd connected to the journal; return that."""
    stream = (tmp_path / "stderr").open("w+", encoding="utf-8")
    found = os.fstat(stream.fileno())
    environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    configure(debug=False, environ=environ, stream=stream, journal=journal)
    return stream


def test_a_line_reaches_the_journal_with_its_priority(tmp_path: pathlib.Path, journal: Journal) -> None:
    with under_systemd(tmp_path, journal.path) as stderr:
        log.warning("failover connection=%s", "hz")
        fields = journal.read()
        assert (fields["MESSAGE"], fields["PRIORITY"]) == (b"failover connection=hz", b"4")
        assert stderr.seek(0, os.SEEK_END) == 0


def test_a_traceback_is_one_entry(tmp_path: pathlib.Path, journal: Journal) -> None:
    with under_systemd(tmp_path, journal.path):
        try:
            int("a bug")
        except ValueError:
            log.exception("task-crashed")
        message = journal.read()["MESSAGE"].decode()
    assert message.startswith("task-crashed\nTraceback")
    assert message.endswith("'a bug'")


def test_what_no_datagram_holds_goes_as_a_file(tmp_path: pathlib.Path, journal: Journal) -> None:
    with under_systemd(tmp_path, journal.path):
        log.info("starting %s", "x" * 3_000_000)
        assert len(journal.read()["MESSAGE"]) == 3_000_009


def test_a_journal_that_takes_nothing_is_not_waited_for_and_what_it_missed_is_counted(
    tmp_path: pathlib.Path, journal: Journal
) -> None:
    with under_systemd(tmp_path, journal.path):
        sent = 400  # the queue of a datagram socket holds some ten, or some hundred (unix(7))
        for number in range(sent):
            log.info("line %d", number)
        arrived = journal.waiting()
        assert 0 < len(arrived) < sent
        log.info("the last")
        *_, told, last = journal.waiting()
    assert told == f"log-lines-dropped count={sent - len(arrived)}: journald took none"
    assert last == "the last"


def test_without_a_journal_lines_go_to_standard_error_with_their_priority(tmp_path: pathlib.Path) -> None:
    with under_systemd(tmp_path, str(tmp_path / "nobody")) as stderr:
        log.error("one\ntwo")
        stderr.seek(0)
        assert stderr.read() == "<3>one\n<3>two\n"


def test_a_standard_error_that_leads_elsewhere_gets_lines_with_the_time(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "stderr", "w+", encoding="utf-8") as stderr:
        configure(debug=False, environ={"JOURNAL_STREAM": "8:1"}, stream=stderr, journal="/nowhere")
        log.info("ready")
        stderr.seek(0)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    ready\n", stderr.read())


def test_a_stream_that_is_no_file_leads_nowhere() -> None:
    assert not leads_to_journal({"JOURNAL_STREAM": "8:1"}, io.StringIO())
    assert not leads_to_journal({}, sys.__stderr__ or sys.stderr)


def test_a_storm_of_equal_lines_is_some_lines_and_a_count(tmp_path: pathlib.Path, journal: Journal) -> None:
    with under_systemd(tmp_path, journal.path):
        for _ in range(100):
            log.warning("refused route error=%r", "busy")
        tell_of_storms()  # the period is not over: nothing yet
        assert len(journal.waiting()) == EQUAL
        logging.getLogger("vpnagent").handlers[0].close()
        assert journal.waiting() == ["log-lines-suppressed count=95 last=\"refused route error='busy'\""]


def test_values_that_do_not_fit_the_text_are_not_the_callers_trouble(
    tmp_path: pathlib.Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with under_systemd(tmp_path, journal.path):
        log.info("%d tunnels", "no number")
        log.info("next")
        assert journal.read()["MESSAGE"] == b"next"


def test_what_asyncio_says_is_damped_however_its_lines_differ() -> None:
    stream = io.StringIO()
    configure(debug=False, environ={}, stream=stream)
    error = OSError(24, "Too many open files")
    for number in range(1000):
        logging.getLogger("asyncio").error("accept() of <socket fd=%d>", number, exc_info=error)
    assert 0 < stream.getvalue().count("Too many open files") <= 5
    assert len(stream.getvalue()) < 10_000


# Datagrams for journald, read back as systemd.io/JOURNAL_NATIVE_PROTOCOL says.


def fields_in(content: bytes) -> dict[str, bytes]:
    """Return the fields of a datagram, as journald reads it."""
    fields: dict[str, bytes] = {}
    while content:
        line, _, rest = content.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length + 1 :]
        fields[name.decode()] = value
        content = rest
    return fields


@given(st.dictionaries(st.from_regex(r"\A[A-Z][A-Z0-9_]{0,20}\Z"), st.text(max_size=50)))
def test_whatever_a_value_holds_it_arrives(fields: dict[str, str]) -> None:
    expected = {name: value.encode(errors="backslashreplace") for name, value in fields.items()}
    assert fields_in(datagram(fields)) == expected


def record(level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("vpnagent.x", level, "/x.py", 12, "told", (), None, func="f")
    made.__dict__.update(extra)
    return made


def test_a_line_has_its_priority_and_its_place() -> None:
    assert fields_in(entry(record(), "told")) == {
        "MESSAGE": b"told",
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"vpnagent",
        "CODE_FILE": b"/x.py",
        "CODE_LINE": b"12",
        "CODE_FUNC": b"f",
    }


def test_an_event_has_its_message_id_and_fields() -> None:
    happening = Happening(
        type=EventType.TUNNEL_DOWN,
        at=1.0,
        severity=Severity.CRITICAL,
        connection="hz",
        tunnel="primary",
        text="down",
        fields={"reason": "silent", "detection_seconds": 0.3, "=\n": "odd", "tunnel": "not ours"},
    )
    fields = fields_in(entry(record(logging.ERROR, event=event_of(happening, 9)), "event"))
    assert fields["PRIORITY"] == b"3"
    assert fields["MESSAGE_ID"].decode() == EventType.TUNNEL_DOWN.message_id
    told = {name: value.decode() for name, value in fields.items() if name.startswith("VPNAGENT_")}
    assert told == {
        "VPNAGENT_EVENT": "TunnelDown",
        "VPNAGENT_SEQUENCE": "9",
        "VPNAGENT_SEVERITY": "critical",
        "VPNAGENT_CONNECTION": "hz",
        "VPNAGENT_TUNNEL": "primary",
        "VPNAGENT_REASON": "silent",
        "VPNAGENT_DETECTION_SECONDS": "0.3",
        "VPNAGENT___": "odd",
    }


def test_something_else_called_event_is_no_event() -> None:
    assert "MESSAGE_ID" not in fields_in(entry(record(event="charon"), "told"))


# However much is logged, only so much is written; what is not is counted.

lines = st.lists(st.tuples(st.floats(0, 8), st.sampled_from("ab"), st.integers(0, 3)), max_size=80)


def drive(lines: list[tuple[float, str, int]]) -> tuple[list[tuple[float, tuple[str, int]]], int]:
    """Return which lines were written when, and the sum of the counts."""
    storm, written, counted = LogStorm(), [], 0
    for now, (_, kind, value) in zip(accumulate(pause for pause, _, _ in lines), lines, strict=True):
        counted += sum(s.lines for s in storm.ended(now))
        if storm.passes(kind, str(value), logging.INFO, now):
            written.append((now, (kind, value)))
    return written, counted + sum(s.lines for s in storm.ended(float("inf")))


@given(lines)
def test_every_line_is_written_or_counted(lines: list[tuple[float, str, int]]) -> None:
    written, counted = drive(lines)
    assert len(written) + counted == len(lines)


@given(lines.map(lambda lines: [(pause / 20, kind, value) for pause, kind, value in lines]))
def test_in_no_period_are_there_more_equal_lines_than_the_bound(lines: list[tuple[float, str, int]]) -> None:
    written, _ = drive(lines)
    for begin, line in written:
        assert sum(w == line and begin <= at < begin + PERIOD for at, w in written) <= 2 * EQUAL


def test_what_is_seldom_is_always_written() -> None:
    written, counted = drive([(PERIOD, "a", 1)] * 50)
    assert (len(written), counted) == (50, 0)


def test_lines_of_one_kind_with_other_values_have_a_bound_too() -> None:
    storm = LogStorm()
    passed = sum(storm.passes("applied %s", f"applied {n}", logging.INFO, 0.0) for n in range(3 * ALIKE))
    assert passed == ALIKE
    [suppressed] = storm.ended(PERIOD)
    assert (suppressed.lines, suppressed.text) == (2 * ALIKE, f"applied {3 * ALIKE - 1}")


def test_the_count_has_the_worst_level() -> None:
    storm = LogStorm()
    for level in [logging.INFO] * EQUAL + [logging.INFO, logging.ERROR, logging.INFO]:
        storm.passes("a", "a", level, 0.0)
    [suppressed] = storm.ended(PERIOD)
    assert (suppressed.lines, suppressed.level) == (3, logging.ERROR)
