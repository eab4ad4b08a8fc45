"""The prober without its sockets: everything that is decided, and nothing that is done.

No I/O and no clock. The shell owns one timer and does, on every wake-up, in this order:

1. read the clock: ``now``;
2. drain every socket, telling the core of each reply with the kernel's own receive time;
3. ``for action in core.advance(now)``: do it, in this order, and tell what came of it;
4. set the timer to ``core.deadline()`` (at once, if that has passed).

All times are seconds on one monotonic clock. How late a wake-up was the core sees by itself: ``now`` less
the deadline it had asked for. Methods other than ``advance`` never return actions: they only note a fact,
and ``deadline`` is then due at once if something follows from it. A fact about a tunnel that the intent does
not hold, or about a probe that was not sent, is ignored: it may be a late one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from errno import errorcode
from ipaddress import IPv4Address
from math import inf

from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding
from vpnagent.probe.actions import Cause, Histogram, PathReport, ProberAction
from vpnagent.probe.evidence import CounterReading, LimitStage
from vpnagent.probe.intent import Intent, Member
from vpnagent.probe.measures import Outbox, Trigger
from vpnagent.probe.path import Path
from vpnagent.probe.scheduler import Scheduler
from vpnagent.probe.switchover import Switchover, findings, limit_finding, path_report


class Core:
    """Drive it as the module says."""

    __slots__ = ("_intent", "_now", "_outbox", "_random", "_scheduler", "_switchover")

    def __init__(self, intent: Intent, *, now: float, random: Callable[[], float]) -> None:
        """Begin with ``intent``; ``random`` returns floats in [0, 1). Nothing is moved without a reason.

        The first ``advance`` writes every group once (the same as the kernel has, if the intent told it).
        """
        self._intent = intent
        self._random = random
        self._now = now
        self._outbox = Outbox([], [], [Trigger(Cause.START, None, "start of the prober")])
        self._scheduler = Scheduler(intent, self._outbox, random, now)
        self._switchover = Switchover(intent)

    def replace_intent(self, intent: Intent, *, now: float) -> None:
        """Take a newer intent; a stale generation is a ``ValueError`` and changes nothing.

        Tunnels that stay keep their history, also when their probing changed. A group that is gone from
        the intent is left alone: its routes must be moved first, so removing it is the control daemon's.
        """
        if intent.generation <= self._intent.generation:
            raise ValueError(f"generation must exceed {self._intent.generation}: {intent.generation}")
        self._outbox.triggers.extend(_triggers(self._intent, intent))
        self._intent = intent
        self._scheduler.replace_intent(intent, now)
        self._switchover.replace_intent(intent)

    def probe_sent(self, tunnel: TunnelKey, sequence: int, *, at: float) -> None:
        """The kernel accepted the probe at ``at``."""
        path = self._scheduler.paths.get(tunnel)
        if path is not None:
            path.sent(sequence, at)
            self._scheduler.touch(path)

    def probe_failed(self, tunnel: TunnelKey, sequence: int, errno: int, *, at: float) -> None:
        """The probe could not be sent: it counts neither as sent nor as lost, but not for long."""
        path = self._scheduler.paths.get(tunnel)
        if path is not None:
            self._scheduler.failed(path, sequence, errorcode.get(errno, str(errno)), at)

    def probe_answered(
        self,
        tunnel: TunnelKey,
        target: IPv4Address,
        sequence: int,
        *,
        heard_on: TunnelKey | None,
        at: float,
        filtered: bool = False,
    ) -> bool:
        """A reply from ``target`` to a probe of ``tunnel`` was received by the kernel at ``at``.

        ``heard_on`` is the tunnel whose interface it arrived on; None if it is not known, or not ours.
        ``filtered``: it was seen there, and did not reach the socket. Return whether it answers anything:
        a second answer does not. The shell has already checked who sent it to whom, and the nonce.
        """
        path = self._scheduler.paths.get(tunnel)
        probe = path.probe_of(target, sequence) if path is not None else None
        if path is None or probe is None:
            return False
        transitions = path.answered(probe, at)
        transitions += path.arrived(heard_on, at)
        transitions += path.filtered(at) if filtered else path.received(at)
        self._scheduler.heard(path, heard_on, transitions, at)
        self._switchover.heard(path.key, probe.sent_at or at, at, self._outbox.actions)
        return True

    def ike_ping_answered(self, tunnel: TunnelKey, *, at: float) -> None:
        """The peer's IKE daemon gave a sign of life. Silence needs no report."""
        if tunnel in self._scheduler.paths:
            self._scheduler.ike_answered(tunnel, at)

    def link_changed(self, interface: str, *, usable: bool, at: float) -> None:
        """An XFRM or outer interface went away, down or lost its carrier or address; or is back."""
        self._scheduler.link_changed(interface, usable=usable, at=at)

    def traffic(
        self,
        tunnel: TunnelKey,
        *,
        rx_packets: int,
        rx_bytes: int,
        tx_packets: int,
        tx_bytes: int,
        at: float,
    ) -> None:
        """The counters of the tunnel's interface, as ``ReadTraffic`` asks for (more often does no harm)."""
        path = self._scheduler.paths.get(tunnel)
        if path is not None:
            path.evidence.traffic.read(CounterReading(at, rx_packets, rx_bytes, tx_packets, tx_bytes))

    def overflowed(self, tunnels: Iterable[TunnelKey], *, at: float) -> None:
        """A receive queue of ours dropped packets: what these tunnels missed was perhaps our own fault."""
        for path in map(self._scheduler.paths.get, tunnels):
            if path is not None and path.excuse(at):
                self._scheduler.touch(path)

    def terminated(self, tunnel: TunnelKey, *, at: float, error: str | None = None) -> None:
        """``Terminate`` was done (charon acknowledged), or failed."""
        if tunnel in self._scheduler.paths:
            self._scheduler.terminated(tunnel, at, done=error is None)

    def initiated(self, tunnel: TunnelKey, *, at: float, error: str | None = None) -> None:
        """``Initiate`` was done (a CHILD_SA is installed), or failed."""
        if tunnel in self._scheduler.paths:
            self._scheduler.initiated(tunnel, at, done=error is None)

    def advance(self, now: float) -> list[ProberAction]:
        """Apply what follows from the facts and from the passage of time; return what is to be done."""
        self._now = now
        self._scheduler.advance(now)
        actions, changes, triggers = self._outbox
        result = actions[:]
        if changes or triggers:
            decision = self._switchover.decide(self._scheduler.paths, changes, triggers, now)
            result = [*decision.writes, *actions, *decision.reports]
            changes.clear()
            triggers.clear()
        actions.clear()
        return result

    def deadline(self) -> float | None:
        """When ``advance`` is next due; None: only a fact can change anything."""
        if any(self._outbox) or self._scheduler.dirty:
            return self._now
        due = self._scheduler.deadline
        return due if due < inf else None

    def awaits_replies(self) -> bool:
        """Whether a path is quiet, down or not yet judged, so that a reply to it means more than figures.

        While none is, the shell need not wake up for replies: it drains the sockets at every wake-up,
        before anything is judged, and the kernel tells when each was received.
        """
        return bool(self._scheduler.watched)

    def suspects_filter(self) -> bool:
        """Whether replies are missing that may have arrived here and been dropped: see ``probe_answered``."""
        return any(path.suspects_filter(self._now) for path in self._scheduler.watched)

    def groups(self) -> Mapping[int, tuple[Member, ...]]:
        """What each group of the intent should hold now; empty: the group should not exist."""
        return self._switchover.groups.members

    def selected(self) -> Mapping[str, tuple[str, ...]]:
        """By connection, the names of the tunnels that carry its traffic."""
        return self._switchover.groups.selected

    def paths(self) -> tuple[PathReport, ...]:
        """Every tunnel's path, in the order of the intent."""
        flinches = self._switchover.flinches
        return tuple(
            path_report(path, self._scheduler.remedy_of(path.key), flinches.get(path.key, 0))
            for path in self._in_order()
        )

    def round_trips(self) -> Iterator[tuple[TunnelKey, Histogram]]:
        """The round trips of every tunnel's probes, since the core began."""
        return ((path.key, path.window.totals.rtt) for path in self._in_order())

    def findings(self) -> tuple[Finding, ...]:
        """What an operator should know now."""
        paths = self._in_order()
        limited = {p.schedule.usual.address: p for p in paths if p.limit.stage is LimitStage.LIMITED}
        told = [f for path in paths for f in findings(path, self._scheduler.remedy_of(path.key))]
        return (*told, *(limit_finding(path) for path in limited.values()))

    def _in_order(self) -> list[Path]:
        return [self._scheduler.paths[t.key] for t in self._intent.tunnels()]


def _triggers(old: Intent, new: Intent) -> Iterator[Trigger]:
    """Return what a newer intent says of selection: what an operator did, or else that something did."""
    drained = {t.key: t.drained for t in old.tunnels()}
    for tunnel in new.tunnels():
        if drained.get(tunnel.key, tunnel.drained) != tunnel.drained:
            yield Trigger(Cause.DRAIN, tunnel.key, "drained" if tunnel.drained else "undrained")
    yield Trigger(Cause.CONFIG, None, "new intent")
