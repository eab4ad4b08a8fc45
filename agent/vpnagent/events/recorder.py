"""Events as the daemon makes them: look, number, log, count, keep; write them without holding up the loop.

A shell around ``detect``, ``damping`` and ``store``. The numbers go on where the file ends, so nothing is
looked at before it was read; what happened meanwhile is found by the first look.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from vpnagent import __version__
from vpnagent.events.damping import Damper
from vpnagent.events.detect import happenings
from vpnagent.events.event import Event, Happening, event_of
from vpnagent.events.hooks import Hooks
from vpnagent.events.snapshot import beginning, look
from vpnagent.events.store import MOST, Store, page, query_of
from vpnagent.finding import EventType, Finding, Severity
from vpnagent.knowledge.knowledge import Knowledge

log = logging.getLogger(__name__)

LEVELS: Final = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.ERROR,
}
REMEMBERED: Final = 2 * MOST  #: events in memory, and to be written
RETRY: Final = 5.0  #: seconds before a disk that refused is tried again
PATIENCE: Final = 1.0  #: seconds for the last write at the end


class Recorder:
    """``known.event_counts`` and ``known.event_findings`` are its to write."""

    def __init__(self, known: Knowledge, at: float, now: float) -> None:
        self._known = known
        self._hooks = Hooks(known)
        self._store = Store(known.config.agent.state_directory)
        self._seen = beginning(known, at)
        self._damper = Damper(now)
        self._events: deque[Event] = deque(maxlen=REMEMBERED)
        self._unwritten: deque[Event] = deque(maxlen=REMEMBERED)
        self._sequence = 0
        self._problem: str | None = None  #: why events are not written
        self._loaded = asyncio.Event()
        self._dirty = asyncio.Event()

    async def run(self) -> None:
        """Read what is kept, then write what happens, until cancelled."""
        if not self._loaded.is_set():
            await self._load()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            while (problem := await self._write()) is not None:
                self._problem = problem
                await asyncio.sleep(RETRY)
            self._problem = None

    def look(self, at: float, now: float) -> None:
        """Find what happened since the last look; ``at`` is the wall clock, ``now`` monotonic."""
        if not self._loaded.is_set():
            return
        before, self._seen = self._seen, look(self._known, self._seen, at)
        for happening in self._damper.take(list(happenings(before, self._seen, at)), now):
            self._tell(happening)
        not_kept = () if self._problem is None else (_not_kept(self._problem),)
        self._known.event_findings = (*not_kept, *self._hooks.findings())

    async def run_hooks(self) -> None:
        """Tell the hooks of events, until cancelled."""
        await self._hooks.run()

    async def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of events. Raises ControlError."""
        query = query_of(request)
        await self._loaded.wait()
        return page(self._events, query)

    async def close(self, at: float) -> None:
        """Tell that the daemon stops; give the hooks and the disk a short while for what they lack."""
        if not self._loaded.is_set():
            return
        left = "left" if self._known.config.connections else "removed"
        self._tell(_of_daemon(EventType.DAEMON_STOPPED, at, f"stopped; tunnels and routes are {left}"))
        try:
            async with asyncio.timeout(PATIENCE):
                problem = await self._write()
        except TimeoutError:
            problem = f"not written within {PATIENCE:g} s"
        if problem:
            log.warning("events-not-kept error=%r", problem)
        await self._hooks.drain()

    async def _load(self) -> None:
        kept = await asyncio.to_thread(self._store.read)
        if kept.problem:
            log.warning("events-unreadable error=%r", kept.problem)
        self._events.extend(kept.events)
        text = f"vpnagent {__version__} started"
        if kept.events:
            self._sequence = kept.events[-1].sequence
            if kept.events[-1].type is not EventType.DAEMON_STOPPED:
                text += "; the last run did not stop in order"
        self._loaded.set()
        self._tell(_of_daemon(EventType.DAEMON_STARTED, self._known.loaded_at, text))

    def _tell(self, happening: Happening) -> None:
        self._sequence += 1
        event = event_of(happening, self._sequence)
        self._events.append(event)
        self._unwritten.append(event)
        self._dirty.set()
        self._hooks.offer(event)
        counts = self._known.event_counts
        counts[event.type.value] = counts.get(event.type.value, 0) + 1
        log.log(LEVELS[event.severity], "event %s", in_words(event), extra={"event": event})

    async def _write(self) -> str | None:
        """Write what is not yet written; what is told meanwhile waits for the next time."""
        batch = list(self._unwritten)
        if not batch:
            return None
        problem = await asyncio.to_thread(self._store.append, batch)
        while not problem and self._unwritten and self._unwritten[0].sequence <= batch[-1].sequence:
            self._unwritten.popleft()
        return problem


def in_words(event: Event) -> str:
    """Return an event for one log line."""
    fields = "".join(f" {name}={value!r}" for name, value in event.fields.items())
    subject = f" subject={event.subject}" if event.subject else ""
    return f"type={event.type.value}{subject} sequence={event.sequence} text={event.text!r}{fields}"


def _of_daemon(kind: EventType, at: float, text: str) -> Happening:
    return Happening(type=kind, at=at, severity=Severity.INFO, text=text)


def _not_kept(problem: str) -> Finding:
    return Finding(
        code="EventsNotKept",
        subject="",
        severity=Severity.WARNING,
        text=f"events are not kept: {problem}",
        hint="make room in agent.state_directory; what happens meanwhile is in memory and in the log",
    )
