"""Turn what is known into tunnel states and findings, and log transitions: one line each.

Called after every round of a reconciler. Pure but for the log: ``at`` is the wall clock, for display. When
findings begin and end is told by `events`.
"""

import logging
from collections.abc import Iterator
from typing import Final

from vpnagent.config.values import Config, Forwarding
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.incidents import CHARON, Sign, SymptomKey, of_tunnel
from vpnagent.knowledge.knowledge import CharonKnowledge, Knowledge
from vpnagent.knowledge.tunnels import SaStatus, TunnelState, TunnelView
from vpnagent.policy.selection import PathState
from vpnagent.record import replace
from vpnagent.status.document import rfc3339

log = logging.getLogger(__name__)


def refresh(known: Knowledge, at: float) -> None:
    """Recompute the views and the findings from the last observations, and log each change."""
    tunnels = known.config.tunnels()
    transitions = known.tunnels.update(
        at=at,
        tunnels=tunnels,
        statuses={t.key: known.charon.statuses.get(t.key, SaStatus()) for t in tunnels},
        verdicts=known.verdicts(),
        troubles={key: str(failed) for key, failed in known.charon.failures.items()},
        paths=known.probe.paths,
        standby=known.standby(),
    )
    for change in transitions:
        calm = change.new in (TunnelState.UP, TunnelState.STANDBY_DEVICE)
        level = logging.INFO if calm else logging.WARNING
        log.log(
            level,
            "tunnel-state tunnel=%s old=%s new=%s reason=%r",
            change.key,
            change.old.value,
            change.new.value,
            change.reason,
        )
    if known.incidents.update(dict(signs(known)), at):
        known.incidents_dirty.set()
    known.findings.update((_dated(known, finding) for finding in findings(known)), at)


HEALTHY: Final = (TunnelState.UP, TunnelState.DEGRADED)
COMING_BACK: Final = "is coming back"
BROKEN: Final = (TunnelState.DOWN, TunnelState.TRIAL)  #: it is down until a trial has succeeded


def signs(known: Knowledge) -> Iterator[tuple[SymptomKey, Sign]]:
    """Yield what is known of every possible symptom."""
    gone, there = known.charon.error is not None, known.charon.connected
    yield CHARON, Sign.FAULT if gone else Sign.FINE if there else Sign.UNKNOWN
    for view in known.tunnels.views.values():
        if view.state is not TunnelState.STANDBY_DEVICE:  # what the other gateway has is no fault here
            yield of_tunnel(view.key), _sign(known, view)


def _sign(known: Knowledge, view: TunnelView) -> Sign:
    if view.state is TunnelState.DRAINED:
        path = known.probe.paths.get(view.key)
        heard = path is not None and path.state in (PathState.UP, PathState.DEGRADED)
        return Sign.FINE if heard and view.sa.installed else Sign.UNKNOWN
    return Sign.FAULT if view.state in BROKEN else Sign.FINE if view.state in HEALTHY else Sign.UNKNOWN


def findings(known: Knowledge) -> Iterator[Finding]:
    """Yield everything that is wrong or worth knowing now."""
    yield from known.config_findings
    yield from known.machine_findings
    yield from known.event_findings
    yield from known.state_findings
    yield from known.metrics_findings
    yield from known.pair_findings
    if known.config_error is not None:
        yield Finding(
            code="ConfigReloadFailed",
            subject="",
            severity=Severity.WARNING,
            text=f"the configuration on disk is not in force: {known.config_error.splitlines()[0]}",
            hint="run vpnagent check, mend the file, then vpnagent reload",
        )
    if known.taken_back_at is not None:
        yield Finding(
            code="ConfigUnconfirmed",
            subject="",
            severity=Severity.WARNING,
            text=f"the configuration takes itself back at {rfc3339(known.taken_back_at)}",
            hint="run vpnagent confirm if all is well",
        )
    if known.charon.error is not None:
        yield Finding(
            code="CharonUnreachable",
            subject="",
            severity=Severity.CRITICAL,
            text=known.charon.error,
            hint="is strongswan.service running, and may this user open the VICI socket? "
            "Tunnels that were up stay in use",
        )
    yield from known.charon.findings
    yield from known.kernel.findings
    yield from known.witness.findings
    yield from known.probe.findings()
    yield from _tunnel_findings(known.config, known)


def _dated(known: Knowledge, finding: Finding) -> Finding:
    """Return the finding with the time at which its part of an incident began: no trial makes it younger."""
    incident = known.incidents.explaining(finding)
    return finding if incident is None else replace(finding, since=incident.since(finding))


def _tunnel_findings(config: Config, known: Knowledge) -> Iterator[Finding]:
    for connection in config.connections:
        views = [known.tunnels.views[t.key] for t in connection.tunnels if t.key in known.tunnels.views]
        for view in views:
            if view.state is TunnelState.DRAINED:
                yield _drained(view) if view.key in known.drained else _drill(view)
            elif view.state not in HEALTHY:
                yield from _down(view, known)
            yield from _negotiation(view, known.charon)
        here = [view for view in views if view.state is not TunnelState.STANDBY_DEVICE]
        up = sum(view.state is TunnelState.UP for view in here)
        if up == 1 < len(here) and connection.forwarding is Forwarding.ACTIVE_STANDBY:
            yield Finding(
                code="NoStandby",
                subject=connection.name,
                severity=Severity.WARNING,
                text=f"connection {connection.name} has one usable tunnel left: the next fault is an outage",
                hint="see the other tunnel's reason",
            )


def _drained(view: TunnelView) -> Finding:
    return Finding(
        code="TunnelDrained",
        subject=str(view.key),
        severity=Severity.WARNING,
        text=f"tunnel {view.key} is drained: it takes no traffic while another can",
        hint=f"vpnagent undrain {view.key}",
    )


def _drill(view: TunnelView) -> Finding:
    return Finding(
        code="Drill",
        subject=str(view.key),
        severity=Severity.WARNING,
        text=f"a drill keeps tunnel {view.key} drained",
        hint="it ends with the drill, or seconds after that was killed",
    )


def _negotiation(view: TunnelView, known: CharonKnowledge) -> Iterator[Finding]:
    """Yield what is wrong with negotiations although the tunnel's CHILD_SA is installed."""
    if not view.sa.installed:
        return
    if failed := known.failures.get(view.key):
        yield Finding(
            code="NegotiationFailed",
            subject=str(view.key),
            severity=Severity.WARNING,
            text=f"tunnel {view.key} has its SA still, but the negotiation of the next one fails: {failed}",
            hint=failed.hint,
        )
    if remark := known.remarks.get(view.key):
        yield Finding(
            code="LifetimeMismatch",
            subject=str(view.key),
            severity=Severity.INFO,
            text=f"tunnel {view.key}: the two ends have other lifetimes: {remark.text}",
            hint=remark.hint,
        )


def _down(view: TunnelView, known: Knowledge) -> Iterator[Finding]:
    """Yield that a tunnel is down, or comes back and has not yet proved itself."""
    if known.incidents.of(of_tunnel(view.key)) is None:
        return
    failed = known.charon.failures.get(view.key)
    broken = view.state in BROKEN
    verb = "is down" if broken else COMING_BACK
    yield Finding(
        code="TunnelDown",
        subject=str(view.key),
        severity=Severity.CRITICAL if broken else Severity.WARNING,
        text=f"tunnel {view.key} {verb}: {view.reason}",
        hint=failed.hint
        if failed is not None and view.reason == str(failed)
        else "see the log of charon and the tunnel's state in the cloud console",
    )
