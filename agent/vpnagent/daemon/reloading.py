"""Take a new configuration, on condition if so asked, and take it back when nobody confirms it.

Whatever goes wrong, the configuration in force stays in force. What stands on disk is `standing`'s business.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from vpnagent.config.values import Config
from vpnagent.config.weaknesses import weaknesses
from vpnagent.control.protocol import NOT_FINE, USAGE
from vpnagent.daemon.live_change import carry_over, preview
from vpnagent.daemon.memory import MOST, Keeping, Loaded, Standing
from vpnagent.daemon.supervisor import notify
from vpnagent.errors import ConfigError, ControlError
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.policy.naming import former_keys

log = logging.getLogger(__name__)

LEAST: Final = 1.0  #: seconds that a confirmation may take, to MOST
PERIOD: Final = 0.5  #: seconds between looks at the deadline
KEPT: Final = "configuration"  #: what `keeping` knows the text that stands by


class Reloader:
    """Writes the configuration in ``known``, and calls ``wake`` when it did."""

    def __init__(
        self, known: Knowledge, standing: Standing, keeping: Keeping, wake: Callable[[], None]
    ) -> None:
        self._known = known
        self._standing = standing
        self._keeping = keeping
        self._wake = wake
        self._unconfirmed: bytes | None = None  #: the text in force that does not stand yet

    async def started(self, loaded: Loaded) -> None:
        """Let what the daemon was started with stand, or go on waiting for its confirmation."""
        if loaded.error is not None:
            return
        if remaining := await asyncio.to_thread(self._standing.remaining, loaded.content):
            self._wait_for_confirmation(loaded.content, remaining)
        elif problem := await self._keep(loaded.content):
            log.warning("configuration-not-kept error=%r", problem)

    async def reload(self, *, within: float | None = None) -> dict[str, Any]:
        """Read the file again. Raises ControlError when it is refused; nothing changes then.

        With ``within`` the change is taken back after so many seconds unless ``confirm`` comes.
        """
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            loaded = await asyncio.to_thread(self._standing.read)
        except ConfigError as refused:
            error = refused.discreet()
            self._known.config_error = str(error)
            log.error("reload-refused %s", error.line)  # noqa: TRY400 - no traceback
            raise ControlError(str(error), USAGE) from None
        finally:
            notify("READY=1")
        problem = await self._note(loaded.content, within)
        changed = await self._take(loaded)
        if within is None:
            self._stands()
        else:
            self._wait_for_confirmation(loaded.content, within)
        log.info("reloaded changed=%s confirm_within=%s", changed, within or "-")
        return {"changed": changed, "warning": problem}

    async def preview(self) -> dict[str, Any]:
        """Return what a reload would do to each tunnel's SAs, or why the file would be refused."""
        try:
            loaded = await asyncio.to_thread(self._standing.read)
        except ConfigError as error:
            return {"refused": str(error.discreet()), "tunnels": []}
        return preview(self._known.config, loaded.config)

    async def confirm(self) -> dict[str, Any]:
        """Let the change that waits for it stand. Raises ControlError when none does."""
        if self._unconfirmed is None:
            raise ControlError("no change waits to be confirmed", NOT_FINE)
        if problem := await asyncio.to_thread(self._standing.keep, self._unconfirmed):
            raise ControlError(f"not confirmed: {problem}", NOT_FINE)
        self._stands()
        log.info("confirmed")
        return {}

    async def watch(self) -> None:
        """Take back what is not confirmed in time, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            content = self._unconfirmed
            if content is not None and not await asyncio.to_thread(self._standing.remaining, content):
                await self._take_back()

    async def _take_back(self) -> None:
        """Go back to what stands; if even that cannot be used any more, go on with what is in force."""
        if self._unconfirmed is None:
            return  # confirmed meanwhile
        self._stands()
        try:
            loaded = await asyncio.to_thread(self._standing.taken_back)
        except ConfigError as refused:
            error = refused.discreet()
            self._known.config_error = str(error)
            log.error("take-back-failed %s", error.line)  # noqa: TRY400 - no traceback
            return
        await self._take(loaded)
        log.warning("taken-back: the change was not confirmed in time")

    async def _note(self, content: bytes, within: float | None) -> str | None:
        """Note on disk what a restart must know; raises ControlError when a condition cannot be noted."""
        if within is None:
            return await self._keep(content)
        problem = await self._keeping.again(KEPT)  # what is gone back to
        if problem := problem or await asyncio.to_thread(self._standing.await_confirmation, content, within):
            raise ControlError(f"not reloaded: {problem}", NOT_FINE)
        return None

    async def _keep(self, content: bytes) -> str | None:
        return await self._keeping.keep(KEPT, lambda: self._standing.keep(content))

    def _wait_for_confirmation(self, content: bytes, seconds: float) -> None:
        self._unconfirmed = content
        self._known.taken_back_at = time.time() + seconds

    def _stands(self) -> None:
        self._unconfirmed = self._known.taken_back_at = None

    async def _take(self, loaded: Loaded) -> bool:
        """Put a configuration in force; return whether it differs from the one before."""
        known, config = self._known, loaded.config
        findings = weak_points(config)
        if config.agent != known.config.agent:
            findings = (*findings, _restart_needed())
            config = replace(
                config, agent=replace(known.config.agent, manage_sysctls=config.agent.manage_sysctls)
            )
        changed = config != known.config
        former = former_keys(known.config, config)
        known.config, known.config_error, known.config_findings = config, loaded.error, findings
        known.loaded_at = time.time()
        drained = known.drained
        carry_over(known, former)
        self._wake()
        if known.drained != drained:
            await self._keeping.keep_drains()
        return changed


def confirm_within(request: Mapping[str, Any]) -> float | None:
    """Return the seconds in which a reload is to be confirmed, if it is. Raises ControlError."""
    seconds = request.get("confirm_within")
    if seconds is None:
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not LEAST <= seconds <= MOST:
        raise ControlError(f"a confirmation takes {LEAST:g} s to 24 h, not {str(seconds)[:32]}", USAGE)
    return float(seconds)


def weak_points(config: Config) -> tuple[Finding, ...]:
    """Return the configuration's weaknesses as findings."""
    return tuple(replace(w, text=f"{w.subject}: {w.text}") for w in weaknesses(config))


def _restart_needed() -> Finding:
    return Finding(
        code="RestartNeeded",
        subject="agent",
        severity=Severity.WARNING,
        text="a changed path or listener under agent: takes effect at the next start",
        hint="systemctl restart vpnagent; tunnels and routes stay in place",
    )
