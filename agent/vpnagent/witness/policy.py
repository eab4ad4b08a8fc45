"""Which ip rule decided, and which packets the rules tell apart (fib_rule_match()). Pure."""

import errno
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from vpnagent.netlink.rtnetlink import LOCAL_TABLE, MAIN_TABLE, PROTOCOL
from vpnagent.routing.fib import FR_ACT_BLACKHOLE, FR_ACT_PROHIBIT, FR_ACT_TO_TBL, FR_ACT_UNREACHABLE, FibRule
from vpnagent.routing.ways import PLAIN, Flow
from vpnagent.witness.values import Answer, Question

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
