"""Logging: one line an event, the constant name first, then ``key=value``.

Under systemd a line goes to journald by its native protocol, with priority and fields, and is never waited
for: what journald has no room for is dropped and counted. Elsewhere lines go to standard error, with the
time. Storms are damped (`log_storm`). Secrets are of type ``Secret`` and show as ``***`` whatever the format.
"""

import errno
import fcntl
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Final, TextIO

from vpnagent.journal_entry import entry, priority_of
from vpnagent.log_storm import LogStorm, Suppressed

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
