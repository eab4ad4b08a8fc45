from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.netlink.recorded import KERNELS, recorded

from vpnagent.netlink.message import HEADER, NetlinkMessage, attributes, messages, string
from vpnagent.netlink.nft import (
    NFGENMSG,
    NFNL_MSG_BATCH_BEGIN,
    NFNL_MSG_BATCH_END,
    NFT_MSG_NEWRULE,
    NftRule,
    rule_row,
)
from vpnagent.routing.actions import Add, Remove
from vpnagent.routing.filter_table import is_dormant, is_hooked, requests, table_of
from vpnagent.routing.objects import FilterTable

CLAMP = FilterTable(maximum=(("vpn-hz-1", 1359), ("vpn-hz-2", 1359)))
NO_CLAMP = FilterTable(maximum=())

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=15)
clamps = st.dictionaries(names, st.integers(88, 9000), min_size=1, max_size=5).map(
    lambda sizes: FilterTable(maximum=tuple(sorted(sizes.items())))
)


def sent(clamp: FilterTable) -> list[NetlinkMessage]:
    return list(messages(b"".join(r.data for r in requests(Add(clamp), clamp))))


def clamp_of(rows: Iterable[NftRule]) -> FilterTable:
    return table_of(list(rows), {})


def rules(clamp: FilterTable) -> list[NftRule]:
    return [rule_row(m.body) for m in sent(clamp) if m.type & 0xFF == NFT_MSG_NEWRULE and m.type >> 8]


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_the_kernel_was_told_is_read_back(kernel: str) -> None:
    assert clamp_of(rule_row(body) for body in recorded(kernel, "rules")) == CLAMP
    assert [is_hooked(body) for body in recorded(kernel, "chain")] == [True]
    assert [is_dormant(body) for body in recorded(kernel, "table")] == [False]


@given(clamps)
def test_every_clamp_can_be_told_and_read_back(clamp: FilterTable) -> None:
    assert clamp_of(rules(clamp)) == clamp


@given(clamps, st.data())
def test_a_missing_rule_is_seen(clamp: FilterTable, data: st.DataObject) -> None:
    made = rules(clamp)
    missing = data.draw(st.sampled_from(made))

    assert clamp_of(rule for rule in made if rule != missing) != clamp


@given(
    clamps, st.sampled_from([("maxseg", "by hand"), ("maxseg", ""), ("forward", ""), ("maxseg", "in x 1")])
)
def test_a_rule_that_is_not_ours_is_seen(clamp: FilterTable, extra: tuple[str, str]) -> None:
    assert clamp_of([*rules(clamp), NftRule(*extra)]) == NO_CLAMP


def test_a_rule_that_stands_twice_is_seen() -> None:
    made = rules(CLAMP)

    assert clamp_of([*made, made[-1]]) == NO_CLAMP


def test_the_table_is_made_anew_in_one_transaction() -> None:
    kinds = [message.type for message in sent(CLAMP)]

    assert (kinds[0], kinds[-1]) == (NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END)
    assert [kind & 0xFF for kind in kinds[1:4]] == [0, 2, 0]  # make, remove, make: it may be there or not


def test_a_removal_is_content_with_a_table_that_is_gone() -> None:
    [_, removal, _] = requests(Remove(CLAMP), CLAMP)

    assert removal.harmless
    assert string(attributes(removal.data[HEADER.size :], NFGENMSG.size)[1]) == "vpnagent"
