"""Which marks a packet may bear, against an interpreter that knows every answer."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.checks import iptables_text, nft_json
from vpnagent.checks.firewall import (
    UNKNOWN,
    Chain,
    FilterRule,
    Marking,
    Match,
    Packet,
    RuleAction,
    Ruleset,
    constants,
    marking,
)

PACKET = Packet(("prerouting",), {"iifname": "lan0", "daddr": 7})
HOLDS, FAILS, MARKED = Match("daddr", ((7, 7),)), Match("daddr", ((8, 9),)), Match("mark", ((1, 1),))
SET_1, SET_2, OR_4, LOST = (0, 1), (0, 2), (0xFFFFFFFB, 4), None


def base(*rules: FilterRule, **others: tuple[FilterRule, ...]) -> Ruleset:
    chains = {name: Chain(name=name, rules=inner) for name, inner in others.items()}
    return Ruleset({"base": Chain(name="base", hook="prerouting", rules=rules), **chains})


def mark(change: tuple[int, int] | None, *matches: Match) -> FilterRule:
    return FilterRule(matches, RuleAction.MARK, mark=change)


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ((), Marking((0,))),
        ((mark(SET_1),), Marking((1,))),
        ((mark(SET_1, FAILS),), Marking((0,))),
        ((mark(SET_1, UNKNOWN),), Marking((0, 1))),
        ((mark(SET_1), mark(OR_4)), Marking((5,))),
        ((mark(SET_1), mark(SET_2, MARKED)), Marking((2,))),
        ((FilterRule((), RuleAction.ACCEPT), mark(SET_1)), Marking((0,))),
        ((mark(SET_1, UNKNOWN), FilterRule((MARKED,), RuleAction.DROP)), Marking((0,))),
        ((mark(LOST),), Marking((), unclear=True)),
        ((mark(LOST, UNKNOWN),), Marking((0,), unclear=True)),
    ],
)
def test_marks_after_rules(rules: tuple[FilterRule, ...], found: Marking) -> None:
    assert marking(base(*rules), PACKET) == found


def test_a_jump_comes_back_and_a_goto_does_not() -> None:
    inner = (mark(SET_1),)
    assert marking(base(FilterRule((), RuleAction.JUMP, "a"), mark(OR_4), a=inner), PACKET) == Marking((5,))
    assert marking(base(FilterRule((), RuleAction.GOTO, "a"), mark(OR_4), a=inner), PACKET) == Marking((1,))


def rules(deeper: tuple[str, ...]) -> st.SearchStrategy[tuple[FilterRule, ...]]:
    matches = st.lists(st.sampled_from([HOLDS, FAILS, UNKNOWN, MARKED]), max_size=2).map(tuple)
    plain = st.sampled_from([RuleAction.ACCEPT, RuleAction.DROP, RuleAction.RETURN, RuleAction.NOTHING])
    setting = st.builds(lambda m, c: mark(c, *m), matches, st.sampled_from([SET_1, SET_2, OR_4]))
    rule = st.one_of(st.builds(FilterRule, matches, plain), setting)
    if deeper:
        jump = st.builds(
            FilterRule, matches, st.sampled_from([RuleAction.JUMP, RuleAction.GOTO]), st.sampled_from(deeper)
        )
        rule = st.one_of(rule, jump)
    return st.lists(rule, max_size=4).map(tuple)


def walk(
    ruleset: Ruleset, rules_: tuple[FilterRule, ...], value: int, known: dict[int, bool]
) -> tuple[str, int]:
    """Return how a packet leaves a chain, and its mark; ``known``: whether a rule's unknown matches hold."""
    for rule in rules_:
        fields = {**PACKET.fields, "mark": value}
        packet = Packet(PACKET.hooks, fields)
        if not all(known[id(rule)] if m == UNKNOWN else m.holds(packet) for m in rule.matches):
            continue
        match rule.action:
            case RuleAction.ACCEPT | RuleAction.DROP | RuleAction.RETURN:
                return rule.action.value, value
            case RuleAction.MARK:
                keep, change = rule.mark or (0, 0)
                value = (value & keep) ^ change
            case RuleAction.JUMP | RuleAction.GOTO:
                how, value = walk(ruleset, ruleset.chains[rule.target].rules, value, known)
                if how in ("accept", "drop"):
                    return how, value
                if rule.action is RuleAction.GOTO:
                    return "return", value
            case _:
                pass
    return "end", value


@given(rules(("a",)), rules(()))
def test_what_may_be_is_what_is_for_some_answer_of_what_is_not_known(
    first: tuple[FilterRule, ...], inner: tuple[FilterRule, ...]
) -> None:
    ruleset = base(*first, a=inner)
    doubtful = [rule for rule in (*first, *inner) if UNKNOWN in rule.matches]
    ends = set()
    for answers in itertools.product((True, False), repeat=len(doubtful)):
        known = {id(rule): answer for rule, answer in zip(doubtful, answers, strict=True)}
        how, value = walk(ruleset, first, 0, known)
        if how != "drop":
            ends.add(value)
    # An inner chain that is passed twice may answer otherwise the second time: no mark is missed.
    assert ends <= set(marking(ruleset, PACKET).possible)


NFT = {
    "meta mark set 1": {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}},
    "or 4": {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"meta": {"key": "mark"}}, 4]}}},
    "ct mark": {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"ct": {"key": "mark"}}}},
}


@pytest.mark.parametrize(
    ("name", "found"), [("meta mark set 1", (1,)), ("or 4", (4,)), ("ct mark", ())], ids=[*NFT]
)
def test_marks_are_read_from_what_nft_prints(name: str, found: tuple[int, ...]) -> None:
    chain = {"family": "ip", "table": "pbr", "name": "pre", "hook": "prerouting", "prio": -150}
    rule = {"family": "ip", "table": "pbr", "chain": "pre", "expr": [NFT[name]]}
    ruleset = nft_json.ruleset(json.loads(json.dumps({"nftables": [{"chain": chain}, {"rule": rule}]})))
    assert marking(ruleset, PACKET).possible == found
    assert constants(ruleset) == frozenset(found)


def test_marks_are_read_from_what_iptables_save_prints() -> None:
    text = "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i lan0 -j MARK --set-xmark 0x1/0xff\nCOMMIT\n"
    ruleset = Ruleset(iptables_text.chains(text))
    assert marking(ruleset, PACKET) == Marking((1,))
