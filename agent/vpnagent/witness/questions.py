"""What to ask the kernel: which hosts stand for a network, by which way they come, with which marks. Pure.

Two batches, as the second needs to know by which interface the hosts of a local network are reached. A host
of this machine's own stands for nobody: its packets are not forwarded.
"""

import errno
import functools
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vpnagent.config.values import Config, Tunnel
from vpnagent.netlink.rtnetlink import LOCAL_TABLE, MAIN_TABLE, PROTOCOL
from vpnagent.policy.lines import exits
from vpnagent.routing.fib import FR_ACT_BLACKHOLE, FR_ACT_PROHIBIT, FR_ACT_TO_TBL, FR_ACT_UNREACHABLE, FibRule
from vpnagent.routing.ways import PLAIN, Flow
from vpnagent.witness.values import Answer, Facts, KernelAnswers, Pair, Question

# Which ip rule decided, and which packets the rules tell apart (fib_rule_match()). Pure.

MOST_FLOWS: Final = 32  #: besides the plain packet
REFUSALS: Final = {
    FR_ACT_BLACKHOLE: errno.EINVAL,
    FR_ACT_UNREACHABLE: errno.ENETUNREACH,
    FR_ACT_PROHIBIT: errno.EACCES,
}  #: what a look-up answers (fib4_rule_action())
ASKED_FOR: Final = frozenset({1, 6, 17})  #: protocols that a look-up takes: ICMP, TCP, UDP
TCP: Final = 6
ITS_OWN: Final = "lo"  #: the incoming interface of what the machine itself sends


def flows(rules: Iterable[FibRule], marks: Iterable[int]) -> list[Flow]:
    """Return what packets the rules tell apart from plain ones, and where a rule asks for marks, the others'.

    ``marks`` are those that the packet filter sets.
    """
    of_others = [rule for rule in rules if rule.protocol != PROTOCOL]
    found = [flow for rule in of_others if (flow := _flow(rule)) not in (None, PLAIN)]
    if any(rule.mask for rule in of_others):
        found += [Flow(mark=mark) for mark in sorted(marks)]
    return [flow for flow in dict.fromkeys(found) if flow is not None and flow != PLAIN]


def _flow(rule: FibRule) -> Flow | None:
    """Return a packet that fulfils what a rule asks for beside addresses; None: it cannot be asked for."""
    ported = any((*rule.source_ports, *rule.destination_ports))
    protocol = rule.ip_protocol or (TCP if ported else 0)
    if rule.obscure or rule.of_devices or (protocol and protocol not in ASKED_FOR):
        return None
    return Flow(
        mark=rule.mark & rule.mask,
        tos=rule.tos,
        protocol=protocol,
        source_port=rule.source_ports[0],
        destination_port=rule.destination_ports[0],
    )


def unasked(rules: Iterable[FibRule]) -> Iterator[FibRule]:
    """Yield the rules for packets that a look-up cannot ask for; VRFs' are for interfaces of their own."""
    for rule in rules:
        if rule.selective and not rule.of_devices and rule.protocol != PROTOCOL and _flow(rule) is None:
            yield rule


def deciding(rules: Iterable[FibRule], question: Question, answer: Answer) -> FibRule | None:
    """Return the rule whose table, or refusal, gave an answer; None: the main table's own, or unknown."""
    for rule in sorted(rules, key=lambda rule: rule.priority):
        if not matches(rule, question) or rule.table == LOCAL_TABLE:
            continue
        if rule.action == FR_ACT_TO_TBL and not answer.errno and rule.table == answer.table:
            return None if is_plain_main(rule) else rule
        if answer.errno and REFUSALS.get(rule.action) == answer.errno:
            return rule
    return None


def is_plain_main(rule: FibRule) -> bool:
    """Whether it is the rule that every machine has for the main table."""
    return rule.table == MAIN_TABLE and not rule.selective and not rule.inverted


def matches(rule: FibRule, question: Question) -> bool:
    """Return whether a rule is for a packet."""
    return _selected(rule, question) is not rule.inverted


def _selected(rule: FibRule, question: Question) -> bool:
    flow = question.flow
    incoming = question.incoming or ITS_OWN
    return (
        question.destination in rule.destination
        and (question.source in rule.source if question.source else not rule.source.prefixlen)
        and rule.incoming in ("", incoming)
        and not (rule.mark ^ flow.mark) & rule.mask
        and rule.tos in (0, flow.tos)
        and rule.ip_protocol in (0, flow.protocol)
        and _within(flow.source_port, rule.source_ports)
        and _within(flow.destination_port, rule.destination_ports)
        and not rule.obscure
        and not rule.of_devices
    )


def _within(port: int, ports: Sequence[int]) -> bool:
    return not any(ports) or ports[0] <= port <= ports[1]


MOST_HOSTS: Final = 6  #: of a network that are asked for
DEFAULT: Final = 0  #: length of a default route's prefix
NOWHERE: Final = Answer(errno=-1)
ANYWHERE: Final = IPv4Address(0)
LOOPBACK: Final = "lo"
VIRTUAL: Final = ("docker", "br-", "cni", "podman", "flannel", "cilium", "cali", "weave", "kube", "veth")


def pairs(config: Config) -> Iterator[Pair]:
    """Yield every local network with every remote network of every connection."""
    for connection in config.connections:
        for local in config.local_networks_of(connection):
            for remote in connection.remote_networks:
                yield Pair(connection.name, local, remote)


def lan_questions(config: Config, facts: Facts) -> list[Question]:
    """Return the first batch: where the hosts of the local networks are."""
    survey = Survey(config, facts, {})
    return [
        Question(host, entry=entry)
        for network in config.local_networks()
        for host in survey.local_hosts(network)
        for entry in (False, True)
    ]


def way_questions(config: Config, facts: Facts, lan: KernelAnswers) -> Iterator[Question]:
    """Yield the second batch: where the hosts' packets go, what comes out of the tunnels; some twice."""
    survey = Survey(config, facts, lan)
    for pair in pairs(config):
        targets = survey.remote_hosts(pair.remote)
        for question in survey.outward(pair.local):
            yield from (question._replace(destination=target) for target in targets)
            first = question._replace(destination=targets[0])
            yield from (first._replace(flow=flow) for flow in survey.flows)
        side = survey.side(pair.local)
        for tunnel in survey.judged_tunnels(pair.remote):
            if side is not None:
                yield from backward(tunnel, targets[0], side)


class Survey:
    """What stands for what: hosts for networks, questions for packets. Everything is found out once."""

    def __init__(self, config: Config, facts: Facts, answers: KernelAnswers) -> None:
        self.config = config
        self.facts = facts
        self.answers = answers  #: of the first batch, or of both
        self.ours = frozenset(tunnel.interface for tunnel in config.tunnels())
        self.exits = exits(config)
        self.all_flows = _flows(facts)
        self.flows = self.all_flows[:MOST_FLOWS]
        self._here = {address.ip for _, address in facts.addresses}
        self.local_hosts = functools.cache(self._local_hosts)
        self.remote_hosts = functools.cache(self._remote_hosts)
        self.judged_tunnels = functools.cache(self._judged_tunnels)
        self.side = functools.cache(self._side)
        self.outward = functools.cache(self._outward)

    def answer(self, question: Question) -> Answer:
        """Return what the kernel said; no way where it was not asked."""
        return self.answers.get(question, NOWHERE)

    def _local_hosts(self, network: IPv4Network) -> list[IPv4Address]:
        """Return hosts that stand for a local network.

        Neighbours first, then those behind known routes, then the first ones and the last.
        """
        neighbours = [
            host
            for _, address in self.facts.addresses
            if address.network.overlaps(network) and address.network.prefixlen < address.max_prefixlen
            for host in _ends(address.network)
        ]
        return self._others([*neighbours, *self.facts.hosts.get(network, ()), *_ends(network)], network)

    def _remote_hosts(self, network: IPv4Network) -> list[IPv4Address]:
        """Return what stands for a remote network: its first and last host, outside of inner networks."""
        inner = [n for c in self.config.connections for n in c.remote_networks]
        inner = [n for n in (*inner, *self.config.local_networks()) if n != network]
        inner = [n for n in inner if n.subnet_of(network)]
        first, *between, last = [*_ends(network)] * 2
        found = self._others([first, last, *between], network)
        apart = [host for host in found if not any(host in other for other in inner)]
        return (apart or found or [first])[:2]

    def _others(self, hosts: Iterable[IPv4Address], network: IPv4Network) -> list[IPv4Address]:
        found = [host for host in dict.fromkeys(hosts) if host in network and host not in self._here]
        return found[:MOST_HOSTS]

    def _judged_tunnels(self, remote: IPv4Network) -> list[Tunnel]:
        """Return the tunnels that carry a remote network; where that is not known, those that are there."""
        sharing = [c for c in self.config.connections if remote in c.remote_networks]
        found = [tunnel for connection in sharing for tunnel in connection.tunnels]
        selected = self.facts.selected
        if selected is None:
            return [tunnel for tunnel in found if tunnel.interface in self.facts.forwarding]
        return [tunnel for tunnel in found if tunnel.name in selected.get(tunnel.key.connection, ())]

    def _side(self, network: IPv4Network) -> Question | None:
        """Return the question whose answer shows the way to a local network; None: there is no way.

        Where the leak guard stands, by the interfaces that it lets through. Else a default route is one only
        where it is said so, or where this machine has a single arm, LAN and Internet behind one router.
        """
        let_in, said = self.facts.let_in, self.config.gateway.local_interfaces
        for host in self.local_hosts(network):
            entry, way = self.answer(Question(host, entry=True)), self.answer(Question(host))
            if entry.errno or way.errno or way.local or way.interface in self.ours:
                continue
            if let_in is not None:
                a_way = way.interface in let_in
            else:
                a_way = entry.length > DEFAULT or way.interface in said or self.is_one_armed(way.interface)
            if a_way:
                return Question(host)
        return None

    def is_one_armed(self, interface: str) -> bool:
        """Whether this machine has addresses on no interface but this one, the default route's."""
        arms = {name for name, address in self.facts.addresses if not address.ip.is_loopback}
        arms -= {name for name in arms if name == LOOPBACK or name.startswith(VIRTUAL)}
        return arms - self.ours <= {interface}

    def _outward(self, local: IPv4Network) -> list[Question]:
        """Return the questions of the packets from a local network, to whatever destination."""
        found = []
        side = self.side(local)
        if side is not None and self.answer(side).interface:
            found.append(Question(ANYWHERE, side.destination, self.answer(side).interface))
        sources = dict.fromkeys(self.config.source_of(c) for c in self.config.connections)
        own = [address.ip for _, address in self.facts.addresses if address.ip in local]
        if ours := [source for source in sources if source in own]:
            found += [Question(ANYWHERE, source) for source in ours]
        elif own and not self.local_hosts(local):
            found.append(Question(ANYWHERE, own[0]))  # nobody but this machine is in that network
        return found


def _flows(facts: Facts) -> list[Flow]:
    """Return all packets that rules and packet filter tell apart from plain ones."""
    marks = {mark for filtered in facts.filtering.values() for mark in filtered.marking.possible if mark}
    return flows(facts.rules, marks)


def _ends(network: IPv4Network) -> Iterator[IPv4Address]:
    """Yield the first two hosts and the last one."""
    size = network.num_addresses
    yield from (network[n] for n in ((0,) if size == 1 else (0, 1) if size == 2 else (1, 2, size - 2)))  # noqa: PLR2004


def backward(tunnel: Tunnel, target: IPv4Address, side: Question) -> tuple[Question, Question]:
    """Return the questions of an answer out of a tunnel, for a host of the local network: way, entry."""
    way = Question(side.destination, target, tunnel.interface)
    return way, way._replace(entry=True)
