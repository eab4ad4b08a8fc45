"""The state of each remote network's route: where packets for it go. Pure."""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Network
from itertools import islice
from typing import Final

from vpnagent.config.values import Config
from vpnagent.desired import sharers
from vpnagent.finding import Finding, Severity
from vpnagent.routing.objects import PROTOCOL, Diversion, KernelObjects

AT_ONCE: Final = 64  #: networks that are looked up in one round: some milliseconds

INSTALLED, GUARDED, MISSING, DIVERTED = "installed", "guarded", "missing", "diverted"


def route_state(*, nexthops: Collection[str], guarded: bool, diverted: bool) -> str:
    """Return a route's state in the words of the status contract."""
    if diverted:
        return DIVERTED
    return INSTALLED if nexthops else GUARDED if guarded else MISSING


def carries(config: Config, prefix: IPv4Network) -> bool:
    """Whether a network is a remote one."""
    return any(prefix in connection.remote_networks for connection in config.connections)


def in_turn(config: Config, have: KernelObjects, turn: int) -> dict[IPv4Network, frozenset[str]]:
    """Return the networks whose turn it is to be looked up, each with the interfaces by which it may leave.

    Those are the tunnels, also those that are still there, and its connections' exits.
    """
    every = sharers(config)
    turns = max(1, -(-len(every) // AT_ONCE))
    exits = {connection.name: connection.exits for connection in config.connections}
    tunnels = {*(tunnel.interface for tunnel in config.tunnels()), *have.links}
    return {
        prefix: frozenset(tunnels.union(*(exits[name] for name in names)))
        for prefix, names in islice(every.items(), turn % turns, None, turns)
    }


def diverted(diversions: Mapping[IPv4Network, Diversion]) -> Iterator[Finding]:
    """Yield whose packets go elsewhere, and what leads them there."""
    for prefix, astray in sorted(diversions.items()):
        owner = " of ours" if astray.protocol == PROTOCOL else ""
        route = f"the route {astray.entry}{owner} of table {astray.table}" if astray.entry else "a rule"
        yield Finding(
            code="RouteDiverted",
            subject=str(prefix),
            severity=Severity.CRITICAL,
            text=f"packets {astray.asker} for the remote network {prefix} go out by {astray.interface} and "
            f"not into a tunnel: {route} has them",
            hint=f"ip rule show; ip route show table {astray.table}: remove the rule or the route. "
            "A way that is meant is named in exits",
        )
