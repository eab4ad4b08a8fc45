"""The words about a selection agree with the selection."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config, make_connection, make_tunnel

from vpnagent.config.values import Config, Forwarding, TunnelKey
from vpnagent.daemon.planning import assumed
from vpnagent.errors import ControlError
from vpnagent.policy.choice import WORDS, Mode, carriers, choices, to_plain, verdict_of
from vpnagent.policy.desired import desired, nexthop_ids
from vpnagent.policy.selection import PathState, Verdict

CONFIG = make_config()
PRIMARY, BACKUP = (t.key for t in CONFIG.tunnels())


def told(*words: str, carrying: TunnelKey = PRIMARY) -> list[str]:
    verdicts = {t.key: WORDS[word] for t, word in zip(CONFIG.tunnels(), words, strict=True)}
    [choice] = choices(CONFIG, verdicts, {carrying})
    return list(choice.lines())


@pytest.mark.parametrize(
    ("primary", "backup", "lines"),
    [
        (
            "up",
            "up",
            [
                "connection hangzhou: traffic on primary",
                "  * primary: path up, role active",
                "    backup: path up; primary is as good and comes first: role active",
            ],
        ),
        (
            "degraded",
            "up",
            [
                "connection hangzhou: traffic on backup",
                "    primary: path degraded; backup is better: path up",
                "  * backup: path up, role standby",
            ],
        ),
        (
            "down",
            "up",
            [
                "connection hangzhou: traffic on backup",
                "    primary: no CHILD_SA: it can carry nothing",
                "  * backup: path up, role standby",
            ],
        ),
        (
            "drained",
            "up",
            [
                "connection hangzhou: traffic on backup",
                "    primary: drained: others carry",
                "  * backup: path up, role standby",
            ],
        ),
        (
            "silent",
            "silent",
            [
                "connection hangzhou: traffic on primary",
                "  every path is silent: what carries already stays (fail static)",
                "  * primary: path silent, role active",
                "    backup: path silent; primary is as good and carries already: two bad paths do not take "
                "turns",
            ],
        ),
        (
            "down",
            "down",
            [
                "connection hangzhou: traffic on no tunnel",
                "  no tunnel has a CHILD_SA: the guard answers with unreachable, nothing leaves in clear "
                "(fail closed)",
                "    primary: no CHILD_SA: it can carry nothing",
                "    backup: no CHILD_SA: it can carry nothing",
            ],
        ),
    ],
)
def test_the_reason_is_told(primary: str, backup: str, lines: list[str]) -> None:
    assert told(primary, backup) == lines


def test_of_two_bad_paths_the_one_that_carries_stays() -> None:
    assert told("degraded", "degraded", carrying=BACKUP)[1] == (
        "    primary: path degraded; backup is as good and carries already: two bad paths do not take turns"
    )


verdicts = st.builds(
    Verdict,
    child_sa_installed=st.booleans(),
    drained=st.booleans(),
    path=st.sampled_from(PathState),
    blameless=st.booleans(),
)


def four_tunnels(first: Forwarding, second: Forwarding) -> Config:
    """Return two connections that share one network; the first has another of its own."""
    base = make_connection()
    one = make_connection(forwarding=first)
    tunnels = tuple(
        make_tunnel(n, key=TunnelKey("other", name), interface=f"o{n}", if_id=10 + n)
        for n, name in ((1, "a"), (2, "b"))
    )
    other = make_connection(
        name="other", forwarding=second, tunnels=tunnels, remote_networks=base.remote_networks[:1]
    )
    return replace(CONFIG, connections=(one, other))


@given(
    st.lists(verdicts, min_size=4, max_size=4),
    st.sets(st.integers(0, 3)),
    st.sampled_from(Forwarding),
    st.sampled_from(Forwarding),
)
def test_what_is_told_is_what_the_groups_hold(
    four: list[Verdict], carrying: set[int], first: Forwarding, second: Forwarding
) -> None:
    config = four_tunnels(first, second)
    keys = [t.key for t in config.tunnels()]
    known = dict(zip(keys, four, strict=True))
    carried = {keys[n] for n in carrying}
    ids = nexthop_ids(config)
    groups = desired(config, known, carried).kernel.groups.values()
    held = {id_ for group in groups for id_, _ in group.members}
    for connection, choice in zip(config.connections, choices(config, known, carried), strict=True):
        assert choice.carries == [t.name for t in connection.tunnels if ids[t.interface] in held]
        assert (choice.mode is Mode.FAIL_CLOSED) == (
            not any(known[t.key].child_sa_installed for t in connection.tunnels)
        )
        assert all(tunnel.reason for tunnel in choice.tunnels)


@given(verdicts)
def test_what_the_daemon_knows_survives_the_socket(verdict: Verdict) -> None:
    plain = to_plain({PRIMARY: verdict}, [PRIMARY])
    assert verdict_of(plain["tunnels"][str(PRIMARY)]) == verdict
    assert plain["carrying"] == [str(PRIMARY)]


def test_without_a_daemon_every_tunnel_is_up_and_the_active_one_carries() -> None:
    verdicts, carrying = assumed(CONFIG, {}, [])
    assert set(verdicts.values()) == {WORDS["up"]}
    assert carrying == {PRIMARY} == carriers(CONFIG, verdicts)


def test_an_assumption_replaces_what_the_daemon_sees_but_not_what_carries() -> None:
    seen = to_plain({PRIMARY: WORDS["silent"], BACKUP: WORDS["up"]}, [BACKUP])
    verdicts, carrying = assumed(CONFIG, seen, ["backup=silent"])
    assert verdicts == {PRIMARY: WORDS["silent"], BACKUP: WORDS["silent"]}
    assert carrying == {BACKUP}


def test_an_unknown_word_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ControlError, match="TUNNEL=degraded, TUNNEL=silent"):
        assumed(CONFIG, {}, ["primary=dead"])
