"""The walk through a packet filter, against an interpreter that knows every answer."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnagent.checks.firewall import (
    UNKNOWN,
    Chain,
    Fate,
    FilterRule,
    Match,
    Packet,
    RuleAction,
    Ruleset,
    fate,
)

PACKET = Packet(("input",), {"dport": 500, "saddr": 7, "iifname": "vpn-hz-1", "mark": 0})
HOLDS, FAILS = Match("dport", ((500, 500),)), Match("dport", ((1, 9),))
NAMES = ("base", "a", "b")


def base(
    *rules: FilterRule, policy: RuleAction = RuleAction.ACCEPT, **others: tuple[FilterRule, ...]
) -> Ruleset:
    """Return a ruleset with one hooked chain, and others that it may jump to."""
    chains = {name: Chain(name=name, rules=inner) for name, inner in others.items()}
    return Ruleset({"base": Chain(name="base", hook="input", policy=policy, rules=rules), **chains})


def matches() -> st.SearchStrategy[tuple[Match, ...]]:
    return st.lists(st.sampled_from([HOLDS, FAILS, UNKNOWN]), max_size=2).map(tuple)


def rules(deeper: tuple[str, ...]) -> st.SearchStrategy[tuple[FilterRule, ...]]:
    """Return lists of rules that jump only to chains further down: there are no circles in the kernel."""
    plain = st.sampled_from([RuleAction.ACCEPT, RuleAction.DROP, RuleAction.RETURN, RuleAction.NOTHING])
    rule = st.builds(FilterRule, matches(), plain)
    if deeper:
        jump = st.builds(
            FilterRule,
            matches(),
            st.sampled_from([RuleAction.JUMP, RuleAction.GOTO]),
            st.sampled_from(deeper),
        )
        rule = st.one_of(rule, jump)
    return st.lists(rule, max_size=3).map(tuple)


RULESETS = st.builds(
    lambda policy, first, second, third: base(*first, policy=policy, a=second, b=third),
    st.sampled_from([RuleAction.ACCEPT, RuleAction.DROP]),
    rules(("a", "b")),
    rules(("b",)),
    rules(()),
)


def places(ruleset: Ruleset) -> list[tuple[str, int]]:
    """Return the rules with a match that is not understood."""
    return [
        (name, index)
        for name, chain in ruleset.chains.items()
        for index, rule in enumerate(chain.rules)
        if UNKNOWN in rule.matches
    ]


def dropped(ruleset: Ruleset, known: Mapping[tuple[str, int], bool]) -> bool:
    """Return what becomes of the packet when every match is known."""

    def run(name: str) -> RuleAction:
        for index, rule in enumerate(ruleset.chains[name].rules):
            if FAILS in rule.matches or not known.get((name, index), True):
                continue
            match rule.action:
                case RuleAction.JUMP if (inner := run(rule.target)) is not RuleAction.RETURN:
                    return inner
                case RuleAction.GOTO:
                    return run(rule.target)
                case RuleAction.ACCEPT | RuleAction.DROP | RuleAction.RETURN:
                    return rule.action
                case _:
                    continue
        return RuleAction.RETURN

    verdict = run("base")
    return (ruleset.chains["base"].policy if verdict is RuleAction.RETURN else verdict) is RuleAction.DROP


@settings(max_examples=300)
@given(RULESETS)
def test_the_walk_never_claims_what_some_reading_of_the_unknown_contradicts(ruleset: Ruleset) -> None:
    unknown = places(ruleset)[:8]
    readings = itertools.product([False, True], repeat=len(unknown))
    ends = {dropped(ruleset, dict(zip(unknown, reading, strict=True))) for reading in readings}
    found = fate(ruleset, PACKET)

    if found.dropped:
        assert ends == {True}
    elif not found.doubtful:
        assert ends == {False}
    if not unknown:
        assert not found.doubtful


@pytest.mark.parametrize(
    ("value", "match", "holds"),
    [
        (500, Match("dport", ((400, 600),)), True),
        (500, Match("dport", ((501, 600), (1, 2))), False),
        (500, Match("dport", ((500, 500),), negated=True), False),
        ("vpn-hz-1", Match("iifname", ("vpn-*",)), True),
        ("vpn-hz-1", Match("iifname", ("vpn-hz-10",)), False),
        (0x10005, Match("mark", ((0x5, 0x5),), mask=0xFF), True),
    ],
)
def test_a_match_is_of_ranges_names_and_masks(value: int | str, match: Match, holds: bool) -> None:
    assert match.holds(Packet(("input",), {match.field: value})) is holds


def test_what_the_packet_leaves_open_may_hold_or_not() -> None:
    drops = base(FilterRule((Match("oifname", ("lan",)),), RuleAction.DROP))

    assert fate(drops, PACKET).doubtful is not None


def test_accepting_is_the_end_of_a_chain_and_not_of_the_hook() -> None:
    early = Chain(name="early", hook="input", priority=-10, rules=(FilterRule((), RuleAction.ACCEPT),))
    late = Chain(name="late", hook="input", priority=10, policy=RuleAction.DROP)

    hit = fate(Ruleset({"late": late, "early": early}), PACKET).dropped

    assert str(hit) == "late: policy drop"


def test_only_the_first_packet_of_a_flow_is_translated() -> None:
    nat = Chain(name="n", hook="input", translates=True, rules=(FilterRule((), RuleAction.REDIRECT),))
    filters = Ruleset({"n": nat})

    assert fate(filters, PACKET).redirected is not None
    assert fate(filters, Packet(PACKET.hooks, PACKET.fields, first=False)) == Fate()


def test_after_a_mark_was_set_nothing_is_claimed_about_marks() -> None:
    marked = Match("mark", ((0, 0),))
    untouched = base(FilterRule((marked,), RuleAction.DROP))
    touched = base(FilterRule((), RuleAction.MARK), FilterRule((marked,), RuleAction.DROP))

    assert fate(untouched, PACKET).dropped
    assert (fate(touched, PACKET).dropped, bool(fate(touched, PACKET).doubtful)) == (None, True)


def test_a_circle_of_jumps_which_the_kernel_refuses_ends() -> None:
    circle = base(FilterRule((), RuleAction.JUMP, "a"), a=(FilterRule((), RuleAction.JUMP, "a"),))

    assert fate(circle, PACKET) == Fate()
