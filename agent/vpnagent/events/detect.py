"""What happened between two looks: a comparison of what was known with what is known now. Pure.

An event is a change, never a state: two equal looks tell nothing, however long it lasts. What is unknown
for a while (a tunnel that is being negotiated again) stays what it was last: it neither ends nor begins.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final

from vpnagent.config.values import Config, TunnelKey
from vpnagent.events.event import Happening
from vpnagent.finding import EventType, Finding, Severity
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.knowledge.tunnels import TunnelState
from vpnagent.policy.selection import PathState
from vpnagent.record import record, replace

DAY: Final = 86400.0  #: seconds
EXPIRY_DAYS: Final = (30, 7, 1, 0)  #: days before the end of a certificate at which it is told
FAIL_BACK: Final = ("recovered", "fail-back")  #: reasons of a failover that is a return

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
    charon: bool | None  #: None: not yet known
    charon_error: str
    charon_version: str
    prober_lost_at: float | None
    loaded_at: float
    config_error: str | None
    waits_for_confirmation: bool


def beginning(known: Knowledge, at: float) -> KnownState:
    """Return what is seen before anything has happened: the configuration, and the drains it starts with."""
    blank = Knowledge(config=known.config, loaded_at=known.loaded_at, drained=known.drained)
    started = look(blank, None, at)
    return replace(started, prober_lost_at=known.probe.lost_at)


def look(known: Knowledge, before: KnownState | None, at: float) -> KnownState:
    """Return what is known at wall time ``at``; ``before`` fills in what is unknown just now."""
    tunnels = before.tunnels if before else {}
    charon = True if known.charon.connected else False if known.charon.error is not None else None
    return KnownState(
        config=known.config,
        tunnels={
            t.key: _tunnel(known, t.key, tunnels.get(t.key, UNSEEN), at) for t in known.config.tunnels()
        },
        failovers=_failovers(known),
        repairs=known.repairs(),
        findings={(f.code, f.subject): f for f in known.findings.current if f.code not in TOLD_ANYHOW},
        charon=charon if charon is not None or before is None else before.charon,
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
    if view and view.state is TunnelState.STANDBY_DEVICE:
        failed = unhealthy = False
    elif installed or last:
        failed = not installed
    if path is not None and path.state in (PathState.UP, PathState.DEGRADED):
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
        drained=key in known.drained,
        expiry=expiry,
        expiry_stage=0 if expiry is None else sum(expiry - at <= days * DAY for days in EXPIRY_DAYS),
    )


def happenings(before: KnownState, now: KnownState, at: float) -> Iterator[Happening]:
    """Yield what happened between two looks, causes before consequences."""
    yield from _configuration(before, now, at)
    yield from _processes(before, now, at)
    for key, tunnel in now.tunnels.items():
        yield from _of_tunnel(key, before.tunnels.get(key, UNSEEN), tunnel, at)
    yield from _of_connections(before, now, at)
    yield from _traffic(before, now)
    for kind, count in now.repairs.items():
        if (repaired := count - before.repairs.get(kind, 0)) > 0:
            yield Happening(
                type=EventType.DRIFT_REPAIRED,
                at=at,
                severity=Severity.WARNING,
                about=kind,
                text=f"somebody changed or removed {repaired} of our {kind} objects; put right",
                fields={"kind": kind, "count": repaired},
            )
    yield from _warnings(before, now, at)


def _configuration(before: KnownState, now: KnownState, at: float) -> Iterator[Happening]:
    taken_back = before.waits_for_confirmation and not now.waits_for_confirmation and now.config_error
    if taken_back and now.loaded_at != before.loaded_at:
        yield Happening(
            type=EventType.CONFIGURATION_TAKEN_BACK,
            at=at,
            severity=Severity.WARNING,
            text="a change was not confirmed in time: the configuration before it is in force again",
        )
        return
    going_down = not now.config.connections
    if now.config is not before.config and now.config != before.config and not going_down:
        yield Happening(
            type=EventType.CONFIGURATION_CHANGED,
            at=at,
            severity=Severity.INFO,
            text="another configuration is in force"
            + (", until it is confirmed or takes itself back" if now.waits_for_confirmation else ""),
            fields={
                "added": ",".join(str(key) for key in now.tunnels if key not in before.tunnels),
                "removed": ",".join(str(key) for key in before.tunnels if key not in now.tunnels),
            },
        )
    if now.config_error and now.config_error != before.config_error:
        yield Happening(
            type=EventType.CONFIGURATION_REFUSED,
            at=at,
            severity=Severity.CRITICAL,
            text=f"the configuration on disk is not in force: {now.config_error.splitlines()[0]}",
            fields={
                "problems": len(now.config_error.splitlines()),
                "hint": "run vpnagent check, mend the file, then vpnagent reload",
            },
        )


def _processes(before: KnownState, now: KnownState, at: float) -> Iterator[Happening]:
    if now.charon is False and before.charon is not False:
        yield Happening(
            type=EventType.CHARON_GONE,
            at=at,
            severity=Severity.CRITICAL,
            text=now.charon_error,
            fields={"hint": "is strongswan.service running? Tunnels that were up stay in use"},
        )

    elif now.charon and before.charon is False:
        yield Happening(
            type=EventType.CHARON_BACK,
            at=at,
            severity=Severity.INFO,
            text="charon answers again",
            fields={"version": now.charon_version},
        )
    if now.prober_lost_at is not None and now.prober_lost_at != before.prober_lost_at:
        yield Happening(
            type=EventType.PROBER_RESTARTED,
            at=at,
            severity=Severity.WARNING,
            text="the prober was lost and another is started; traffic stays where it is",
        )


def _of_tunnel(key: TunnelKey, before: TunnelSnapshot, now: TunnelSnapshot, at: float) -> Iterator[Happening]:
    def happening(
        kind: EventType, severity: Severity, text: str, fields: Mapping[str, str] | None = None
    ) -> Happening:
        return Happening(
            type=kind,
            at=at,
            severity=severity,
            connection=key.connection,
            tunnel=key.tunnel,
            text=f"tunnel {key} {text}",
            fields=fields or {},
        )

    if now.negotiation_failed and not before.negotiation_failed:
        reason = now.trouble.partition(":")[0]
        yield happening(
            EventType.TUNNEL_NEGOTIATION_FAILED,
            Severity.CRITICAL,
            f"cannot be negotiated: {now.trouble}",
            {"reason": reason, "hint": now.hint},
        )
    if now.unhealthy and not before.unhealthy:
        yield happening(
            EventType.HEALTH_CHECK_FAILED, Severity.WARNING, f"stands and nothing comes through: {now.reason}"
        )
    if now.drained and not before.drained:
        yield happening(EventType.TUNNEL_DRAINED, Severity.WARNING, "is drained")
    elif before.drained and not now.drained:
        yield happening(EventType.TUNNEL_UNDRAINED, Severity.INFO, "is no longer drained")
    if now.expiry is not None and now.expiry_stage > before.expiry_stage:
        left = max(0, int((now.expiry - at) // DAY))
        yield happening(
            EventType.CERTIFICATE_EXPIRY,
            Severity.WARNING if left >= EXPIRY_DAYS[1] else Severity.CRITICAL,
            f"has a certificate that expires in {left} days"
            if now.expiry > at
            else "has an expired certificate",
        )
    if now.state is not before.state and now.state in STATES and before.state is not TunnelState.DRAINED:
        kind, severity, verb = STATES[now.state]
        yield happening(
            kind,
            severity,
            f"{verb}: {now.reason}",
            {"before": before.state.value, "hint": now.hint if now.state is TunnelState.DOWN else ""},
        )


STATES: Final = {
    TunnelState.UP: (EventType.TUNNEL_UP, Severity.INFO, "is up"),
    TunnelState.DEGRADED: (EventType.TUNNEL_DEGRADED, Severity.WARNING, "is degraded"),
    TunnelState.DOWN: (EventType.TUNNEL_DOWN, Severity.CRITICAL, "is down"),
}


def _of_connections(before: KnownState, now: KnownState, at: float) -> Iterator[Happening]:
    """Yield what befell all tunnels of a connection at last."""
    for connection, grouped in groupby(now.tunnels, key=lambda key: key.connection):
        keys = list(grouped)
        was, is_ = ([seen.tunnels.get(key, UNSEEN) for key in keys] for seen in (before, now))
        if all(t.negotiation_failed for t in is_) and not all(t.negotiation_failed for t in was):
            yield Happening(
                type=EventType.ALL_TUNNELS_FAILED_TO_NEGOTIATE,
                at=at,
                severity=Severity.CRITICAL,
                connection=connection,
                text=f"no tunnel of connection {connection} can be negotiated",
            )
        if all(t.unhealthy for t in is_) and not all(t.unhealthy for t in was):
            yield Happening(
                type=EventType.CONNECTION_HEALTH_CHECK_FAILED,
                at=at,
                severity=Severity.CRITICAL,
                connection=connection,
                text=f"nothing comes through any tunnel of connection {connection}",
            )


def _traffic(before: KnownState, now: KnownState) -> Iterator[Happening]:
    for connection, (count, failover) in now.failovers.items():
        counted = before.failovers.get(connection, (0, None))[0]
        if count <= counted:
            continue
        back = failover.reason in FAIL_BACK and bool(failover.new)
        old, new = "+".join(failover.old), "+".join(failover.new)
        yield Happening(
            type=EventType.FAIL_BACK if back else EventType.FAILOVER,
            at=failover.at,
            severity=Severity.INFO if back else Severity.WARNING if new else Severity.CRITICAL,
            connection=connection,
            text=f"traffic of connection {connection} moved from {old} to {new or 'no tunnel'}"
            + (f": {failover.text or failover.reason}"),
            fields={
                "from": old,
                "to": new,
                "reason": failover.reason,
                "detection_seconds": round(failover.detection_seconds, 6),
                "switch_seconds": round(failover.switch_seconds, 6),
                "failovers": count - counted,
            },
        )


def _warnings(before: KnownState, now: KnownState, at: float) -> Iterator[Happening]:
    for key, finding in now.findings.items():
        if key not in before.findings:
            text = f"{finding.code}: {finding.text}"
            yield _warning(EventType.WARNING_BEGAN, finding, finding.severity, text, at)
    for key, finding in before.findings.items():
        if key not in now.findings:
            text = f"{finding.code} is over: {finding.text}"
            yield _warning(EventType.WARNING_ENDED, finding, Severity.INFO, text, at)


def _warning(kind: EventType, finding: Finding, severity: Severity, text: str, at: float) -> Happening:
    return Happening(
        type=kind,
        at=at,
        severity=severity,
        about=f"{finding.code} {finding.subject}",
        text=text,
        fields={"code": finding.code, "subject": finding.subject, "hint": finding.hint},
    )
