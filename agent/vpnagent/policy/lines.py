"""Ways to a remote network beside the tunnels, such as a leased line: before them, or behind. Pure.

Which of them is used is the kernel's decision, by metric alone: nothing of the line is written or probed.
*Before* the tunnels, the line's route has the lower metric. Ours stands beneath, and is there the moment that
the line's goes. *Behind* them, it has the higher one, and ours must go so that it is used: it does when no
CHILD_SA is left, with its group; and here, when nothing is heard through any tunnel. It is back when a tunnel
has proven itself. Beneath both lies the guard.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Final

from vpnagent.config.values import Config
from vpnagent.finding import Finding, Severity
from vpnagent.policy.desired import route_metrics, sharers
from vpnagent.policy.selection import UNKNOWN, PathState, Verdicts
from vpnagent.routing.objects import GUARD_METRIC, Diversion, KernelObjects, RouteKey

DEAD: Final = frozenset({PathState.DOWN})
UNPROVEN: Final = DEAD | {PathState.HOLD_DOWN, PathState.INIT}


def exits(config: Config) -> dict[IPv4Network, frozenset[str]]:
    """Return the exits of the remote networks that have any."""
    of_connections = {connection.name: connection.exits for connection in config.connections}
    found = {
        p: frozenset(e for n in names for e in of_connections[n]) for p, names in sharers(config).items()
    }
    return {prefix: names for prefix, names in found.items() if names}


def unheard(config: Config, verdicts: Verdicts, have: KernelObjects) -> dict[IPv4Network, frozenset[str]]:
    """Return the networks that have exits and whose tunnels are all dead, with their exits.

    One without a route of ours counts as such until a tunnel has proven itself: a path that comes back and
    goes again moves nothing.
    """
    if not any(connection.exits for connection in config.connections):
        return {}
    tunnels = {connection.name: connection.tunnels for connection in config.connections}
    metrics, sharing = route_metrics(config), sharers(config)
    found = {}
    for prefix, ways in exits(config).items():
        of_prefix = [verdicts.get(t.key, UNKNOWN) for name in sharing[prefix] for t in tunnels[name]]
        paths = {verdict.path for verdict in of_prefix if verdict.child_sa_installed}
        if paths <= (DEAD if (prefix, metrics[prefix]) in have.routes else UNPROVEN):
            found[prefix] = ways
    return found


def given_way(
    config: Config,
    want: KernelObjects,
    unheard: Mapping[IPv4Network, Collection[str]],
    beside: Mapping[str, Collection[RouteKey]],
) -> KernelObjects:
    """Return what is wanted without the routes that keep dead networks from a line behind them.

    ``beside`` are the routes of others by each interface.
    """
    metrics = route_metrics(config)
    gone = {
        prefix
        for prefix, ways in unheard.items()
        if any(
            p == prefix and metric > metrics[prefix] for name in ways for p, metric in beside.get(name, ())
        )
    }
    if not gone:
        return want
    routes = {key: r for key, r in want.routes.items() if key[0] not in gone or key[1] == GUARD_METRIC}
    return replace(want, routes=routes)


def not_used(config: Config, by_exit: Mapping[IPv4Network, Diversion]) -> Iterator[Finding]:
    """Yield which connections carry nothing at present, as a line does: no fault."""
    metrics = route_metrics(config)
    told: dict[tuple[str, str, bool], list[IPv4Network]] = {}
    for prefix, names in sharers(config).items():
        if prefix in by_exit:
            before = metrics[prefix] > 0
            told.setdefault(("+".join(names), by_exit[prefix].interface, before), []).append(prefix)
    for (sharing, interface, before), prefixes in told.items():
        way = f"a better route by {interface}" if before else f"the route by {interface} has them"
        shown = ", ".join(map(str, prefixes[:3])) + (f" and {len(prefixes) - 3} more" if prefixes[3:] else "")
        yield Finding(
            code="NotUsed",
            subject=f"{sharing} {interface}",
            severity=Severity.INFO,
            text=f"connection {sharing} is not used for {shown}: {way}",
            hint=f"as meant, if {interface} is the line: it is one of exits; ip route show {prefixes[0]}",
        )
