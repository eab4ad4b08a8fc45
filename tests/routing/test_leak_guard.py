"""What the leak guard's rules and sets hold for which guard, and that any other shape is seen."""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.netlink.message import NetlinkMessage, attributes, messages, string
from vpnagent.netlink.nft import (
    NFGENMSG,
    NFNL_SUBSYS_NFTABLES,
    NFT_MSG_DELRULE,
    NFT_MSG_DELSET,
    NFT_MSG_DELTABLE,
    NFT_MSG_NEWOBJ,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWSETELEM,
    NftRule,
    rule_row,
)
from vpnagent.routing import leak_guard
from vpnagent.routing.actions import Add, Remove, Replace
from vpnagent.routing.filter_table import ODD_TABLE, requests, table_of
from vpnagent.routing.leak_guard import SetKey, set_keys, set_names, sets
from vpnagent.routing.objects import FilterTable, LeakGuardRules

MAXIMUM = (("vpn-hz-1", 1359),)
GUARD = LeakGuardRules(
    drops=True,
    tunnels=("vpn-hz-1", "vpn-hz-2"),
    networks=(IPv4Network("100.64.0.0/10"), IPv4Network("172.16.0.0/16")),
    exits=(("eth3", (IPv4Network("172.16.0.0/16"),)),),
    local_side=("lan0",),
)

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=15)
sorted_names = st.frozensets(names, max_size=4).map(lambda found: tuple(sorted(found)))
addresses = st.integers(0, 2**32 - 1)
networks = st.lists(
    st.builds(lambda a, n: IPv4Network((a >> 32 - n << 32 - n, n)), addresses, st.integers(0, 32)), max_size=6
).map(lambda found: tuple(collapse_addresses(found)))


@st.composite
def guards(draw: st.DrawFn) -> LeakGuardRules:
    tunnels = draw(sorted_names)
    side = draw(st.none() | sorted_names.map(lambda found: tuple(n for n in found if n not in tunnels)))
    return LeakGuardRules(
        drops=draw(st.booleans()),
        tunnels=tunnels,
        networks=draw(networks),
        exits=tuple(sorted(draw(st.dictionaries(names, networks, max_size=3)).items())),
        local_side=side,
        local_by_default=side is not None and draw(st.booleans()),
    )


def table(guard: LeakGuardRules | None) -> FilterTable:
    return FilterTable(maximum=MAXIMUM, guard=guard)


def sent(*, of: FilterTable, was: FilterTable | None = None) -> list[NetlinkMessage]:
    action = Replace(of, was) if was else Add(of)
    found = messages(b"".join(request.data for request in requests(action, of)))
    return [m for m in found if m.type >> 8 == NFNL_SUBSYS_NFTABLES]


def kinds(sent_: list[NetlinkMessage]) -> set[int]:
    return {message.type & 0xFF for message in sent_}


def rules(made: FilterTable) -> list[NftRule]:
    return [rule_row(m.body) for m in sent(of=made) if m.type & 0xFF == NFT_MSG_NEWRULE]


def filled(made: FilterTable) -> dict[str, list[SetKey]]:
    """Return the elements as they were sent, by set."""
    found: dict[str, list[SetKey]] = {name: [] for name in set_names(rules(made))}
    for message in sent(of=made):
        if message.type & 0xFF == NFT_MSG_NEWSETELEM:
            name = string(attributes(message.body, NFGENMSG.size)[2])
            found[name] += set_keys(message.body)
    return found


@given(guards())
def test_every_guard_can_be_told_and_read_back(guard: LeakGuardRules) -> None:
    assert table_of(rules(table(guard)), filled(table(guard))) == table(guard)


@given(guards(), st.data())
def test_a_missing_rule_is_seen(guard: LeakGuardRules, data: st.DataObject) -> None:
    made = rules(table(guard))
    missing = data.draw(st.integers(0, len(made) - 1))
    left = [rule for n, rule in enumerate(made) if n != missing]
    found = {name: keys for name, keys in filled(table(guard)).items() if name in set_names(left)}
    assert table_of(left, found) != table(guard)


@given(guards(), st.data())
def test_a_missing_element_is_seen(guard: LeakGuardRules, data: st.DataObject) -> None:
    found = filled(table(guard))
    places = [(name, n) for name, keys in found.items() for n in range(len(keys))]
    if places:
        name, index = data.draw(st.sampled_from(places))
        del found[name][index]
        assert table_of(rules(table(guard)), found) != table(guard)


@given(guards(), st.data())
def test_rules_in_another_order_are_seen(guard: LeakGuardRules, data: st.DataObject) -> None:
    """An acceptance after the drop accepts nothing."""
    made = rules(table(guard))
    of_guard = [row for row in made if row.chain == leak_guard.OUTWARD_CHAIN]
    shuffled = data.draw(st.permutations(of_guard))
    others = [row for row in made if row.chain != leak_guard.OUTWARD_CHAIN]
    same = shuffled == of_guard
    found = {name: keys for name, keys in filled(table(guard)).items() if name in set_names(shuffled)}
    if not same:
        assert table_of([*others, *shuffled], found) != table(guard)


@given(networks, addresses)
def test_an_address_is_in_the_set_if_it_is_in_a_network(found: tuple[IPv4Network, ...], number: int) -> None:
    guard = LeakGuardRules(drops=True, tunnels=(), networks=found)
    below = [
        (int.from_bytes(key), flags)
        for key, flags in sets(guard)["remote_networks"]
        if int.from_bytes(key) <= number
    ]
    within = bool(below) and not max(below, key=lambda pair: (pair[0], -pair[1]))[1]
    assert within == any(IPv4Address(number) in network for network in found)


def test_a_change_keeps_the_counters_and_removes_what_was() -> None:
    fewer = LeakGuardRules(drops=False, tunnels=("vpn-hz-1",), networks=GUARD.networks)
    changed = kinds(sent(of=table(fewer), was=table(GUARD)))
    assert NFT_MSG_DELTABLE not in changed
    assert {NFT_MSG_DELRULE, NFT_MSG_DELSET, NFT_MSG_NEWOBJ} <= changed


@pytest.mark.parametrize("was", [ODD_TABLE, table(None)])
def test_what_is_odd_or_without_a_guard_is_made_anew(was: FilterTable) -> None:
    assert NFT_MSG_DELTABLE in kinds(sent(of=table(GUARD), was=was))


def test_a_removal_takes_it_all() -> None:
    removal = [
        m.type & 0xFF for m in messages(b"".join(r.data for r in requests(Remove(GUARD_TABLE), GUARD_TABLE)))
    ]
    assert removal[1:-1] == [NFT_MSG_DELTABLE]


GUARD_TABLE = table(GUARD)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (lambda g: g, "leak guard drop 2 networks exit eth3 from-tunnels-to tunnels lan0"),
        (
            lambda g: LeakGuardRules(drops=False, tunnels=g.tunnels, networks=g.networks[:1]),
            "leak guard count 1 network from-tunnels-to anywhere",
        ),
    ],
)
def test_the_log_says_what_it_does(
    changes: Callable[[LeakGuardRules], LeakGuardRules], expected: str
) -> None:
    assert re.search(re.escape(expected), str(Add(table(changes(GUARD)))))
