"""The DNS probe: a query out, any answer to it in. Pure.

Any answer counts, also REFUSED or SERVFAIL: the path is asked, not the resolver. The query is crafted by
``probe.craft``; its id is patched, and the case of each letter of its name is random (0x20, as resolvers
do it: a server repeats the name as it was written). An answer must carry the id of an outstanding query, come
from the address and port that was asked to those that it was asked from (RFC 5452 §9), and repeat the
question bit by bit if it repeats one.
"""

import os
import struct
from collections.abc import Collection
from typing import Final

from vpnagent.probe.packet import (
    JUMP_ANY_BIT,
    JUMP_GREATER_OR_EQUAL,
    LOAD_8,
    LOAD_16,
    Test,
    filter_program,
)

IDS: Final = 64  #: of one port, one after the other from a random multiple of it on: the filter knows them

_FIELDS = struct.Struct("!HHHHHH")  # id, flags, questions, answers, authorities, additional
HEADER: Final = _FIELDS.size
_ID = struct.Struct("!H")
_RESPONSE = 0x8000
_UDP_HEADER = 8
_CASE = 0x20


class DnsQuery:
    """The queries to one target."""

    def __init__(self, template: bytes) -> None:
        if len(template) <= HEADER:
            raise ValueError(f"a DNS query has more than {HEADER} octets, not {len(template)}")
        self._packet = bytearray(template)
        self._letters = _letters(template)

    def request(self, id_: int) -> bytearray:
        """Return the query with this id; valid until the next call."""
        _ID.pack_into(self._packet, 0, id_)
        if self._letters:
            coins = int.from_bytes(os.urandom((len(self._letters) + 7) // 8))
            for at in self._letters:
                self._packet[at] ^= _CASE * (coins & 1)
                coins >>= 1
        return self._packet


def _letters(query: bytes) -> tuple[int, ...]:
    """Return where the letters of the name in question stand."""
    letters: list[int] = []
    at = HEADER
    while at < len(query) and query[at]:
        label = range(at + 1, min(at + 1 + query[at], len(query)))
        letters += (place for place in label if chr(query[place]).isascii() and chr(query[place]).isalpha())
        at = label.stop
    return tuple(letters)


def answers(message: bytes, question: bytes) -> bool:
    """Whether a message with the right id answers a query of this question."""
    if len(message) < HEADER:
        return False
    _, flags, questions, *_ = _FIELDS.unpack_from(message)
    if not flags & _RESPONSE:
        return False
    return questions == 0 or message.startswith(question, HEADER)


def id_of(message: bytes) -> int | None:
    """Return the id of a DNS message; None for what is none."""
    return int(_ID.unpack_from(message)[0]) if len(message) >= HEADER else None


def answers_filter(ports: Collection[int], first_id: int, ends: bytes = b"") -> bytes:
    """Return the filter of a UDP socket that passes responses with one of ``IDS`` ids between ``ends``.

    ``ports`` are those that are asked; of several, whoever takes the answer must look.
    """
    identity = _UDP_HEADER
    return filter_program(
        (
            *(Test(LOAD_16, 0, port) for port in ports if len(ports) == 1),
            Test(LOAD_16, identity, first_id, JUMP_GREATER_OR_EQUAL),
            Test(LOAD_16, identity, first_id + IDS, JUMP_GREATER_OR_EQUAL, wanted=False),
            Test(LOAD_8, identity + 2, _RESPONSE >> 8, JUMP_ANY_BIT),
        ),
        ends,
        udp=True,
    )
