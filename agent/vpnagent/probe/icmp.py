"""The ICMP echo probe: request out, reply in. Pure.

The payload carries a 64-bit nonce of this process, half of it renewed now and then, the slot (which tunnel
and target were asked) and a 32-bit sequence number, so that an answer names the probe that it answers and
cannot be guessed, nor sent again for long. Only nonce, slot, sequence and checksum are patched per send.
"""

import struct
from typing import Final

from vpnagent.probe.packet import LOAD_8, LOAD_16, LOAD_32, Test, checksum, filter_program, words

ECHO_REPLY: Final = 0
ECHO_REQUEST: Final = 8
_ICMP: Final = 1  #: the protocol

_ECHO = struct.Struct("!BBHHHQII")  # type, code, checksum, identifier, sequence, nonce, slot, sequence
_PATCHED = struct.Struct("!HHHQII")


class Echo:
    """The echo requests of one process, and the replies to them."""

    def __init__(self, identifier: int, nonce: int, former: int | None = None) -> None:
        """Ask with this nonce of 64 bits; replies may carry a ``former`` one, with the same first 32."""
        self._identifier = identifier
        self._nonce = nonce
        self._former = nonce if former is None else former
        self._packet = bytearray(_ECHO.pack(ECHO_REQUEST, 0, 0, identifier, 0, nonce, 0, 0))
        self._sum = words(bytes(self._packet))

    def renewed(self, low: int) -> "Echo":
        """Return one that asks with another end of the nonce, and takes replies to this one as well."""
        return Echo(self._identifier, self._nonce >> 32 << 32 | low, self._nonce)

    def request(self, slot: int, sequence: int) -> bytearray:
        """Return the request; valid until the next call."""
        low, high = sequence & 0xFFFF, sequence >> 16
        # The low half of the sequence stands twice: in ICMP's own field too.
        total = self._sum + low + low + high + (slot & 0xFFFF) + (slot >> 16)
        _PATCHED.pack_into(
            self._packet, 2, checksum(total), self._identifier, low, self._nonce, slot, sequence
        )
        return self._packet

    def reply(self, packet: bytes) -> tuple[int, int] | None:
        """Return the slot and sequence that an IPv4 packet answers; None for what is not ours."""
        if not packet:
            return None
        try:
            kind, code, _, identifier, low, nonce, slot, sequence = _ECHO.unpack_from(
                packet, 4 * (packet[0] & 0xF)
            )
        except struct.error:
            return None
        if (kind, code, identifier) != (ECHO_REPLY, 0, self._identifier):
            return None
        if nonce not in (self._nonce, self._former):
            return None
        return (slot, sequence) if low == sequence & 0xFFFF else None

    def filter(self, ends: bytes = b"") -> bytes:
        """Return the socket filter that passes the replies to this process only, between these ``ends``."""
        return filter_program(self._tests(), ends)

    def tap_filter(self, ends: bytes = b"") -> bytes:
        """Return the same for a packet socket, which sees all protocols."""
        return filter_program(self._tests(), ends, protocol=_ICMP)

    def _tests(self) -> tuple[Test, ...]:
        return (
            Test(LOAD_8, 0, ECHO_REPLY),
            Test(LOAD_16, 4, self._identifier),
            Test(LOAD_32, 8, self._nonce >> 32),
            Test(LOAD_32, 12, self._nonce & 0xFFFFFFFF, other=self._former & 0xFFFFFFFF),
        )
