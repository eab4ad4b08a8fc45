"""The DNS probe: a query out, any answer to it in. Pure.

Any answer counts, also REFUSED or SERVFAIL: the path is asked, not the resolver. The query is crafted by
``probe.craft``; only its id is patched. An answer must carry the id of an outstanding query and come from
the address and port that was asked (RFC 5452 §3); a question that it repeats must be ours.
"""

import struct

_HEADER = struct.Struct("!HHHHHH")  # id, flags, questions, answers, authorities, additional
_ID = struct.Struct("!H")
_RESPONSE = 0x8000


class Query:
    """The queries to one target."""

    def __init__(self, template: bytes) -> None:
        if len(template) <= _HEADER.size:
            raise ValueError(f"a DNS query has more than {_HEADER.size} octets, not {len(template)}")
        self._packet = bytearray(template)
        self._question = bytes(template[_HEADER.size :])

    def request(self, id_: int) -> bytearray:
        """Return the query with this id; valid until the next call."""
        _ID.pack_into(self._packet, 0, id_)
        return self._packet

    def answered_by(self, message: bytes) -> bool:
        """Whether a message with the right id answers this query."""
        if len(message) < _HEADER.size:
            return False
        _, flags, questions, *_ = _HEADER.unpack_from(message)
        if not flags & _RESPONSE:
            return False
        return questions == 0 or message[_HEADER.size :].startswith(self._question)


def id_of(message: bytes) -> int | None:
    """Return the id of a DNS message; None for what is none."""
    return int(_ID.unpack_from(message)[0]) if len(message) >= _HEADER.size else None
