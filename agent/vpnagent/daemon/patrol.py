"""Have the machine looked at every minute while the daemon runs, without ever waiting for it on the loop."""

import asyncio
import json
import logging
import pickle
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from vpnagent import program
from vpnagent.config.values import Config, TunnelKey
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.knowledge import Knowledge, rung
from vpnagent.witness.machine import Machine, from_plain

log = logging.getLogger(__name__)

PERIOD: Final = 60.0  #: seconds between two looks
FIRST: Final = 2.0  #: seconds after the start: the tunnels come first
PAUSES: Final = 50.0  #: a look that takes long is taken less often: at most 1/50 of the time
DEADLINE: Final = 30.0  #: seconds for a look
COMMAND: Final = (sys.executable, "-m", "vpnagent.daemon.look")
#: The daemon tells these itself, and a minute earlier.
TOLD_ANYHOW: Final = frozenset({"SysctlDiffers", "AlgorithmMissing"})
#: A tunnel that is full loses large packets first, for a moment: only what two looks in a row find is told.
TOLD_AT_SECOND: Final = frozenset({"MtuBlackHole"})
CHARON_UNSEEN: Final = ("NotLookedAt", "charon")  #: CharonUnreachable says it


class MachineLook(NamedTuple):
    """What was found."""

    findings: tuple[Finding, ...]
    certificate_expiry: Mapping[TunnelKey, float]
    machine: Machine


class Patrol:
    """One look after another. ``known.machine_findings``, ``machine`` and ``certificate_expiry`` are its."""

    def __init__(self, known: Knowledge, config_path: str) -> None:
        self._known = known
        self._config_path = config_path

    async def run(self) -> None:
        """Look until cancelled, and at once when the configuration changes."""
        await asyncio.sleep(FIRST)
        before: tuple[Finding, ...] = ()
        while True:
            self._known.check_dirty.clear()
            began = time.monotonic()
            looked = await self.look()
            self._known.machine_findings = confirmed(looked.findings, before)
            before = looked.findings
            self._known.certificate_expiry = looked.certificate_expiry
            self._known.machine = looked.machine
            self._known.witness_dirty.set()
            await rung(self._known.check_dirty, max(PERIOD, PAUSES * (time.monotonic() - began)))

    async def look(self) -> MachineLook:
        """Return what is wrong with the machine; if that cannot be told, then this."""
        question = pickle.dumps((without_secrets(self._known.config), self._config_path))
        try:
            ended = await program.run(COMMAND, seconds=DEADLINE, given=question, complaint=False)
            return look_of(json.loads(ended.output))
        except (TimeoutError, OSError, ValueError, TypeError, KeyError) as error:
            log.warning("machine-not-looked-at error=%r", error)
            return MachineLook((_unseen(error),), self._known.certificate_expiry, self._known.machine)


def confirmed(found: tuple[Finding, ...], before: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return what may be told of a look's findings, after those of the look before."""
    return tuple(finding for finding in found if finding.code not in TOLD_AT_SECOND or finding in before)


def look_of(answer: dict[str, Any]) -> MachineLook:
    """Return what the child found, without what the daemon tells itself."""
    found = [
        Finding(code=code, subject=subject, severity=Severity(severity), text=text, hint=hint)
        for code, subject, severity, text, hint in answer["findings"]
    ]
    told = (f for f in found if f.code not in TOLD_ANYHOW and (f.code, f.subject) != CHARON_UNSEEN)
    expiry = {TunnelKey(*key): float(at) for key, at in answer["certificate_expiry"]}
    return MachineLook(tuple(told), expiry, from_plain(answer["machine"]))


def without_secrets(config: Config) -> Config:
    """Return a configuration that may leave the process."""
    connections = [
        replace(connection, tunnels=tuple(replace(tunnel, psk=None) for tunnel in connection.tunnels))
        for connection in config.connections
    ]
    return replace(config, connections=tuple(connections), hooks=())


def _unseen(error: Exception) -> Finding:
    return Finding(
        code="NotLookedAt",
        subject="machine",
        severity=Severity.INFO,
        text=f"the machine could not be looked at: {str(error) or f'no answer within {DEADLINE:g} s'}",
        hint="see the log; vpnagent check looks at once",
    )
