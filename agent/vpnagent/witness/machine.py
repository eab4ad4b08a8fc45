"""What check's look at the machine is to the witness: the packet filter by pair, hosts behind routes. Pure.

It is read once a minute, by a process of its own, and goes to the daemon as JSON.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from vpnagent.checks.filtering import LEAST_TRIALS, MOST_STEPS, dropped, first_packet, lan_of
from vpnagent.checks.firewall import Marking, Ruleset, constants, marking
from vpnagent.checks.observation import Observation
from vpnagent.config.values import Config, Tunnel
from vpnagent.witness.values import Filtering

MOST_HOSTS: Final = 8  #: of a local network

Between = tuple[IPv4Network, IPv4Network]  #: a local and a remote network


@dataclass(frozen=True, slots=True)
class Machine:
    """What was read of it."""

    filtering: Mapping[Between, Filtering] = field(default_factory=dict)
    hosts: Mapping[IPv4Network, tuple[IPv4Address, ...]] = field(default_factory=dict)


def machine_of(config: Config, seen: Observation) -> Machine:
    """Return what a look at the machine says."""
    return Machine(dict(_filtering(config, seen)), _hosts(config, seen))


def _filtering(config: Config, seen: Observation) -> list[tuple[Between, Filtering]]:
    ruleset = seen.firewall
    if ruleset is None:
        return []
    tunnels: dict[Between, list[Tunnel]] = {}
    for local in config.local_networks():
        for connection in config.connections:
            if local in config.local_networks_of(connection):
                for remote in connection.remote_networks:
                    tunnels.setdefault((local, remote), []).extend(connection.tunnels)
    affordable = max(LEAST_TRIALS, MOST_STEPS // max(ruleset.size, 1))
    return [
        (pair, _between(ruleset, pair, of_pair, lan_of(pair[0], seen)))
        for pair, of_pair in itertools.islice(tunnels.items(), affordable)
    ]


def _between(ruleset: Ruleset, between: Between, tunnels: list[Tunnel], lan: str) -> Filtering:
    hits = [dropped(ruleset, *between, tunnel, lan) for tunnel in tunnels]
    surely = bool(hits) and all(hits)
    marked = marking(ruleset, first_packet(*between, lan))
    if marked.unclear:  # restored from its connection, for example: whatever is set anywhere
        marked = Marking(tuple(sorted({*marked.possible, *constants(ruleset)})), unclear=True)
    return Filtering(marking=marked, dropped=str(hits[0]) if surely else "")


def _hosts(config: Config, seen: Observation) -> dict[IPv4Network, tuple[IPv4Address, ...]]:
    found = {}
    for network in config.local_networks():
        prefixes = [route.prefix for route in seen.lan_routes or () if route.prefix.overlaps(network)]
        inner = [max(prefix, network, key=lambda n: n.prefixlen) for prefix in prefixes[:MOST_HOSTS]]
        found[network] = tuple(n[1] if n.num_addresses > 1 else n[0] for n in inner)
    return found


def to_plain(machine: Machine) -> dict[str, Any]:
    """Return it as JSON takes it."""
    return {
        "filtering": [
            [str(local), str(remote), f.marking.possible, f.marking.unclear, f.dropped]
            for (local, remote), f in machine.filtering.items()
        ],
        "hosts": [[str(network), [*map(str, hosts)]] for network, hosts in machine.hosts.items()],
    }


def from_plain(plain: Mapping[str, Any]) -> Machine:
    """Return what ``to_plain`` made. Raises ValueError, TypeError or KeyError for anything else."""
    return Machine(
        {
            (IPv4Network(local), IPv4Network(remote)): Filtering(
                marking=Marking(tuple(map(int, marks)), bool(unclear)), dropped=str(dropped)
            )
            for local, remote, marks, unclear, dropped in plain["filtering"]
        },
        {IPv4Network(network): tuple(map(IPv4Address, hosts)) for network, hosts in plain["hosts"]},
    )
