"""Datagrams for journald, read back as systemd.io/JOURNAL_NATIVE_PROTOCOL says."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.events.event import Happening, event_of
from vpnagent.finding import EventType, Severity
from vpnagent.log import datagram, entry


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
