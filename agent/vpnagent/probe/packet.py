"""What the probe packets share: the Internet checksum, who we are, and socket filters. Pure.

A filter lets the kernel drop what is no answer to this process before it costs us a wake-up: a raw
socket would otherwise see every ICMP or TCP packet of the gateway, and a flood would be ours to read.
Programs are classic BPF (linux/filter.h); ``socket_filter`` attaches them.
"""

import struct
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

ACCEPT: Final = (0x06, 0, 0, 0xFFFFFFFF)  # ret: the whole packet
REJECT: Final = (0x06, 0, 0, 0)
LOAD_HEADER_LENGTH: Final = 0xB1  # ldxb 4*([k]&0xf)

LOAD_8_FIXED: Final = 0x30  # ldb [k]
LOAD_32_FIXED: Final = 0x20
LOAD_8: Final = 0x50  # ldb [x + k]
LOAD_16: Final = 0x48
LOAD_32: Final = 0x40

JUMP: Final = 0x05
JUMP_EQUAL: Final = 0x15
JUMP_GREATER_OR_EQUAL: Final = 0x35
JUMP_ANY_BIT: Final = 0x45

NETWORK: Final = 0xFFF00000  #: SKF_NET_OFF: offsets from the IP header, wherever the filter begins
MOST_RANGES: Final = 64  #: of addresses in a filter: it and its successor fit into optmem_max of 20 KiB

_INSTRUCTION = struct.Struct("=HBBI")
_PROTOCOL, _SOURCE, _DESTINATION = 9, 12, 16  # where the IP header has them
_END = 1 << 32  #: past the last address

Instruction = tuple[int, int, int, int]  # opcode, jump if true, jump if false, operand


class Test(NamedTuple):
    """One field of the transport header that an answer must have."""

    load: int  #: LOAD_8, LOAD_16 or LOAD_32
    offset: int  #: octets from the end of the IP header
    operand: int
    jump: int = JUMP_EQUAL
    wanted: bool = True  #: False: the packet is dropped where the comparison holds
    other: int | None = None  #: an operand that will do as well, of a test that is wanted


def filter_program(
    tests: Sequence[Test], ends: bytes = b"", *, protocol: int | None = None, udp: bool = False
) -> bytes:
    """Return the program that accepts what passes every test, and goes between the ``ends``.

    A raw socket's filter begins at the IP header, and so does a packet socket's (SOCK_DGRAM, packet(7)),
    which must look at the ``protocol`` too; a ``udp`` socket's begins at the UDP header.
    """
    program: list[Instruction] = []
    if protocol is not None:
        program += [(LOAD_8_FIXED, 0, 0, _PROTOCOL), (JUMP_EQUAL, 1, 0, protocol), REJECT]
    if not udp:
        program.append((LOAD_HEADER_LENGTH, 0, 0, 0))
    for test in tests:
        program.append((test.load, 0, 0, test.offset))
        if test.other is not None:
            program.append((test.jump, 2, 0, test.other))
        jumps = (1, 0) if test.wanted else (0, 1)
        program += [(test.jump, *jumps, test.operand), REJECT]
    return assembled(program) + ends + assembled((ACCEPT,))


def between(sources: Collection[bytes], destinations: Collection[bytes]) -> bytes:
    """Return the part of a program that rejects what is from none of the sources, or to no destination.

    Addresses are IPv4's, of four octets; none: any. Of more than ``MOST_RANGES`` the nearest are taken
    together: what lies between them passes too.
    """
    program: list[Instruction] = []
    for offset, addresses in ((_SOURCE, sources), (_DESTINATION, destinations)):
        if addresses:
            program.append((LOAD_32_FIXED, 0, 0, NETWORK + offset))
            program += _membership(_ranges(addresses))
    return assembled(program)


def assembled(program: Iterable[Instruction]) -> bytes:
    """Return a program as the kernel takes it: struct sock_filter, one after the other."""
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _ranges(addresses: Iterable[bytes]) -> list[int]:
    """Return where ranges begin and end in turn, ascending; an end is the first address past it."""
    bounds: list[int] = []
    for address in sorted({int.from_bytes(address) for address in addresses}):
        if bounds and bounds[-1] == address:
            bounds[-1] = address + 1
        else:
            bounds += [address, address + 1]
    if len(bounds) > 2 * MOST_RANGES:
        gaps = sorted(range(1, len(bounds) - 1, 2), key=lambda at: bounds[at] - bounds[at + 1])
        kept = [at + of for at in sorted(gaps[: MOST_RANGES - 1]) for of in (0, 1)]
        bounds = [bounds[0], *(bounds[at] for at in kept), bounds[-1]]
    return bounds if bounds[-1] < _END else bounds[:-1]


def _membership(bounds: Sequence[int]) -> list[Instruction]:
    """Return the instructions that reject what is loaded and lies in no range, and else go on behind.

    A binary search, as a flood has any source: of n ranges log n comparisons each.
    """
    program = _search(bounds, inside=False)
    return [
        (JUMP, 0, 0, len(program) - at - 1) if instruction is None else instruction
        for at, instruction in enumerate(program)
    ]


def _search(bounds: Sequence[int], *, inside: bool) -> list[Instruction | None]:
    """Return the search below bounds, of which the first is an end if ``inside``; None: it is in a range."""
    if not bounds:
        return [None if inside else REJECT]
    middle = len(bounds) // 2
    lower = _search(bounds[:middle], inside=inside)
    upper = _search(bounds[middle + 1 :], inside=inside ^ (middle % 2 == 0))
    return [(JUMP_GREATER_OR_EQUAL, 0, 1, bounds[middle]), (JUMP, 0, 0, len(lower)), *lower, *upper]


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
