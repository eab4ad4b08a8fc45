"""Ask the kernel: what there is, then the ways, in batches of netlink messages. A shell; changes nothing."""

from collections.abc import Sequence
from ipaddress import IPv4Interface
from typing import Final

from vpnagent.checks import fib_messages
from vpnagent.config.values import Config
from vpnagent.routing import dumps, route_lookup
from vpnagent.routing.netlink_socket import NetlinkSocket
from vpnagent.witness.findings import statement
from vpnagent.witness.questions import lan_questions, way_questions
from vpnagent.witness.values import Answer, Answers, Facts, Question, Statement

REMEMBERED: Final = 8192  #: questions as bytes


class Eyes:
    """What stays the same from one look to the next: the socket, and questions as bytes."""

    def __init__(self, socket: NetlinkSocket) -> None:
        self._socket = socket
        self._names: dict[int, str] = {}
        self._indexes: dict[str, int] = {}
        self._written: dict[tuple[Question, int], bytes] = {}

    async def facts(self) -> Facts:
        """Return what the kernel tells before it is asked for ways. Raises NetlinkError."""
        links = await self._socket.dump(dumps.LINKS, dumps.forwarding_row)
        self._names = {row.index: row.name for row in links}
        self._indexes = {row.name: row.index for row in links}
        addresses = await self._socket.dump(dumps.ADDRESSES, dumps.address_row)
        rules = await self._socket.dump(fib_messages.RULES, fib_messages.rule_row)
        return Facts(
            forwarding={row.name: row.forwarding for row in links},
            addresses=tuple(self._placed(addresses)),
            rules=tuple(rules),
        )

    def _placed(self, addresses: Sequence[tuple[int, IPv4Interface]]) -> list[tuple[str, IPv4Interface]]:
        return [(self._names[index], address) for index, address in addresses if index in self._names]

    async def statement(self, config: Config, facts: Facts) -> Statement:
        """Return what follows from facts and answers. Raises NetlinkError."""
        lan = await self.ask(lan_questions(config, facts))
        ways = await self.ask(way_questions(config, facts, lan))
        return statement(config, facts, {**lan, **ways})

    async def ask(self, questions: Sequence[Question]) -> Answers:
        """Return the answer to each question. Raises NetlinkError when the kernel cannot be asked."""
        requests = [self._request(question) for question in questions]
        found = await self._socket.look_up(requests, route_lookup.found)
        return {q: self._answer(a) for q, a in zip(questions, found, strict=True)}

    def _request(self, question: Question) -> bytes:
        index = self._indexes.get(question.incoming, 0)
        key = question, index
        if key not in self._written:
            if len(self._written) > REMEMBERED:
                self._written.clear()
            self._written[key] = route_lookup.question(
                question.destination,
                source=question.source,
                incoming=index,
                flow=question.flow,
                entry=question.entry,
            )
        return self._written[key]

    def _answer(self, found: route_lookup.Found | int) -> Answer:
        if isinstance(found, int):
            return Answer(errno=found)
        name = self._names.get(found.interface_index, "")
        return Answer(interface=name, table=found.table, length=found.length, local=found.local)
