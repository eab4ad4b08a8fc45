"""Keep charon as it should be, and know what it does: connect, observe, load, initiate, listen.

One session lasts as long as charon answers. When it is lost, the last verdicts stay in force (a charon
that crashed leaves its SAs in the kernel), and everything is loaded anew when it is back; a tunnel that
was up counts as up for ``GRACE`` seconds more, in which it is negotiated again.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Final, Protocol

from vpnagent.checks.traps import algorithm_missing
from vpnagent.config.values import TunnelKey
from vpnagent.daemon import probe_wiring
from vpnagent.daemon.negotiations import Negotiations
from vpnagent.errors import ViciError, ViciUnavailableError
from vpnagent.finding import Finding, Severity
from vpnagent.ipsec import messages
from vpnagent.ipsec.actions import CharonAction, CharonConnection, LoadConnection, LoadSecret
from vpnagent.ipsec.algorithms import missing_algorithms
from vpnagent.ipsec.initiation import Initiate, Initiation, given_up
from vpnagent.ipsec.plan import (
    CarriedTraffic,
    FormerNames,
    LoadedConnections,
    plan,
    present_names,
    under_present_names,
    without_superseded,
)
from vpnagent.ipsec.sa import CharonState, ChildUpDown, ConnectionLost, IkeUpDown, LogLine, Rekeyed, ViciEvent
from vpnagent.knowledge.knowledge import Knowledge, rung
from vpnagent.knowledge.tunnels import sa_statuses
from vpnagent.pair import roles
from vpnagent.policy.desired import ipsec_connections
from vpnagent.policy.selection import Verdict, usable

log = logging.getLogger(__name__)

PERIOD: Final = 1.0  #: seconds between observations when nothing happens
RETRY: Final = (0.1, 0.2, 0.5, 1.0, 2.0)  #: seconds before the n-th attempt to connect; the last one stays
REFUSED_FOR: Final = 30.0  #: seconds before a connection that charon refused is tried again unchanged
CONFIRM: Final = (0.02, 0.1)  #: seconds before a look again at a CHILD_SA that vanished without a word
GRACE: Final = 10.0  #: seconds for which a tunnel counts as up after charon came back without its SA


class CharonClient(Protocol):
    """What the reconciler needs of charon (ipsec.charon)."""

    version: str
    algorithms: Mapping[str, frozenset[str]]

    async def connect(self) -> None:
        """Connect, or raise ViciUnavailableError."""

    async def observe(self) -> CharonState:
        """Return what charon has now."""

    async def apply(self, action: CharonAction) -> None:
        """Carry out one action; ViciError when charon refuses."""

    async def initiate(self, key: TunnelKey, child: str | None = None) -> None:
        """Have charon start to negotiate; returns at once."""

    def close(self) -> None:
        """Close the connections."""


Clock = Callable[[], float]


class CharonReconciler:
    """One session after another. ``known.charon`` is its to write."""

    def __init__(
        self,
        known: Knowledge,
        make_charon: Callable[[Callable[[ViciEvent], None]], CharonClient],
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self._known = known
        self._clock = clock
        self._charon = make_charon(self._on_event)
        self._session = Session(self._charon, known, clock)
        self.converged = asyncio.Event()  #: set by a round that had nothing left to do

    async def run(self) -> None:
        """Connect, reconcile, and connect again, until cancelled."""
        failures = 0
        while True:
            try:
                await self._charon.connect()
                failures = 0
                self._connected()
                await self._reconcile()
            except ViciUnavailableError as error:
                self._lost(error)
            await asyncio.sleep(RETRY[min(failures, len(RETRY) - 1)])
            failures += 1

    def close(self) -> None:
        """Close the VICI connections; what charon has stays."""
        self._charon.close()

    async def _reconcile(self) -> None:
        known = self._known
        while True:
            known.charon_dirty.clear()
            config = known.config
            if not await self._session.round() and known.config is config:  # else it was about the old one
                self.converged.set()
            await rung(known.charon_dirty, self._session.patience())

    def _connected(self) -> None:
        known = self._known.charon
        known.connected, known.version, known.error = True, self._charon.version, None
        self._session = Session(self._charon, self._known, self._clock)
        log.info("charon-connected version=%s", self._charon.version)

    def _lost(self, error: ViciUnavailableError) -> None:
        known = self._known.charon
        self._charon.close()
        known.connected = False
        if known.error is None or not known.error.endswith(error.reason):  # whatever was asked
            known.error = str(error)
            log.warning("charon-unreachable error=%r", known.error)

    def _on_event(self, event: ViciEvent) -> None:
        """Take in what charon tells by itself; it is called on the loop and only notes and wakes."""
        known = self._known.charon
        event = self._session.under_present_name(event)
        match event:
            case IkeUpDown() | ChildUpDown():
                known.signalled_at = self._clock()
                self._session.told(event)
                log.debug("charon-event %s", event)
            case Rekeyed():
                self._session.told(event)
                self._count_rekey(event)
            case LogLine():
                self._session.heard(event)
                return
            case ConnectionLost() | _:
                log.debug("charon-event %s", event)
        self._known.charon_dirty.set()

    def _count_rekey(self, event: Rekeyed) -> None:
        rekeys = self._known.charon.rekeys
        for tunnel in self._known.config.tunnels():
            if tunnel.key.owner == event.connection:
                rekeys[tunnel.key] = rekeys.get(tunnel.key, 0) + 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """What charon would not load."""

    error: ViciError
    digest: str  #: of the connection as it was refused
    until: float  #: monotonic seconds; it is tried again then


class Session:
    """What is true of one charon from the moment we connected: what we loaded, when to initiate."""

    def __init__(self, charon: CharonClient, known: Knowledge, clock: Clock) -> None:
        self._charon = charon
        self._clock = clock
        self._known = known
        self._key = os.urandom(32)
        self._loaded = LoadedConnections()
        self._initiation = Initiation(random=random.random)
        self._grace_until = self._clock() + GRACE
        self._up_before = frozenset(k for k, v in known.charon.verdicts.items() if v.child_sa_installed)
        self._carried: frozenset[str] = frozenset()  #: connections that carried when last observed
        self._told_down: set[str] = set()  #: of which charon has told since then that an SA went
        self._refusals: dict[str, Refusal] = {}
        self._negotiations = Negotiations(known.charon)
        self._names: FormerNames = {}  #: of SAs, by the former name that charon has them under

    def under_present_name(self, event: ViciEvent) -> ViciEvent:
        """Return the event as if the SA had been negotiated under the name that its tunnel has now."""
        if isinstance(event, ConnectionLost) or event.connection is None:
            return event
        return replace(event, connection=self._names.get(event.connection, event.connection))

    def heard(self, line: LogLine) -> None:
        """Take in a line of charon's log: it may tell why a negotiation failed."""
        self._negotiations.heard(line, self._clock())

    async def round(self) -> bool:
        """Observe, report, apply, initiate once; return whether there was anything to do."""
        known = self._known
        want, state = await self._observe()
        now = self._clock()
        self._negotiations.expect(want)
        self._publish(state, now)
        impossible = self._impossible(want)
        held = impossible.keys() | self._refused(want, now) | probe_wiring.held(known.probe.paths.values())
        self._loaded = self._loaded.observed(state).renamed(self._names, want)
        planned = plan(want, state, self._loaded, digest=self._digest, traffic=self._traffic(), prune=True)
        away = roles.given_away(known.config, known.owned())
        actions = [action for action in planned if not _loads(action, held)] + given_up(state.sas, away)
        for action in actions:
            await self._apply(action)
        self._note_vacating()
        sas = without_superseded(state.sas, self._loaded)
        due = self._initiation.due(
            self._clock(), want, sas, held=held | self._refused(want, now) | away.keys()
        )
        for step in due:
            await self._start(step)
        known.charon.findings = (
            *(algorithm_missing(name, parts) for name, parts in impossible.items()),
            *(_refusal(name, refusal.error) for name, refusal in self._refusals.items() if name in want),
            *(_not_in_force(name) for name in (*self._loaded.outdated, *self._loaded.superseded)),
        )
        return bool(actions or due)

    def _note_vacating(self) -> None:
        known = self._known
        if known.charon.vacating != self._loaded.vacating:
            known.charon.vacating = self._loaded.vacating
            known.kernel_dirty.set()
            known.probe_dirty.set()

    def told(self, event: IkeUpDown | ChildUpDown | Rekeyed) -> None:
        """Charon told that an SA of a connection came, went away, or was replaced."""
        if isinstance(event, IkeUpDown | ChildUpDown) and not event.up:
            self._told_down.add(event.connection)
        elif not isinstance(event, IkeUpDown):  # an IKE_SA alone carries nothing
            self._negotiations.succeeded(event.connection)

    async def _observe(self) -> tuple[Mapping[str, CharonConnection], CharonState]:
        """Observe; and again, if a CHILD_SA is gone of which charon told nothing.

        list-sas is no snapshot: while an IKE_SA is rekeyed its CHILD_SAs move to the new one, and may be seen
        in neither (5.9.8, in the lab). When they really went, an event comes first, or soon. What is wanted
        at that moment comes along: the SAs have its names.
        """
        want, state = await self._look()
        for pause in CONFIRM:
            carried = {self._names.get(name, name) for name in self._carried}
            if carried <= _carrying(state) | self._told_down:
                break
            await asyncio.sleep(pause)
            want, state = await self._look()
        self._carried = _carrying(state)
        self._told_down.clear()
        return want, state

    async def _look(self) -> tuple[Mapping[str, CharonConnection], CharonState]:
        """Observe once, with every SA under the name that its tunnel has now."""
        state = await self._charon.observe()
        obstructed = self._known.kernel.without_interface
        every = ipsec_connections(self._known.config)
        want = {name: wanted for name, wanted in every.items() if wanted.key not in obstructed}
        alive = {sa.connection for sa in state.sas}
        known = {**self._names, **present_names(state.sas, want)}
        self._names = {old: new for old, new in known.items() if old in alive - want.keys() and new in want}
        self._note_former({want[new].key: old for old, new in self._names.items()})
        return want, replace(state, sas=under_present_names(state.sas, self._names))

    def _note_former(self, former: Mapping[TunnelKey, str]) -> None:
        known = self._known
        if known.charon.former != former:
            known.charon.former = former
            known.probe_dirty.set()
            for key, name in former.items():
                log.info("renamed tunnel=%s: its SAs stay, charon calls them %s", key, name)

    def patience(self) -> float:
        """Return the seconds until the next round, should nothing happen before."""
        deadline = self._initiation.deadline()
        return PERIOD if deadline is None else min(PERIOD, max(0.05, deadline - self._clock()))

    def _publish(self, state: CharonState, now: float) -> None:
        known = self._known.charon
        if known.state and _speaking(known.state) - _speaking(state):
            self._known.kernel_dirty.set()  # a way to a peer may have waited for that
        known.state = state
        statuses = sa_statuses(self._known.config, state.sas)
        if statuses != known.statuses:
            known.statuses = statuses
            self._known.probe_dirty.set()
        self._negotiations.observed(now)
        lenient = self._up_before if now < self._grace_until else frozenset()
        verdicts = {
            key: Verdict(child_sa_installed=status.installed or key in lenient)
            for key, status in known.statuses.items()
        }
        if verdicts != known.verdicts:
            known.verdicts = verdicts
            self._known.kernel_dirty.set()
            self._known.probe_dirty.set()

    def _refused(self, want: Mapping[str, CharonConnection], now: float) -> set[str]:
        """Return the connections that charon refused as they are now, a moment ago."""
        return {
            name
            for name, refusal in self._refusals.items()
            if name in want and now < refusal.until and refusal.digest == self._digest(want[name])
        }

    def _impossible(self, want: Mapping[str, CharonConnection]) -> dict[str, tuple[str, ...]]:
        missing = {n: missing_algorithms(c, self._charon.algorithms) for n, c in want.items()}
        return {name: parts for name, parts in missing.items() if parts}

    def _digest(self, connection: CharonConnection) -> str:
        return messages.digest(connection, key=self._key)

    def _traffic(self) -> CarriedTraffic:
        verdicts = self._known.verdicts()
        selected = self._known.kernel.selected
        tunnels = self._known.config.tunnels()
        keys = [t.key for t in tunnels]
        return CarriedTraffic(
            usable={key for key in keys if usable(self._without_vacating(key, verdicts[key]))},
            forwarding={key for key in keys if key.tunnel in selected.get(key.connection, ())},
            alternatives={
                key: {other for other in keys if other.connection == key.connection and other != key}
                for key in keys
            },
        )

    def _without_vacating(self, key: TunnelKey, verdict: Verdict) -> Verdict:
        """Return the verdict as it is apart from what we do ourselves: a drain of the operator stays one."""
        ours = key in self._loaded.vacating and key not in self._known.drained
        return replace(verdict, drained=False) if ours else verdict

    async def _apply(self, action: CharonAction) -> None:
        try:
            await self._charon.apply(action)
        except ViciUnavailableError:
            raise
        except ViciError as error:
            log.warning("refused %s error=%r", action, error.reason)
            if isinstance(action, LoadConnection | LoadSecret):
                digest = self._digest(action.connection)
                refusal = Refusal(error, digest, self._clock() + REFUSED_FOR)
                self._refusals[action.connection.name] = refusal
        else:
            log.info("applied %s", action)
            self._loaded = self._loaded.after(action, self._digest)
            if isinstance(action, LoadConnection):
                self._refusals.pop(action.connection.name, None)
                self._initiation.forget(action.connection.name)
                self._negotiations.reloaded(action.connection.name)

    async def _start(self, step: CharonAction | Initiate) -> None:
        if not isinstance(step, Initiate):
            await self._apply(step)
            return
        try:
            await self._charon.initiate(step.key, step.child)
        except ViciUnavailableError:
            raise
        except ViciError as error:
            log.warning("refused %s error=%r", step, error.reason)
        else:
            log.info("applied %s", step)


def _speaking(state: CharonState) -> set[str]:
    """Return the connections that have something to say to their peers."""
    return {sa.connection for sa in state.sas if not sa.deleting}


def _carrying(state: CharonState) -> frozenset[str]:
    return frozenset(sa.connection for sa in state.sas if sa.carrying_children)


def _loads(action: CharonAction, names: Set[str]) -> bool:
    return isinstance(action, LoadConnection | LoadSecret) and action.connection.name in names


def _not_in_force(name: str) -> Finding:
    return Finding(
        code="SettingsNotInForce",
        subject=name,
        severity=Severity.WARNING,
        text=f"{name} carries with SAs of its former settings until new ones can take their place",
        hint="change the cloud's end too: a new SA is tried beside the old one, one tunnel after the other",
    )


def _refusal(name: str, error: ViciError) -> Finding:
    return Finding(
        code="CharonRefused",
        subject=name,
        severity=Severity.CRITICAL,
        text=str(error),
        hint="see the reason; it is tried again every 30 s and when the configuration changes",
    )
