"""A chain that is whole, as facts and answers; each of its links can be broken. For tests of the pure core.

The kernel is played by `answers`: a function of a question, so that whatever is asked is answered.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from tests.config_examples import make_config

from vpnagent.config.values import Config
from vpnagent.netlink.rtnetlink import MAIN_TABLE
from vpnagent.routing.fib import FR_ACT_TO_TBL, FibRule
from vpnagent.witness.findings import statement
from vpnagent.witness.questions import lan_questions, way_questions
from vpnagent.witness.values import Answer, Facts, Question, Statement

ANYWHERE = IPv4Network("0.0.0.0/0")
LAN, UPLINK = "lan0", "eth0"
TUNNEL = "vpn-hz-1"
LAN_ADDRESS = IPv4Interface("10.1.0.1/16")
UPLINK_ADDRESS = IPv4Interface("192.0.2.2/24")
PLAIN_RULES = tuple(
    FibRule(
        priority=priority,
        source=ANYWHERE,
        destination=ANYWHERE,
        incoming="",
        table=table,
        action=FR_ACT_TO_TBL,
        suppressed_length=-1,
        protocol=2,
    )
    for priority, table in ((0, 255), (32766, MAIN_TABLE), (32767, 253))
)
TO_UPLINK = Answer(interface=UPLINK, table=MAIN_TABLE, length=0)

Kernel = Callable[[Question], Answer | None]


def rule(**changes: Any) -> FibRule:
    """Return an ip rule that looks up table 100."""
    return replace(PLAIN_RULES[1], priority=100, table=100, **changes)


@dataclass
class Chain:
    """A gateway with a LAN, an uplink and two tunnels of which the first carries; all is well."""

    config: Config = field(default_factory=make_config)
    facts: Facts = field(
        default_factory=lambda: Facts(
            forwarding={"lo": True, LAN: True, UPLINK: True, "vpn-hz-1": True, "vpn-hz-2": True},
            addresses=((LAN, LAN_ADDRESS), (UPLINK, UPLINK_ADDRESS)),
            rules=PLAIN_RULES,
            selected={"hangzhou": ("primary",)},
        )
    )
    overrides: list[Kernel] = field(default_factory=list)

    def change(self, **facts: Any) -> "Chain":
        """Have other facts."""
        self.facts = replace(self.facts, **facts)
        return self

    def answers(self, kernel: Kernel) -> "Chain":
        """Have the kernel answer otherwise; None: as before."""
        self.overrides.insert(0, kernel)
        return self

    def look(self) -> Statement:
        """Return what the witness says."""
        lan = self._ask(lan_questions(self.config, self.facts))
        ways = self._ask(way_questions(self.config, self.facts, lan))
        return statement(self.config, self.facts, {**lan, **ways})

    def _ask(self, questions: Iterable[Question]) -> Mapping[Question, Answer]:
        return {question: self._answer(question) for question in questions}

    def _answer(self, question: Question) -> Answer:
        found = (kernel(question) for kernel in self.overrides)
        return next((answer for answer in found if answer is not None), self._usual(question))

    def _usual(self, question: Question) -> Answer:
        length = 32 if not question.entry else None
        if any(question.destination == address.ip for _, address in self.facts.addresses):
            return Answer(interface="lo", table=255, length=32, local=True)
        for name, address in self.facts.addresses:
            if question.destination in address.network:
                return Answer(interface=name, table=MAIN_TABLE, length=length or address.network.prefixlen)
        for connection in self.config.connections:
            for network in connection.remote_networks:
                if question.destination in network:
                    return Answer(interface=TUNNEL, table=MAIN_TABLE, length=length or network.prefixlen)
        return TO_UPLINK._replace(length=length or 0)


def from_a_host(question: Question) -> bool:
    """Whether it is about a packet that a host of the LAN sends."""
    return question.incoming == LAN


def out_of_a_tunnel(chain: Chain) -> Callable[[Question], bool]:
    """Return whether a question is about what comes out of a tunnel."""
    ours = {tunnel.interface for tunnel in chain.config.tunnels()}
    return lambda question: question.incoming in ours


def address(text: str) -> IPv4Address:
    """Return an address."""
    return IPv4Address(text)
