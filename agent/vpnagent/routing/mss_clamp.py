"""The clamp in our nftables table: TCP connections through our interfaces get a fitting MSS.

    chain forward {
        type filter hook forward priority mangle; policy accept;
        tcp flags & (syn | rst) == syn jump maxseg  # syn
    }
    chain maxseg {
        oifname "vpn-hz-1" tcp option maxseg size > 1359 tcp option maxseg size set 1359  # out vpn-hz-1 1359
        iifname "vpn-hz-1" tcp option maxseg size > 1359 tcp option maxseg size set 1359  # in vpn-hz-1 1359
    }

Both directions: our hosts must not send too much, nor the cloud's. It is only ever lowered. The gateway's
own connections need none: they know the interface's MTU. All but SYNs pass one rule. No I/O.
"""

import re
import struct
from collections.abc import Collection, Iterator

from vpnagent.routing.message import Request, attribute
from vpnagent.routing.nft_message import (
    NF_INET_FORWARD,
    NFT_CMP_EQ,
    NFT_CMP_GT,
    NFT_JUMP,
    NFT_META_IIFNAME,
    NFT_META_L4PROTO,
    NFT_META_OIFNAME,
    NFT_PAYLOAD_TRANSPORT_HEADER,
    NFT_REG_1,
    PRIORITY_MANGLE,
    be32,
    chain,
    compare,
    expression,
    hook,
    interface_name,
    meta,
    payload,
    rule,
    value,
    verdict,
)
from vpnagent.routing.rule_row import RuleRow

BASE_CHAIN = "forward"
MAXSEG_CHAIN = "maxseg"
JUMP_COMMENT = "syn"
HOOK = (NF_INET_FORWARD, PRIORITY_MANGLE)

NFT_EXTHDR_OP_TCPOPT = 1
IPPROTO_TCP = 6
TCP_FLAGS_OFFSET = 13
SYN, RST = 0x02, 0x04
TCPOPT_MAXSEG = 2
DIRECTIONS = (("out", NFT_META_OIFNAME), ("in", NFT_META_IIFNAME))
OUTWARD = re.compile(r"out (?P<name>\S+) (?P<size>[0-9]+)")

Maximum = tuple[tuple[str, int], ...]  #: interface and bytes


def requests(maximum: Maximum) -> Iterator[Request]:
    """Yield what makes the chains and their rules."""
    yield chain(MAXSEG_CHAIN)
    yield chain(BASE_CHAIN, *hook(*HOOK))
    yield rule(BASE_CHAIN, JUMP_COMMENT, [*_is_syn(), verdict(NFT_JUMP, MAXSEG_CHAIN)])
    for name, size in maximum:
        for direction, key in DIRECTIONS:
            yield rule(MAXSEG_CHAIN, _comment(direction, name, size), _lower(key, name, size))


def maximum_of(rules: Collection[RuleRow]) -> Maximum | None:
    """Return what the rules of these chains clamp; None if they are not as we make them."""
    out = [OUTWARD.fullmatch(row.comment) for row in sorted(rules) if row.chain == MAXSEG_CHAIN]
    maximum = tuple((match["name"], int(match["size"])) for match in out if match)
    return maximum if sorted(rules) == sorted(_rows(maximum)) else None


def _rows(maximum: Maximum) -> Iterator[RuleRow]:
    yield RuleRow(BASE_CHAIN, JUMP_COMMENT)
    for name, size in maximum:
        for direction, _ in DIRECTIONS:
            yield RuleRow(MAXSEG_CHAIN, _comment(direction, name, size))


def _comment(direction: str, name: str, size: int) -> str:
    return f"{direction} {name} {size}"


def _is_syn() -> Iterator[bytes]:
    yield meta(NFT_META_L4PROTO)
    yield compare(NFT_CMP_EQ, bytes([IPPROTO_TCP]))
    yield payload(NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFFSET, 1)
    # bitwise: source and destination register, length, mask, xor
    yield expression(
        "bitwise",
        attribute(1, be32(NFT_REG_1)),
        attribute(2, be32(NFT_REG_1)),
        attribute(3, be32(1)),
        value(4, bytes([SYN | RST])),
        value(5, bytes([0])),
    )
    yield compare(NFT_CMP_EQ, bytes([SYN]))


def _lower(interface_key: int, name: str, size: int) -> Iterator[bytes]:
    wire_size = struct.pack("!H", size)
    yield meta(interface_key)
    yield compare(NFT_CMP_EQ, interface_name(name))
    yield _maxseg(register_attribute=1)
    yield compare(NFT_CMP_GT, wire_size)
    # immediate: destination register, data
    yield expression("immediate", attribute(1, be32(NFT_REG_1)), value(2, wire_size))
    yield _maxseg(register_attribute=7)


def _maxseg(*, register_attribute: int) -> bytes:
    """Load (1: NFTA_EXTHDR_DREG) or store (7: NFTA_EXTHDR_SREG) the size in the MSS option."""
    return expression(
        "exthdr",
        attribute(register_attribute, be32(NFT_REG_1)),
        attribute(2, bytes([TCPOPT_MAXSEG])),
        attribute(3, be32(2)),  # offset in the option
        attribute(4, be32(2)),  # length
        attribute(6, be32(NFT_EXTHDR_OP_TCPOPT)),
    )
