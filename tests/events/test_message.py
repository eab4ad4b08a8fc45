"""What people read: every type has words in both languages, and what has no room is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.config.values import HookLanguage
from vpnagent.events.event import Event, Happening, event_of
from vpnagent.events.message import subject, text
from vpnagent.finding import EventType, Severity


def event(
    kind: EventType, severity: Severity = Severity.INFO, words: str = "moved", number: int = 1
) -> Event:
    return event_of(Happening(type=kind, at=1.5, severity=severity, text=words, connection="hz"), number)


@pytest.mark.parametrize("kind", EventType)
@pytest.mark.parametrize("severity", Severity)
def test_every_type_has_words_in_chinese(kind: EventType, severity: Severity) -> None:
    said = subject([event(kind, severity)], "idc", HookLanguage.CHINESE)
    assert kind.title not in said
    assert severity.value not in said


def test_the_worst_of_several_stands_in_the_heading() -> None:
    events = [event(EventType.TUNNEL_DOWN, Severity.CRITICAL), event(EventType.TUNNEL_UP)]
    assert subject(events, "idc", HookLanguage.ENGLISH) == "[critical] idc: 2 events"
    assert subject(events, "idc", HookLanguage.CHINESE) == "[严重] idc: 2 个事件"


@given(
    st.lists(st.text(max_size=300), min_size=2, max_size=100),
    st.sampled_from(HookLanguage),
    st.integers(2000, 20000),
)
def test_every_event_is_a_line_or_counted_within_what_the_service_takes(
    texts: list[str], language: HookLanguage, longest: int
) -> None:
    events = [event(EventType.FAILOVER, words=words, number=n + 1) for n, words in enumerate(texts)]
    said = text(events, "idc", language, longest)
    assert len(said.encode()) <= longest
    heading, *lines = said.split("\n")
    assert str(len(events)) in heading
    told = [line for line in lines if line.startswith("1970-")]
    missing = [int("".join(filter(str.isdecimal, line.split("vpnagent")[0]))) for line in lines[len(told) :]]
    assert len(told) + sum(missing) == len(events)
