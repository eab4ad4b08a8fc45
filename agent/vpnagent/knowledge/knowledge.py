"""What the daemon knows now: the values that its tasks hand to each other.

Not a place for decisions. Each field names the one task that writes it; everything else reads.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from vpnagent.config.values import Config, TunnelKey
from vpnagent.finding import Finding, Findings
from vpnagent.ipsec.negotiation_failure import NegotiationFailed
from vpnagent.ipsec.sa import CharonState
from vpnagent.knowledge.counters import Probes, Rates, Stopped, Traffic
from vpnagent.knowledge.incidents import Incidents
from vpnagent.knowledge.leases import Leases
from vpnagent.knowledge.tunnels import SaStatus, Tunnels
from vpnagent.pair import roles
from vpnagent.policy.selection import UNKNOWN, PathState, Verdict, Verdicts
from vpnagent.probe.actions import BLAMELESS, Histogram, PathReport
from vpnagent.probe.protocol import ProberReport
from vpnagent.routing.objects import Diversion, KernelState
from vpnagent.witness.machine import Machine
from vpnagent.witness.values import NetworkVerdict as Carried
from vpnagent.witness.values import Statement

REPLACED_WITHIN = 5.0  #: seconds for which the groups are left alone when the prober has died


class Moment(NamedTuple):
    """One line of a failover's story."""

    at: float  #: wall clock, seconds
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """A connection's traffic was moved."""

    at: float  #: of the verdict; wall clock, seconds, as the other times
    heard_at: float | None = None  #: last sign of life of what was left; None: a signal said that it is gone
    sent_at: float | None = None  #: the netlink message; None: no group had to be written
    acknowledged_at: float | None = None  #: None: the kernel refused
    old: tuple[str, ...]  #: names of the tunnels that carried it before
    new: tuple[str, ...]
    reason: str  #: one word, fit to be a label
    text: str = ""  #: the same in a sentence
    detection_seconds: float  #: from the signal, or from the last sign of life, to the decision
    switch_seconds: float  #: from the decision to the kernel's acknowledgement
    first_reply_seconds: float | None = None  #: from the decision to the first reply on the new path

    def with_first_reply(self, seconds: float) -> "Failover":
        """Return the same with the time at which the new path was first heard."""
        return replace(self, first_reply_seconds=seconds)

    def timeline(self) -> tuple[Moment, ...]:
        """Return what is known of it, in the order in which it happened."""
        reply = None if self.first_reply_seconds is None else self.at + self.first_reply_seconds
        told = (
            (self.heard_at, "last heard"),
            (self.at, "verdict"),
            (self.sent_at, "netlink sent"),
            (self.acknowledged_at, "netlink acknowledged"),
            (reply, "first reply on the new path"),
        )
        return tuple(Moment(at, what) for at, what in told if at is not None)


DETECTION_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 2.5, 10.0)  #: seconds
SWITCH_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)  #: seconds


@dataclass(frozen=True, slots=True)
class FailoverTimes:
    """How long the failovers of one tunnel took, as histograms."""

    detection: Histogram = field(default_factory=lambda: Histogram(DETECTION_BOUNDS))
    switch: Histogram = field(default_factory=lambda: Histogram(SWITCH_BOUNDS))


@dataclass(slots=True, kw_only=True)
class CharonKnowledge:
    """Written by the charon task."""

    state: CharonState | None = None  #: the last observation; None before the first
    connected: bool = False
    version: str | None = None
    error: str | None = None  #: why there is no connection
    statuses: Mapping[TunnelKey, SaStatus] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=dict)
    former: Mapping[TunnelKey, str] = field(default_factory=dict)  #: VICI names, where not the tunnel's own
    vacating: frozenset[TunnelKey] = frozenset()  #: they are renegotiated: no traffic into them
    failures: Mapping[TunnelKey, NegotiationFailed] = field(
        default_factory=dict
    )  #: the last, while it matters
    remarks: Mapping[TunnelKey, NegotiationFailed] = field(
        default_factory=dict
    )  #: of negotiations that succeeded
    findings: tuple[Finding, ...] = ()
    rekeys: dict[TunnelKey, int] = field(default_factory=dict)
    negotiation_failures: dict[tuple[TunnelKey, str], int] = field(default_factory=dict)
    signalled_at: float | None = None  #: monotonic; when charon last told of a change


@dataclass(slots=True, kw_only=True)
class KernelKnowledge:
    """Written by the kernel task."""

    state: KernelState | None = None  #: as it stood at the end of the last round
    owned: frozenset[IPv4Address] = frozenset()  #: addresses of this machine, as of the last look
    findings: tuple[Finding, ...] = ()
    selected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: tunnels by connection
    failovers: dict[str, Failover] = field(default_factory=dict)  #: the last of each connection
    failover_counts: dict[tuple[str, str], int] = field(default_factory=dict)  #: by connection and reason
    failover_times: dict[TunnelKey, FailoverTimes] = field(default_factory=dict)  #: by tunnel left
    repairs: dict[str, int] = field(default_factory=dict)  #: drift put right, by kind
    missing: frozenset[IPv4Network] = frozenset()  #: prefixes whose route is desired and not there
    diversions: Mapping[IPv4Network, Diversion] = field(default_factory=dict)  #: of remote networks, astray
    by_exit: Mapping[IPv4Network, Diversion] = field(default_factory=dict)  #: of those that leave by an exit
    without_interface: frozenset[TunnelKey] = frozenset()  #: something foreign has its name or if_id
    stopped: Stopped = field(default_factory=Stopped)
    traffic: Traffic = field(default_factory=Traffic)
    rates: Rates = field(default_factory=Rates)

    def note(self, connection: str, failover: Failover) -> None:
        """Count a failover, and remember it as its connection's last."""
        self.failovers[connection] = failover
        key = (connection, failover.reason)
        self.failover_counts[key] = self.failover_counts.get(key, 0) + 1
        for tunnel in failover.old:
            if tunnel not in failover.new:
                times = self.failover_times.setdefault(TunnelKey(connection, tunnel), FailoverTimes())
                times.detection.observe(failover.detection_seconds)
                times.switch.observe(failover.switch_seconds)


@dataclass(slots=True, kw_only=True)
class ProbeKnowledge:
    """Written by the prober's link."""

    expected: bool = False  #: there is to be a prober
    connected: bool = False  #: one lives and has an intent: it alone writes the groups
    reported: bool = False  #: the paths are those of the prober that lives
    lost_at: float | None = None  #: monotonic; None: never lost
    report: ProberReport | None = None  #: the last one
    paths: Mapping[TunnelKey, PathReport] = field(default_factory=dict)
    counted: Probes = field(default_factory=Probes)

    def take(self, report: ProberReport, prober: int = 0) -> None:
        """Take in what the prober with that process id knows now."""
        self.counted.update(report, prober)
        self.report = report
        self.paths = {path.tunnel: path for path in report.paths}
        self.connected = self.reported = report.generation > 0

    def findings(self) -> tuple[Finding, ...]:
        """Return what the prober finds wrong."""
        return self.report.findings if self.report else ()

    def writes_groups(self, now: float) -> bool:
        """Whether the groups are a prober's to write: one lives, or has just died and is being replaced."""
        lately = self.lost_at is not None and now - self.lost_at < REPLACED_WITHIN
        return self.connected or (self.expected and lately)


@dataclass(slots=True, kw_only=True)
class Knowledge:
    """Everything, and the bells that wake who has to act on it."""

    config: Config  #: written by reload
    loaded_at: float  #: wall clock, seconds
    config_error: str | None = None  #: why the last reload was refused
    config_findings: tuple[Finding, ...] = ()
    machine_findings: tuple[Finding, ...] = ()  #: written by the patrol, every minute
    machine: Machine = field(default_factory=Machine)  #: by the patrol: what the witness needs of it
    witness: Statement = field(default_factory=Statement)  #: written by the witness
    metrics_findings: tuple[Finding, ...] = ()  #: written by the metrics' endpoint
    certificate_expiry: Mapping[TunnelKey, float] = field(default_factory=dict)  #: by the patrol; Unix time
    event_counts: dict[str, int] = field(default_factory=dict)  #: by type, since the start; written by events
    event_findings: tuple[Finding, ...] = ()  #: written by events
    state_findings: tuple[Finding, ...] = ()  #: written by keeping
    hook_failures: dict[str, int] = field(default_factory=dict)  #: events lost by hook; written by events
    taken_back_at: float | None = None  #: wall clock; when it will be, unless it is confirmed
    drained: frozenset[TunnelKey] = frozenset()  #: written by drain and undrain
    released: frozenset[IPv4Address] = frozenset()  #: their SAs are let go now, written by the pair's task
    pair_findings: tuple[Finding, ...] = ()  #: written by the pair's task
    drills: Leases = field(default_factory=Leases)  #: written by drill
    charon: CharonKnowledge = field(default_factory=CharonKnowledge)
    kernel: KernelKnowledge = field(default_factory=KernelKnowledge)
    probe: ProbeKnowledge = field(default_factory=ProbeKnowledge)
    tunnels: Tunnels = field(default_factory=Tunnels)
    findings: Findings = field(default_factory=Findings)
    incidents: Incidents = field(default_factory=Incidents)  #: written by report
    charon_dirty: asyncio.Event = field(default_factory=asyncio.Event)
    kernel_dirty: asyncio.Event = field(default_factory=asyncio.Event)
    probe_dirty: asyncio.Event = field(default_factory=asyncio.Event)
    check_dirty: asyncio.Event = field(default_factory=asyncio.Event)
    witness_dirty: asyncio.Event = field(default_factory=asyncio.Event)
    incidents_dirty: asyncio.Event = field(default_factory=asyncio.Event)

    def repairs(self) -> dict[str, int]:
        """Return the drift put right, by kind: by the daemon, and the prober's groups."""
        groups = self.kernel.repairs.get("group", 0) + self.probe.counted.groups_repaired
        return {**self.kernel.repairs, **({"group": groups} if groups else {})}

    def carried(self, connection: str) -> tuple[Carried, ...]:
        """Return the witness's verdicts on a connection's networks that are configured."""
        locals_ = {
            n
            for c in self.config.connections
            if c.name == connection
            for n in self.config.local_networks_of(c)
        }
        return tuple(
            verdict
            for verdict in self.witness.verdicts
            if verdict.pair.connection == connection and verdict.pair.local in locals_
        )

    def take_addresses(self, owned: frozenset[IPv4Address]) -> None:
        """Take in this machine's addresses; who acts on it when a tunnel moves with one is woken at once."""
        before = self.standby()
        self.kernel.owned = owned
        self._wake_of_moves(before)

    def release(self, addresses: frozenset[IPv4Address]) -> None:
        """Take just these addresses for not here, so that the SAs on them are let go."""
        before = self.standby()
        self.released = addresses
        self._wake_of_moves(before)

    def _wake_of_moves(self, before: frozenset[TunnelKey]) -> None:
        if self.standby() != before:
            self.charon_dirty.set()
            self.probe_dirty.set()
            self.kernel_dirty.set()

    def owned(self) -> frozenset[IPv4Address]:
        """Return the addresses of this machine whose tunnels are its own."""
        return self.kernel.owned - self.released

    def standby(self) -> frozenset[TunnelKey]:
        """Return the tunnels that are the other gateway's of the pair."""
        return roles.standby(self.config, self.owned())

    def forget_paths_elsewhere(self) -> None:
        """Forget the paths of the other gateway's tunnels: what failed before says nothing when they come."""
        if standby := self.standby():
            self.probe.paths = {key: path for key, path in self.probe.paths.items() if key not in standby}

    def present(self) -> Config:
        """Return the configuration without those."""
        return roles.present(self.config, self.owned())

    def verdicts(self) -> dict[TunnelKey, Verdict]:
        """Return a verdict for every configured tunnel; one of the other gateway's carries nothing here."""
        standby = self.standby()
        return {t.key: UNKNOWN if t.key in standby else self._verdict(t.key) for t in self.config.tunnels()}

    def _verdict(self, key: TunnelKey) -> Verdict:
        path = self.probe.paths.get(key)
        return Verdict(
            child_sa_installed=key in self.charon.verdicts and self.charon.verdicts[key].child_sa_installed,
            drained=key in self.drained or key in self.drills.tunnels or key in self.charon.vacating,
            path=path.state if path else PathState.INIT,
            blameless=path is not None and path.state is PathState.DEGRADED and path.cause in BLAMELESS,
        )

    def carrying(self) -> frozenset[TunnelKey]:
        """Return the tunnels that carry traffic now."""
        return frozenset(
            TunnelKey(connection, name)
            for connection, names in self.kernel.selected.items()
            for name in names
        )


# Wait for an event, but not for ever.
# ``asyncio.wait_for`` of Python 3.11 swallows a cancellation that arrives together with the event
# (python/cpython#86296): a task that waits so in a loop could not be stopped. ``asyncio.timeout`` does
# not.


async def rung(event: asyncio.Event, patience: float) -> bool:
    """Return True when the event is set within ``patience`` seconds, else False."""
    try:
        async with asyncio.timeout(patience):
            await event.wait()
    except TimeoutError:
        return False
    return True
