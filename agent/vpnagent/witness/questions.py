"""What to ask the kernel: which hosts stand for a network, by which way they come, with which marks. Pure.

Two batches, as the second needs to know by which interface the hosts of a local network are reached. A host
of this machine's own stands for nobody: its packets are not forwarded.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vpnagent.config.values import Config, Tunnel
from vpnagent.routing.route_lookup import Flow
from vpnagent.witness.policy import MOST_FLOWS, flows
from vpnagent.witness.values import Answer, Answers, Facts, Pair, Question

MOST_HOSTS: Final = 6  #: of a network that are asked for
DEFAULT: Final = 0  #: length of a default route's prefix


def pairs(config: Config) -> Iterator[Pair]:
    """Yield every local network with every remote network of every connection."""
    for connection in config.connections:
        for local in config.gateway.local_networks:
            for remote in connection.remote_networks:
                yield Pair(connection.name, local, remote)


def lan_questions(config: Config, facts: Facts) -> list[Question]:
    """Return the first batch: where the hosts of the local networks are."""
    return [
        Question(host, entry=entry)
        for network in config.gateway.local_networks
        for host in local_hosts(network, facts)
        for entry in (False, True)
    ]


def way_questions(config: Config, facts: Facts, lan: Answers) -> list[Question]:
    """Return the second batch: where the hosts' packets go, and what comes out of the tunnels."""
    asked: dict[Question, None] = {}
    others, ours = flows_of(facts), interfaces(config)
    for pair in pairs(config):
        targets = remote_hosts(config, pair.remote, facts)
        for question in outward(config, pair, facts, lan):
            asked.update((question._replace(destination=target), None) for target in targets)
            asked.update((question._replace(destination=targets[0], flow=flow), None) for flow in others)
        side = lan_side(pair.local, facts, lan, ours)
        for tunnel in judged_tunnels(config, pair, facts):
            if side is not None:
                asked.update(dict.fromkeys(backward(tunnel, targets[0], side)))
    return list(asked)


def flows_of(facts: Facts) -> list[Flow]:
    """Return what is asked for beside plain packets, at most MOST_FLOWS."""
    return all_flows(facts)[:MOST_FLOWS]


def all_flows(facts: Facts) -> list[Flow]:
    """Return all packets that rules and packet filter tell apart from plain ones."""
    marks = {mark for filtered in facts.filtering.values() for mark in filtered.marking.possible if mark}
    return flows(facts.rules, marks)


def local_hosts(network: IPv4Network, facts: Facts) -> list[IPv4Address]:
    """Return hosts that stand for a local network: neighbours, those behind known routes, first and last."""
    neighbours = [
        host
        for _, address in facts.addresses
        if address.network.overlaps(network) and address.network.prefixlen < address.max_prefixlen
        for host in _ends(address.network)
    ]
    return _others([*neighbours, *facts.hosts.get(network, ()), *_ends(network)], network, facts)


def remote_hosts(config: Config, network: IPv4Network, facts: Facts) -> list[IPv4Address]:
    """Return addresses that stand for a remote network: first and last host, outside of inner ones."""
    inner = [
        n for c in config.connections for n in c.remote_networks if n != network and n.subnet_of(network)
    ]
    inner += [n for n in config.gateway.local_networks if n != network and n.subnet_of(network)]
    first, *between, last = [*_ends(network)] * 2
    found = _others([first, last, *between], network, facts)
    apart = [host for host in found if not any(host in other for other in inner)]
    return (apart or found or [first])[:2]


def _ends(network: IPv4Network) -> Iterator[IPv4Address]:
    """Yield the first two hosts and the last one."""
    size = network.num_addresses
    yield from (network[n] for n in ((0,) if size == 1 else (0, 1) if size == 2 else (1, 2, size - 2)))  # noqa: PLR2004


def _others(hosts: Iterable[IPv4Address], network: IPv4Network, facts: Facts) -> list[IPv4Address]:
    ours = {address.ip for _, address in facts.addresses}
    found = [host for host in dict.fromkeys(hosts) if host in network and host not in ours]
    return found[:MOST_HOSTS]


def own_addresses(network: IPv4Network, facts: Facts) -> list[IPv4Address]:
    """Return this machine's addresses of a local network."""
    return [address.ip for _, address in facts.addresses if address.ip in network]


def lan_side(network: IPv4Network, facts: Facts, lan: Answers, tunnels: frozenset[str]) -> Question | None:
    """Return the question whose answer shows the way to a local network; None: there is no way.

    A default route is one only where this machine has a single arm, with LAN and Internet behind one router.
    """
    for host in local_hosts(network, facts):
        entry, way = lan.get(Question(host, entry=True), NOWHERE), lan.get(Question(host), NOWHERE)
        if entry.errno or way.errno or way.local or way.interface in tunnels:
            continue
        if entry.length > DEFAULT or one_armed(facts, tunnels, way.interface):
            return Question(host)
    return None


NOWHERE: Final = Answer(errno=-1)


def one_armed(facts: Facts, tunnels: frozenset[str], interface: str) -> bool:
    """Whether this machine has addresses on no interface but this one, the default route's."""
    arms = {name for name, address in facts.addresses if not address.ip.is_loopback}
    arms -= {name for name in arms if name == LOOPBACK or name.startswith(VIRTUAL)}
    return arms - tunnels <= {interface}


LOOPBACK: Final = "lo"
VIRTUAL: Final = ("docker", "br-", "cni", "podman", "flannel", "cilium", "cali", "weave", "kube", "veth")


def outward(config: Config, pair: Pair, facts: Facts, lan: Answers) -> list[Question]:
    """Return the questions of the packets from a local network, without their destination."""
    nowhere = pair.remote.network_address
    found = []
    side = lan_side(pair.local, facts, lan, interfaces(config))
    if side is not None and lan[side].interface:
        found.append(Question(nowhere, side.destination, lan[side].interface))
    source = config.gateway.source_address
    own = own_addresses(pair.local, facts)
    if source in own:
        found.append(Question(nowhere, source))
    elif own and not local_hosts(pair.local, facts):
        found.append(Question(nowhere, own[0]))  # nobody but this machine is in that network
    return found


def backward(tunnel: Tunnel, target: IPv4Address, side: Question) -> tuple[Question, Question]:
    """Return the questions of an answer out of a tunnel, for a host of the local network: way, entry."""
    way = Question(side.destination, target, tunnel.interface)
    return way, way._replace(entry=True)


def judged_tunnels(config: Config, pair: Pair, facts: Facts) -> list[Tunnel]:
    """Return the tunnels that carry a remote network; where that is not known, those that are there."""
    sharing = [c for c in config.connections if pair.remote in c.remote_networks]
    found = [tunnel for connection in sharing for tunnel in connection.tunnels]
    if facts.selected is None:
        return [tunnel for tunnel in found if tunnel.interface in facts.forwarding]
    selected = facts.selected
    return [tunnel for tunnel in found if tunnel.name in selected.get(tunnel.key.connection, ())]


def interfaces(config: Config) -> frozenset[str]:
    """Return the interfaces of all tunnels."""
    return frozenset(tunnel.interface for tunnel in config.tunnels())
