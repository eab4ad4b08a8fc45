"""Which of the events are asked for, a page at a time: the request and its answer. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from vpnagent.control import USAGE
from vpnagent.errors import ControlError
from vpnagent.events.event import Event
from vpnagent.events.kinds import WORDS
from vpnagent.finding import Severity
from vpnagent.record import dataclass

PAGE: Final = 200  #: events in an answer; so many of the longest stay below control.MAXIMUM_LINE
SEVERITIES: Final = [severity.value for severity in Severity]


@dataclass(frozen=True, slots=True, kw_only=True)
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
