"""The IKE ping: is the peer's IKE daemon alive, without touching an SA? Pure.

One IKE_SA_INIT that offers only private-use transforms, which no configuration can accept, so that the
peer answers NO_PROPOSAL_CHOSEN and keeps no state (RFC 7296 §2.7, §3.3.2; a real weak transform could be
accepted, and a half-open SA counts against the peer's block threshold). Any message that carries our SPI
back is an answer: NO_PROPOSAL_CHOSEN, INVALID_KE_PAYLOAD, COOKIE or INVALID_MAJOR_VERSION.

It comes from an ephemeral port: 500 and 4500 belong to charon, and RFC 7296 §2.23 has a responder answer
to the port it was asked from. Crafted by ``probe.craft``; only the SPI is patched.
"""

from typing import Final

from vpnagent.probe.packet import LOAD_32, Test, filter_program

PORT: Final = 500
SPI_SIZE: Final = 8
NONCE_SIZE: Final = 4  #: octets of the SPI that all pings of a process share, for the filter to know
_UDP_HEADER = 8
_HEADER_SIZE = 28  # octets, RFC 7296 §3.1
_VERSION_OFFSET = 17
_FLAGS_OFFSET = 19
_RESPONSE = 0x20
_IKEV2 = 2


def request(template: bytes, spi: bytes) -> bytes:
    """Return the ping with this initiator SPI."""
    if len(template) < _HEADER_SIZE or len(spi) != SPI_SIZE:
        raise ValueError("an IKE ping has a header of 28 octets and an SPI of 8")
    return spi + template[SPI_SIZE:]


def answered(message: bytes) -> bytes | None:
    """Return the initiator SPI that a message answers; None for what is no answer."""
    if len(message) < _HEADER_SIZE:
        return None
    # IKEv1 knows no response flag; a peer that speaks only that may still say so.
    if message[_VERSION_OFFSET] >> 4 >= _IKEV2 and not message[_FLAGS_OFFSET] & _RESPONSE:
        return None
    return message[:SPI_SIZE]


def answers_filter(nonce: bytes, ends: bytes = b"") -> bytes:
    """Return the filter of a UDP socket that passes what carries our SPIs back, between these ``ends``."""
    return filter_program((Test(LOAD_32, _UDP_HEADER, int.from_bytes(nonce)),), ends, udp=True)
