"""Tell hooks of events: each in its own time, one message after the other, and nobody waits for them.

A shell around ``backlog``. Every attempt is a process that is killed, with whatever it started, when its time
is over: a webhook that hangs costs a sleeping process. An event may be told twice, after an attempt whose end
was not seen; its number tells.
"""

import asyncio
import contextlib
import json
import logging
import os
import pwd
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vpnagent.config.values import Hook, HookType, Mailbox
from vpnagent.events import message, unprivileged
from vpnagent.events.backlog import Backlog, Notification
from vpnagent.events.event import Event
from vpnagent.events.services import LIMITS, LONGEST, Delivery
from vpnagent.events.store import chosen
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.secret import Secret

log = logging.getLogger(__name__)

POST: Final = (sys.executable, "-P", "-m", "vpnagent.events.post")
WITHOUT_CAPABILITIES: Final = (sys.executable, "-I", "-S", unprivileged.__file__)
SERVICE_USER: Final = "vpnagent"
PASSED_ON: Final = ("https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")
LONGEST_COMPLAINT: Final = 4096  #: bytes of standard error that are looked at
DRAIN: Final = 2.0  #: seconds at the end for what still waits


class HookError(Exception):
    """An attempt failed; ``final`` when no other can succeed, ``pause`` when the service has had too many."""

    def __init__(self, reason: str, *, final: bool = False, pause: float | None = None) -> None:
        super().__init__(reason)
        self.final = final
        self.pause = pause  #: seconds


@dataclass(slots=True)
class _Told:
    """One hook, what it has still to be told, and the bell that rings for more."""

    hook: Hook
    backlog: Backlog
    more: asyncio.Event = field(default_factory=asyncio.Event)


def wants(hook: Hook, event: Event) -> bool:
    """Whether a hook is told of an event.

    People get the begin and the end of an incident, and of what is between them only what they name.
    """
    between = event.phase == "during" and hook.type in LIMITS
    return chosen(event, hook.events) and (not between or event.type.value in hook.events)


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
            if wants(told.hook, event):
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
            backlog.limit = LIMITS.get(hook.type)
            backlog.hurry()
            self._hooks[hook.name] = _Told(hook, backlog)
        self._changed.set()

    async def _serve(self, told: _Told) -> None:
        while True:
            now = time.monotonic()
            if due := told.backlog.due(now):
                await self._attempt(told, due)
                continue
            told.more.clear()
            deadline = told.backlog.deadline()
            if deadline is None:
                await told.more.wait()
            else:
                await asyncio.sleep(max(0.0, deadline - now))

    async def _hurry(self, told: _Told) -> None:
        """Try until one fails, or the service has had as many as it takes."""
        told.backlog.hurry()
        while due := told.backlog.due(time.monotonic()):
            if not await self._attempt(told, due):
                return

    async def _attempt(self, told: _Told, due: Notification) -> bool:
        hook, backlog = told.hook, told.backlog
        backlog.attempted(time.monotonic())
        try:
            await tell(hook, due, gateway=self._known.config.gateway.name)
        except HookError as error:
            now = time.monotonic()
            if error.pause is not None:
                backlog.refused_for_its_rate(now, error.pause)
            else:
                backlog.failed(due, str(error), now, retries=0 if error.final else hook.retries)
            self._count(told)
            log.debug("hook-failed hook=%s sequence=%d error=%r", hook.name, due[-1].sequence, str(error))
            return False
        backlog.delivered(due)
        return True

    def _count(self, told: _Told) -> None:
        if lost := told.backlog.lost:
            self._known.hook_failures[told.hook.name] = lost


async def tell(hook: Hook, due: Notification, *, gateway: str) -> str:
    """Tell one hook of events, once; return what it said. Raises HookError.

    A command and a webhook get the first one; ``Backlog`` gives them one at a time.
    """
    body = {"gateway": gateway, **due[0].plain()}
    if hook.type is HookType.COMMAND:
        command, given = hook.command, json.dumps(body, ensure_ascii=False).encode() + b"\n"
    else:
        command, given = POST, json.dumps(_for_post(hook, due, gateway, body)).encode()
    try:
        status, said = await _run(command, given, hook.timeout)
    except TimeoutError:
        raise HookError(f"no end within {hook.timeout:g} s") from None
    except OSError as error:
        raise HookError(f"it cannot be started: {error.strerror or error}") from None
    if status == 0:
        return said
    reason = said or (f"exit status {status}" if status > 0 else f"signal {-status}")
    if hook.type is not HookType.COMMAND and status == Delivery.TOO_MANY.value:
        seconds, _, words = reason.partition(" ")
        raise HookError(words, pause=float(seconds))
    raise HookError(reason, final=hook.type is not HookType.COMMAND and status == Delivery.NEVER.value)


def _for_post(hook: Hook, due: Notification, gateway: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return what ``post`` reads."""
    asked = {
        "type": hook.type.value,
        "url": _revealed(hook.url),
        "token": _revealed(hook.token),
        "secret": _revealed(hook.secret),
        "email": hook.email and _mailbox(hook.email),
        "body": body,
    }
    if hook.type in LONGEST:
        asked["subject"] = message.subject(due, gateway, hook.language)
        asked["text"] = message.text(due, gateway, hook.language, LONGEST[hook.type])
    return asked


def _mailbox(mailbox: Mailbox) -> dict[str, Any]:
    return {
        "server": mailbox.server,
        "port": mailbox.port,
        "security": mailbox.security.value,
        "username": mailbox.username,
        "password": _revealed(mailbox.password),
        "sender": mailbox.sender,
        "recipients": mailbox.recipients,
    }


def _service_user() -> str | None:
    """Return as whom root runs a hook: the service's user, where there is one."""
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam(SERVICE_USER).pw_name
    except KeyError:
        return None


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return what a hook finds in its environment."""
    passed = {name: value for name, value in ours.items() if name in PASSED_ON or name.lower() in PASSED_ON}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **passed}


async def _run(command: Sequence[str], given: bytes, seconds: float) -> tuple[int, str]:
    """Run a program; return its exit status and the last line that it said on standard error.

    Not `program.run`: what a hook says has no bound, and what it starts is not ours to know.
    """
    user = _service_user()
    process = await asyncio.create_subprocess_exec(
        *WITHOUT_CAPABILITIES,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment(os.environ),
        cwd="/",
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
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
    return None if secret is None else secret.reveal().decode()
