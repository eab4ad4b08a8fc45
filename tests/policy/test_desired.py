"""Policy as rows that a network engineer can review, and its laws."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config, make_connection, make_tunnel
from tests.ipsec.connections import make_esp, make_ike

from vpnagent.config.values import Config, Forwarding, TrafficSelectors, TunnelKey, UdpEncapsulation
from vpnagent.policy.desired import assign_ids, desired, group_ids, ipsec_connections, nexthop_ids, pins
from vpnagent.policy.selection import Verdict
from vpnagent.routing.objects import (
    GROUP_IDS,
    GUARD_METRIC,
    LANE_PRIORITIES,
    NEXTHOP_IDS,
    ROUTE_METRIC,
    Route,
)
from vpnagent.routing.uplinks import Pin, Steering

UP = Verdict(child_sa_installed=True)
DOWN = Verdict(child_sa_installed=False)
DRAINED = Verdict(child_sa_installed=True, drained=True)

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")
OSS = IPv4Network("100.64.0.0/10")


def carriers(config: Config, verdicts: dict[TunnelKey, Verdict]) -> str:
    """Return the interfaces that 100.64.0.0/10 leaves by, as a network engineer would write them."""
    kernel = desired(config, verdicts).kernel
    route = kernel.routes.get((OSS, ROUTE_METRIC))
    if route is None or route.group is None:
        return "unreachable"
    members = kernel.groups[route.group].members
    return "+".join(sorted(kernel.nexthops[id_].interface for id_, _ in members))


@pytest.mark.parametrize(
    ("forwarding", "primary", "backup", "via"),
    [
        ("active-standby", UP, UP, "vpn-hz-1"),
        ("active-standby", UP, DOWN, "vpn-hz-1"),
        ("active-standby", DOWN, UP, "vpn-hz-2"),
        ("active-standby", DOWN, DOWN, "unreachable"),
        ("active-standby", DRAINED, UP, "vpn-hz-2"),
        ("active-standby", DRAINED, DOWN, "vpn-hz-1"),
        ("active-standby", DRAINED, DRAINED, "vpn-hz-1"),
        ("ecmp", UP, UP, "vpn-hz-1+vpn-hz-2"),
        ("ecmp", DOWN, UP, "vpn-hz-2"),
        ("ecmp", DRAINED, UP, "vpn-hz-2"),
        ("ecmp", DRAINED, DOWN, "vpn-hz-1"),
        ("ecmp", DOWN, DOWN, "unreachable"),
    ],
)
def test_traffic_takes_the_tunnels_that_can_carry_it(
    forwarding: str, primary: Verdict, backup: Verdict, via: str
) -> None:
    config = make_config(connection={"forwarding": Forwarding(forwarding)})
    assert carriers(config, {PRIMARY: primary, BACKUP: backup}) == via


def test_a_tunnel_of_which_nothing_is_known_carries_nothing() -> None:
    assert carriers(make_config(), {}) == "unreachable"


def shared_by_two_connections() -> Config:
    config = make_config(connection={"forwarding": Forwarding.ECMP})
    other = make_tunnel(3, key=TunnelKey("beijing", "only"))
    second = make_connection(
        name="beijing", forwarding=Forwarding.ECMP, remote_networks=(OSS,), tunnels=(other,)
    )
    return replace(config, connections=(*config.connections, second))


def test_connections_with_the_same_network_share_one_group() -> None:
    verdicts = {PRIMARY: UP, BACKUP: UP, TunnelKey("beijing", "only"): UP}
    assert carriers(shared_by_two_connections(), verdicts) == "vpn-hz-1+vpn-hz-2+vpn-hz-3"


def test_the_shared_group_is_not_the_group_of_one_of_them() -> None:
    assert len(group_ids(shared_by_two_connections())) == 2


verdicts = st.fixed_dictionaries(
    {
        key: st.builds(Verdict, child_sa_installed=st.booleans(), drained=st.booleans())
        for key in (PRIMARY, BACKUP)
    }
)


@given(verdicts)
def test_every_prefix_is_guarded_whatever_happens(states: dict[TunnelKey, Verdict]) -> None:
    routes = desired(make_config(), states).kernel.routes
    for prefix in make_config().connections[0].remote_networks:
        assert routes[prefix, GUARD_METRIC].group is None


@given(verdicts, st.sampled_from(Forwarding))
def test_a_group_has_a_leg_and_each_leg_is_a_desired_nexthop(
    states: dict[TunnelKey, Verdict], forwarding: Forwarding
) -> None:
    kernel = desired(make_config(connection={"forwarding": forwarding}), states).kernel
    for group in kernel.groups.values():
        assert group.members
        assert {id_ for id_, _ in group.members} <= kernel.nexthops.keys()


@given(verdicts)
def test_traffic_flows_while_any_child_sa_is_installed(states: dict[TunnelKey, Verdict]) -> None:
    installed = any(v.child_sa_installed for v in states.values())
    assert (carriers(make_config(), states) != "unreachable") is installed


@given(st.sets(st.text(max_size=12), max_size=60))
def test_ids_are_unique_in_their_range_and_the_same_every_time(names: set[str]) -> None:
    small = range(100, 200)
    ids = assign_ids(names, small)
    assert len(set(ids.values())) == len(names)
    assert set(ids.values()) <= set(small)
    assert assign_ids(sorted(names, reverse=True), small) == ids


def test_ids_lie_in_our_ranges() -> None:
    assert set(nexthop_ids(make_config()).values()) <= set(NEXTHOP_IDS)
    assert set(group_ids(make_config()).values()) <= set(GROUP_IDS)


def test_an_interface_has_the_tunnels_mark_and_the_connections_mtu() -> None:
    link = desired(make_config(), {}).kernel.links["vpn-hz-1"]
    assert (link.alias, link.mtu, link.if_id) == ("vpnagent.hangzhou.primary", 1399, 1)


def test_the_clamp_leaves_room_for_the_headers() -> None:
    clamp = desired(make_config(), {}).kernel.filter_table
    assert clamp is not None
    assert clamp.maximum == (("vpn-hz-1", 1359), ("vpn-hz-2", 1359))


def test_nothing_configured_desires_no_object_of_ours() -> None:
    kernel = desired(replace(make_config(), connections=()), {}).kernel
    ours = [kernel.links, kernel.nexthops, kernel.groups, kernel.routes, kernel.filter_table]
    assert not any(ours)


@pytest.mark.parametrize(
    ("selectors", "local", "remote"),
    [
        (TrafficSelectors.ANY, ("0.0.0.0/0",), ("0.0.0.0/0",)),
        (TrafficSelectors.NETWORKS, ("10.1.0.0/16",), ("100.64.0.0/10", "172.16.0.0/16")),
    ],
)
def test_traffic_selectors(
    selectors: TrafficSelectors, local: tuple[str, ...], remote: tuple[str, ...]
) -> None:
    config = make_config(connection={"traffic_selectors": selectors})
    connection = desired(config, {}).connections["vpnagent.hangzhou.primary"]
    assert (connection.local_ts, connection.remote_ts) == (local, remote)


def test_a_tunnel_is_negotiated_with_its_own_settings_and_the_rest_is_as_it_was() -> None:
    own = {"ike": make_ike(dh_group=14), "esp": make_esp(pfs_group=14)}
    plain = desired(make_config(), {})
    made = desired(make_config(backup={**own, "udp_encapsulation": UdpEncapsulation.NEVER}), {})

    backup = made.connections[BACKUP.owner]
    assert {"ike": backup.ike, "esp": backup.esp} == own
    assert backup.udp_encapsulation is UdpEncapsulation.NEVER
    assert made.connections[PRIMARY.owner] == plain.connections[PRIMARY.owner]
    assert made.kernel == plain.kernel


def test_an_unknown_local_address_is_charons_to_choose() -> None:
    connection = desired(make_config(primary={"local_address": None}), {}).connections[PRIMARY.owner]
    assert connection.local_address == "%any"


PEER = IPv4Network("203.0.113.2/32")
OTHER = IPv4Address("198.51.100.3")
PINNED = make_config(backup={"uplink": "eth1"})
ROUTE = Route(
    prefix=PEER, group=0, source=None, interface="eth1", gateway=IPv4Address("198.51.100.1")
)  #: by eth1


@pytest.mark.parametrize(
    ("found", "made"),
    [
        (Steering(route=ROUTE), {GUARD_METRIC, ROUTE_METRIC}),
        (Steering(route=None, problem="eth1 is down"), {GUARD_METRIC}),
        (None, set()),
    ],
    ids=["a way", "no way: closed", "not asked"],
)
def test_a_pinned_peer_is_reached_by_its_uplink_or_not_at_all(found: Steering | None, made: set[int]) -> None:
    [pin] = pins(PINNED)
    steering = {pin: found} if found else {}

    routes = desired(PINNED, {}, steering=steering).kernel.routes

    assert pin == Pin(IPv4Address("203.0.113.2"), "eth1")
    assert {metric for prefix, metric in routes if prefix == PEER} == made
    assert found is None or found.route is None or routes[ROUTE.key] == ROUTE


LINES = make_config(
    primary={"uplink": "eth0", "remote_address": PEER[0], "local_id": "192.0.2.2"},
    backup={"uplink": "eth1", "local_address": OTHER, "remote_id": "203.0.113.1"},
)


def test_two_lines_to_one_peer_have_a_lane_each_by_their_local_addresses() -> None:
    way = replace(ROUTE, interface="eth0", gateway=IPv4Address("192.0.2.1"))
    steering = {
        pin: Steering(route=way) if pin.interface == "eth0" else Steering(route=None, problem="eth1 is down")
        for pin in pins(LINES)
    }
    made = desired(LINES, {}, steering=steering).kernel

    assert {pin.local for pin in pins(LINES)} == {IPv4Address("192.0.2.2"), OTHER}
    assert {(str(lane.local), lane.remote, lane.interface) for lane in made.lanes.values()} == {
        ("192.0.2.2", PEER[0], "eth0"),
        (str(OTHER), PEER[0], ""),
    }
    assert all(lane.priority == priority in LANE_PRIORITIES for priority, lane in made.lanes.items())
    assert len({lane.table for lane in made.lanes.values()}) == 2
    assert not any(prefix == PEER for prefix, _ in made.routes), "the main table does not know of it"
    assert (
        desired(PINNED, {}, steering={pin: Steering(route=ROUTE) for pin in pins(PINNED)}).kernel.lanes == {}
    )


def test_a_key_is_owned_by_the_pair_only_where_the_clouds_identity_has_several() -> None:
    assert not any(c.psk_by_pair for c in ipsec_connections(make_config()).values())
    assert all(c.psk_by_pair for c in ipsec_connections(LINES).values())


def test_two_tunnels_to_one_peer_by_one_uplink_share_its_route() -> None:
    config = make_config(
        primary={"uplink": "eth1", "remote_address": IPv4Address("203.0.113.2"), "local_address": OTHER},
        backup={"uplink": "eth1"},
    )

    assert pins(config) == pins(PINNED)
