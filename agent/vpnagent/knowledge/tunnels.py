"""The state of each tunnel, why it is so and since when: what status, metrics and the log all tell.

Pure: states are computed from one observation of charon, and a ``Transition`` is returned for each
change. Times are seconds of the wall clock, for display only; nothing is decided on them.
"""

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from vpnagent.config.values import Config, Tunnel, TunnelKey
from vpnagent.ipsec.actions import CharonConnection
from vpnagent.ipsec.messages import missing_children
from vpnagent.ipsec.sa import ChildState, IkeSa, IkeState, Selectors
from vpnagent.pair import roles
from vpnagent.policy.desired import ipsec_connections
from vpnagent.policy.selection import PathState, Verdict
from vpnagent.probe.actions import PathReport
from vpnagent.witness.values import text

NO_PATHS: Final[Mapping[TunnelKey, PathReport]] = {}


class TunnelState(enum.Enum):
    """What a tunnel is, in the words of the status contract."""

    INIT = "init"
    UP = "up"
    DEGRADED = "degraded"
    HOLD_DOWN = "hold-down"
    TRIAL = "trial"
    DOWN = "down"
    DRAINED = "drained"
    STANDBY_DEVICE = "standby-device"


class IkeStatus(enum.Enum):
    """The IKE_SA, in the words of the status contract."""

    NONE = "none"
    CONNECTING = "connecting"
    ESTABLISHED = "established"
    REKEYING = "rekeying"


class ChildStatus(enum.Enum):
    """The CHILD_SA, in the words of the status contract."""

    NONE = "none"
    INSTALLED = "installed"
    REKEYING = "rekeying"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaStatus:
    """A tunnel's SAs, summed up over a rekey: two SAs of one tunnel for some seconds are normal."""

    ike: IkeStatus = IkeStatus.NONE
    child: ChildStatus = ChildStatus.NONE
    encapsulated: bool = False
    selectors: Selectors = ()  #: local and remote ones of each CHILD_SA, as negotiated; empty: not told
    missing: Selectors = ()  #: of the CHILD_SAs that are not there beside others (IKEv1, a pair in each)

    @property
    def installed(self) -> bool:
        """Whether the kernel has a CHILD_SA in both directions."""
        return self.child is not ChildStatus.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelView:
    """One tunnel as it is now."""

    key: TunnelKey
    state: TunnelState
    reason: str
    since: float  #: wall clock, seconds
    sa: SaStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A tunnel's state changed."""

    key: TunnelKey
    at: float  #: wall clock, seconds
    old: TunnelState
    new: TunnelState
    reason: str


def sa_status(sas: Iterable[IkeSa]) -> SaStatus:
    """Sum up the SAs of one connection; the newest CHILD_SA that carries traffic counts."""
    sas = tuple(sas)
    states = {sa.state for sa in sas}
    carrying = sorted(
        (child for sa in sas for child in sa.carrying_children),
        key=lambda child: child.installed_for,
    )
    if IkeState.REKEYING in states or IkeState.REKEYED in states:
        ike = IkeStatus.REKEYING
    elif IkeState.ESTABLISHED in states:
        ike = IkeStatus.ESTABLISHED
    elif states & {IkeState.CONNECTING, IkeState.CREATED}:
        ike = IkeStatus.CONNECTING
    else:
        ike = IkeStatus.NONE
    if not carrying:
        child = ChildStatus.NONE
    elif carrying[0].state is ChildState.REKEYING:
        child = ChildStatus.REKEYING
    else:
        child = ChildStatus.INSTALLED
    told = {(c.local_ts, c.remote_ts) for c in carrying if c.local_ts and c.remote_ts}
    return SaStatus(
        ike=ike,
        child=child,
        encapsulated=bool(carrying) and carrying[0].encapsulated,
        selectors=tuple(sorted(told)),
    )


def sa_statuses(config: Config, sas: Iterable[IkeSa]) -> dict[TunnelKey, SaStatus]:
    """Return the SAs of every configured tunnel."""
    by_name: dict[str, list[IkeSa]] = {}
    for sa in sas:
        by_name.setdefault(sa.connection, []).append(sa)
    wanted = ipsec_connections(config)
    return {
        t.key: _with_missing(sa_status(found := by_name.get(t.key.owner, [])), wanted[t.key.owner], found)
        for t in config.tunnels()
    }


def _with_missing(status: SaStatus, wanted: CharonConnection, sas: Iterable[IkeSa]) -> SaStatus:
    """Return the status with what a tunnel lacks that has one CHILD_SA at least."""
    carried = {child.name for sa in sas for child in sa.carrying_children}
    return replace(status, missing=missing_children(wanted, carried)) if status.installed else status


class Tunnels:
    """The views of all configured tunnels. Drive it with ``update()``."""

    def __init__(self) -> None:
        self._views: dict[TunnelKey, TunnelView] = {}

    @property
    def views(self) -> Mapping[TunnelKey, TunnelView]:
        """Every configured tunnel as of the last update."""
        return self._views

    def update(  # noqa: PLR0913 - a source of knowledge each
        self,
        *,
        at: float,
        tunnels: Iterable[Tunnel],
        statuses: Mapping[TunnelKey, SaStatus],
        verdicts: Mapping[TunnelKey, Verdict],
        troubles: Mapping[TunnelKey, str],
        paths: Mapping[TunnelKey, PathReport] = NO_PATHS,
        standby: Collection[TunnelKey] = (),
    ) -> list[Transition]:
        """Take in one observation at wall time ``at``; ``troubles`` tells why a tunnel is not up.

        ``standby`` are those of the other gateway of a pair.
        """
        transitions: list[Transition] = []
        views: dict[TunnelKey, TunnelView] = {}
        for tunnel in tunnels:
            old = self._views.get(tunnel.key)
            if tunnel.key in standby:
                state, reason = TunnelState.STANDBY_DEVICE, roles.REASON
            else:
                state, reason = _state(
                    old,
                    statuses[tunnel.key],
                    verdicts[tunnel.key],
                    troubles.get(tunnel.key),
                    paths.get(tunnel.key),
                )
            view = TunnelView(key=tunnel.key, state=state, reason=reason, since=at, sa=statuses[tunnel.key])
            previous = old.state if old else TunnelState.INIT
            if old is not None and old.state is state:
                view = replace(view, since=old.since)
            elif previous is not state:
                transitions.append(Transition(key=tunnel.key, at=at, old=previous, new=state, reason=reason))
            views[tunnel.key] = view
        self._views = views
        return transitions


def _state(
    old: TunnelView | None,
    sa: SaStatus,
    verdict: Verdict,
    trouble: str | None,
    path: PathReport | None,
) -> tuple[TunnelState, str]:
    """Return the state and the reason for it; a drain wins over every other state."""
    if verdict.drained:
        return TunnelState.DRAINED, "drained: it takes no traffic while another can"
    if path is not None and path.held:
        return TunnelState.TRIAL if path.trial else TunnelState.DOWN, path.reason
    if verdict.child_sa_installed:
        state, why = _state_of_path(path, old)
        if sa.missing and state in (TunnelState.UP, TunnelState.INIT):
            return TunnelState.DEGRADED, f"no CHILD_SA for {text(sa.missing)}"
        return state, why
    if trouble or (old is not None and old.state not in (TunnelState.INIT, TunnelState.STANDBY_DEVICE)):
        return TunnelState.DOWN, trouble or "no CHILD_SA"
    return TunnelState.INIT, "negotiating" if sa.ike is not IkeStatus.NONE else "not yet initiated"


def _state_of_path(path: PathReport | None, old: TunnelView | None) -> tuple[TunnelState, str]:
    """Return the path's state; a new prober that has heard nothing yet takes no tunnel down."""
    was_up = old is not None and old.state is TunnelState.UP
    if path is None or (path.state is PathState.INIT and was_up):
        return TunnelState.UP, "CHILD_SA installed"
    if path.state in (PathState.UNPROBED, PathState.ELSEWHERE):
        return TunnelState.DEGRADED, path.reason
    return TunnelState(path.state.value), path.reason or "CHILD_SA installed"
