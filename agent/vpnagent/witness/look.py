"""Ask the kernel: what there is, then the ways, in batches of netlink messages. A shell; changes nothing."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from vpnagent.config.values import Config
from vpnagent.netlink.rtnetlink import ADDRESSES, LINKS_ALONE, RULES, address_row, link_row
from vpnagent.netlink.socket import NetlinkSocket
from vpnagent.routing import ways
from vpnagent.routing.fib import fib_rule
from vpnagent.witness.findings import judged, statement_of
from vpnagent.witness.judgement import Court
from vpnagent.witness.questions import lan_questions, pairs, way_questions
from vpnagent.witness.values import Answer, Facts, Question, Statement

REMEMBERED: Final = 4096  #: messages of each kind
PAIRS_AT_ONCE: Final = 16  #: judged in one turn: a millisecond or so
AT_ONCE: Final = 64  #: questions written in one turn

T = TypeVar("T")


class Batch(NamedTuple):
    """Questions, and the same as netlink has them."""

    questions: list[Question]
    requests: list[bytes]


class Look(NamedTuple):
    """What was asked, heard and said."""

    config: Config
    facts: Facts
    lan: Batch
    lan_answers: list[Answer]
    ways: Batch
    way_answers: list[Answer]
    said: Statement


class Eyes:
    """Asks, and writes and judges anew only what has changed since the last look."""

    def __init__(self, socket: NetlinkSocket) -> None:
        self._socket = socket
        self._names: dict[int, str] = {}
        self._last: Look | None = None

    async def facts(self) -> Facts:
        """Return what the kernel tells before it is asked for ways. Raises NetlinkError."""
        links = await self._socket.dump(LINKS_ALONE, _link)
        names = {row.index: row.name for row in links}
        if names != self._names:
            self._names, self._last = names, None
        addresses = await self._socket.dump(ADDRESSES, _address)
        rules = await self._socket.dump(RULES, _rule)
        return Facts(
            forwarding={row.name: row.forwarding for row in links},
            addresses=tuple((names[index], address) for index, address in addresses if index in names),
            rules=tuple(rules),
        )

    async def statement(self, config: Config, facts: Facts) -> Statement:
        """Return what follows from facts and answers. Raises NetlinkError."""
        last = self._last
        if last is not None and (last.config is not config or last.facts != facts):
            last = None
        lan = last.lan if last else await self.batch(lan_questions(config, facts))
        lan_answers = await self.ask(lan)
        if last is not None and last.lan_answers != lan_answers:
            last = None
        to_lan = await _paired(lan, lan_answers)
        ways = last.ways if last else await self.batch(way_questions(config, facts, to_lan))
        way_answers = await self.ask(ways)
        if last is not None and last.way_answers == way_answers:
            return last.said
        answers = to_lan | await _paired(ways, way_answers)
        said = await _judged(Court(config, facts, answers))
        self._last = Look(config, facts, lan, lan_answers, ways, way_answers, said)
        return said

    async def ask(self, batch: Batch) -> list[Answer]:
        """Return the answer to each question. Raises NetlinkError when the kernel cannot be asked."""
        names = self._names
        return [
            Answer(errno=found)
            if isinstance(found, int)
            else Answer(0, names.get(found.interface_index, ""), found.table, found.length, found.local)
            for found in await self._socket.look_up(batch.requests, _found)
        ]

    async def batch(self, asked: Iterable[Question]) -> Batch:
        """Return questions, each once, for the interfaces that ``facts`` told of last."""
        indexes = {name: index for index, name in self._names.items()}
        questions = list(dict.fromkeys(await in_turns(asked)))
        return Batch(questions, await in_turns(_request(question, indexes) for question in questions))


async def in_turns(items: Iterable[T]) -> list[T]:
    """Return all items, and let others have a turn on the loop after some."""
    found = []
    for number, item in enumerate(items, start=1):
        found.append(item)
        if not number % AT_ONCE:
            await asyncio.sleep(0)
    return found


def _request(question: Question, indexes: Mapping[str, int]) -> bytes:
    return ways.question(
        question.destination,
        source=question.source,
        incoming=indexes.get(question.incoming, 0),
        flow=question.flow,
        entry=question.entry,
        ack=False,
    )


async def _paired(batch: Batch, answers: Sequence[Answer]) -> dict[Question, Answer]:
    return dict(await in_turns(zip(batch.questions, answers, strict=True)))


async def _judged(court: Court) -> Statement:
    """Judge, and let others have their turn meanwhile."""
    found = []
    for number, pair in enumerate(pairs(court.config), start=1):
        found.append(judged(court, pair))
        if not number % max(1, PAIRS_AT_ONCE // (1 + len(court.flows))):
            await asyncio.sleep(0)
    return statement_of(court, found)


# What looks the same is decoded once.
_link = lru_cache(REMEMBERED)(link_row)
_address = lru_cache(REMEMBERED)(address_row)
_rule = lru_cache(REMEMBERED)(fib_rule)
_found = lru_cache(REMEMBERED)(ways.found)
