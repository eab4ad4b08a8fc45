"""The TCP probe: a SYN out, a SYN-ACK or an RST in. Pure.

Either answer proves the path both ways. No connection is left behind: the source port belongs to a
socket of ours that neither listens nor connects, so our kernel answers a SYN-ACK with an RST, and the
target forgets the half-open connection. An answer must acknowledge the random initial sequence number
of an outstanding probe (RFC 6528): 32 bits that nobody off the path knows, 24 of them new for each probe.

The template is crafted by ``probe.craft``; source port, sequence number and checksum are patched.
"""

import struct
from typing import Final

from vpnagent.probe.packet import (
    JUMP_ANY_BIT,
    JUMP_GREATER_OR_EQUAL,
    LOAD_8,
    LOAD_16,
    Test,
    checksum,
    filter_program,
    transport_payload,
    words,
)

PORTS: Final = 16  #: source ports, taken in turn: a SYN soon after another on one 4-tuple may be ignored

IPPROTO_TCP: Final = 6
_SYN_OR_RST = 0x06
_ACK = 0x10
_MINIMUM_HEADER = 20
_PORT = struct.Struct("!H")
_NUMBER = struct.Struct("!I")
_ANSWER = struct.Struct("!HHIIBB")  # source port, destination port, sequence, acknowledgement, length, flags


class Syn:
    """The SYNs from one address to one target."""

    def __init__(self, template: bytes, source: bytes, target: bytes, port: int) -> None:
        """Take the crafted TCP header, the two addresses (four octets each) and the target's port."""
        if len(template) < _MINIMUM_HEADER:
            raise ValueError(f"a TCP header has {_MINIMUM_HEADER} octets or more, not {len(template)}")
        self._packet = bytearray(template)
        struct.pack_into("!HH", self._packet, 0, 0, port)
        _NUMBER.pack_into(self._packet, 4, 0)
        _PORT.pack_into(self._packet, 16, 0)
        pseudo_header = source + target + struct.pack("!HH", IPPROTO_TCP, len(template))
        self._sum = words(bytes(self._packet)) + words(pseudo_header)

    def request(self, port: int, number: int) -> bytearray:
        """Return the SYN from a source port; valid until the next call."""
        total = self._sum + port + (number & 0xFFFF) + (number >> 16)
        _PORT.pack_into(self._packet, 0, port)
        _NUMBER.pack_into(self._packet, 4, number)
        _PORT.pack_into(self._packet, 16, checksum(total))
        return self._packet


def answered(packet: bytes) -> tuple[int, int] | None:
    """Return our port and the sequence number that an IPv4 packet answers; None for no answer."""
    try:
        _, port, _, acknowledged, _, flags = _ANSWER.unpack_from(transport_payload(packet))
    except struct.error:
        return None
    if not flags & _ACK or not flags & _SYN_OR_RST:
        return None
    return port, (acknowledged - 1) & 0xFFFFFFFF


def port_of(packet: bytes) -> int:
    """Return the port that an IPv4 packet comes from, of which ``answered`` told whom it answers."""
    return int(_PORT.unpack_from(transport_payload(packet))[0])


def initial_number(nonce: int, random: int) -> int:
    """Return an initial sequence number of 24 random bits, and 8 of the process for the filter to know."""
    return nonce << 24 | random % 0xFFFFFF  # never all ones: what acknowledges it has the same first octet


def answers_filter(first_port: int, nonce: int, ends: bytes = b"", former: int | None = None) -> bytes:
    """Return the socket filter that passes SYN-ACK and RST to our ports only, between these ``ends``.

    What they acknowledge begins with the ``nonce``, or with a ``former`` one.
    """
    return filter_program(
        (
            Test(LOAD_16, 2, first_port, JUMP_GREATER_OR_EQUAL),
            Test(LOAD_16, 2, first_port + PORTS, JUMP_GREATER_OR_EQUAL, wanted=False),
            Test(LOAD_8, 8, nonce, other=former),
            Test(LOAD_8, 13, _SYN_OR_RST, JUMP_ANY_BIT),
            Test(LOAD_8, 13, _ACK, JUMP_ANY_BIT),
        ),
        ends,
    )
