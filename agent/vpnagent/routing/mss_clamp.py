"""The nftables table ``inet vpnagent``: TCP connections through our interfaces get a fitting MSS.

    chain forward {
        type filter hook forward priority mangle; policy accept;
        tcp flags & (syn | rst) == syn jump maxseg  # syn
    }
    chain maxseg {
        oifname "vpn-hz-1" tcp option maxseg size > 1359 tcp option maxseg size set 1359  # out vpn-hz-1 1359
        iifname "vpn-hz-1" tcp option maxseg size > 1359 tcp option maxseg size set 1359  # in vpn-hz-1 1359
    }

Both directions: our hosts must not send too much, nor the cloud's. It is only ever lowered. The gateway's
own connections need none: they know the interface's MTU. All but SYNs pass one rule.

No I/O; linux/netfilter/nf_tables.h. One transaction replaces the table. Each rule says in its comment what
it does, so that one dump tells whether every rule stands; a table in any other shape is read as a clamp
of nothing, which is never desired. pyroute2's expressions were not fit (no maxseg, text for numbers), and
``nft -j`` would be a process a second to read it back.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vpnagent.routing.actions import Action, Remove
from vpnagent.routing.message import (
    GONE,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Request,
    attribute,
    attributes,
    message,
    nested,
    string,
    text,
)
from vpnagent.routing.objects import MssClamp

TABLE = "vpnagent"
BASE_CHAIN = "forward"
MAXSEG_CHAIN = "maxseg"
JUMP_COMMENT = "syn"

NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE, NFT_MSG_DELTABLE = 0, 1, 2
NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN, NFT_MSG_NEWRULE, NFT_MSG_GETRULE = 3, 4, 6, 7
NLM_F_APPEND = 0x800

NFGENMSG = struct.Struct("!BBH")  #: family, version, resource id
NFPROTO_INET = 1
NF_INET_FORWARD = 2
NF_ACCEPT = 1
PRIORITY_MANGLE = -150

NFTA_TABLE_NAME, NFTA_TABLE_FLAGS = 1, 2
NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE = 1, 3, 4, 5, 7
NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY = 1, 2
NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_USERDATA = 1, 2, 4, 7
NFTA_LIST_ELEM = 1
NFTA_EXPR_NAME, NFTA_EXPR_DATA = 1, 2
NFTA_DATA_VALUE, NFTA_DATA_VERDICT = 1, 2
NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN = 1, 2
NFT_JUMP = -3
NFT_REG_VERDICT, NFT_REG_1 = 0, 1
NFT_META_IIFNAME, NFT_META_OIFNAME, NFT_META_L4PROTO = 6, 7, 16
NFT_CMP_EQ, NFT_CMP_GT = 0, 4
NFT_PAYLOAD_TRANSPORT_HEADER = 2
NFT_EXTHDR_OP_TCPOPT = 1
NFTNL_UDATA_RULE_COMMENT = 0

IFNAMSIZ = 16
IPPROTO_TCP = 6
TCP_FLAGS_OFFSET = 13
SYN, RST = 0x02, 0x04
TCPOPT_MAXSEG = 2
DIRECTIONS = (("out", NFT_META_OIFNAME), ("in", NFT_META_IIFNAME))
OUTWARD = re.compile(r"out (?P<name>\S+) (?P<size>[0-9]+)")

GET_TABLE = message(
    NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE,
    NLM_F_ACK,
    NFGENMSG.pack(NFPROTO_INET, 0, 0) + attribute(NFTA_TABLE_NAME, text(TABLE)),
)
GET_BASE_CHAIN = message(
    NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN,
    NLM_F_ACK,
    NFGENMSG.pack(NFPROTO_INET, 0, 0)
    + attribute(NFTA_CHAIN_TABLE, text(TABLE))
    + attribute(NFTA_CHAIN_NAME, text(BASE_CHAIN)),
)
DUMP_RULES = message(
    NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE,
    NLM_F_DUMP,
    NFGENMSG.pack(NFPROTO_INET, 0, 0) + attribute(NFTA_RULE_TABLE, text(TABLE)),
)


@dataclass(frozen=True, slots=True, order=True)
class RuleRow:
    """A rule of our table."""

    chain: str
    comment: str


def requests(action: Action, clamp: MssClamp) -> list[Request]:
    """Return the transaction that makes the table anew, whatever it was, or removes it."""
    if isinstance(action, Remove):
        return _transaction(_table(NFT_MSG_DELTABLE))
    return _transaction(
        _table(NFT_MSG_NEWTABLE),  # else the removal of a table that is not there would abort it all
        _table(NFT_MSG_DELTABLE),
        _table(NFT_MSG_NEWTABLE),
        _chain(MAXSEG_CHAIN),
        _chain(BASE_CHAIN, *_forward_hook()),
        _rule(BASE_CHAIN, JUMP_COMMENT, [*_is_syn(), _verdict(NFT_JUMP, MAXSEG_CHAIN)]),
        *(
            _rule(MAXSEG_CHAIN, _comment(direction, name, size), _lower(key, name, size))
            for name, size in clamp.maximum
            for direction, key in DIRECTIONS
        ),
    )


def rule_row(body: bytes) -> RuleRow:
    """Read an NFT_MSG_NEWRULE."""
    found = attributes(body, NFGENMSG.size)
    userdata = found.get(NFTA_RULE_USERDATA, b"")
    commented = userdata[:1] == bytes([NFTNL_UDATA_RULE_COMMENT])
    return RuleRow(string(found.get(NFTA_RULE_CHAIN, b"")), string(userdata[2:]) if commented else "")


def is_dormant(body: bytes) -> bool:
    """Read an NFT_MSG_NEWTABLE: whether its chains are switched off."""
    return any(attributes(body, NFGENMSG.size).get(NFTA_TABLE_FLAGS, b""))


def is_forward_hook(body: bytes) -> bool:
    """Read an NFT_MSG_NEWCHAIN: whether it is hooked as ours is."""
    found = attributes(body, NFGENMSG.size)
    hook = attributes(found.get(NFTA_CHAIN_HOOK, b""))
    return (
        hook.get(NFTA_HOOK_HOOKNUM) == _be32(NF_INET_FORWARD)
        and hook.get(NFTA_HOOK_PRIORITY) == _be32(PRIORITY_MANGLE)
        and found.get(NFTA_CHAIN_POLICY) == _be32(NF_ACCEPT)
    )


def clamp_of(rules: Iterable[RuleRow]) -> MssClamp:
    """Return the clamp that the rules of our table make: of nothing, if they are not as we make them."""
    found = sorted(rules)
    out = [OUTWARD.fullmatch(rule.comment) for rule in found if rule.chain == MAXSEG_CHAIN]
    maximum = tuple((match["name"], int(match["size"])) for match in out if match)
    expected = [
        RuleRow(BASE_CHAIN, JUMP_COMMENT),
        *(
            RuleRow(MAXSEG_CHAIN, _comment(direction, name, size))
            for name, size in maximum
            for direction, _ in DIRECTIONS
        ),
    ]
    return MssClamp(maximum=maximum if found == sorted(expected) else ())


def _comment(direction: str, name: str, size: int) -> str:
    return f"{direction} {name} {size}"


def _transaction(*changes: Request) -> list[Request]:
    border = NFGENMSG.pack(0, 0, NFNL_SUBSYS_NFTABLES)
    return [
        Request(message(NFNL_MSG_BATCH_BEGIN, 0, border)),
        *changes,
        Request(message(NFNL_MSG_BATCH_END, 0, border)),
    ]


def _change(kind: int, flags: int, *parts: bytes) -> Request:
    body = NFGENMSG.pack(NFPROTO_INET, 0, 0) + b"".join(parts)
    harmless = GONE if kind == NFT_MSG_DELTABLE else frozenset[int]()
    return Request(message(NFNL_SUBSYS_NFTABLES << 8 | kind, NLM_F_ACK | flags, body), harmless)


def _table(kind: int) -> Request:
    flags = NLM_F_CREATE if kind == NFT_MSG_NEWTABLE else 0
    return _change(kind, flags, attribute(NFTA_TABLE_NAME, text(TABLE)))


def _chain(name: str, *hook: bytes) -> Request:
    return _change(
        NFT_MSG_NEWCHAIN,
        NLM_F_CREATE,
        attribute(NFTA_CHAIN_TABLE, text(TABLE)),
        attribute(NFTA_CHAIN_NAME, text(name)),
        *hook,
    )


def _forward_hook() -> Iterator[bytes]:
    yield nested(
        NFTA_CHAIN_HOOK,
        attribute(NFTA_HOOK_HOOKNUM, _be32(NF_INET_FORWARD)),
        attribute(NFTA_HOOK_PRIORITY, _be32(PRIORITY_MANGLE)),
    )
    yield attribute(NFTA_CHAIN_POLICY, _be32(NF_ACCEPT))
    yield attribute(NFTA_CHAIN_TYPE, text("filter"))


def _rule(chain: str, comment: str, expressions: Iterable[bytes]) -> Request:
    note = text(comment)
    return _change(
        NFT_MSG_NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        attribute(NFTA_RULE_TABLE, text(TABLE)),
        attribute(NFTA_RULE_CHAIN, text(chain)),
        nested(NFTA_RULE_EXPRESSIONS, *expressions),
        attribute(NFTA_RULE_USERDATA, bytes([NFTNL_UDATA_RULE_COMMENT, len(note)]) + note),
    )


def _is_syn() -> Iterator[bytes]:
    yield _meta(NFT_META_L4PROTO)
    yield _compare(NFT_CMP_EQ, bytes([IPPROTO_TCP]))
    # payload: destination register, base, offset, length
    where = (NFT_REG_1, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFFSET, 1)
    yield _expression("payload", *(attribute(n, _be32(value)) for n, value in enumerate(where, 1)))
    # bitwise: source and destination register, length, mask, xor
    yield _expression(
        "bitwise",
        attribute(1, _be32(NFT_REG_1)),
        attribute(2, _be32(NFT_REG_1)),
        attribute(3, _be32(1)),
        _value(4, bytes([SYN | RST])),
        _value(5, bytes([0])),
    )
    yield _compare(NFT_CMP_EQ, bytes([SYN]))


def _lower(interface_key: int, name: str, size: int) -> Iterator[bytes]:
    wire_size = struct.pack("!H", size)
    yield _meta(interface_key)
    yield _compare(NFT_CMP_EQ, name.encode().ljust(IFNAMSIZ, b"\0"))
    yield _maxseg(register_attribute=1)
    yield _compare(NFT_CMP_GT, wire_size)
    # immediate: destination register, data
    yield _expression("immediate", attribute(1, _be32(NFT_REG_1)), _value(2, wire_size))
    yield _maxseg(register_attribute=7)


def _maxseg(*, register_attribute: int) -> bytes:
    """Load (1: NFTA_EXTHDR_DREG) or store (7: NFTA_EXTHDR_SREG) the size in the MSS option."""
    return _expression(
        "exthdr",
        attribute(register_attribute, _be32(NFT_REG_1)),
        attribute(2, bytes([TCPOPT_MAXSEG])),
        attribute(3, _be32(2)),  # offset in the option
        attribute(4, _be32(2)),  # length
        attribute(6, _be32(NFT_EXTHDR_OP_TCPOPT)),
    )


def _meta(key: int) -> bytes:
    return _expression("meta", attribute(1, _be32(NFT_REG_1)), attribute(2, _be32(key)))


def _compare(operator: int, value: bytes) -> bytes:
    return _expression("cmp", attribute(1, _be32(NFT_REG_1)), attribute(2, _be32(operator)), _value(3, value))


def _verdict(code: int, chain: str) -> bytes:
    verdict = nested(
        NFTA_DATA_VERDICT,
        attribute(NFTA_VERDICT_CODE, _be32(code)),
        attribute(NFTA_VERDICT_CHAIN, text(chain)),
    )
    return _expression("immediate", attribute(1, _be32(NFT_REG_VERDICT)), nested(2, verdict))


def _value(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(NFTA_DATA_VALUE, value))


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(NFTA_LIST_ELEM, attribute(NFTA_EXPR_NAME, text(name)), nested(NFTA_EXPR_DATA, *parts))


def _be32(value: int) -> bytes:
    return struct.pack("!i", value)
