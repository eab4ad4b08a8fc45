from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_connection, make_tunnel

from vpnagent.config.values import Forwarding, TunnelKey
from vpnagent.policy.selection import PathState, Verdict, select, select_shared, usable

WORDS = {
    "up": Verdict(child_sa_installed=True, path=PathState.UP),
    "degraded": Verdict(child_sa_installed=True, path=PathState.DEGRADED),
    "full": Verdict(child_sa_installed=True, path=PathState.DEGRADED, blameless=True),
    "suspected": Verdict(child_sa_installed=True, path=PathState.UP, suspected=True),
    "hold-down": Verdict(child_sa_installed=True, path=PathState.HOLD_DOWN),
    "init": Verdict(child_sa_installed=True),
    "down": Verdict(child_sa_installed=True, path=PathState.DOWN),
    "drained": Verdict(child_sa_installed=True, path=PathState.UP, drained=True),
    "none": Verdict(child_sa_installed=False, path=PathState.DOWN),
}
NAMES = ["primary", "backup", "t3", "t4"]

# verdicts of primary, backup… | what carries now | what is to carry
ACTIVE_STANDBY = """
    up        up        |                | primary
    up        up        | backup         | primary
    down      up        | primary        | backup
    none      up        | primary        | backup
    drained   up        | primary        | backup
    drained   down      | primary        | backup
    drained   none      | backup         | primary
    degraded  up        | primary        | backup
    degraded  degraded  | backup         | backup
    degraded  hold-down | primary        | primary
    suspected up        | primary        | backup
    suspected degraded  | primary        | backup
    suspected hold-down | primary        | primary
    suspected suspected | primary        | primary
    up        suspected | backup         | primary
    hold-down up        | backup         | backup
    hold-down hold-down | backup         | backup
    hold-down down      | backup         | primary
    full      up        | primary        | primary
    full      full      | primary        | primary
    init      init      |                | primary
    init      init      | backup         | backup
    init      up        | backup         | backup
    init      up        | primary        | primary
    init      down      | backup         | primary
    down      down      | backup         | backup
    down      down      |                | primary
    down      none      | backup         | primary
    none      none      | primary        |
"""
ECMP = """
    up        up        |                | primary backup
    up        down      | primary backup | primary
    up        none      | primary backup | primary
    up        drained   | primary backup | primary
    up        hold-down | primary        | primary
    up        init      | primary        | primary
    up        init      | primary backup | primary backup
    up        degraded  | primary backup | primary
    up        suspected | primary backup | primary
    full      up        | primary backup | primary backup
    degraded  degraded  | primary        | primary backup
    hold-down down      | backup         | primary
    down      down      | backup         | backup
    down      down      |                | primary backup
    none      none      | backup         |
    up degraded degraded degraded | primary | primary backup t3 t4
    up up degraded degraded | primary       | primary backup
"""


def rows(table: str) -> list[list[list[str]]]:
    return [[cell.split() for cell in line.split("|")] for line in table.strip().splitlines()]


def verdicts_of(words: list[str]) -> dict[TunnelKey, Verdict]:
    return {TunnelKey("hangzhou", name): WORDS[word] for name, word in zip(NAMES, words, strict=False)}


def chosen(forwarding: Forwarding, verdicts: Mapping[TunnelKey, Verdict], carrying: list[str]) -> list[str]:
    tunnels = tuple(make_tunnel(n) for n in range(1, len(verdicts) + 1))
    connection = make_connection(forwarding=forwarding, tunnels=tunnels)
    renamed = {t.key: v for t, v in zip(tunnels, verdicts.values(), strict=True)}
    keys = [t.key for t in tunnels if t.name in carrying]
    return [t.name for t in select(connection, renamed, keys)]


@pytest.mark.parametrize(("words", "carrying", "expected"), rows(ACTIVE_STANDBY))
def test_active_standby(words: list[str], carrying: list[str], expected: list[str]) -> None:
    assert chosen(Forwarding.ACTIVE_STANDBY, verdicts_of(words), carrying) == expected


@pytest.mark.parametrize(("words", "carrying", "expected"), rows(ECMP))
def test_ecmp(words: list[str], carrying: list[str], expected: list[str]) -> None:
    assert chosen(Forwarding.ECMP, verdicts_of(words), carrying) == expected


def by_priority(verdicts: Mapping[TunnelKey, Verdict], carrying: list[str]) -> list[str]:
    """Return what carries of connections with a tunnel each, whose priority is the place in the list."""
    connections = [
        make_connection(name=key.tunnel, priority=10 * n, tunnels=(make_tunnel(n + 1, key=key),))
        for n, key in enumerate(verdicts)
    ]
    keys = [TunnelKey("hangzhou", name) for name in carrying]
    return [t.name for t in select_shared(reversed(connections), verdicts, keys)]


@pytest.mark.parametrize(("words", "carrying", "expected"), rows(ACTIVE_STANDBY))
def test_connections_have_a_priority_as_tunnels_have_a_role(
    words: list[str], carrying: list[str], expected: list[str]
) -> None:
    assert by_priority(verdicts_of(words), carrying) == expected


@given(st.lists(st.sampled_from(sorted(WORDS)), min_size=2, max_size=2), st.sets(st.sampled_from(NAMES[:2])))
def test_connections_by_priority_choose_as_tunnels_by_role_whatever_happens(
    words: list[str], carrying: set[str]
) -> None:
    if len(carrying) < 2:
        verdicts = verdicts_of(words)
        expected = chosen(Forwarding.ACTIVE_STANDBY, verdicts, sorted(carrying))
        assert by_priority(verdicts, sorted(carrying)) == expected


def test_those_of_one_priority_share_the_traffic_and_go_together() -> None:
    tunnels = [make_tunnel(n, key=TunnelKey("hangzhou", NAMES[n - 1])) for n in (1, 2, 3, 4)]
    connections = [
        make_connection(name=t.name, forwarding=Forwarding.ECMP, priority=priority, tunnels=(t,))
        for t, priority in zip(tunnels, (0, 0, 1, 1), strict=True)
    ]

    def shared(*words: str) -> list[str]:
        return [t.name for t in select_shared(connections, verdicts_of(list(words)))]

    assert shared("up", "up", "up", "up") == ["primary", "backup"]
    assert shared("up", "down", "up", "up") == ["primary"]
    assert shared("down", "none", "up", "up") == ["t3", "t4"]
    assert shared("drained", "drained", "degraded", "down") == ["t3"]
    assert shared("none", "none", "none", "none") == []


def test_without_any_verdict_nothing_is_chosen() -> None:
    assert select(make_connection(), {}) == ()


def test_a_drained_tunnel_or_one_without_child_sa_is_not_usable() -> None:
    assert [word for word, verdict in WORDS.items() if not usable(verdict)] == ["drained", "none"]


def test_a_connection_whose_paths_are_down_gives_way_to_those_that_share_its_networks() -> None:
    connections = [
        make_connection(name=name, tunnels=(make_tunnel(1, key=TunnelKey(name, "only")),))
        for name in ("a", "b", "c")
    ]
    words = {"a": "down", "b": "up", "c": "hold-down"}
    verdicts = {TunnelKey(name, "only"): WORDS[word] for name, word in words.items()}

    assert [t.key.connection for t in select_shared(connections, verdicts)] == ["b"]
    assert [t.key.connection for t in select_shared(connections[:1], verdicts)] == ["a"]


forwardings = st.sampled_from(Forwarding)
worlds = st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=4)
carriers = st.lists(st.sampled_from(NAMES), unique=True)


@given(forwardings, worlds, carriers)
def test_a_choice_stands_until_a_verdict_changes(
    f: Forwarding, words: list[str], carrying: list[str]
) -> None:
    first = chosen(f, verdicts_of(words), carrying)
    assert chosen(f, verdicts_of(words), first) == first


@given(forwardings, worlds, carriers)
def test_something_carries_exactly_while_a_child_sa_is_installed(
    f: Forwarding, words: list[str], carrying: list[str]
) -> None:
    assert bool(chosen(f, verdicts_of(words), carrying)) == any(word != "none" for word in words)


@given(forwardings, worlds, carriers)
def test_nothing_dead_or_drained_carries_while_something_else_lives(
    f: Forwarding, words: list[str], carrying: list[str]
) -> None:
    used = {words[NAMES.index(name)] for name in chosen(f, verdicts_of(words), carrying)}
    if set(words) & {"up", "full", "degraded", "hold-down"}:
        assert not used & {"down", "none", "drained"}


@given(worlds, carriers)
def test_active_standby_uses_one_tunnel(words: list[str], carrying: list[str]) -> None:
    assert len(chosen(Forwarding.ACTIVE_STANDBY, verdicts_of(words), carrying)) <= 1


@given(forwardings, worlds, carriers)
def test_sharing_with_nobody_changes_nothing(f: Forwarding, words: list[str], carrying: list[str]) -> None:
    tunnels = tuple(make_tunnel(n) for n in range(1, len(words) + 1))
    connection = make_connection(forwarding=f, tunnels=tunnels)
    verdicts = {t.key: WORDS[word] for t, word in zip(tunnels, words, strict=True)}
    keys = [t.key for t in tunnels if t.name in carrying]
    assert select_shared([connection], verdicts, keys) == select(connection, verdicts, keys)
