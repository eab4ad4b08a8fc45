"""What is said before a reload."""

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config
from tests.status.test_report import path

from vpnagent.config.values import Config, Tunnel, TunnelKey
from vpnagent.daemon.live_change import (
    ADDED,
    ALONE,
    ENDED,
    INBOUND,
    MOVED,
    NOTHING,
    REMOVED,
    RENAMED,
    RENEWED,
    REPLACED,
    TAKEN_DOWN,
    carry_over,
    tunnel_changes,
)
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.policy.selection import PathState, Verdict
from vpnagent.secret import Secret

CONFIG = make_config()
PRIMARY, BACKUP = CONFIG.tunnels()
RENAMED_PRIMARY = replace(PRIMARY, key=PRIMARY.key._replace(tunnel="renamed"))


def with_tunnels(*tunnels: Tunnel) -> Config:
    [connection] = CONFIG.connections
    return replace(CONFIG, connections=(replace(connection, tunnels=tunnels),))


def said(old: Config, new: Config) -> list[tuple[str, str, str]]:
    return [(c.tunnel.tunnel, c.change, c.interruption) for c in tunnel_changes(old, new)]


def test_without_a_change_nothing_is_said() -> None:
    assert said(CONFIG, CONFIG) == []


def test_a_second_tunnel_touches_no_other() -> None:
    [(name, change, _)] = said(with_tunnels(PRIMARY), CONFIG)
    assert (name, change) == ("backup", ADDED)


def test_a_second_line_to_the_same_address_touches_no_other() -> None:
    ends = {"remote_address": PRIMARY.remote_address, "remote_id": PRIMARY.remote_id, "local_id": "192.0.2.9"}
    line = replace(BACKUP, local_address=IPv4Address("192.0.2.9"), **ends)  # type: ignore[arg-type]
    assert said(with_tunnels(PRIMARY), with_tunnels(PRIMARY, line)) == [("backup", ADDED, NOTHING)]


def test_the_last_tunnel_that_goes_interrupts() -> None:
    assert said(CONFIG, with_tunnels(PRIMARY)) == [("backup", REMOVED, MOVED)]
    assert [row[2] for row in said(CONFIG, replace(CONFIG, connections=()))] == [ENDED, ENDED]


def test_a_tunnel_under_another_name_keeps_its_sas() -> None:
    row = ("renamed", RENAMED.format(PRIMARY.key), NOTHING)
    assert said(with_tunnels(PRIMARY), with_tunnels(RENAMED_PRIMARY)) == [row]
    assert said(CONFIG, with_tunnels(RENAMED_PRIMARY, BACKUP)) == [row]


def test_a_renamed_tunnel_with_other_settings_is_renegotiated() -> None:
    other = replace(RENAMED_PRIMARY, psk=Secret(b"another"))
    rows = said(with_tunnels(PRIMARY), with_tunnels(other))
    assert ("renamed", TAKEN_DOWN, ALONE) in rows


def test_a_tunnel_with_another_name_and_interface_id_is_another_tunnel() -> None:
    other = replace(RENAMED_PRIMARY, if_id=77)
    assert (PRIMARY.name, REMOVED, REPLACED) in said(with_tunnels(PRIMARY), with_tunnels(other, BACKUP))
    assert (PRIMARY.name, REMOVED, MOVED) in said(CONFIG, with_tunnels(other, BACKUP))


def test_another_proposal_is_negotiated_beside() -> None:
    [connection] = CONFIG.connections
    changed = replace(connection, ike=replace(connection.ike, encryption="aes256"))
    assert said(CONFIG, replace(CONFIG, connections=(changed,))) == [
        ("primary", RENEWED, INBOUND),
        ("backup", RENEWED, INBOUND),
    ]


def test_another_key_takes_the_tunnel_down() -> None:
    other = replace(PRIMARY, psk=Secret(b"another"))
    assert said(CONFIG, with_tunnels(other, BACKUP)) == [("primary", TAKEN_DOWN, MOVED)]
    assert said(with_tunnels(PRIMARY), with_tunnels(other)) == [("primary", TAKEN_DOWN, ALONE)]


subsets = st.lists(st.sampled_from([PRIMARY, BACKUP]), max_size=2, unique=True)


@given(subsets, subsets)
def test_what_is_said_is_what_differs(old: list[Tunnel], new: list[Tunnel]) -> None:
    named = {name for name, _, _ in said(with_tunnels(*old), with_tunnels(*new))}
    assert named == {t.name for t in {*old} ^ {*new}}


# What is known of a tunnel under its former name.

PRIMARY_KEY, BACKUP_KEY = (tunnel.key for tunnel in CONFIG.tunnels())
OTHER = TunnelKey("beijing", "other")


def test_everything_known_goes_with_the_name() -> None:
    known = Knowledge(config=CONFIG, loaded_at=0.0, drained=frozenset({PRIMARY_KEY}))
    known.charon.verdicts = {
        PRIMARY_KEY: Verdict(child_sa_installed=True),
        BACKUP_KEY: Verdict(child_sa_installed=False),
    }
    known.probe.paths = {PRIMARY_KEY: path(PRIMARY_KEY, PathState.DOWN)}
    known.kernel.selected = {"hangzhou": ("primary",)}
    [connection] = CONFIG.connections
    first, second = connection.tunnels
    known.config = replace(
        CONFIG,
        connections=(replace(connection, name="beijing", tunnels=(replace(first, key=OTHER), second)),),
    )
    carry_over(known, {OTHER: PRIMARY_KEY})
    verdict = known.verdicts()[OTHER]
    assert (verdict.child_sa_installed, verdict.drained, verdict.path) == (True, True, PathState.DOWN)
    assert known.probe.paths[OTHER].tunnel == OTHER
    assert known.carrying() == {OTHER}


def test_without_a_new_name_nothing_changes() -> None:
    known = Knowledge(config=CONFIG, loaded_at=0.0)
    known.kernel.selected = {"hangzhou": ("backup",)}
    carry_over(known, {})
    assert known.carrying() == {BACKUP_KEY}
