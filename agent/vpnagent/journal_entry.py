"""A log line as journald's native protocol has it (systemd.io/JOURNAL_NATIVE_PROTOCOL). Pure.

What is not an event has priority, message and the place in the code. An event has its MESSAGE_ID too, and its
fields under ``VPNAGENT_``: ``journalctl VPNAGENT_TUNNEL=primary VPNAGENT_EVENT=TunnelDown``.
"""

import logging
import re
import struct
from collections.abc import Mapping
from typing import Final

from vpnagent.events.event import Event

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
