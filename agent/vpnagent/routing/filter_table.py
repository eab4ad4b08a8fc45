"""The nftables table ``inet vpnagent``, whole: what makes it, what a look at it tells, and the look.

    chain forward {
        type filter hook forward priority mangle; policy accept;
        tcp flags & (syn | rst) == syn jump maxseg  # syn
    }
    chain maxseg {
        oifname "vpn-hz-1" tcp option maxseg size > 1359 tcp option maxseg size set 1359  # out vpn-hz-1 1359
        iifname "vpn-hz-1" tcp option maxseg size > 1359 tcp option maxseg size set 1359  # in vpn-hz-1 1359
    }

The clamp gives TCP connections through our interfaces a fitting MSS, in both directions: our hosts must
not send too much, nor the cloud's. It is only ever lowered. The gateway's own connections need none: they
know the interface's MTU. All but SYNs pass one rule. The other chains are those of ``leak_guard``.

One transaction replaces what differs, so that no packet meets half a table. Each rule says in its comment
what it does: one dump tells whether every rule stands. A table in any other shape than ours is read as one
of nothing, which is never desired, and is made anew from the ground.
"""

import errno
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from vpnagent.errors import NetlinkError
from vpnagent.netlink import nft
from vpnagent.netlink.message import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NetlinkRequest,
    attribute,
    attributes,
    string,
    text,
)
from vpnagent.netlink.nft import NftRule
from vpnagent.netlink.socket import NetlinkSocket
from vpnagent.routing import leak_guard
from vpnagent.routing.actions import KernelAction, Remove, Replace
from vpnagent.routing.leak_guard import SetKey
from vpnagent.routing.objects import FilterTable

BASE_CHAIN = "forward"
MAXSEG_CHAIN = "maxseg"
JUMP_COMMENT = "syn"
CLAMP_HOOK = (nft.NF_INET_FORWARD, nft.PRIORITY_MANGLE)

NFT_EXTHDR_OP_TCPOPT = 1
IPPROTO_TCP = 6
TCP_FLAGS_OFFSET = 13
SYN, RST = 0x02, 0x04
TCPOPT_MAXSEG = 2
DIRECTIONS = (("out", nft.NFT_META_OIFNAME), ("in", nft.NFT_META_IIFNAME))
OUTWARD = re.compile(r"out (?P<name>\S+) (?P<size>[0-9]+)")

Maximum = tuple[tuple[str, int], ...]  #: interface and bytes

ODD_TABLE = FilterTable(maximum=())  #: our table, in a shape that is not ours
HOOKS = {BASE_CHAIN: CLAMP_HOOK, **leak_guard.HOOKS}

UNPRIVILEGED = (errno.EPERM, errno.EACCES)  #: nftables tells nothing without CAP_NET_ADMIN

GET_GENERATION = nft.question(nft.NFT_MSG_GETGEN, NLM_F_ACK)
GET_TABLE = nft.question(nft.NFT_MSG_GETTABLE, NLM_F_ACK, attribute(nft.NFTA_TABLE_NAME, text(nft.TABLE)))
DUMP_RULES = nft.question(nft.NFT_MSG_GETRULE, NLM_F_DUMP, attribute(nft.NFTA_RULE_TABLE, text(nft.TABLE)))
DUMP_COUNTERS = nft.question(
    nft.NFT_MSG_GETOBJ,
    NLM_F_DUMP,
    attribute(nft.NFTA_OBJ_TABLE, text(nft.TABLE)),
    attribute(nft.NFTA_OBJ_TYPE, nft.be32(nft.NFT_OBJECT_COUNTER)),
)


def get_chain(name: str) -> bytes:
    """Return the question for a chain."""
    return nft.question(
        nft.NFT_MSG_GETCHAIN,
        NLM_F_ACK,
        attribute(nft.NFTA_CHAIN_TABLE, text(nft.TABLE)),
        attribute(nft.NFTA_CHAIN_NAME, text(name)),
    )


def dump_set(name: str) -> bytes:
    """Return the question for the elements of a set."""
    return nft.question(
        nft.NFT_MSG_GETSETELEM,
        NLM_F_DUMP,
        attribute(nft.NFTA_SET_ELEM_LIST_TABLE, text(nft.TABLE)),
        attribute(nft.NFTA_SET_ELEM_LIST_SET, text(name)),
    )


def requests(action: KernelAction, wanted: FilterTable) -> list[NetlinkRequest]:
    """Return the transaction that carries out an action on the table."""
    if isinstance(action, Remove):
        return nft.transaction(nft.table(nft.NFT_MSG_DELTABLE))
    made = [*clamp_requests(wanted.maximum)]
    if wanted.guard:
        made += leak_guard.requests(wanted.guard)
    was = action.was if isinstance(action, Replace) else None
    if isinstance(was, FilterTable) and was.guard and wanted.guard:  # the counters go on
        cleared = [nft.no_rules(), *(nft.no_set(name) for name in leak_guard.sets(was.guard))]
        return nft.transaction(nft.table(nft.NFT_MSG_NEWTABLE), *cleared, *made)
    return nft.transaction(
        nft.table(nft.NFT_MSG_NEWTABLE),  # else the removal of a table that is not there would abort it all
        nft.table(nft.NFT_MSG_DELTABLE),
        nft.table(nft.NFT_MSG_NEWTABLE),
        *made,
    )


def is_dormant(body: bytes) -> bool:
    """Read an NFT_MSG_NEWTABLE: whether its chains are switched off."""
    return any(attributes(body, nft.NFGENMSG.size).get(nft.NFTA_TABLE_FLAGS, b""))


def is_hooked(body: bytes) -> bool:
    """Read an NFT_MSG_NEWCHAIN: whether it is hooked as ours of that name is."""
    found = attributes(body, nft.NFGENMSG.size)
    hook = attributes(found.get(nft.NFTA_CHAIN_HOOK, b""))
    number, priority = HOOKS.get(string(found.get(nft.NFTA_CHAIN_NAME, b"")), (-1, -1))
    return (
        hook.get(nft.NFTA_HOOK_HOOKNUM) == nft.be32(number)
        and hook.get(nft.NFTA_HOOK_PRIORITY) == nft.be32(priority)
        and found.get(nft.NFTA_CHAIN_POLICY) == nft.be32(nft.NF_ACCEPT)
    )


def stopped(body: bytes) -> tuple[str, int] | None:
    """Read an NFT_MSG_NEWOBJ: direction and packets, if it is a counter of the guard's."""
    found = attributes(body, nft.NFGENMSG.size)
    direction = leak_guard.COUNTERS.get(string(found.get(nft.NFTA_OBJ_NAME, b"")))
    counted = attributes(found.get(nft.NFTA_OBJ_DATA, b""))
    return (direction, int.from_bytes(counted.get(nft.NFTA_COUNTER_PACKETS, b""))) if direction else None


def has_guard(rules: Collection[NftRule]) -> bool:
    """Whether any of these rules, as they stand, is the leak guard's."""
    return any(row.chain in leak_guard.HOOKS for row in rules)


def table_of(rules: Collection[NftRule], sets: Mapping[str, Collection[SetKey]]) -> FilterTable:
    """Return what rules in their order and sets make: a table of nothing, if they are not as we make them."""
    maximum = maximum_of([row for row in rules if row.chain not in leak_guard.HOOKS])
    guard = leak_guard.guard_of(rules, sets) if has_guard(rules) else None
    if not maximum or (guard is None and has_guard(rules)):
        return ODD_TABLE
    return FilterTable(maximum=maximum, guard=guard)


class TableReading(NamedTuple):
    """What was read."""

    table: FilterTable | None
    readable: bool
    stopped: Mapping[str, int]  #: packets by direction; empty without a guard


class FilterTableReader:
    """Reads the table, and no more of it than its counters while nobody has changed the packet filter.

    The kernel numbers every change (NFT_MSG_GETGEN): while the number is the same, so is the table. With
    10,000 remote networks it would be 20,000 elements a second.
    """

    def __init__(self, netfilter: NetlinkSocket) -> None:
        self._netfilter = netfilter
        self._generation = 0  #: of what was last read; the kernel's begins at 1
        self._table: FilterTable | None = None

    async def read(self) -> TableReading:
        """Return our table as it is. Raises NetlinkError."""
        try:
            [generation] = await self._netfilter.dump(GET_GENERATION, nft.generation)
        except NetlinkError as error:
            return TableReading(None, error.errno not in UNPRIVILEGED, {})
        if generation != self._generation:
            self._table = await self._read()
            self._generation = generation
        counts = await self._stopped() if self._table and self._table.guard else {}
        return TableReading(self._table, True, counts)

    async def _read(self) -> FilterTable | None:
        try:
            dormant = await self._netfilter.dump(GET_TABLE, is_dormant)
        except NetlinkError:
            return None
        try:
            rules = await self._netfilter.dump(DUMP_RULES, nft.rule_row)
            guarded = has_guard(rules)
            chains = HOOKS if guarded else HOOKS.keys() - leak_guard.HOOKS.keys()
            hooked = [await self._netfilter.dump(get_chain(name), is_hooked) for name in chains]
            sets = {name: await self._set(name) for name in leak_guard.set_names(rules)} if guarded else {}
        except NetlinkError:  # a chain or a set is missing
            return ODD_TABLE
        if any(dormant) or not all(all(hook) for hook in hooked):
            return ODD_TABLE
        return table_of(rules, sets)

    async def _set(self, name: str) -> list[SetKey]:
        listed = await self._netfilter.dump(dump_set(name), leak_guard.set_keys)
        return [key for keys in listed for key in keys]

    async def _stopped(self) -> dict[str, int]:
        try:
            return dict(await self._netfilter.dump(DUMP_COUNTERS, stopped))
        except NetlinkError:  # somebody has just removed the table
            return {}


def clamp_requests(maximum: Maximum) -> Iterator[NetlinkRequest]:
    """Yield what makes the chains and their rules."""
    yield nft.chain(MAXSEG_CHAIN)
    yield nft.chain(BASE_CHAIN, *nft.hook(*CLAMP_HOOK))
    yield nft.rule(BASE_CHAIN, JUMP_COMMENT, [*_is_syn(), nft.verdict(nft.NFT_JUMP, MAXSEG_CHAIN)])
    for name, size in maximum:
        for direction, key in DIRECTIONS:
            yield nft.rule(MAXSEG_CHAIN, _comment(direction, name, size), _lower(key, name, size))


def maximum_of(rules: Collection[NftRule]) -> Maximum | None:
    """Return what the rules of these chains clamp; None if they are not as we make them."""
    out = [OUTWARD.fullmatch(row.comment) for row in sorted(rules) if row.chain == MAXSEG_CHAIN]
    maximum = tuple((match["name"], int(match["size"])) for match in out if match)
    return maximum if sorted(rules) == sorted(_rows(maximum)) else None


def _rows(maximum: Maximum) -> Iterator[NftRule]:
    yield NftRule(BASE_CHAIN, JUMP_COMMENT)
    for name, size in maximum:
        for direction, _ in DIRECTIONS:
            yield NftRule(MAXSEG_CHAIN, _comment(direction, name, size))


def _comment(direction: str, name: str, size: int) -> str:
    return f"{direction} {name} {size}"


def _is_syn() -> Iterator[bytes]:
    yield nft.meta(nft.NFT_META_L4PROTO)
    yield nft.compare(nft.NFT_CMP_EQ, bytes([IPPROTO_TCP]))
    yield nft.payload(nft.NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFFSET, 1)
    # bitwise: source and destination register, length, mask, xor
    yield nft.expression(
        "bitwise",
        attribute(1, nft.be32(nft.NFT_REG_1)),
        attribute(2, nft.be32(nft.NFT_REG_1)),
        attribute(3, nft.be32(1)),
        nft.value(4, bytes([SYN | RST])),
        nft.value(5, bytes([0])),
    )
    yield nft.compare(nft.NFT_CMP_EQ, bytes([SYN]))


def _lower(interface_key: int, name: str, size: int) -> Iterator[bytes]:
    wire_size = struct.pack("!H", size)
    yield nft.meta(interface_key)
    yield nft.compare(nft.NFT_CMP_EQ, nft.interface_name(name))
    yield _maxseg(register_attribute=1)
    yield nft.compare(nft.NFT_CMP_GT, wire_size)
    # immediate: destination register, data
    yield nft.expression("immediate", attribute(1, nft.be32(nft.NFT_REG_1)), nft.value(2, wire_size))
    yield _maxseg(register_attribute=7)


def _maxseg(*, register_attribute: int) -> bytes:
    """Load (1: NFTA_EXTHDR_DREG) or store (7: NFTA_EXTHDR_SREG) the size in the MSS option."""
    return nft.expression(
        "exthdr",
        attribute(register_attribute, nft.be32(nft.NFT_REG_1)),
        attribute(2, bytes([TCPOPT_MAXSEG])),
        attribute(3, nft.be32(2)),  # offset in the option
        attribute(4, nft.be32(2)),  # length
        attribute(6, nft.be32(NFT_EXTHDR_OP_TCPOPT)),
    )
