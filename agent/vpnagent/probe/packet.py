"""What the probe packets share: the Internet checksum, who we are, and socket filters. Pure.

A filter lets the kernel drop what is no answer to this process before it costs us a wake-up: a raw
socket would otherwise see every ICMP or TCP packet of the gateway.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

ACCEPT: Final = (0x06, 0, 0, 0xFFFFFFFF)  # ret: the whole packet
REJECT: Final = (0x06, 0, 0, 0)
LOAD_HEADER_LENGTH: Final = (0xB1, 0, 0, 0)  # ldxb 4*([0]&0xf): a raw socket's filter sees the IP header

LOAD_8_FIXED: Final = 0x30  # ldb [k]
LOAD_8: Final = 0x50  # ldb [x + k]
LOAD_16: Final = 0x48
LOAD_32: Final = 0x40

JUMP_EQUAL: Final = 0x15
JUMP_GREATER_OR_EQUAL: Final = 0x35
JUMP_ANY_BIT: Final = 0x45

_INSTRUCTION = struct.Struct("=HBBI")
_PROTOCOL = 9  #: where the IP header has it

Instruction = tuple[int, int, int, int]  # opcode, jump if true, jump if false, operand


class Test(NamedTuple):
    """One field of the transport header that an answer must have."""

    load: int  #: LOAD_8, LOAD_16 or LOAD_32
    offset: int  #: octets from the end of the IP header
    operand: int
    jump: int = JUMP_EQUAL
    wanted: bool = True  #: False: the packet is dropped where the comparison holds


def filter_program(tests: Sequence[Test], protocol: int | None = None) -> bytes:
    """Return the classic BPF program that accepts what passes every test (linux/filter.h).

    A packet socket's filter must look at the ``protocol`` too.
    """
    program: list[Instruction] = []
    if protocol is not None:
        program = [(LOAD_8_FIXED, 0, 0, _PROTOCOL), (JUMP_EQUAL, 0, 2 * len(tests) + 2, protocol)]
    program.append(LOAD_HEADER_LENGTH)
    for position, test in enumerate(tests):
        reject = 2 * (len(tests) - position - 1) + 1  # past the remaining tests and ACCEPT
        program.append((test.load, 0, 0, test.offset))
        jumps = (0, reject) if test.wanted else (reject, 0)
        program.append((test.jump, *jumps, test.operand))
    program += [ACCEPT, REJECT]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def words(data: bytes) -> int:
    """Return the sum of the 16-bit words, not yet folded; odd data is padded (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def checksum(total: int) -> int:
    """Return the Internet checksum of a sum of words."""
    while total > 0xFFFF:  # noqa: PLR2004 - sixteen bits
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport_payload(packet: bytes) -> bytes:
    """Return what follows the IPv4 header; empty for what is no IPv4 packet."""
    if not packet or packet[0] >> 4 != 4:  # noqa: PLR2004 - IP version
        return b""
    return packet[4 * (packet[0] & 0xF) :]
