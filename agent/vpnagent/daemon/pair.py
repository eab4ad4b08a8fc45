"""Tell keepalived whether this gateway can do its work. A shell; what it says is ``pair.health``'s."""

import asyncio
import logging
import time
from typing import Final

from vpnagent import own_files
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.pair.health import health, health_file

log = logging.getLogger(__name__)

PERIOD: Final = 0.1  #: seconds between looks


class HealthTeller:
    """Writes the file when what it says changes; none where there is no pair."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._told: int | None = None
        self._failed = False
        self._gone_since: float | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if self._known.config.gateway.pair:
                self.look(time.monotonic())
            await asyncio.sleep(PERIOD)

    def look(self, now: float) -> None:
        """Write what is so at ``now``, monotonic seconds, if it is news."""
        charon = self._known.charon
        if charon.connected or charon.error is None:  # before the first attempt nothing is known
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        says = health(None if self._gone_since is None else now - self._gone_since)
        if says != self._told:
            self._write(says)

    def _write(self, says: int) -> None:
        path = health_file(self._known.config.agent.control_socket)
        try:
            own_files.replace_file(path, f"{says}\n".encode(), sync=False)
        except OSError as error:
            if not self._failed:
                log.warning("health-not-told file=%s error=%r", path, error.strerror)
            self._failed = True
            return
        log.log(logging.WARNING if says else logging.INFO, "health-told file=%s value=%d", path, says)
        self._told, self._failed = says, False
