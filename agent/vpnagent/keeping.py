"""Small files of the state directory that must survive a restart: written, and tried again until they are.

A disk that is full or refuses costs what is to be remembered, and nothing now: one finding stands for each
file that is not written.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from vpnagent import drains
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge import Knowledge

RETRY: Final = 5.0  #: seconds before a disk that refused is tried again

Write = Callable[[], str | None]  #: blocking; returns what went wrong, in one line, or None


class _Waiting(NamedTuple):
    """A write that failed, and why."""

    write: Write
    problem: str


class Keeping:
    """``known.state_findings`` is its to write."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._waiting: dict[str, _Waiting] = {}  #: by what is to be kept
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Try again what waits, until cancelled."""
        while True:
            await asyncio.sleep(RETRY)
            for what in list(self._waiting):
                await self.again(what)

    async def keep(self, what: str, write: Write) -> str | None:
        """Write in place of what was to be kept before; return what went wrong, in one line, or None."""
        async with self._one_at_a_time:
            return await self._try(what, write)

    async def keep_drains(self) -> str | None:
        """Write which tunnels are drained, as it is when that is written; return what went wrong, or None."""
        directory = self._known.config.agent.state_directory
        return await self.keep("drains", lambda: drains.write(directory, self._known.drained))

    async def again(self, what: str) -> str | None:
        """Try at once what waits, if it does; return what went wrong."""
        async with self._one_at_a_time:
            waiting = self._waiting.get(what)
            return None if waiting is None else await self._try(what, waiting.write)

    async def _try(self, what: str, write: Write) -> str | None:
        problem = await asyncio.to_thread(write)
        if problem is None:
            self._waiting.pop(what, None)
        else:
            self._waiting[what] = _Waiting(write, problem)
        self._known.state_findings = tuple(_not_kept(w, f.problem) for w, f in self._waiting.items())
        return problem


def _not_kept(what: str, problem: str) -> Finding:
    return Finding(
        code="StateNotKept",
        subject=what,
        severity=Severity.WARNING,
        text=f"not kept: {problem}",
        hint="make room in agent.state_directory; it is tried again by itself",
    )
