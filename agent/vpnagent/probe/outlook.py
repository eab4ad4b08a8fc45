"""What is told of the paths: one report for each, and what an operator should know now.

Derived from the paths, remedies and suspicions as they stand; nothing is decided here.
"""

from ipaddress import IPv4Address
from math import inf

from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding, Severity
from vpnagent.probe.actions import Cause
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import HELD, Phase, Remedy
from vpnagent.record import dataclass
from vpnagent.selection import PathState

BLAMELESS = (Cause.CONGESTION, Cause.TARGET, Cause.FILTERED)  #: degraded so, a path is as good as any other


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReport:
    """One tunnel's path as it is now: for status, metrics and the control daemon."""

    tunnel: TunnelKey
    state: PathState
    cause: Cause
    reason: str
    since: float
    congested: bool
    rtt: float | None  #: seconds, mean over the window; None: nothing answered in it
    loss_ratio: float  #: over the window
    last_heard: float | None
    target: IPv4Address  #: the one that is asked now
    sent: int  #: probes since the core began; these three only grow (a late reply reduces ``lost``)
    answered: int
    lost: int
    hold_down_ends: float | None  #: in hold-down: when it will be up, if nothing is missed
    held: bool  #: left down by us: nobody else is to initiate it
    trial: bool  #: such a tunnel is being tried now
    failed_trials: int | None  #: to be handed to the next prober; see TunnelIntent
    next_trial: float | None
    proven: float | None = None  #: when a packet had last passed each way; None: not yet
    waiting_for_peer: bool  #: the underlay is dead; "return path: waiting for the cloud"


def limit_finding(path: Path) -> Finding:
    """Return what is to be said of a path's target that answers no more than so many probes."""
    limit = path.limit
    return Finding(
        code="ProbeTargetLimits",
        subject=str(path.schedule.usual.address),
        severity=Severity.WARNING,
        text=(
            f"answers about {limit.rate:.0f} probes a second, whoever asks: asked {limit.slower} times more "
            f"slowly, so a dead path is noticed after {path.detection_time:.2g} s"
        ),
        hint="raise its limit for this gateway, name another target, or lengthen probe.interval",
    )


def blameless(path: Path) -> bool:
    """Whether the path is degraded by what is not its own fault, so that no other would be better."""
    if path.state is PathState.ELSEWHERE:
        return True
    blamed = path.detector.cause not in BLAMELESS
    return path.state is PathState.DEGRADED and not blamed


def path_report(path: Path, remedy: Remedy) -> PathReport:
    """Return what is known of one path."""
    detector, window = path.detector, path.window
    resting = remedy.phase in (Phase.RESTING, Phase.DISPLACED)
    return PathReport(
        tunnel=path.key,
        state=detector.state,
        cause=detector.cause,
        reason=detector.reason,
        since=detector.since,
        congested=detector.state is PathState.DEGRADED and detector.cause is Cause.CONGESTION,
        rtt=window.mean_rtt,
        loss_ratio=window.loss_ratio,
        last_heard=detector.last_heard,
        target=path.schedule.usual.address,
        sent=window.totals.sent,
        answered=window.totals.answered,
        lost=window.totals.lost,
        hold_down_ends=detector.hold_down.ends,
        held=remedy.phase in HELD,
        trial=remedy.phase in (Phase.INITIATING, Phase.PROBING),
        failed_trials=remedy.trials if remedy.phase in HELD else None,
        next_trial=remedy.until if resting and remedy.until < inf else None,
        proven=path.evidence.proven_at,
        waiting_for_peer=remedy.phase in (Phase.WAITING, Phase.RETURNED),
    )


def findings(path: Path, remedy: Remedy) -> list[Finding]:
    """Return what is wrong with one path, and what can be done."""
    detector = path.detector
    if path.signals.usable and path.intent.dscp and not path.marked and path.alive:
        text = f"probes with DSCP {path.intent.dscp} are not answered, unmarked ones are: they go unmarked"
        hint = "a provider or firewall on the way drops marked packets: let them pass, or set probe.dscp: 0"
        return [_finding(path, "ProbeMarkDropped", Severity.INFO, text, hint)]
    if path.signals.usable and detector.state in _UNKNOWN:
        code, hint = _UNKNOWN[detector.state]
        return [_finding(path, code, Severity.WARNING, detector.reason, hint)]
    if not path.signals.usable or detector.state not in (PathState.DOWN, PathState.DEGRADED):
        return [_left_down(path, remedy)] if remedy.phase in HELD else []
    if detector.state is PathState.DOWN:
        return [_down(path, remedy)]
    code, hint = _DEGRADED.get(detector.cause, _DEGRADED[Cause.QUALITY])
    return [_finding(path, code, Severity.WARNING, detector.reason, hint)]


_UNKNOWN = {
    PathState.UNPROBED: (
        "PathUnprobed",
        "nothing is known of the path: see whether a packet filter drops what the gateway itself sends, and "
        "whether it has the source address of its probes",
    ),
    PathState.ELSEWHERE: (
        "HeardElsewhere",
        "the cloud, or the network behind it, returns to this gateway by another line: see its routes",
    ),
}
_DEGRADED = {
    Cause.QUALITY: ("PathDegraded", "look at the line between here and the tunnel's remote address"),
    Cause.CONGESTION: (
        "TunnelFull",
        "traffic is near the purchased bandwidth or packet rate: shape it, or buy more",
    ),
    Cause.TARGET: (
        "ProbeTargetSilent",
        "see whether the probe target is up and answers; a second target would outvote it",
    ),
    Cause.FILTERED: (
        "ProbeRepliesFiltered",
        "the tunnel works; let ICMP echo replies in by its interface: nft list ruleset (input and prerouting "
        "chains, fib ... oif missing drop), nft monitor trace; sysctl net.ipv4.conf.all.rp_filter and that "
        "of the interface: 0, or 2 (loose)",
    ),
    Cause.RETURN: (
        "ReturnPathDead",
        "the cloud still answers through a dead tunnel; its own detection moves it",
    ),
}


def _down(path: Path, remedy: Remedy) -> Finding:
    if remedy.phase in HELD:
        return _left_down(path, remedy)
    text = f"path down: {path.detector.reason}"
    hint = "see whether the tunnel's remote address is reachable and lets ESP through"
    if remedy.phase in (Phase.WAITING, Phase.RETURNED):
        text += "; SAs kept; return path: waiting for the cloud"
        hint = "the peer's IKE daemon is silent as well: look at the line to the tunnel's remote address"
    elif remedy.phase in (Phase.KEPT, Phase.WANTED):
        text += "; its IKE_SA is kept"
    return _finding(path, "PathDown", Severity.CRITICAL, text, hint)


def _left_down(path: Path, remedy: Remedy) -> Finding:
    text = (
        f"left down: {path.detector.reason}, while its IKE daemon lives; trials failed: {remedy.trials or 0}"
    )
    hint = "ESP or UDP port 4500 does not come through: look at firewalls between here and the remote address"
    return _finding(path, "TunnelLeftDown", Severity.WARNING, text, hint)


def _finding(path: Path, code: str, severity: Severity, text: str, hint: str) -> Finding:
    return Finding(code=code, subject=str(path.key), severity=severity, text=text, hint=hint)
