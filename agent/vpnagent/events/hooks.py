"""Tell hooks of events: each in its own time, one event after the other, and nobody waits for them.

A shell around ``backlog``. Every attempt is a process that is killed, with whatever it started, when its time
is over: a webhook that hangs costs a sleeping process. An event may be told twice, after an attempt whose end
was not seen; its number tells.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from vpnagent.config.values import Hook
from vpnagent.events import unprivileged
from vpnagent.events.event import Event
from vpnagent.events.store import chosen
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.secret import Secret

# What a hook has still to be told: bounded, in order, with pauses after a failure. Pure.
# At most ``MOST`` events wait; a newer one pushes out the oldest. Each gets ``retries`` attempts after
# the first. What is pushed out or given up is counted: every event is delivered, lost and counted, or
# waits.

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


log = logging.getLogger(__name__)

POST: Final = (sys.executable, "-P", "-m", "vpnagent.events.post")
WITHOUT_CAPABILITIES: Final = (sys.executable, "-I", "-S", unprivileged.__file__)
NEVER: Final = 2  #: exit status of ``post`` for what no further attempt can change
PASSED_ON: Final = ("https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")
LONGEST_COMPLAINT: Final = 4096  #: bytes of standard error that are looked at
DRAIN: Final = 2.0  #: seconds at the end for what still waits


class HookError(Exception):
    """An attempt failed; ``final`` when no other can succeed."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


@dataclass(slots=True)
class _Told:
    """One hook, what it has still to be told, and the bell that rings for more."""

    hook: Hook
    backlog: Backlog = field(default_factory=Backlog)
    more: asyncio.Event = field(default_factory=asyncio.Event)


class Hooks:
    """The hooks of the configuration in force. ``known.hook_failures`` is theirs to write."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._hooks: dict[str, _Told] = {}
        self._configured: tuple[Hook, ...] = ()
        self._changed = asyncio.Event()

    def offer(self, event: Event) -> None:
        """Queue an event for every hook that wants it."""
        self._follow_configuration()
        for told in self._hooks.values():
            if chosen(event, told.hook.events):
                told.backlog.offer(event)
                told.more.set()
                self._count(told)

    async def run(self) -> None:
        """Tell the hooks until cancelled; a changed configuration keeps what waits for hooks that stay."""
        while True:
            self._follow_configuration()
            self._changed.clear()
            async with asyncio.TaskGroup() as group:
                serving = [group.create_task(self._serve(told)) for told in self._hooks.values()]
                await self._changed.wait()
                for task in serving:
                    task.cancel()

    async def drain(self) -> None:
        """Try what waits once more, all hooks at a time, for a short while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN), asyncio.TaskGroup() as group:
                for told in self._hooks.values():
                    group.create_task(self._hurry(told))
        left = sum(len(told.backlog) for told in self._hooks.values())
        if left:
            log.warning("hook-events-left count=%d", left)

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with hooks."""
        for name, told in self._hooks.items():
            if told.backlog.error is not None:
                yield Finding(
                    code="HookFailing",
                    subject=name,
                    severity=Severity.WARNING,
                    text=f"hook {name} does not get events: {told.backlog.error}; "
                    f"{told.backlog.lost} lost, {len(told.backlog)} wait",
                    hint="see what it names; vpnagent events has them all",
                )

    def _follow_configuration(self) -> None:
        hooks = self._known.config.hooks
        if hooks == self._configured:
            return
        self._configured = hooks
        before, self._hooks = self._hooks, {}
        for hook in hooks:
            backlog = before[hook.name].backlog if hook.name in before else Backlog()
            backlog.hurry()
            self._hooks[hook.name] = _Told(hook, backlog)
        self._changed.set()

    async def _serve(self, told: _Told) -> None:
        while True:
            now = time.monotonic()
            event = told.backlog.due(now)
            if event is not None:
                await self._attempt(told, event)
                continue
            told.more.clear()
            deadline = told.backlog.deadline()
            if deadline is None:
                await told.more.wait()
            else:
                await asyncio.sleep(max(0.0, deadline - now))

    async def _hurry(self, told: _Told) -> None:
        """Try until one fails."""
        while (event := told.backlog.due(float("inf"))) is not None:
            if not await self._attempt(told, event):
                return

    async def _attempt(self, told: _Told, event: Event) -> bool:
        hook = told.hook
        try:
            await tell(hook, event, gateway=self._known.config.gateway.name)
        except HookError as error:
            retries = 0 if error.final else hook.retries
            told.backlog.failed(event, str(error), time.monotonic(), retries=retries)
            self._count(told)
            log.debug("hook-failed hook=%s sequence=%d error=%r", hook.name, event.sequence, str(error))
            return False
        told.backlog.delivered(event)
        return True

    def _count(self, told: _Told) -> None:
        if lost := told.backlog.lost:
            self._known.hook_failures[told.hook.name] = lost


async def tell(hook: Hook, event: Event, *, gateway: str) -> None:
    """Tell one hook of one event, once. Raises HookError."""
    body = {"gateway": gateway, **event.plain()}
    if hook.command:
        command, given = hook.command, json.dumps(body, ensure_ascii=False).encode() + b"\n"
    else:
        command = POST
        secrets = {"url": _revealed(hook.url), "token": _revealed(hook.token)}
        given = json.dumps({**secrets, "body": body}).encode()
    try:
        status, complaint = await _run(command, given, hook.timeout)
    except TimeoutError:
        raise HookError(f"no end within {hook.timeout:g} s") from None
    except OSError as error:
        raise HookError(f"it cannot be started: {error.strerror or error}") from None
    if status:
        reason = complaint or (f"exit status {status}" if status > 0 else f"signal {-status}")
        raise HookError(reason, final=not hook.command and status == NEVER)


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return what a hook finds in its environment."""
    passed = {name: value for name, value in ours.items() if name in PASSED_ON or name.lower() in PASSED_ON}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **passed}


async def _run(command: Sequence[str], given: bytes, seconds: float) -> tuple[int, str]:
    """Run a program; return its exit status and the last line that it said on standard error.

    Not `program.run`: what a hook says has no bound, and what it starts is not ours to know.
    """
    process = await asyncio.create_subprocess_exec(
        *WITHOUT_CAPABILITIES,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment(os.environ),
        cwd="/",
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            complaint = await _converse(process, given)
            status = await process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):  # what left the group may hold its pipes open
            async with asyncio.timeout(1.0):
                await process.wait()
        raise
    return status, complaint


async def _converse(process: asyncio.subprocess.Process, given: bytes) -> str:
    """Hand over the input, and hear standard error to its end, of which the last line counts."""
    stdin, stderr = process.stdin, process.stderr
    if stdin is None or stderr is None:
        raise HookError("it has no pipes")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read
        stdin.write(given)
        await stdin.drain()
    stdin.close()
    said = b""
    while part := await stderr.read(LONGEST_COMPLAINT):
        said = (said + part)[-LONGEST_COMPLAINT:]
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # else asyncio logs it as nobody's
        await stdin.wait_closed()
    lines = said.decode(errors="replace").strip().splitlines()
    return "".join(c if c.isprintable() else " " for c in lines[-1][:200]) if lines else ""


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal().decode("ascii")
