"""What the leak guard lets pass: what is configured, and what stands until it is so. Pure.

The guard may stop only what is wrong at every moment of a change. So an interface of ours counts as a tunnel
for as long as it is there, configured or not: traffic leaves it later than the configuration names another.
The local side is where the kernel has routes or networks of its own to the local networks, better than a
default route. While there are none, as the LAN's interface is down, what was the local side stays it; only
who never had any reaches its LAN by the default route, and then that is let pass.
"""

import functools
from dataclasses import replace
from ipaddress import IPv4Network, collapse_addresses

from vpnagent.config.values import Config, LeakGuard
from vpnagent.routing import objects
from vpnagent.routing.objects import KernelObjects, LocalWays


def leak_guard(conf: Config) -> objects.LeakGuardRules | None:
    """Return the guard as far as the configuration tells it."""
    if conf.agent.leak_guard is LeakGuard.OFF:
        return None
    exits: dict[str, tuple[IPv4Network, ...]] = {}
    for connection in conf.connections:
        for name in connection.exits:
            exits[name] = exits.get(name, ()) + connection.remote_networks
    return objects.LeakGuardRules(
        drops=conf.agent.leak_guard is LeakGuard.DROP,
        tunnels=tuple(sorted(tunnel.interface for tunnel in conf.tunnels())),
        networks=_collapsed(tuple(n for c in conf.connections for n in c.remote_networks)),
        exits=tuple((name, _collapsed(networks)) for name, networks in sorted(exits.items())),
        local_side=tuple(sorted(set(conf.gateway.local_interfaces))) or None,
    )


def walled(want: KernelObjects, have: KernelObjects, ways: LocalWays) -> KernelObjects:
    """Return what is wanted, with a guard that hurts nothing of what stands."""
    table = want.filter_table
    if table is None or table.guard is None:
        return want
    guard = replace(table.guard, tunnels=tuple(sorted({*table.guard.tunnels, *have.links})))
    if guard.local_side is None:
        guard = _with_local_side(guard, have, ways)
    return replace(want, filter_table=replace(table, guard=guard))


def _with_local_side(
    guard: objects.LeakGuardRules, have: KernelObjects, ways: LocalWays
) -> objects.LeakGuardRules:
    if known := ways.interfaces.difference(guard.tunnels):
        return replace(guard, local_side=tuple(sorted(known)))
    stands = have.filter_table.guard if have.filter_table else None
    if stands and stands.local_side and not stands.local_by_default:
        return replace(guard, local_side=stands.local_side)
    default = ways.default_interfaces.difference(guard.tunnels)
    return replace(guard, local_side=tuple(sorted(default)) or None, local_by_default=bool(default))


@functools.lru_cache(maxsize=16)
def _collapsed(networks: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
    """Return networks without those within or beside others; remembered, as they come again each second."""
    return tuple(collapse_addresses(networks))
