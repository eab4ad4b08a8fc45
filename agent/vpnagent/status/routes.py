"""The state of each remote network's route: where packets for it go. Pure."""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Network
from itertools import islice
from typing import Final

from vpnagent.config.values import Config
from vpnagent.finding import Finding, Severity
from vpnagent.netlink.rtnetlink import PROTOCOL
from vpnagent.policy.desired import sharers
from vpnagent.routing.objects import Diversion, KernelObjects

AT_ONCE: Final = 64  #: networks that are looked up in one round: some milliseconds

INSTALLED, GUARDED, MISSING, DIVERTED = "installed", "guarded", "missing", "diverted"
UNUSED = "unused"  #: the packets leave by an exit, as a leased line's route is better, or ours has given way


def route_state(*, nexthops: Collection[str], guarded: bool, diverted: bool, by_exit: bool = False) -> str:
    """Return a route's state in the words of the status contract."""
    if diverted:
        return DIVERTED
    if by_exit:
        return UNUSED
    return INSTALLED if nexthops else GUARDED if guarded else MISSING


def carries(config: Config, prefix: IPv4Network) -> bool:
    """Whether a network is a remote one."""
    return any(prefix in connection.remote_networks for connection in config.connections)


def in_turn(config: Config, have: KernelObjects, turn: int) -> dict[IPv4Network, frozenset[str]]:
    """Return the networks whose turn it is to be looked up, each with the tunnels, also those still there."""
    every = sharers(config)
    turns = max(1, -(-len(every) // AT_ONCE))
    tunnels = frozenset((*(tunnel.interface for tunnel in config.tunnels()), *have.links))
    return dict.fromkeys(islice(every, turn % turns, None, turns), tunnels)


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
