"""What the daemon knows now: the values that its tasks hand to each other.

Not a place for decisions. Each field names the one task that writes it; everything else reads.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from vpnagent.config.values import Config, TunnelKey
from vpnagent.finding import Finding, Findings
from vpnagent.ipsec.sa import CharonState
from vpnagent.rates import Rates
from vpnagent.routing.objects import KernelState
from vpnagent.selection import Verdict, Verdicts
from vpnagent.tunnels import SaStatus, Tunnels


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """A connection's traffic was moved."""

    at: float  #: wall clock, seconds
    old: tuple[str, ...]  #: names of the tunnels that carried it before
    new: tuple[str, ...]
    reason: str
    detection_seconds: float  #: from the signal, or from the last sign of life, to the decision
    switch_seconds: float  #: from the decision to the kernel's acknowledgement


@dataclass(slots=True, kw_only=True)
class CharonKnowledge:
    """Written by the charon task."""

    state: CharonState | None = None  #: the last observation; None before the first
    connected: bool = False
    version: str | None = None
    error: str | None = None  #: why there is no connection
    statuses: Mapping[TunnelKey, SaStatus] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=dict)
    troubles: Mapping[TunnelKey, str] = field(default_factory=dict)  #: why a tunnel is not up
    hints: Mapping[TunnelKey, str] = field(default_factory=dict)  #: what to do about it
    findings: tuple[Finding, ...] = ()
    rekeys: dict[TunnelKey, int] = field(default_factory=dict)
    negotiation_failures: dict[tuple[TunnelKey, str], int] = field(default_factory=dict)
    signalled_at: float | None = None  #: monotonic; when charon last told of a change


@dataclass(slots=True, kw_only=True)
class KernelKnowledge:
    """Written by the kernel task."""

    state: KernelState | None = None  #: as it stood at the end of the last round
    findings: tuple[Finding, ...] = ()
    selected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: tunnels by connection
    failovers: dict[str, Failover] = field(default_factory=dict)  #: the last of each connection
    failover_counts: dict[tuple[str, str], int] = field(default_factory=dict)  #: by connection and reason
    repairs: dict[str, int] = field(default_factory=dict)  #: drift put right, by kind
    missing: frozenset[IPv4Network] = frozenset()  #: prefixes whose route is desired and not there
    rates: Rates = field(default_factory=Rates)


@dataclass(slots=True, kw_only=True)
class Knowledge:
    """Everything, and the two bells that wake the reconcilers."""

    config: Config  #: written by reload
    loaded_at: float  #: wall clock, seconds
    config_error: str | None = None  #: why the last reload was refused
    config_findings: tuple[Finding, ...] = ()
    drained: frozenset[TunnelKey] = frozenset()  #: written by drain and undrain
    charon: CharonKnowledge = field(default_factory=CharonKnowledge)
    kernel: KernelKnowledge = field(default_factory=KernelKnowledge)
    tunnels: Tunnels = field(default_factory=Tunnels)
    findings: Findings = field(default_factory=Findings)
    charon_dirty: asyncio.Event = field(default_factory=asyncio.Event)
    kernel_dirty: asyncio.Event = field(default_factory=asyncio.Event)

    def verdicts(self) -> dict[TunnelKey, Verdict]:
        """Return a verdict for every configured tunnel."""
        return {
            t.key: Verdict(
                child_sa_installed=t.key in self.charon.verdicts
                and self.charon.verdicts[t.key].child_sa_installed,
                drained=t.key in self.drained,
            )
            for t in self.config.tunnels()
        }
