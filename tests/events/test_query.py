"""Pages of events: everything that is asked for, once, in order, in answers of bounded size."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.control.protocol import MAXIMUM_LINE, encode
from vpnagent.errors import ControlError
from vpnagent.events.event import LONGEST_FIELD, LONGEST_TEXT, MOST_FIELDS, Event, Happening, event_of
from vpnagent.events.store import PAGE, Query, chosen, page, query_of
from vpnagent.finding import EventType, Severity


def event(sequence: int, severity: Severity = Severity.INFO) -> Event:
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
    events = [event(sequence) for sequence in range(5, 5 + count)]
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
    assert chosen(event(3, Severity.WARNING), [word]) is expected


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
