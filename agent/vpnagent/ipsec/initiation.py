"""When to initiate which tunnel, and when to give an attempt up.

Pure: every method takes ``now``, in seconds on the monotonic clock, and randomness is passed in.

Initiation is ours (``start_action = none``); charon's part is the exchange of messages. A tunnel is
initiated at once when it has no CHILD_SA and nothing is being negotiated for it, by either end. An
attempt that fails, or brings up an SA that does not last, makes the next one wait: 1 s, 2 s, 4 s … 60 s,
counted from its start.

                    initiate                         carried for STABLE_AFTER
        WAITING ----------------> ATTEMPTING ---> UP ----------------> (the delay starts again at nothing)
           ^                          |           |
           +--------------------------+-----------+
             failed, unanswered for ATTEMPT_TIMEOUT, or lost

With ``keyingtries = 0`` charon repeats an unanswered attempt for ever, at growing intervals of up to 76 s.
We give it up before and start a fresh one, so that a peer that is back is found within seconds; but should
this process die meanwhile, charon goes on by itself.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

from vpnagent.config.values import TunnelKey
from vpnagent.ipsec.actions import STANDBY, CharonAction, CharonConnection, Terminate
from vpnagent.ipsec.messages import child_names
from vpnagent.ipsec.sa import IkeSa

FIRST_DELAY = 1.0  #: seconds from the start of a failed attempt to the next
LONGEST_DELAY = 60.0  #: seconds
JITTER = 0.25  #: the part of a delay that is random, so that many tunnels do not come back as one
ATTEMPT_TIMEOUT = 30.0  #: seconds; by default charon has sent its request at 0, 4, 11.2 and 24.2 s then
MOST_FAILURES = 10  #: counted; the delay has long reached its bound
STABLE_AFTER = 10.0  #: seconds for which an SA must carry before its loss is not a failure of the attempt

NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Initiate:
    """Have charon negotiate one child of a tunnel."""

    key: TunnelKey
    child: str

    def __str__(self) -> str:
        return f"initiate {self.key.owner} child {self.child}"


def given_up(sas: Iterable[IkeSa], away: Mapping[str, bool]) -> list[CharonAction]:
    """Return the end of what the other gateway of a pair has now; ``away``: and whether we may say so.

    The local address tells in whose name a DELETE would be. While it is here, the SAs are ours, and the
    peer is to know that they end. When it has moved they are forgotten: charon sends its DELETE once, from an
    address that is not here, which the kernel refuses (EINVAL), and not again.
    """
    return [
        Terminate(sa.connection, sa.unique_id, STANDBY, force=sa.connecting or not away[sa.connection])
        for sa in sas
        if sa.connection in away and not sa.deleting
    ]


@dataclass(slots=True)
class _Tunnel:
    """What is remembered of one tunnel."""

    not_before: float  #: when the next attempt may start, once the one that goes on has failed
    started: float | None = None  #: when the attempt that goes on, or brought up what carries, began
    up_since: float | None = None  #: since when it carries
    failures: int = 0  #: attempts in a row


class Initiation:
    """Drive it with ``due()`` after each observation, and observe again at ``deadline()``."""

    def __init__(self, *, random: Callable[[], float]) -> None:
        self._random = random
        self._tunnels: dict[str, _Tunnel] = {}
        self._now = 0.0  #: of the last ``due()``

    def due(
        self,
        now: float,
        desired: Mapping[str, CharonConnection],
        sas: Iterable[IkeSa],
        *,
        held: Set[str] = frozenset(),
    ) -> list[Initiate | Terminate]:
        """Return what is to be done now; ``held`` names connections that are to stay as they are."""
        self._now = now
        by_connection: dict[str, list[IkeSa]] = {name: [] for name in desired}
        for sa in sas:
            if sa.connection in by_connection and not sa.deleting:
                by_connection[sa.connection].append(sa)
        wanted = desired.keys() - held
        self._tunnels = {name: self._tunnels.get(name, _Tunnel(now)) for name in wanted}
        return [
            action
            for name, connection in desired.items()
            if name in wanted
            for action in self._due(now, self._tunnels[name], connection, by_connection[name])
        ]

    def forget(self, name: str) -> None:
        """Have a connection tried at once: it has other settings now, and what failed before says nothing."""
        self._tunnels.pop(name, None)

    def deadline(self) -> float | None:
        """Return when ``due()`` may have something to do that no event announces; None: never."""
        waiting = [self._deadline(tunnel) for tunnel in self._tunnels.values() if tunnel.up_since is None]
        return min(waiting, default=None)

    def _deadline(self, tunnel: _Tunnel) -> float:
        """Charon tells of no attempt that has failed: look for it when the next one could start."""
        if tunnel.started is None:
            return tunnel.not_before
        ends = tunnel.started + ATTEMPT_TIMEOUT
        return min(tunnel.not_before, ends) if self._now < tunnel.not_before else ends

    def _due(
        self, now: float, tunnel: _Tunnel, connection: CharonConnection, sas: list[IkeSa]
    ) -> list[Initiate | Terminate]:
        carried = {child.name for sa in sas for child in sa.carrying_children}
        missing = [child for child in child_names(connection) if child not in carried]
        if not missing:
            self._carries(now, tunnel)
            return []
        if tunnel.up_since is not None:
            self._lost(now, tunnel)
        if any(sa.connecting or sa.negotiating_child for sa in sas):
            return self._in_progress(now, tunnel, sas)
        if tunnel.started is not None:
            self._failed(tunnel)
        if now < tunnel.not_before:
            return []
        self._start(now, tunnel)
        return [Initiate(connection.key, child) for child in missing]

    def _carries(self, now: float, tunnel: _Tunnel) -> None:
        if tunnel.up_since is None:
            tunnel.up_since = now
        if now - tunnel.up_since >= STABLE_AFTER:
            tunnel.failures = 0

    def _lost(self, now: float, tunnel: _Tunnel) -> None:
        """What lasted may come back at once; what did not was a failed attempt."""
        assert tunnel.up_since is not None  # noqa: S101 - the caller has asked
        if now - tunnel.up_since >= STABLE_AFTER:
            tunnel.failures = 0
            tunnel.not_before = now
            tunnel.started = None
        tunnel.up_since = None

    def _in_progress(self, now: float, tunnel: _Tunnel, sas: list[IkeSa]) -> list[Initiate | Terminate]:
        """Wait, or give up what is unanswered; an attempt of the peer, or adopted, counts as ours."""
        if tunnel.started is None:
            self._start(now, tunnel)
            return []
        if now < tunnel.started + ATTEMPT_TIMEOUT:
            return []
        self._failed(tunnel)
        return [
            Terminate(sa.connection, sa.unique_id, NO_ANSWER, force=True)
            for sa in sas
            if (sa.connecting or sa.negotiating_child) and not sa.carrying_children
        ]

    def _start(self, now: float, tunnel: _Tunnel) -> None:
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0**tunnel.failures)
        tunnel.started = now
        tunnel.not_before = now + max(FIRST_DELAY, delay * (1 - JITTER * self._random()))

    def _failed(self, tunnel: _Tunnel) -> None:
        tunnel.failures = min(tunnel.failures + 1, MOST_FAILURES)
        tunnel.started = None
