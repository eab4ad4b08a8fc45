"""An event: something that happened once, with a number; as a value and as one line of JSON. Pure."""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from vpnagent.finding import BY_NAME, EventType, Severity
from vpnagent.record import record
from vpnagent.status.document import rfc3339

LONGEST_TEXT: Final = 500  #: characters
LONGEST_FIELD: Final = 200  #: characters
MOST_FIELDS: Final = 10
MOST_EVENTS: Final = 1 << 53  #: as far as every reader of JSON counts
LONGEST_LINE: Final = 12 * 1024  #: bytes of an event as JSON: four to a character at most, and the names

Scalar = str | int | float

BEGIN, DURING, END = "begin", "during", "end"  #: exactly one event begins an incident, and one ends it
PHASES: Final = ("", BEGIN, DURING, END)

NO_FIELDS: Final[Mapping[str, Scalar]] = {}


@record(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened, before it is an event: it may yet be damped."""

    type: EventType
    at: float  #: wall clock, seconds
    severity: Severity
    text: str
    connection: str = ""
    tunnel: str = ""
    about: str = ""  #: what tells happenings of one topic apart beside connection and tunnel
    fields: Mapping[str, Scalar] = NO_FIELDS
    incident: str = ""  #: the id of the incident that it belongs to
    phase: str = ""  #: of the incident: one of the three below; empty without one

    @property
    def subject(self) -> tuple[str, str, str, str]:
        """What it is about: of one subject the last word counts."""
        return (self.type.topic, self.connection, self.tunnel, self.about)


@record(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; ``sequence`` grows by one from event to event, over restarts too."""

    sequence: int
    at: float  #: wall clock, seconds
    type: EventType
    severity: Severity
    connection: str
    tunnel: str
    text: str
    fields: Mapping[str, Scalar]
    incident: str = ""  #: the id of the incident that it belongs to
    phase: str = ""  #: of the incident

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it everywhere."""
        return {
            "sequence": self.sequence,
            "at": rfc3339(self.at),
            "type": self.type.value,
            "title": self.type.title,
            "severity": self.severity.value,
            "connection": self.connection,
            "tunnel": self.tunnel,
            "text": self.text,
            "fields": dict(self.fields),
            "incident": self.incident,
            "phase": self.phase,
        }

    @property
    def line(self) -> bytes:
        """It as one line of JSON, at most ``LONGEST_LINE`` bytes."""
        return json.dumps(self.plain(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @property
    def subject(self) -> str:
        """Its tunnel or connection as people write it; empty for the gateway's own."""
        return f"{self.connection}/{self.tunnel}" if self.tunnel else self.connection


def event_of(happening: Happening, sequence: int) -> Event:
    """Return the event that a happening becomes: in one line, not longer than it may be, no field empty."""
    fields = [(name, value) for name, value in happening.fields.items() if value != ""][:MOST_FIELDS]
    return Event(
        sequence=sequence,
        at=happening.at,
        type=happening.type,
        severity=happening.severity,
        connection=happening.connection,
        tunnel=happening.tunnel,
        text=_one_line(happening.text, LONGEST_TEXT),
        fields={name: _sayable(value) for name, value in fields},
        incident=_one_line(happening.incident, LONGEST_FIELD),
        phase=happening.phase,
    )


def event_in(line: bytes) -> Event | None:
    """Return the event in a line of JSON; None for anything that is none, such as a torn line."""
    if len(line) > LONGEST_LINE:
        return None
    try:
        found = json.loads(line, parse_constant=_refuse)
        event = Event(
            sequence=found["sequence"],
            at=datetime.fromisoformat(found["at"]).timestamp(),
            type=BY_NAME[found["type"]],
            severity=Severity(found["severity"]),
            **{name: found[name] for name in ("connection", "tunnel", "text", "fields")},
            **{name: found.get(name, "") for name in ("incident", "phase")},
        )
        if not _sound(event) or len(event.line) > LONGEST_LINE:  # and it can be written again
            return None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None
    return event


def _sound(event: Event) -> bool:
    """Whether every value is of the type that its field says."""
    words = ("connection", "tunnel", "text", "incident")
    texts = all(isinstance(getattr(event, name), str) for name in words) and event.phase in PHASES
    numbered = type(event.sequence) is int and 0 < event.sequence < MOST_EVENTS
    fields = isinstance(event.fields, dict) and all(isinstance(v, Scalar) for v in event.fields.values())
    return texts and numbered and fields


def _sayable(value: Scalar) -> Scalar:
    """Return a field's value as JSON has it: no control characters, no number that is none."""
    if isinstance(value, str):
        return _one_line(value, LONGEST_FIELD)
    return value if math.isfinite(value) else str(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _one_line(text: str, longest: int) -> str:
    """Return a text without control characters and what no encoding knows, cut to a length."""
    clean = "".join(character if character.isprintable() else " " for character in text[: longest + 1])
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"
