"""Damp storms of events without losing the last word. Pure: ``now`` is monotonic, in seconds.

Two token buckets (RFC 2697 has the idea) stand before every event: one of its subject, one of all. What
finds one of them empty waits; of one subject only the newest waits, and counts those that it replaced. So,
in any period of T seconds, at most ``BURST + RATE * T`` events are told, of one subject at most
``SUBJECT_BURST + SUBJECT_RATE * T``; when it is quiet again, the last event of each subject tells how it is.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from vpnagent.events.event import Happening
from vpnagent.finding import EventType, Severity
from vpnagent.record import replace

SUBJECT_BURST: Final = 5.0  #: events
SUBJECT_RATE: Final = 1 / 60  #: events a second
BURST: Final = 400.0  #: events: 32 tunnels that fail together make some 150
RATE: Final = 1.0  #: events a second
MOST_SUBJECTS: Final = 2048  #: of which something waits or was lately told

EventSubject = tuple[str, str, str, str]


class Bucket:
    """Tokens that come back with time."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst, self._rate, self._tokens, self._at = burst, rate, burst, now

    def level(self, now: float) -> float:
        """Return the tokens that are there; a clock that steps back adds none."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)
        return self._tokens

    def take(self) -> None:
        """Take one, after ``level`` told that there is one."""
        self._tokens -= 1.0


@dataclass(slots=True)
class _WaitingEvent:
    happening: Happening
    replaced: int = 0


class Damper:
    """Drive it with ``take()``, also when nothing happened: what waits comes in its time."""

    def __init__(self, now: float) -> None:
        self._all = Bucket(BURST, RATE, now)
        self._subjects: OrderedDict[EventSubject, Bucket] = OrderedDict()  #: the last told of last
        self._waiting: OrderedDict[EventSubject, _WaitingEvent] = OrderedDict()  #: the longest waiting first
        self._forgotten = 0  #: of subjects beyond the bound
        self._forgotten_at = 0.0  #: wall clock, the last of them

    def take(self, happened: list[Happening], now: float) -> list[Happening]:
        """Return what is to be told now, of this and of what waited."""
        for happening in happened:
            self._wait(happening)
        told: list[Happening] = []
        for subject in list(self._waiting):
            if self._all.level(now) < 1.0:
                break
            bucket = self._subjects.setdefault(subject, Bucket(SUBJECT_BURST, SUBJECT_RATE, now))
            if bucket.level(now) >= 1.0:
                bucket.take()
                self._all.take()
                self._subjects.move_to_end(subject)
                told.append(_summary(self._waiting.pop(subject)))
        self._forget_the_quiet(now)
        return told + self._count_of_forgotten(now)

    def _wait(self, happening: Happening) -> None:
        waiting = self._waiting.get(happening.subject)
        if waiting is not None:
            waiting.happening, waiting.replaced = happening, waiting.replaced + 1
        elif len(self._waiting) < MOST_SUBJECTS:
            self._waiting[happening.subject] = _WaitingEvent(happening)
        else:
            self._forgotten, self._forgotten_at = self._forgotten + 1, happening.at

    def _forget_the_quiet(self, now: float) -> None:
        """Forget the buckets that are full again: a new one would be the same."""
        while self._subjects:
            subject, bucket = next(iter(self._subjects.items()))
            if bucket.level(now) < SUBJECT_BURST:
                break
            del self._subjects[subject]

    def _count_of_forgotten(self, now: float) -> list[Happening]:
        if not self._forgotten or self._all.level(now) < 1.0:
            return []
        self._all.take()
        forgotten, self._forgotten = self._forgotten, 0
        return [
            Happening(
                type=EventType.EVENTS_SUPPRESSED,
                at=self._forgotten_at,
                severity=Severity.WARNING,
                text=f"{forgotten} events of more than {MOST_SUBJECTS} subjects at once were not told",
                fields={"suppressed": forgotten},
            )
        ]


def _summary(waiting: _WaitingEvent) -> Happening:
    """Return the newest of those that waited, with the number of those that it stands for."""
    happening, replaced = waiting.happening, waiting.replaced
    if not replaced:
        return happening
    return replace(
        happening,
        text=f"{happening.text} (and {replaced} more changes before, not told one by one)",
        fields={"suppressed": replaced, **happening.fields},
    )
