"""What a hook has still to be told: in order, within the service's rate limit, nothing lost unseen. Pure.

At most ``MOST`` events wait; a newer one pushes out the oldest. A service for people gets all that waits as
one message, so what a rate limit holds back is joined, not dropped; any other hook gets one event at a
time. A message that failed is tried again as it was, ``retries`` times, except that a refusal for its rate
counts as no attempt. What is pushed out or given up is counted: every event is delivered, lost and counted,
or waits.
"""

from collections import deque
from typing import Final

from vpnagent.events.event import Event
from vpnagent.events.services import Limit

MOST: Final = 256  #: events that wait for one hook
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  #: seconds after the n-th failure in a row; the last stays

Notification = tuple[Event, ...]  #: what is told at once, oldest first; empty: nothing


class Backlog:
    """The events for one hook. Ask ``due()``, tell ``attempted()``, try, and tell how it ended."""

    def __init__(self, limit: Limit | None = None) -> None:
        self.limit = limit  #: None: one event at a time, and as fast as they are taken
        self._events: deque[Event] = deque()
        self._attempts: deque[float] = deque()  #: monotonic, seconds; of the last period of the limit
        self._joined = 0  #: number of the last event of the message that is being tried; 0: none is
        self._failures = 0  #: in a row, of that message
        self._not_before = 0.0  #: monotonic, seconds
        self.lost = 0  #: events, since the beginning
        self.error: str | None = None  #: why the last event was lost; None once one was delivered again

    def __len__(self) -> int:
        return len(self._events)

    def offer(self, event: Event) -> None:
        """Let an event wait; the oldest is lost if there are too many."""
        if len(self._events) == MOST:
            self._lose_oldest(f"more than {MOST} events wait")
        self._events.append(event)

    def due(self, now: float) -> Notification:
        """Return the message to be tried now; empty while none waits or a pause lasts."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return ()
        if self._joined < self._events[0].sequence:
            self._joined = (self._events[-1] if self.limit else self._events[0]).sequence
        return tuple(event for event in self._events if event.sequence <= self._joined)

    def deadline(self) -> float | None:
        """Return when a message will be due, should no event come; None when none waits."""
        if not self._events:
            return None
        if self.limit is None or len(self._attempts) < self.limit.messages:
            return self._not_before
        return max(self._not_before, self._attempts[-self.limit.messages] + self.limit.period)

    def hurry(self) -> None:
        """End the pause: what failed may succeed now. The rate limit stays."""
        self._not_before = 0.0

    def attempted(self, now: float) -> None:
        """Note that a message is sent: the service counts it, whatever comes of it."""
        if self.limit is not None:
            self._attempts.append(now)
            while len(self._attempts) > self.limit.messages:
                self._attempts.popleft()

    def delivered(self, message: Notification) -> None:
        """Note that a message arrived."""
        self.error, self._not_before = None, 0.0
        if self._is_current(message):
            self._finish(message)

    def failed(self, message: Notification, error: str, now: float, *, retries: int) -> None:
        """Note that an attempt failed: it is tried again after a pause, or given up."""
        if not self._is_current(message):
            return  # pushed out meanwhile, and counted
        self._failures += 1
        self._not_before = now + PAUSES[min(self._failures, len(PAUSES)) - 1]
        if self._failures > retries:
            self.lost += self._finish(message)
            self.error = error

    def refused_for_its_rate(self, now: float, pause: float) -> None:
        """Note that the service takes nothing for ``pause`` seconds: everything waits, and more is joined."""
        self._not_before = now + pause
        self._joined = self._failures = 0

    def _finish(self, message: Notification) -> int:
        """Drop what is left of a message; return how many events that was."""
        before = len(self._events)
        while self._events and self._events[0].sequence <= message[-1].sequence:
            self._events.popleft()
        self._joined = self._failures = 0
        return before - len(self._events)

    def _lose_oldest(self, error: str) -> None:
        gone = self._events.popleft()
        self.lost += 1
        self.error = error
        if gone.sequence == self._joined:
            self._joined = self._failures = 0

    def _is_current(self, message: Notification) -> bool:
        return bool(self._events) and self._events[0].sequence <= message[-1].sequence
