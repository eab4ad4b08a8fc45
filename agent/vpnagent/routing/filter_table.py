"""The nftables table ``inet vpnagent``, whole: what makes it, and what a look at it tells.

No I/O. One transaction replaces what differs, so that no packet meets half a table. Each rule says in its
comment what it does: one dump tells whether every rule stands. A table in any other shape than ours is read
as one of nothing, which is never desired, and is made anew from the ground.
"""

from collections.abc import Collection, Mapping

from vpnagent.routing import leak_guard, mss_clamp
from vpnagent.routing.actions import Action, Remove, Replace
from vpnagent.routing.leak_guard import SetKey
from vpnagent.routing.message import NLM_F_ACK, NLM_F_DUMP, Request, attribute, attributes, string, text
from vpnagent.routing.nft_message import (
    NF_ACCEPT,
    NFGENMSG,
    NFT_MSG_DELTABLE,
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETGEN,
    NFT_MSG_GETOBJ,
    NFT_MSG_GETRULE,
    NFT_MSG_GETSETELEM,
    NFT_MSG_GETTABLE,
    NFT_MSG_NEWTABLE,
    NFT_OBJECT_COUNTER,
    NFTA_CHAIN_HOOK,
    NFTA_CHAIN_NAME,
    NFTA_CHAIN_POLICY,
    NFTA_CHAIN_TABLE,
    NFTA_COUNTER_PACKETS,
    NFTA_GEN_ID,
    NFTA_HOOK_HOOKNUM,
    NFTA_HOOK_PRIORITY,
    NFTA_OBJ_DATA,
    NFTA_OBJ_NAME,
    NFTA_OBJ_TABLE,
    NFTA_OBJ_TYPE,
    NFTA_RULE_TABLE,
    NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE,
    NFTA_TABLE_FLAGS,
    NFTA_TABLE_NAME,
    TABLE,
    be32,
    no_rules,
    no_set,
    question,
    table,
    transaction,
)
from vpnagent.routing.objects import FilterTable
from vpnagent.routing.rule_row import RuleRow

ODD_TABLE = FilterTable(maximum=())  #: our table, in a shape that is not ours
HOOKS = {mss_clamp.BASE_CHAIN: mss_clamp.HOOK, **leak_guard.HOOKS}

GET_GENERATION = question(NFT_MSG_GETGEN, NLM_F_ACK)
GET_TABLE = question(NFT_MSG_GETTABLE, NLM_F_ACK, attribute(NFTA_TABLE_NAME, text(TABLE)))
DUMP_RULES = question(NFT_MSG_GETRULE, NLM_F_DUMP, attribute(NFTA_RULE_TABLE, text(TABLE)))
DUMP_COUNTERS = question(
    NFT_MSG_GETOBJ,
    NLM_F_DUMP,
    attribute(NFTA_OBJ_TABLE, text(TABLE)),
    attribute(NFTA_OBJ_TYPE, be32(NFT_OBJECT_COUNTER)),
)


def get_chain(name: str) -> bytes:
    """Return the question for a chain."""
    return question(
        NFT_MSG_GETCHAIN,
        NLM_F_ACK,
        attribute(NFTA_CHAIN_TABLE, text(TABLE)),
        attribute(NFTA_CHAIN_NAME, text(name)),
    )


def dump_set(name: str) -> bytes:
    """Return the question for the elements of a set."""
    return question(
        NFT_MSG_GETSETELEM,
        NLM_F_DUMP,
        attribute(NFTA_SET_ELEM_LIST_TABLE, text(TABLE)),
        attribute(NFTA_SET_ELEM_LIST_SET, text(name)),
    )


GET_BASE_CHAIN = get_chain(mss_clamp.BASE_CHAIN)


def requests(action: Action, wanted: FilterTable) -> list[Request]:
    """Return the transaction that carries out an action on the table."""
    if isinstance(action, Remove):
        return transaction(table(NFT_MSG_DELTABLE))
    made = [*mss_clamp.requests(wanted.maximum)]
    if wanted.guard:
        made += leak_guard.requests(wanted.guard)
    was = action.was if isinstance(action, Replace) else None
    if isinstance(was, FilterTable) and was.guard and wanted.guard:  # the counters go on
        cleared = [no_rules(), *(no_set(name) for name in leak_guard.sets(was.guard))]
        return transaction(table(NFT_MSG_NEWTABLE), *cleared, *made)
    return transaction(
        table(NFT_MSG_NEWTABLE),  # else the removal of a table that is not there would abort it all
        table(NFT_MSG_DELTABLE),
        table(NFT_MSG_NEWTABLE),
        *made,
    )


def is_dormant(body: bytes) -> bool:
    """Read an NFT_MSG_NEWTABLE: whether its chains are switched off."""
    return any(attributes(body, NFGENMSG.size).get(NFTA_TABLE_FLAGS, b""))


def is_hooked(body: bytes) -> bool:
    """Read an NFT_MSG_NEWCHAIN: whether it is hooked as ours of that name is."""
    found = attributes(body, NFGENMSG.size)
    hook = attributes(found.get(NFTA_CHAIN_HOOK, b""))
    number, priority = HOOKS.get(string(found.get(NFTA_CHAIN_NAME, b"")), (-1, -1))
    return (
        hook.get(NFTA_HOOK_HOOKNUM) == be32(number)
        and hook.get(NFTA_HOOK_PRIORITY) == be32(priority)
        and found.get(NFTA_CHAIN_POLICY) == be32(NF_ACCEPT)
    )


def generation(body: bytes) -> int:
    """Read an NFT_MSG_NEWGEN: a number that grows with every change of the packet filter, whosever."""
    return int.from_bytes(attributes(body, NFGENMSG.size).get(NFTA_GEN_ID, b""))


def stopped(body: bytes) -> tuple[str, int] | None:
    """Read an NFT_MSG_NEWOBJ: direction and packets, if it is a counter of the guard's."""
    found = attributes(body, NFGENMSG.size)
    direction = leak_guard.COUNTERS.get(string(found.get(NFTA_OBJ_NAME, b"")))
    counted = attributes(found.get(NFTA_OBJ_DATA, b""))
    return (direction, int.from_bytes(counted.get(NFTA_COUNTER_PACKETS, b""))) if direction else None


def has_guard(rules: Collection[RuleRow]) -> bool:
    """Whether any of these rules, as they stand, is the leak guard's."""
    return any(row.chain in leak_guard.HOOKS for row in rules)


def table_of(rules: Collection[RuleRow], sets: Mapping[str, Collection[SetKey]]) -> FilterTable:
    """Return what rules in their order and sets make: a table of nothing, if they are not as we make them."""
    maximum = mss_clamp.maximum_of([row for row in rules if row.chain not in leak_guard.HOOKS])
    guard = leak_guard.guard_of(rules, sets) if has_guard(rules) else None
    if not maximum or (guard is None and has_guard(rules)):
        return ODD_TABLE
    return FilterTable(maximum=maximum, guard=guard)
