"""Logging: one line an event, the constant name first, then ``key=value``. A shell.

Under systemd a line goes to journald by its native protocol, with priority and fields, and is never waited
for: what journald has no room for is dropped and counted. Elsewhere lines go to standard error, with the
time. Storms are damped (`log_storm`). Secrets are of type ``Secret`` and show as ``***`` whatever the format.
"""

import errno
import fcntl
import logging
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TextIO

from vpnagent.events.event import Event

# Damp storms of log lines: equal ones, and more of one kind than anybody reads. Pure; ``now`` in seconds.
# Of equal lines at most ``EQUAL`` pass in a period that begins with the first, of one kind (one place in
# the code, whatever the values) at most ``ALIKE``. When it is over, one line says how many did not pass.
# So in any ``PERIOD`` at most ``2 * EQUAL`` equal lines and ``2 * ALIKE`` of one kind are written, and
# their counts.

PERIOD: Final = 10.0  #: seconds
EQUAL: Final = 5  #: lines
ALIKE: Final = 500  #: lines; 256 tunnels at a start make as many of one kind
MOST: Final = 4096  #: kinds and texts that are counted at a time; the rest passes


class Suppressed(NamedTuple):
    """How many lines did not pass."""

    lines: int
    text: str  #: the last of them
    level: int


@dataclass(slots=True)
class _Period:
    ends: float  #: monotonic, seconds
    passed: int = 0
    suppressed: int = 0
    text: str = ""
    level: int = 0


class LogStorm:
    """Ask ``passes()`` for every line, and ``ended()`` now and then."""

    def __init__(self) -> None:
        self._periods: dict[tuple[str, ...], _Period] = {}

    def passes(self, kind: str, text: str, level: int, now: float) -> bool:
        """Whether a line is to be written; call ``ended()`` before, at the same time."""
        alike, equal = self._period((kind,), now), self._period((kind, text), now)
        full = equal if equal.passed >= EQUAL else alike if alike.passed >= ALIKE else None
        if full is not None:
            full.suppressed += 1
            full.text, full.level = text, max(full.level, level)
            return False
        alike.passed += 1
        equal.passed += 1
        return True

    def ended(self, now: float) -> list[Suppressed]:
        """Return the counts of the periods that are over, oldest first; ``inf`` for all."""
        over = [key for key, period in self._periods.items() if period.ends <= now]
        periods = [self._periods.pop(key) for key in over]
        return [Suppressed(p.suppressed, p.text, p.level) for p in periods if p.suppressed]

    def _period(self, key: tuple[str, ...], now: float) -> _Period:
        """Return the period that a line falls into; one that is over waits for ``ended``, and counts on."""
        period = self._periods.get(key)
        if period is None:
            period = _Period(now + PERIOD)
            if len(self._periods) < MOST:
                self._periods[key] = period
        return period


LOGGERS: Final = ("vpnagent", "asyncio")
JOURNAL: Final = "/run/systemd/journal/socket"
TOO_LARGE: Final = (errno.EMSGSIZE, errno.ENOBUFS)
SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class PriorityFormatter(logging.Formatter):
    """``<priority>message`` (sd-daemon(3)), continuation lines with the same priority."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines, each with its priority."""
        priority = priority_of(record.levelno)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class JournalHandler(logging.Handler):
    """Sends records to journald; to standard error, which systemd connects to it too, where that fails."""

    def __init__(self, path: str, fallback: logging.Handler) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._path = path
        self._fallback = fallback
        self._dropped = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record if journald takes it at once."""
        if self._dropped:
            lost = _line(logging.WARNING, "log-lines-dropped count=%d: journald took none", self._dropped)
            if not self._send(lost):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._send(record):
            self._dropped += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _send(self, record: logging.LogRecord) -> bool:
        """Send one record; return False when journald has no room for it."""
        content = entry(record, self.format(record))
        try:
            self._send_content(content)
        except BlockingIOError:
            return False
        except OSError:
            self._fallback.handle(record)
        return True

    def _send_content(self, content: bytes) -> None:
        try:
            self._socket.sendto(content, socket.MSG_DONTWAIT, self._path)
        except OSError as error:
            if error.errno not in TOO_LARGE:
                raise
            self._send_file(content)

    def _send_file(self, content: bytes) -> None:
        """Send what no datagram holds as a sealed file in memory, as the protocol has it."""
        with open(os.memfd_create("vpnagent-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
            file.write(content)
            file.flush()
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, file.fileno().to_bytes(4, sys.byteorder))]
            self._socket.sendmsg([], passed, socket.MSG_DONTWAIT, self._path)


class CalmHandler(logging.Handler):
    """Hands records on, of a storm only some and their number. ``flush()`` it now and then."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__()
        self._target = target
        self._storm = LogStorm()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on if it passes."""
        now = time.monotonic()
        self._tell(now)
        try:
            # An event is damped as what it is, and each is worth a line.
            passes = hasattr(record, "event") or self._storm.passes(*_alike(record), record.levelno, now)
        except Exception:
            self.handleError(record)  # values that do not fit the text: never the caller's trouble
            return
        if passes:
            self._target.handle(record)

    def flush(self) -> None:
        """Tell of storms that are over."""
        self._tell(time.monotonic())

    def close(self) -> None:
        """Tell of all storms."""
        self._tell(float("inf"))
        self._target.close()
        super().close()

    def _tell(self, now: float) -> None:
        for suppressed in self._storm.ended(now):
            self._target.handle(_summary(suppressed))


def configure(
    *,
    debug: bool,
    environ: Mapping[str, str] = os.environ,
    stream: TextIO = sys.stderr,
    journal: str = JOURNAL,
) -> None:
    """Send this package's log to journald where standard error leads there, else to standard error."""
    plain = logging.StreamHandler(stream)
    target: logging.Handler = plain
    if leads_to_journal(environ, stream):
        plain.setFormatter(PriorityFormatter("%(message)s"))
        target = JournalHandler(journal, plain)
    else:
        formatter = logging.Formatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        plain.setFormatter(formatter)
    handler = CalmHandler(target)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for old in logger.handlers[:]:
            logger.removeHandler(old)
            old.close()
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if debug and name == "vpnagent" else logging.INFO)
        logger.propagate = False


def tell_of_storms() -> None:
    """Tell of storms that are over, also when no line comes."""
    for handler in logging.getLogger("vpnagent").handlers:
        handler.flush()


def leads_to_journal(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Whether a stream is the one that systemd connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _alike(record: logging.LogRecord) -> tuple[str, str]:
    """Return a line's kind and its text, by which it is damped.

    What asyncio says has addresses and numbers in it that differ from line to line, and a traceback.
    """
    if record.name == "asyncio":
        return record.name, record.name
    return f"{record.name} {record.msg}", record.getMessage()


def _summary(suppressed: Suppressed) -> logging.LogRecord:
    return _line(suppressed.level, "log-lines-suppressed count=%d last=%r", suppressed.lines, suppressed.text)


def _line(level: int, message: str, *values: object) -> logging.LogRecord:
    """Return a record of our own making."""
    return logging.LogRecord(__name__, level, __file__, 0, message, values, None)


# A log line as journald's native protocol has it (systemd.io/JOURNAL_NATIVE_PROTOCOL). Pure.
# What is not an event has priority, message and the place in the code. An event has its MESSAGE_ID too,
# and its fields under ``VPNAGENT_``: ``journalctl VPNAGENT_TUNNEL=primary VPNAGENT_EVENT=TunnelDown``.

PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
DEBUG: Final = 7
IDENTIFIER: Final = "vpnagent"
_UNFIT = re.compile(r"[^A-Z0-9_]")


def priority_of(level: int) -> int:
    """Return the priority (syslog(3)) of a level of the standard library."""
    return next((priority for least, priority in PRIORITIES if level >= least), DEBUG)


def entry(record: logging.LogRecord, message: str) -> bytes:
    """Return the datagram for a log record."""
    fields = {
        "MESSAGE": message,
        "PRIORITY": str(priority_of(record.levelno)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
    }
    event = getattr(record, "event", None)
    if isinstance(event, Event):
        fields |= _fields_of(event)
    return datagram(fields)


def datagram(fields: Mapping[str, str]) -> bytes:
    """Return fields as a datagram: what has several lines goes with its length, 64 bits little-endian."""
    parts: list[bytes] = []
    for name, value in fields.items():
        content = value.encode(errors="backslashreplace")
        if b"\n" in content:
            parts += [name.encode(), b"\n", struct.pack("<Q", len(content)), content, b"\n"]
        else:
            parts += [name.encode(), b"=", content, b"\n"]
    return b"".join(parts)


def _fields_of(event: Event) -> dict[str, str]:
    own = {
        f"VPNAGENT_{_UNFIT.sub('_', name.upper())[:50]}": str(value) for name, value in event.fields.items()
    }
    return {
        **own,
        "MESSAGE_ID": event.type.message_id,
        "VPNAGENT_EVENT": event.type.value,
        "VPNAGENT_SEQUENCE": str(event.sequence),
        "VPNAGENT_SEVERITY": event.severity.value,
        "VPNAGENT_CONNECTION": event.connection,
        "VPNAGENT_TUNNEL": event.tunnel,
    }
