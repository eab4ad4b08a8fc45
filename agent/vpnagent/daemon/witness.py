"""Look once a second, and after every round of the kernel's reconciler. A shell.

A network that was carried and is not is looked at again after CONFIRM, before it is told: between a route
that goes and the same put back is a moment, and nobody is to be woken for it.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from vpnagent.checks.host import source_missing
from vpnagent.checks.observation import Observation
from vpnagent.config.values import Config, TunnelKey
from vpnagent.errors import NetlinkError, ViciError
from vpnagent.finding import Finding
from vpnagent.ipsec.charon import Charon
from vpnagent.ipsec.sa import Selectors
from vpnagent.knowledge.knowledge import Knowledge, rung
from vpnagent.knowledge.tunnels import sa_statuses
from vpnagent.netlink import nft
from vpnagent.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from vpnagent.policy.desired import desired
from vpnagent.policy.walls import walled
from vpnagent.routing.objects import KernelObjects
from vpnagent.witness.findings import not_seen
from vpnagent.witness.look import Eyes
from vpnagent.witness.machine import machine_of
from vpnagent.witness.values import Facts, Link, NetworkVerdict, Statement

PERIOD: Final = 1.0  #: seconds between looks when nothing happens
SPACING: Final = 0.25  #: seconds at least
CONFIRM: Final = 0.3  #: seconds before the second look
FILTER_PERIOD: Final = 30.0  #: seconds at least between two readings of the packet filter


class Watch:
    """One look after another. ``known.witness`` is its to write."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._route = NetlinkSocket(NETLINK_ROUTE)
        self._netfilter = NetlinkSocket(NETLINK_NETFILTER)
        self._eyes = Eyes(self._route)
        self._rules: int | None = None  #: generation of the packet filter's
        self._had_read = -FILTER_PERIOD

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                self._known.witness_dirty.clear()
                await self.look()
                await self._look_at_the_filter()
                await asyncio.sleep(SPACING)
                await rung(self._known.witness_dirty, PERIOD - SPACING)
        finally:
            self._route.close()
            self._netfilter.close()

    async def look(self) -> None:
        """Look once, and again where something is no longer carried."""
        try:
            found = await self._statement()
            if found is not None and newly_broken(self._known.witness.verdicts, found.verdicts):
                await asyncio.sleep(CONFIRM)
                found = await self._statement()
        except NetlinkError as error:
            found = Statement(findings=(not_seen(error.reason),))
        if found is not None:
            self._known.witness = found

    async def _statement(self) -> Statement | None:
        """Return what is seen now; None before the first round of the kernel's reconciler."""
        known = self._known
        if known.kernel.state is None:
            return None
        config, seen = known.present(), await self._eyes.facts()
        return await self._eyes.statement(config, facts_of(known, seen))

    async def _look_at_the_filter(self) -> None:
        """Have the packet filter read again when it was changed: by the patrol, in a process of its own."""
        try:
            [rules] = await self._netfilter.look_up([nft.GENERATION], lambda body: body)
        except NetlinkError:
            return
        if isinstance(rules, int):  # an errno: not permitted, or there is no nftables
            return
        generation, now = nft.generation(rules), time.monotonic()
        if generation == self._rules or now - self._had_read < FILTER_PERIOD:
            return
        if self._rules is not None:
            self._known.check_dirty.set()
            self._had_read = now
        self._rules = generation


def facts_of(known: Knowledge, seen: Facts) -> Facts:
    """Return the kernel's facts, and what the daemon knows beside them."""
    installed: dict[TunnelKey, Selectors] = {
        key: status.selectors for key, status in known.charon.statuses.items() if status.selectors
    }
    return replace(
        seen,
        selected=known.kernel.selected,
        missing=known.kernel.missing,
        selectors=installed,
        filtering=known.machine.filtering,
        hosts=known.machine.hosts,
        let_in=let_in(known.kernel.state.objects) if known.kernel.state else None,
    )


def let_in(objects: KernelObjects) -> frozenset[str] | None:
    """Return where the leak guard lets what comes out of the tunnels go; None: anywhere."""
    guard = objects.filter_table.guard if objects.filter_table else None
    if guard is None or not guard.drops or guard.local_side is None:
        return None
    return frozenset(guard.local_side)


def newly_broken(before: Iterable[NetworkVerdict], now: Iterable[NetworkVerdict]) -> bool:
    """Whether a network is not carried that was, or was not judged, other than for want of a tunnel."""
    known = {verdict.pair for verdict in before if not verdict.carried}
    return any(v.pair not in known for v in now if not v.carried and v.link is not Link.TUNNEL)


# One look without the daemon, for ``vpnagent check``. A shell; changes nothing.
# Which tunnels carry the traffic is not known then: a network is judged by the tunnels that are there.
# Where none is, for the daemon was never started, only the LAN's side is.


async def look_once(config: Config, seen: Observation) -> tuple[Finding, ...]:
    """Return what the witness finds now."""
    socket = NetlinkSocket(NETLINK_ROUTE)
    try:
        eyes = Eyes(socket)
        machine = machine_of(config, seen)
        facts = replace(
            await eyes.facts(),
            selectors=await _selectors(config),
            filtering=machine.filtering,
            hosts=machine.hosts,
            let_in=_let_in(config, seen),
        )
        here = {address.ip for _, address in facts.addresses}
        return (*source_missing(config, here), *(await eyes.statement(config, facts)).findings)
    except NetlinkError as error:
        return (not_seen(error.reason),)
    finally:
        socket.close()


def _let_in(config: Config, seen: Observation) -> frozenset[str] | None:
    """Return where the leak guard would let what comes out of the tunnels go."""
    if seen.local_ways is None:
        return None
    return let_in(walled(desired(config, {}).kernel, KernelObjects(), seen.local_ways))


async def _selectors(config: Config) -> dict[TunnelKey, Selectors]:
    """Return what the tunnels were negotiated for; nothing where charon does not say."""
    charon = Charon(config.agent.vici_socket, on_event=lambda _event: None)
    with contextlib.suppress(ViciError):
        try:
            await charon.connect()
            found = sa_statuses(config, (await charon.observe()).sas)
            return {key: status.selectors for key, status in found.items() if status.selectors}
        finally:
            charon.close()
    return {}
