"""The packets of every method: requests out, answers in, and the socket filters that pass these. Pure.

A filter lets the kernel drop what is no answer to this process before it costs us a wake-up: a raw socket
would otherwise see every ICMP or TCP packet of the gateway, and a flood would be ours to read. Programs are
classic BPF (linux/filter.h); ``inbox.attach`` attaches them.

Of each method there is a request, of which only what differs is patched per send, a test of what answers it,
and a filter. What is intricate comes as a template from ``probe.craft``.
"""

import os
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

ECHO_REPLY: Final = 0
ECHO_REQUEST: Final = 8
IPPROTO_ICMP: Final = 1  #: the protocol
_ECHO = struct.Struct("!BBHHHQII")  # type, code, checksum, identifier, sequence, nonce, slot, sequence
_PATCHED = struct.Struct("!HHHQII")

SYN_PORTS: Final = 16  #: source ports, taken in turn: a SYN soon after another on one 4-tuple may be ignored
IPPROTO_TCP: Final = 6
_SYN_OR_RST = 0x06
_ACK = 0x10
_MINIMUM_HEADER = 20
_PORT = struct.Struct("!H")
_NUMBER = struct.Struct("!I")
_ANSWER = struct.Struct("!HHIIBB")  # source port, destination port, sequence, acknowledgement, length, flags

DNS_IDS: Final = 64  #: of one port, consecutive from a random multiple of it on: the filter knows them
_FIELDS = struct.Struct("!HHHHHH")  # id, flags, questions, answers, authorities, additional
DNS_HEADER: Final = _FIELDS.size
_ID = struct.Struct("!H")
_RESPONSE = 0x8000
_UDP_HEADER = 8
_CASE = 0x20

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


class Echo:
    """The ICMP echo requests of one process, and the replies to them.

    The payload carries a 64-bit nonce of this process, half of it renewed now and then, the slot (which
    tunnel and target were asked) and a 32-bit sequence number, so that an answer names the probe that it
    answers and cannot be guessed, nor sent again for long.
    """

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
        return filter_program(self._tests(), ends, protocol=IPPROTO_ICMP)

    def _tests(self) -> tuple[Test, ...]:
        return (
            Test(LOAD_8, 0, ECHO_REPLY),
            Test(LOAD_16, 4, self._identifier),
            Test(LOAD_32, 8, self._nonce >> 32),
            Test(LOAD_32, 12, self._nonce & 0xFFFFFFFF, other=self._former & 0xFFFFFFFF),
        )


class Syn:
    """The SYNs from one address to one target: a SYN out, a SYN-ACK or an RST in.

    Either answer proves the path both ways. No connection is left behind: the source port belongs to a socket
    of ours that neither listens nor connects, so our kernel answers a SYN-ACK with an RST, and the target
    forgets the half-open connection. An answer must acknowledge the random initial sequence number of an
    outstanding probe (RFC 6528): 32 bits that nobody off the path knows, 24 of them new for each probe.
    """

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


def syn_answered(packet: bytes) -> tuple[int, int] | None:
    """Return our port and the sequence number that an IPv4 packet answers; None for no answer."""
    try:
        _, port, _, acknowledged, _, flags = _ANSWER.unpack_from(transport_payload(packet))
    except struct.error:
        return None
    if not flags & _ACK or not flags & _SYN_OR_RST:
        return None
    return port, (acknowledged - 1) & 0xFFFFFFFF


def source_port(packet: bytes) -> int:
    """Return the port that an IPv4 packet comes from, of which ``syn_answered`` told whom it answers."""
    return int(_PORT.unpack_from(transport_payload(packet))[0])


def initial_number(nonce: int, random: int) -> int:
    """Return an initial sequence number of 24 random bits, and 8 of the process for the filter to know."""
    return nonce << 24 | random % 0xFFFFFF  # never all ones: what acknowledges it has the same first octet


def syn_filter(first_port: int, nonce: int, ends: bytes = b"", former: int | None = None) -> bytes:
    """Return the socket filter that passes SYN-ACK and RST to our ports only, between these ``ends``.

    What they acknowledge begins with the ``nonce``, or with a ``former`` one.
    """
    return filter_program(
        (
            Test(LOAD_16, 2, first_port, JUMP_GREATER_OR_EQUAL),
            Test(LOAD_16, 2, first_port + SYN_PORTS, JUMP_GREATER_OR_EQUAL, wanted=False),
            Test(LOAD_8, 8, nonce, other=former),
            Test(LOAD_8, 13, _SYN_OR_RST, JUMP_ANY_BIT),
            Test(LOAD_8, 13, _ACK, JUMP_ANY_BIT),
        ),
        ends,
    )


class DnsQuery:
    """The queries to one target; any answer counts, also REFUSED or SERVFAIL: the path is asked.

    The id is patched, and the case of each letter of the name is random (0x20, as resolvers do it: a server
    repeats the name as it was written). An answer must carry the id of an outstanding query, come from the
    address and port that was asked to those that it was asked from (RFC 5452 §9), and repeat the question bit
    by bit if it repeats one.
    """

    def __init__(self, template: bytes) -> None:
        if len(template) <= DNS_HEADER:
            raise ValueError(f"a DNS query has more than {DNS_HEADER} octets, not {len(template)}")
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
    at = DNS_HEADER
    while at < len(query) and query[at]:
        label = range(at + 1, min(at + 1 + query[at], len(query)))
        letters += (place for place in label if chr(query[place]).isascii() and chr(query[place]).isalpha())
        at = label.stop
    return tuple(letters)


def dns_answers(message: bytes, question: bytes) -> bool:
    """Whether a message with the right id answers a query of this question."""
    if len(message) < DNS_HEADER:
        return False
    _, flags, questions, *_ = _FIELDS.unpack_from(message)
    if not flags & _RESPONSE:
        return False
    return questions == 0 or message.startswith(question, DNS_HEADER)


def dns_id(message: bytes) -> int | None:
    """Return the id of a DNS message; None for what is none."""
    return int(_ID.unpack_from(message)[0]) if len(message) >= DNS_HEADER else None


def dns_filter(ports: Collection[int], first_id: int, ends: bytes = b"") -> bytes:
    """Return the filter of a UDP socket that passes responses with one of ``DNS_IDS`` ids between ``ends``.

    ``ports`` are those that are asked; of several, whoever takes the answer must look.
    """
    identity = _UDP_HEADER
    return filter_program(
        (
            *(Test(LOAD_16, 0, port) for port in ports if len(ports) == 1),
            Test(LOAD_16, identity, first_id, JUMP_GREATER_OR_EQUAL),
            Test(LOAD_16, identity, first_id + DNS_IDS, JUMP_GREATER_OR_EQUAL, wanted=False),
            Test(LOAD_8, identity + 2, _RESPONSE >> 8, JUMP_ANY_BIT),
        ),
        ends,
        udp=True,
    )
