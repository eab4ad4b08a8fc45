"""What a hook has still to be told: bounded, in order, with pauses after a failure. Pure.

At most ``MOST`` events wait; a newer one pushes out the oldest. Each gets ``retries`` attempts after the
first. What is pushed out or given up is counted: every event is delivered, lost and counted, or waits.
"""

from collections import deque
from typing import Final

from vpnagent.events.event import Event

MOST: Final = 256  #: events that wait for one hook
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  #: seconds after the n-th failure in a row; the last stays


class Backlog:
    """The events for one hook, oldest first. Ask ``due()``, try, and tell ``delivered()`` or ``failed()``."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._failures = 0  #: in a row, of the oldest
        self._not_before = 0.0  #: monotonic, seconds
        self.lost = 0  #: events, since the beginning
        self.error: str | None = None  #: why the last event was lost; None once one was delivered again

    def __len__(self) -> int:
        return len(self._events)

    def offer(self, event: Event) -> None:
        """Let an event wait; the oldest is lost if there are too many."""
        if len(self._events) == MOST:
            self._lose(f"more than {MOST} events wait")
        self._events.append(event)

    def due(self, now: float) -> Event | None:
        """Return the event to be tried now; None while there is none or a pause lasts."""
        return self._events[0] if self._events and now >= self._not_before else None

    def deadline(self) -> float | None:
        """Return when an event will be due, should none come; None when none waits."""
        return self._not_before if self._events else None

    def hurry(self) -> None:
        """End the pause: what failed may succeed now."""
        self._not_before = 0.0

    def delivered(self, event: Event) -> None:
        """Note that an event arrived."""
        self.error, self._failures, self._not_before = None, 0, 0.0
        if self._is_oldest(event):
            self._events.popleft()

    def failed(self, event: Event, error: str, now: float, *, retries: int) -> None:
        """Note that an attempt failed: it is tried again after a pause, or given up."""
        if not self._is_oldest(event):
            return  # pushed out meanwhile, and counted
        self._failures += 1
        self._not_before = now + PAUSES[min(self._failures, len(PAUSES)) - 1]
        if self._failures > retries:
            self._lose(error)

    def _lose(self, error: str) -> None:
        self._events.popleft()
        self._failures = 0
        self.lost += 1
        self.error = error

    def _is_oldest(self, event: Event) -> bool:
        return bool(self._events) and self._events[0].sequence == event.sequence
