"""SAs that charon has under a former name of their tunnel."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.ipsec.connections import by_name, make_child, make_connection, make_ike_sa

from vpnagent.ipsec.plan import present_names, under_present_names

RENAMED = by_name(make_connection("renamed", cloud="beijing"))
[NAME] = RENAMED


def test_what_carries_a_tunnels_traffic_is_that_tunnels_whatever_its_name() -> None:
    assert present_names([make_ike_sa()], RENAMED) == {"vpnagent.hangzhou.primary": NAME}


def test_another_peer_or_interface_id_or_nothing_that_carries_is_no_tunnel_of_ours() -> None:
    elsewhere = make_ike_sa(remote_host="203.0.113.77")
    other = make_ike_sa(children=(make_child(if_id=2),))
    empty = make_ike_sa(children=())
    assert present_names([elsewhere, other, empty], RENAMED) == {}


def test_the_sas_of_a_tunnel_under_its_own_name_are_left_alone() -> None:
    own = make_ike_sa(NAME)
    assert present_names([own], RENAMED) == {}
    assert under_present_names([own], {}) == (own,)


def test_a_child_sa_that_was_negotiated_under_the_present_name_keeps_it() -> None:
    sa = make_ike_sa(children=(make_child("primary"), make_child("renamed"), make_child("primary2")))
    [seen] = under_present_names([sa], {"vpnagent.hangzhou.primary": NAME})
    assert [child.name for child in seen.children] == ["renamed", "renamed", "primary2"]


@given(st.lists(st.sampled_from(["primary", "primary.2", "primary.3"]), unique=True))
def test_only_names_change(children: list[str]) -> None:
    sa = make_ike_sa(children=tuple(map(make_child, children)))
    [seen] = under_present_names([sa], {"vpnagent.hangzhou.primary": NAME})
    assert seen.connection == NAME
    assert [child.name for child in seen.children] == [n.replace("primary", "renamed") for n in children]
    assert [replace(c, name="") for c in seen.children] == [replace(c, name="") for c in sa.children]
    assert replace(seen, connection="", children=()) == replace(sa, connection="", children=())
