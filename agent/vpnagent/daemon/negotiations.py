"""Which negotiations fail, as long as it matters: counted, and told with reason and hint.

Pure but for the log: every method takes ``now``, in seconds on the monotonic clock.

    heard, the tunnel carries nothing ---> told -------------------------> forgotten
    heard, it carries beside ------------> told, as a warning --+            when it succeeds, or its
       of absences only: when it carries no more                |            settings are loaded anew
                                                                +---> forgotten after ``FORGET_AFTER``
"""

import logging
from collections.abc import Mapping
from typing import Final

from vpnagent.config.values import TunnelKey
from vpnagent.ipsec.actions import CharonConnection
from vpnagent.ipsec.failure_reason import ABSENCES, IN_TRUTH, Reason
from vpnagent.ipsec.messages import CHILD_MARGIN
from vpnagent.ipsec.negotiation_failure import Diagnosis, NegotiationFailed
from vpnagent.ipsec.sa import LogLine
from vpnagent.knowledge.knowledge import CharonKnowledge

log = logging.getLogger(__name__)

#: Seconds. The SA that carries lives at most so long after its renewal has failed.
FORGET_AFTER: Final = CHILD_MARGIN
#: Seconds for which what the peer's attempts told is not replaced by what ours tell less exactly.
EXACT_FOR: Final = 300.0
#: Seconds within which an SA is gone after charon said that the peer is.
GONE_WITHIN: Final = 5.0


class Negotiations:
    """Drive it with ``heard()``, ``succeeded()``, ``reloaded()``; and ``observed()`` after an observation."""

    def __init__(self, known: CharonKnowledge) -> None:
        self._known = known
        self._diagnosis = Diagnosis()
        self._keys: dict[str, TunnelKey] = {}  #: by VICI connection name
        self._at: dict[TunnelKey, float] = {}  #: when what is told was heard last
        self._absences: dict[TunnelKey, tuple[float, NegotiationFailed]] = {}  #: of tunnels that carry yet
        self._remarks: dict[TunnelKey, NegotiationFailed] = {}  #: of negotiations that go on

    def expect(self, want: Mapping[str, CharonConnection]) -> None:
        """Take these connections for ours, and no others."""
        for name in self._keys.keys() - want.keys():
            self._diagnosis.forget(name)
        self._keys = {name: connection.key for name, connection in want.items()}
        for name, connection in want.items():
            self._diagnosis.expect(name, connection.remote_address, connection.ike.version)

    def heard(self, line: LogLine, now: float) -> None:
        """Take in a line of charon's log: it may tell why a negotiation failed."""
        failed = self._diagnosis.heard(line)
        if failed is None:
            return
        key = self._keys[failed.connection]
        if failed.reason is Reason.LIFETIME_MISMATCH:
            self._remarks[key] = failed
        elif failed.reason in ABSENCES and self._carries(key):
            self._absences.setdefault(key, (now, failed))
        else:
            self._tell(key, failed, now)

    def succeeded(self, connection: str) -> None:
        """A CHILD_SA of this connection was negotiated, the first or its successor."""
        if key := self._keys.get(connection):
            self._forget(key)
            remark = self._remarks.pop(key, None)
            self._known.remarks = {k: r for k, r in self._known.remarks.items() if k != key}
            if remark is not None:
                self._known.remarks = {**self._known.remarks, key: remark}

    def reloaded(self, connection: str) -> None:
        """Charon has other settings of this connection: what failed before says nothing of them."""
        if key := self._keys.get(connection):
            self._forget(key)
            self._known.remarks = {k: r for k, r in self._known.remarks.items() if k != key}

    def observed(self, now: float) -> None:
        """Take in the SAs that ``known.statuses`` tells of, and forget what matters no more."""
        for key, (heard_at, failed) in tuple(self._absences.items()):
            if not self._carries(key):
                self._tell(key, failed, now)
            if not self._carries(key) or now - heard_at >= GONE_WITHIN:
                del self._absences[key]
        ours = set(self._keys.values())
        stale = {
            key
            for key in self._known.failures
            if key not in ours
            or (self._carries(key) and now - self._at.get(key, -FORGET_AFTER) >= FORGET_AFTER)
        }
        for key in stale:
            self._forget(key)

    def _tell(self, key: TunnelKey, failed: NegotiationFailed, now: float) -> None:
        counted = (key, failed.reason.value)
        counts = self._known.negotiation_failures
        counts[counted] = counts.get(counted, 0) + 1
        before = self._known.failures.get(key)
        lately = now - self._at.get(key, -EXACT_FOR) < EXACT_FOR
        if before is not None and lately and before.reason in IN_TRUTH.get(failed.reason, ()):
            return
        self._at[key] = now
        self._known.failures = {**self._known.failures, key: failed}
        if before is None or before.reason is not failed.reason:
            log.warning(
                "negotiation-failed tunnel=%s reason=%s text=%r hint=%r",
                key,
                failed.reason.value,
                failed.text,
                failed.hint,
            )

    def _forget(self, key: TunnelKey) -> None:
        self._known.failures = {k: f for k, f in self._known.failures.items() if k != key}
        self._at.pop(key, None)
        self._absences.pop(key, None)

    def _carries(self, key: TunnelKey) -> bool:
        status = self._known.statuses.get(key)
        return status is not None and status.installed
