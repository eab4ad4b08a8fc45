"""What happened between two looks: a comparison of what was known with what is known now. Pure.

An event is a change, never a state: two equal looks tell nothing, however long it lasts. A fault is told when
its incident begins and when it ends; what is told between is of that incident.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final

from vpnagent.config.values import TunnelKey
from vpnagent.events.event import BEGIN, DURING, END, Happening
from vpnagent.events.snapshot import DAY, EXPIRY_DAYS, UNSEEN, KnownState, TunnelSnapshot
from vpnagent.finding import EventType, Finding, Severity
from vpnagent.knowledge.incidents import CHARON, CHARON_GONE, TUNNEL_DOWN, SymptomKey
from vpnagent.knowledge.tunnels import TunnelState
from vpnagent.record import replace

FAIL_BACK: Final = ("recovered", "fail-back")  #: reasons of a failover that is a return


def happenings(before: KnownState, now: KnownState, at: float) -> Iterator[Happening]:
    """Yield what happened between two looks, causes before consequences, the end of an incident last."""
    yield from _configuration(before, now, at)
    yield from _processes(before, now, at)
    yield from _begun(before, now, at)
    parts = [*_of_connections(before, now, at), *_traffic(before, now)]
    for key, tunnel in now.tunnels.items():
        parts += _of_tunnel(key, before.tunnels.get(key, UNSEEN), tunnel, at)
    yield from (_in_its_incident(part, before, now) for part in parts)
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
    yield from _ended(before, now, at)


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
    told = now.state is not before.state and before.state is not TunnelState.DRAINED
    if told and now.state in STATES and not now.in_incident and not before.in_incident:
        kind, severity, verb = STATES[now.state]
        yield happening(kind, severity, f"{verb}: {now.reason}", {"before": before.state.value})


#: Of tunnels that are in no incident; what is down is in one.
STATES: Final = {
    TunnelState.UP: (EventType.TUNNEL_UP, Severity.INFO, "is up"),
    TunnelState.DEGRADED: (EventType.TUNNEL_DEGRADED, Severity.WARNING, "is degraded"),
}


def _begun(before: KnownState, now: KnownState, at: float) -> Iterator[Happening]:
    """Yield each symptom that is new: the cause of a new incident begins it, the others are of it."""
    known = {key for incident in before.incidents for key in incident.symptoms}
    ids = {incident.id for incident in before.incidents}
    for incident in now.incidents:
        for key in sorted(incident.symptoms, key=lambda key: key != incident.cause):
            if key not in known:
                begins = key == incident.cause and incident.id not in ids
                yield replace(_symptom(key, now, at), incident=incident.id, phase=BEGIN if begins else DURING)


def _ended(before: KnownState, now: KnownState, at: float) -> Iterator[Happening]:
    """Yield each symptom that is over; with the last one its incident ends."""
    left = {key for incident in now.incidents for key in incident.symptoms}
    ids = {incident.id for incident in now.incidents}
    for incident in before.incidents:
        over = [key for key in incident.symptoms if key not in left]
        for number, key in enumerate(over, start=1):
            ends = number == len(over) and incident.id not in ids
            began = incident.began if ends else incident.symptoms[key].since
            told = _recovery(key, now, incident.symptoms[key].fine_since or at, began)
            yield replace(told, incident=incident.id, phase=END if ends else DURING)


def _symptom(key: SymptomKey, now: KnownState, at: float) -> Happening:
    if key == CHARON:
        return Happening(
            type=EventType.CHARON_GONE,
            at=at,
            severity=Severity.CRITICAL,
            text=now.charon_error,
            fields={"hint": "is strongswan.service running? Tunnels that were up stay in use"},
        )
    tunnel = _tunnel_of(key)
    seen = now.tunnels.get(tunnel, UNSEEN)
    return Happening(
        type=EventType.TUNNEL_DOWN,
        at=at,
        severity=Severity.CRITICAL,
        connection=tunnel.connection,
        tunnel=tunnel.tunnel,
        text=f"tunnel {tunnel} is down: {seen.reason}",
        fields={"hint": seen.hint},
    )


def _recovery(key: SymptomKey, now: KnownState, at: float, began: float) -> Happening:
    """Return that a symptom is over: when it was fine at last, and how long it had lasted."""
    lasted = max(0.0, round(at - began, 3))
    after = f"after {_in_words(lasted)}"
    if key.code == CHARON_GONE:
        return Happening(
            type=EventType.CHARON_BACK,
            at=at,
            severity=Severity.INFO,
            text=f"charon answers again {after}",
            fields={"lasted_seconds": lasted, "version": now.charon_version},
        )
    tunnel = _tunnel_of(key)
    seen = now.tunnels.get(tunnel)
    kind, severity, text = _as_it_is(tunnel, seen, after)
    return Happening(
        type=kind,
        at=at,
        severity=severity,
        connection=tunnel.connection,
        tunnel=tunnel.tunnel,
        text=text,
        fields={"lasted_seconds": lasted},
    )


def _as_it_is(tunnel: TunnelKey, seen: TunnelSnapshot | None, after: str) -> tuple[EventType, Severity, str]:
    """Return what a tunnel's recovery is told as: type, severity, text."""
    if seen is None or seen.state is TunnelState.STANDBY_DEVICE:
        why = "is no longer configured" if seen is None else f"stands by: {seen.reason}"
        gone = f"tunnel {tunnel} {why}; its incident is over {after}"
        return EventType.WARNING_ENDED, Severity.INFO, gone
    if seen.state is TunnelState.DRAINED:
        return EventType.TUNNEL_UP, Severity.INFO, f"drained tunnel {tunnel} is usable again {after}"
    kind, severity, verb = STATES.get(seen.state, STATES[TunnelState.UP])
    return kind, severity, f"tunnel {tunnel} {verb} again {after}: {seen.reason}"


def _tunnel_of(key: SymptomKey) -> TunnelKey:
    connection, _, tunnel = key.subject.partition("/")
    return TunnelKey(connection, tunnel)


def _in_words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _in_its_incident(part: Happening, before: KnownState, now: KnownState) -> Happening:
    """Return a happening as part of the incident of its tunnel, or of a tunnel of its connection."""
    if part.type in APART:
        return part
    for incident in (*now.incidents, *before.incidents):
        about = f"{part.connection}/{part.tunnel}"
        own = SymptomKey(TUNNEL_DOWN, about) in incident.symptoms
        if own or (not part.tunnel and part.connection in incident.connections):
            return replace(part, incident=incident.id, phase=DURING)
    return part


#: What befalls a tunnel whether it is in an incident or not.
APART: Final = frozenset({EventType.CERTIFICATE_EXPIRY, EventType.TUNNEL_DRAINED, EventType.TUNNEL_UNDRAINED})


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
