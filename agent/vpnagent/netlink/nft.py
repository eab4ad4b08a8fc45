"""nftables over netlink: the messages, attributes and expressions that our table is made of.

No I/O; linux/netfilter/nf_tables.h. pyroute2's expressions were not fit (no maxseg, text for numbers), and
``nft -j`` would be a process a second to read the table back.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vpnagent.netlink.message import (
    ATTRIBUTE,
    GONE,
    NLA_TYPE_MASK,
    NLM_F_ACK,
    NLM_F_CREATE,
    NetlinkRequest,
    attribute,
    attributes,
    message,
    nested,
    string,
    text,
)

TABLE = "vpnagent"

NFNL_SUBSYS_NFTABLES = 10
NFNLGRP_NFTABLES = 7
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE, NFT_MSG_DELTABLE = 0, 1, 2
NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN = 3, 4
NFT_MSG_NEWRULE, NFT_MSG_GETRULE, NFT_MSG_DELRULE = 6, 7, 8
NFT_MSG_NEWSET, NFT_MSG_DELSET, NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM = 9, 11, 12, 13
NFT_MSG_GETGEN, NFT_MSG_NEWOBJ, NFT_MSG_GETOBJ = 16, 18, 19
NLM_F_APPEND = 0x800

NFGENMSG = struct.Struct("!BBH")  #: family, version, resource id
NFPROTO_INET, NFPROTO_IPV4 = 1, 2
NF_INET_FORWARD, NF_INET_POST_ROUTING = 2, 4
NF_DROP, NF_ACCEPT = 0, 1
PRIORITY_MANGLE, PRIORITY_FILTER = -150, 0

NFTA_TABLE_NAME, NFTA_TABLE_FLAGS = 1, 2
NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE = 1, 3, 4, 5, 7
NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY = 1, 2
NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_USERDATA = 1, 2, 4, 7
NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN, NFTA_SET_ID = (
    1,
    2,
    3,
    4,
    5,
    10,
)
NFTA_SET_USERDATA = 13
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_FLAGS = 1, 3
NFTA_OBJ_TABLE, NFTA_OBJ_NAME, NFTA_OBJ_TYPE, NFTA_OBJ_DATA = 1, 2, 3, 4
NFTA_COUNTER_PACKETS = 2
NFTA_GEN_ID = 1
NFTA_LIST_ELEM = 1
NFTA_EXPR_NAME, NFTA_EXPR_DATA = 1, 2
NFTA_DATA_VALUE, NFTA_DATA_VERDICT = 1, 2
NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN = 1, 2
NFT_JUMP = -3
NFT_REG_VERDICT, NFT_REG_1 = 0, 1
NFT_META_IIFNAME, NFT_META_OIFNAME, NFT_META_NFPROTO, NFT_META_L4PROTO = 6, 7, 15, 16
NFT_CMP_EQ, NFT_CMP_GT = 0, 4
NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER = 1, 2
NFT_RT_XFRM = 4
NFT_LOOKUP_F_INV = 1
NFT_SET_INTERVAL, NFT_SET_ELEM_INTERVAL_END = 4, 1
NFT_OBJECT_COUNTER = 1
NFTNL_UDATA_RULE_COMMENT = 0
TYPE_IPADDR, TYPE_IFNAME = 7, 41  #: nft's own numbers, by which it prints the elements

KEY_BYTE_ORDER = struct.Struct(
    "=BBI"
)  #: by which nft prints: type, length, 1 for the host's, 2 for big endian

IFNAMSIZ = 16
ELEMENTS_AT_ONCE = 1000  #: an attribute is at most 64 KiB


def transaction(*changes: NetlinkRequest) -> list[NetlinkRequest]:
    """Return changes that are done together or not at all."""
    border = NFGENMSG.pack(0, 0, NFNL_SUBSYS_NFTABLES)
    return [
        NetlinkRequest(message(NFNL_MSG_BATCH_BEGIN, 0, border)),
        *changes,
        NetlinkRequest(message(NFNL_MSG_BATCH_END, 0, border)),
    ]


def question(kind: int, flags: int, *parts: bytes) -> bytes:
    """Return a request that changes nothing."""
    return message(
        NFNL_SUBSYS_NFTABLES << 8 | kind, flags, NFGENMSG.pack(NFPROTO_INET, 0, 0) + b"".join(parts)
    )


def table(kind: int) -> NetlinkRequest:
    """Make or remove our table; NEWTABLE is content with one that is there, DELTABLE with one that is not."""
    return _change(
        kind, NLM_F_CREATE if kind == NFT_MSG_NEWTABLE else 0, attribute(NFTA_TABLE_NAME, text(TABLE))
    )


def chain(name: str, *hook: bytes) -> NetlinkRequest:
    """Make a chain; one that is there stays."""
    return _change(
        NFT_MSG_NEWCHAIN,
        NLM_F_CREATE,
        attribute(NFTA_CHAIN_TABLE, text(TABLE)),
        attribute(NFTA_CHAIN_NAME, text(name)),
        *hook,
    )


def hook(number: int, priority: int) -> Iterator[bytes]:
    """Yield what makes a chain of type filter one that packets pass."""
    yield nested(
        NFTA_CHAIN_HOOK,
        attribute(NFTA_HOOK_HOOKNUM, be32(number)),
        attribute(NFTA_HOOK_PRIORITY, be32(priority)),
    )
    yield attribute(NFTA_CHAIN_POLICY, be32(NF_ACCEPT))
    yield attribute(NFTA_CHAIN_TYPE, text("filter"))


def rule(of_chain: str, comment: str, expressions: Iterable[bytes]) -> NetlinkRequest:
    """Add a rule at the end of a chain."""
    commented = text(comment)
    userdata = bytes([NFTNL_UDATA_RULE_COMMENT, len(commented)]) + commented
    return _change(
        NFT_MSG_NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        attribute(NFTA_RULE_TABLE, text(TABLE)),
        attribute(NFTA_RULE_CHAIN, text(of_chain)),
        nested(NFTA_RULE_EXPRESSIONS, *expressions),
        attribute(NFTA_RULE_USERDATA, userdata),
    )


def no_rules() -> NetlinkRequest:
    """Remove all rules of our table."""
    return _change(NFT_MSG_DELRULE, 0, attribute(NFTA_RULE_TABLE, text(TABLE)))


def new_set(name: str, number: int, *, key_type: int, key_length: int, flags: int = 0) -> NetlinkRequest:
    """Make a set; ``number`` tells it from the others of the transaction."""
    return _change(
        NFT_MSG_NEWSET,
        NLM_F_CREATE,
        attribute(NFTA_SET_TABLE, text(TABLE)),
        attribute(NFTA_SET_NAME, text(name)),
        attribute(NFTA_SET_FLAGS, be32(flags)),
        attribute(NFTA_SET_KEY_TYPE, be32(key_type)),
        attribute(NFTA_SET_KEY_LEN, be32(key_length)),
        attribute(NFTA_SET_ID, be32(number)),
        attribute(NFTA_SET_USERDATA, KEY_BYTE_ORDER.pack(0, 4, 1 if key_type == TYPE_IFNAME else 2)),
    )


def no_set(name: str) -> NetlinkRequest:
    """Remove a set that no rule names any more."""
    return _change(
        NFT_MSG_DELSET, 0, attribute(NFTA_SET_TABLE, text(TABLE)), attribute(NFTA_SET_NAME, text(name))
    )


def elements(name: str, keys: Iterable[tuple[bytes, int]]) -> Iterator[NetlinkRequest]:
    """Fill a set with keys and their flags."""
    listed = [
        nested(
            NFTA_LIST_ELEM,
            value(NFTA_SET_ELEM_KEY, key),
            *([attribute(NFTA_SET_ELEM_FLAGS, be32(flags))] if flags else []),
        )
        for key, flags in keys
    ]
    for start in range(0, len(listed), ELEMENTS_AT_ONCE):
        yield _change(
            NFT_MSG_NEWSETELEM,
            NLM_F_CREATE,
            attribute(NFTA_SET_ELEM_LIST_TABLE, text(TABLE)),
            attribute(NFTA_SET_ELEM_LIST_SET, text(name)),
            nested(NFTA_SET_ELEM_LIST_ELEMENTS, *listed[start : start + ELEMENTS_AT_ONCE]),
        )


def counter(name: str) -> NetlinkRequest:
    """Make a counter; one that is there goes on."""
    return _change(
        NFT_MSG_NEWOBJ,
        NLM_F_CREATE,
        attribute(NFTA_OBJ_TABLE, text(TABLE)),
        attribute(NFTA_OBJ_NAME, text(name)),
        attribute(NFTA_OBJ_TYPE, be32(NFT_OBJECT_COUNTER)),
        nested(NFTA_OBJ_DATA),
    )


def repeated(data: bytes) -> Iterator[bytes]:
    """Yield the values of a list of attributes."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            return
        if kind & NLA_TYPE_MASK == NFTA_LIST_ELEM:
            yield data[offset + ATTRIBUTE.size : offset + length]
        offset += length + -length % 4


# Expressions: attributes 1 and 2 of most are destination register and key.


def meta(key: int) -> bytes:
    """Load something about the packet: an interface's name, a protocol."""
    return expression("meta", attribute(1, be32(NFT_REG_1)), attribute(2, be32(key)))


def payload(base: int, offset: int, length: int) -> bytes:
    """Load bytes of the packet."""
    where = (NFT_REG_1, base, offset, length)
    return expression("payload", *(attribute(n, be32(number)) for n, number in enumerate(where, 1)))


def compare(operator: int, data: bytes) -> bytes:
    """Go on only if what was loaded compares so."""
    return expression("cmp", attribute(1, be32(NFT_REG_1)), attribute(2, be32(operator)), value(3, data))


def lookup(of_set: str, *, inverted: bool = False) -> bytes:
    """Go on only if what was loaded is in a set, or ``inverted`` if it is not."""
    flags = [attribute(5, be32(NFT_LOOKUP_F_INV))] if inverted else []
    return expression("lookup", attribute(1, text(of_set)), attribute(2, be32(NFT_REG_1)), *flags)


def count(name: str) -> bytes:
    """Count the packet."""
    return expression("objref", attribute(1, be32(NFT_OBJECT_COUNTER)), attribute(2, text(name)))


def verdict(code: int, to_chain: str = "") -> bytes:
    """End with a verdict, or jump to a chain."""
    target = [attribute(NFTA_VERDICT_CHAIN, text(to_chain))] if to_chain else []
    made = nested(NFTA_DATA_VERDICT, attribute(NFTA_VERDICT_CODE, be32(code)), *target)
    return expression("immediate", attribute(1, be32(NFT_REG_VERDICT)), nested(2, made))


def interface_name(name: str) -> bytes:
    """Return a name as the kernel compares it."""
    return name.encode().ljust(IFNAMSIZ, b"\0")


def value(kind: int, data: bytes) -> bytes:
    """Return data as an attribute of an expression or an element."""
    return nested(kind, attribute(NFTA_DATA_VALUE, data))


def expression(name: str, *parts: bytes) -> bytes:
    """Return one expression of a rule."""
    return nested(NFTA_LIST_ELEM, attribute(NFTA_EXPR_NAME, text(name)), nested(NFTA_EXPR_DATA, *parts))


def be32(number: int) -> bytes:
    """Return a number as nftables has it on the wire."""
    return struct.pack("!i", number)


def _change(kind: int, flags: int, *parts: bytes) -> NetlinkRequest:
    body = NFGENMSG.pack(NFPROTO_INET, 0, 0) + b"".join(parts)
    harmless = GONE if kind == NFT_MSG_DELTABLE else frozenset[int]()
    return NetlinkRequest(message(NFNL_SUBSYS_NFTABLES << 8 | kind, NLM_F_ACK | flags, body), harmless)


@dataclass(frozen=True, slots=True, order=True)
class NftRule:
    """A rule of our table as one dump tells it: where it stands, and what its comment says it does."""

    chain: str
    comment: str


def rule_row(body: bytes) -> NftRule:
    """Read an NFT_MSG_NEWRULE."""
    found = attributes(body, NFGENMSG.size)
    userdata = found.get(NFTA_RULE_USERDATA, b"")
    commented = userdata[:1] == bytes([NFTNL_UDATA_RULE_COMMENT])
    return NftRule(string(found.get(NFTA_RULE_CHAIN, b"")), string(userdata[2:]) if commented else "")


GENERATION = question(NFT_MSG_GETGEN, 0)  #: answered without an acknowledgement


def generation(body: bytes) -> int:
    """Read an NFT_MSG_NEWGEN: a number that grows with every change of the packet filter, whosever."""
    return int.from_bytes(attributes(body, NFGENMSG.size).get(NFTA_GEN_ID, b""))
