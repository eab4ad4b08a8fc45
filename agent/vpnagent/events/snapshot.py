"""What one look at what the daemon knows saw: all that ``detect`` compares. Pure.

What is unknown for a while (a tunnel that is being negotiated again) stays what it was last, and while a
tunnel is in an incident no trial takes back what was told of it.
"""

from collections.abc import Mapping
from typing import Final

from vpnagent.config.values import Config, TunnelKey
from vpnagent.finding import Finding
from vpnagent.knowledge.incidents import Incident, of_tunnel
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.knowledge.tunnels import TunnelState
from vpnagent.policy.selection import PathState
from vpnagent.record import record, replace

DAY: Final = 86400.0  #: seconds
EXPIRY_DAYS: Final = (30, 7, 1, 0)  #: days before the end of a certificate at which it is told

#: Findings whose beginning and end events of their own tell, and better.
TOLD_ANYHOW: Final = frozenset(
    {"TunnelDown", "TunnelDrained", "CharonUnreachable", "ConfigReloadFailed", "CertificateExpiry"}
)


@record(frozen=True, slots=True, kw_only=True)
class TunnelSnapshot:
    """What a look saw of one tunnel."""

    state: TunnelState = TunnelState.INIT
    reason: str = ""
    negotiation_failed: bool = False
    trouble: str = ""  #: why its negotiation failed
    hint: str = ""  #: what to do about it
    unhealthy: bool = False  #: its SA stood and nothing came through
    in_incident: bool = False  #: it is down, or has not been up for long enough
    drained: bool = False
    expiry: float | None = None  #: Unix time
    expiry_stage: int = 0  #: how many of ``EXPIRY_DAYS`` are reached


UNSEEN: Final = TunnelSnapshot()


@record(frozen=True, slots=True, kw_only=True)
class KnownState:
    """What one look saw."""

    config: Config
    tunnels: Mapping[TunnelKey, TunnelSnapshot]
    failovers: Mapping[str, tuple[int, Failover]]  #: how many so far, and the last, by connection
    repairs: Mapping[str, int]
    findings: Mapping[tuple[str, str], Finding]
    incidents: tuple[Incident, ...]  #: those that are open
    charon_error: str
    charon_version: str
    prober_lost_at: float | None
    loaded_at: float
    config_error: str | None
    waits_for_confirmation: bool


def beginning(known: Knowledge, at: float) -> KnownState:
    """Return what is seen before anything has happened: the configuration, and the drains it starts with."""
    blank = Knowledge(
        config=known.config, loaded_at=known.loaded_at, drained=known.drained, incidents=known.incidents
    )
    started = look(blank, None, at)
    return replace(started, prober_lost_at=known.probe.lost_at)


def look(known: Knowledge, before: KnownState | None, at: float) -> KnownState:
    """Return what is known at wall time ``at``; ``before`` fills in what is unknown just now."""
    tunnels = before.tunnels if before else {}
    explaining = known.incidents.explaining
    return KnownState(
        config=known.config,
        tunnels={
            t.key: _tunnel(known, t.key, tunnels.get(t.key, UNSEEN), at) for t in known.config.tunnels()
        },
        failovers=_failovers(known),
        repairs=known.repairs(),
        findings={
            (f.code, f.subject): f
            for f in known.findings.current
            if f.code not in TOLD_ANYHOW and ((incident := explaining(f)) is None or f.since < incident.began)
        },
        incidents=known.incidents.open,
        charon_error=known.charon.error or "",
        charon_version=known.charon.version or "",
        prober_lost_at=known.probe.lost_at,
        loaded_at=known.loaded_at,
        config_error=known.config_error,
        waits_for_confirmation=known.taken_back_at is not None,
    )


def _failovers(known: Knowledge) -> dict[str, tuple[int, Failover]]:
    counts: dict[str, int] = {}
    for (connection, _), count in known.kernel.failover_counts.items():
        counts[connection] = counts.get(connection, 0) + count
    return {name: (counts.get(name, 0), failover) for name, failover in known.kernel.failovers.items()}


def _tunnel(known: Knowledge, key: TunnelKey, before: TunnelSnapshot, at: float) -> TunnelSnapshot:
    view = known.tunnels.views.get(key)
    path = known.probe.paths.get(key) if known.probe.reported else None
    verdict = known.charon.verdicts.get(key)
    installed = verdict is not None and verdict.child_sa_installed
    last = known.charon.failures.get(key)
    failed, unhealthy = before.negotiation_failed, before.unhealthy
    in_incident = known.incidents.of(of_tunnel(key)) is not None  # a trial ends nothing
    if view and view.state is TunnelState.STANDBY_DEVICE:
        failed = unhealthy = False
    elif installed or last:
        failed = not installed or (in_incident and failed)
    if path is not None and path.state in (PathState.UP, PathState.DEGRADED) and not in_incident:
        unhealthy = False
    elif path is not None and path.state is PathState.DOWN and installed and not path.held:
        unhealthy = True
    expiry = known.certificate_expiry.get(key)
    return TunnelSnapshot(
        state=view.state if view else TunnelState.INIT,
        reason=view.reason if view else "",
        negotiation_failed=failed,
        trouble=str(last) if last else before.trouble,
        hint=last.hint if last else "",
        unhealthy=unhealthy,
        in_incident=in_incident,
        drained=key in known.drained,
        expiry=expiry,
        expiry_stage=0 if expiry is None else sum(expiry - at <= days * DAY for days in EXPIRY_DAYS),
    )
