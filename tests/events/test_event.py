"""Events as lines of JSON: bounded, whole, and read back as they were."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.events.event import LONGEST_LINE, MOST_EVENTS, Event, Happening, event_in, event_of
from vpnagent.finding import EventType, Severity

texts = st.text(st.characters(), max_size=1500)
names = st.from_regex(r"\A[A-Za-z0-9_-]{0,32}\Z")
happenings = st.builds(
    Happening,
    type=st.sampled_from(EventType),
    at=st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000),
    severity=st.sampled_from(Severity),
    text=texts,
    connection=names,
    tunnel=names,
    about=texts,
    fields=st.dictionaries(names, texts | st.integers() | st.floats(allow_nan=False), max_size=20),
)


@given(happenings, st.integers(1, MOST_EVENTS - 1))
def test_an_event_is_one_bounded_line_and_is_read_back_as_it_was(happening: Happening, sequence: int) -> None:
    event = event_of(happening, sequence)
    assert event.line.count(b"\n") == 1
    assert len(event.line) <= LONGEST_LINE
    read = event_in(event.line)
    assert read is not None
    assert {**read.plain(), "at": ""} == {**event.plain(), "at": ""}
    assert abs(read.at - event.at) <= 0.001


@given(happenings, st.data())
def test_a_torn_line_is_no_event(happening: Happening, data: st.DataObject) -> None:
    line = event_of(happening, 7).line.rstrip()
    assert event_in(line[: data.draw(st.integers(0, len(line) - 1))]) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


FAILOVER = event_of(Happening(type=EventType.FAILOVER, at=0.0, severity=Severity.INFO, text="x"), 1)


@given(st.sampled_from(sorted(FAILOVER.plain())), json_values)
def test_a_value_of_another_type_makes_it_none_or_an_event(name: str, value: object) -> None:
    found = event_in(json.dumps({**FAILOVER.plain(), name: value}).encode())
    assert found is None or isinstance(found, Event)
    if found is not None:
        assert event_in(found.line) == found


def test_identifiers_titles_and_message_ids_are_unique() -> None:
    for told in ("value", "title", "message_id"):
        assert len({getattr(kind, told) for kind in EventType}) == len(EventType)


@pytest.mark.parametrize("kind", EventType, ids=lambda kind: kind.value)
def test_a_message_id_is_a_random_128_bit_number(kind: EventType) -> None:
    assert len(kind.message_id) == 32
    assert kind.message_id[12] == "4"  # RFC 9562, version 4, as systemd-id128 makes them
    assert bytes.fromhex(kind.message_id)


def test_the_clouds_events_have_the_names_of_its_console() -> None:
    assert [kind.title for kind in list(EventType)[:5]] == [
        "Certificate Expiry",
        "All IPsec Tunnels Failed to Negotiate",
        "IPsec Tunnel Negotiation Failed",
        "Health Check Failed",
        "VPN Connection Health Check Failed",
    ]
