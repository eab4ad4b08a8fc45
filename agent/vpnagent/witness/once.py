"""One look without the daemon, for ``vpnagent check``. A shell; changes nothing.

Which tunnels carry the traffic is not known then: a network is judged by the tunnels that are there. Where
none is, for the daemon was never started, only the LAN's side is.
"""

import contextlib
from dataclasses import replace

from vpnagent.checks.host import source_missing
from vpnagent.checks.observation import Observation
from vpnagent.config.values import Config, TunnelKey
from vpnagent.desired import desired
from vpnagent.errors import NetlinkError, ViciError
from vpnagent.finding import Finding
from vpnagent.ipsec.charon import Charon
from vpnagent.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from vpnagent.routing.objects import KernelObjects
from vpnagent.tunnels import Selectors, sa_statuses
from vpnagent.walls import walled
from vpnagent.witness.findings import not_seen
from vpnagent.witness.look import Eyes
from vpnagent.witness.machine import machine_of
from vpnagent.witness.watch import let_in


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
