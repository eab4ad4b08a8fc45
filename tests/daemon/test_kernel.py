"""What the reconciler makes of the kernel, on the fake that is checked against the real one."""

import asyncio
import errno
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config, make_tunnel
from tests.fake_kernel import FakeKernel
from tests.ipsec.connections import make_ike_sa, make_state
from tests.status.test_report import path

from vpnagent.config.values import Config, TunnelKey
from vpnagent.daemon.kernel import KernelReconciler
from vpnagent.finding import Severity
from vpnagent.ipsec.sa import CharonState, IkeState
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.netlink.rtnetlink import MAIN_TABLE, LinkCounters
from vpnagent.policy.desired import desired, group_ids
from vpnagent.policy.selection import PathState, Verdict
from vpnagent.routing.objects import (
    GUARD_METRIC,
    ROUTE_METRIC,
    Diversion,
    FilterTable,
    KernelObjects,
    KernelState,
    NexthopGroup,
    Peer,
)
from vpnagent.routing.plan import plan
from vpnagent.routing.uplinks import UplinkRoute
from vpnagent.status.document import status

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")
OSS = IPv4Network("100.64.0.0/10")
PEER = IPv4Network("203.0.113.2/32")
CHARON = CharonState(version="5.9.8", connections=frozenset(), secrets=frozenset(), sas=())


class World:
    """A kernel and what the daemon knows; each round is run to its end."""

    def __init__(self, kernel: FakeKernel | None = None) -> None:
        self.known = Knowledge(config=make_config(), loaded_at=0.0)
        self.kernel = kernel or FakeKernel()
        self.reconciler = KernelReconciler(self.kernel, self.known)

    def charon_says(self, *up: TunnelKey) -> None:
        self.known.charon.state = CHARON
        self.known.charon.verdicts = {key: Verdict(child_sa_installed=True) for key in up}

    def round(self, times: int = 1) -> None:
        for _ in range(times):
            asyncio.run(self.reconciler.round())

    def is_as_desired(self) -> bool:
        want = desired(self.known.config, self.known.verdicts()).kernel
        return replace(self.kernel.objects, sysctls={}) == replace(want, sysctls={})

    def table(self, *tunnels: str) -> FilterTable:
        """Return the nftables table as it should be, with these tunnels."""
        made = desired(self.known.config, {}).kernel.filter_table
        assert made
        assert made.guard
        return replace(made, guard=replace(made.guard, tunnels=tunnels))

    def codes(self) -> list[str]:
        return [finding.code for finding in self.known.kernel.findings]


def test_a_line_before_the_tunnels_is_no_fault_and_ours_is_there_when_it_goes() -> None:
    world = World()
    world.known.config = make_config(connection={"route_metric": 500, "exits": ("eth3",)})
    networks = world.known.config.connections[0].remote_networks
    world.kernel.lines = {"eth3": {(network, 20) for network in networks}}
    world.charon_says(PRIMARY, BACKUP)
    world.round(2)
    assert world.is_as_desired()
    assert world.codes() == ["NotUsed"]
    said = status(world.known)
    assert [(r["state"], r["by"]) for r in said["routes"]] == [("unused", "eth3")] * 2
    assert [r["nexthops"] for r in said["routes"]] == [["vpn-hz-1"]] * 2
    world.kernel.lines.clear()
    applied = len(world.kernel.applied)
    world.round()
    assert len(world.kernel.applied) == applied, "nothing had to be done"
    assert world.codes() == []
    assert {r["state"] for r in status(world.known)["routes"]} == {"installed"}


def test_without_a_tunnel_a_line_before_them_keeps_the_connection_up_in_part() -> None:
    world = World()
    world.known.config = make_config(connection={"route_metric": 500, "exits": ("eth3",)})
    networks = world.known.config.connections[0].remote_networks
    world.kernel.lines = {"eth3": {(network, 20) for network in networks}}
    world.charon_says()
    world.round(2)
    [connection] = status(world.known)["connections"]
    assert (connection["state"], connection["active"]) == ("degraded", [])
    world.kernel.lines.clear()
    world.round()
    assert status(world.known)["connections"][0]["state"] == "down"


def heard(world: World, state: PathState) -> None:
    """Have the prober report both paths so."""
    world.known.probe.paths = {key: path(key, state) for key in (PRIMARY, BACKUP)}


def test_a_line_behind_dead_tunnels_gets_the_packets_and_gives_them_back_and_nothing_is_drift() -> None:
    world = World()
    world.known.config = make_config(connection={"exits": ("eth3",)})
    networks = world.known.config.connections[0].remote_networks
    world.kernel.lines = {"eth3": {(network, 1000) for network in networks}}
    world.charon_says(PRIMARY, BACKUP)
    heard(world, PathState.UP)
    world.round(2)
    assert world.is_as_desired()
    heard(world, PathState.DOWN)
    world.round(2)
    assert {(r["state"], r["by"]) for r in status(world.known)["routes"]} == {("unused", "eth3")}
    heard(world, PathState.HOLD_DOWN)
    world.round()
    assert not any(route.group for route in world.kernel.objects.routes.values())
    heard(world, PathState.UP)
    world.round(2)
    assert world.is_as_desired()
    assert world.known.kernel.repairs == {}


def test_another_metric_is_there_before_the_old_one_goes() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    world.known.config = make_config(connection={"route_metric": 500})

    def routed() -> None:
        assert any(p == OSS and route.group for (p, _), route in world.kernel.objects.routes.items())

    world.kernel.after_each = routed
    world.round()
    assert world.is_as_desired()


def test_a_foreign_route_is_in_the_way_at_our_own_metric_only() -> None:
    world = World()
    world.known.config = make_config(connection={"route_metric": 500})
    world.kernel.foreign_routes = {(OSS, 0)}
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    assert world.is_as_desired()
    world = World()
    world.known.config = make_config(connection={"route_metric": 500})
    world.kernel.foreign_routes = {(OSS, 500)}
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    assert world.codes() == ["ForeignObject"]


def test_a_round_makes_the_kernel_as_it_should_be() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    assert world.is_as_desired()
    assert world.known.kernel.selected == {"hangzhou": ("primary",)}
    assert not world.reconciler.converged.is_set()
    world.round()
    assert world.reconciler.converged.is_set()


def test_before_charon_is_known_everything_is_guarded_and_nothing_is_removed() -> None:
    before = World()
    before.charon_says(PRIMARY, BACKUP)
    before.round()
    restarted = World(before.kernel)
    kept = restarted.kernel.render()
    restarted.round(2)
    assert restarted.kernel.render() == kept


def test_on_a_bare_kernel_before_charon_is_known_the_guards_stand() -> None:
    world = World()
    world.round()
    assert (OSS, GUARD_METRIC) in world.kernel.objects.routes
    assert (OSS, ROUTE_METRIC) not in world.kernel.objects.routes


def test_a_lost_tunnel_is_left_and_the_failover_told() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    world.charon_says(BACKUP)
    world.round()
    assert world.is_as_desired()
    failover = world.known.kernel.failovers["hangzhou"]
    assert (failover.old, failover.new, failover.reason) == (("primary",), ("backup",), "child-sa")
    assert world.known.kernel.failover_counts == {("hangzhou", "child-sa"): 1}


@pytest.mark.parametrize(
    ("drained", "up", "reason"),
    [({PRIMARY}, (PRIMARY, BACKUP), "drain"), (set(), (BACKUP,), "child-sa")],
)
def test_a_failover_has_its_reason(drained: set[TunnelKey], up: tuple[TunnelKey, ...], reason: str) -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    world.known.drained = frozenset(drained)
    world.charon_says(*up)
    world.round()
    assert world.known.kernel.failovers["hangzhou"].reason == reason


def test_a_group_of_others_with_our_id_is_named_before_any_tunnel_needs_it() -> None:
    world = World()
    [group] = group_ids(world.known.config).values()
    world.kernel.foreign_nexthops = {group}
    world.known.probe.expected = world.known.probe.connected = True
    world.charon_says()
    world.round()
    [finding] = [f for f in world.known.kernel.findings if f.code == "ForeignObject"]
    assert finding.text == f"nexthop id {group} exists and is not ours"
    assert not [a for a in world.kernel.applied if isinstance(a.object, NexthopGroup)]


@pytest.mark.parametrize("place", ["name", "if_id"])
def test_a_tunnel_whose_place_others_hold_is_known_to_have_no_interface_until_they_go(place: str) -> None:
    world = World()
    [link] = [t for t in world.known.config.tunnels() if t.key == PRIMARY]
    if place == "name":
        world.kernel.foreign_links = {link.interface}
    else:
        world.kernel.foreign_if_ids = {link.if_id: "theirs"}
    world.round()
    assert "ForeignObject" in world.codes()
    assert world.known.kernel.without_interface == {PRIMARY}
    assert world.known.charon_dirty.is_set()
    world.kernel.foreign_links, world.kernel.foreign_if_ids = set(), {}
    world.round()
    assert world.known.kernel.without_interface == frozenset()


def test_an_interface_that_stands_is_no_less_for_another_with_its_if_id() -> None:
    world = World()
    world.round()
    [link] = [t for t in world.known.config.tunnels() if t.key == PRIMARY]
    world.kernel.foreign_if_ids = {link.if_id: "moved-here"}
    world.round()
    assert world.known.kernel.without_interface == frozenset()


def test_what_the_kernel_leads_elsewhere_is_told_and_forgotten() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.kernel.astray = {OSS: Diversion(OSS, "of the gateway itself", "eth0", 100)}
    world.round()
    assert "RouteDiverted" in world.codes()
    assert set(world.known.kernel.diversions) == {OSS}
    world.kernel.astray = {}
    world.round()
    assert "RouteDiverted" not in world.codes()


def test_what_the_leak_guard_stops_is_told_and_not_what_it_had_stopped_before() -> None:
    world = World()
    world.kernel.stopped = {"out": 5, "in": 0}
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    assert "ClearTextStopped" not in world.codes()
    world.kernel.stopped = {"out": 6, "in": 0}
    world.round()
    assert "ClearTextStopped" in world.codes()


def test_an_interface_that_is_configured_no_more_is_let_pass_until_it_is_gone() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    config = world.known.config
    [connection] = config.connections
    renamed = replace(connection.tunnels[0], interface="vpn-new", if_id=7)
    tunnels = (renamed, connection.tunnels[1])
    world.known.config = replace(config, connections=(replace(connection, tunnels=tunnels),))
    seen = []

    def note() -> None:
        have = world.kernel.objects
        assert have.filter_table
        assert have.filter_table.guard
        seen.append(have.links.keys() <= set(have.filter_table.guard.tunnels))

    world.kernel.after_each = note
    world.round(3)
    assert all(seen[1:])  # the new interface itself is made before the table, and carries nothing yet
    assert world.kernel.objects.filter_table == world.table("vpn-hz-2", "vpn-new")


def test_with_no_tunnel_left_the_guard_is_uncovered() -> None:
    world = World()
    world.charon_says(PRIMARY)
    world.round()
    world.charon_says()
    world.round()
    assert set(world.kernel.objects.routes) == {
        (network, GUARD_METRIC) for network in world.known.config.connections[0].remote_networks
    }
    assert OSS in world.known.kernel.missing


def test_drift_is_repaired_and_counted_by_kind() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round(2)
    world.kernel.delete_route((OSS, ROUTE_METRIC))
    world.round()
    assert world.is_as_desired()
    assert world.known.kernel.repairs == {"route": 1}


def test_an_interface_that_somebody_removed_counts_on_when_it_is_made_again() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.kernel.counters["vpn-hz-1"] = counted(1000, index=7)
    world.round(2)
    world.kernel.delete_link("vpn-hz-1")
    world.kernel.counters["vpn-hz-1"] = counted(3000, index=8)  # soon more than before
    world.round(2)
    assert world.is_as_desired()
    assert world.known.kernel.traffic.of(PRIMARY).rx_bytes == 4000


def counted(rx_bytes: int, *, index: int) -> LinkCounters:
    return LinkCounters(rx_bytes=rx_bytes, tx_bytes=0, rx_packets=0, tx_packets=0, index=index)


def test_routes_that_went_with_their_group_are_repaired_and_counted_once_the_prober_put_it_back() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round(2)
    world.known.probe.connected = True
    groups = dict(world.kernel.objects.groups)
    world.kernel.delete_group(next(iter(groups)))
    world.round(2)
    world.kernel.objects = replace(world.kernel.objects, groups=groups)
    world.round(2)
    assert world.is_as_desired()
    assert world.known.kernel.repairs == {"route": 2}


def renamed(config: Config) -> Config:
    """Return the configuration with the connection and its tunnels under other names."""
    [connection] = config.connections
    tunnels = tuple(replace(t, key=TunnelKey("beijing", f"{t.name}-2")) for t in connection.tunnels)
    return replace(config, connections=(replace(connection, name="beijing", tunnels=tunnels),))


def two_that_share(config: Config) -> Config:
    """Return the configuration with a second connection to the same networks."""
    [connection] = config.connections
    more = make_tunnel(3, key=TunnelKey("beijing", "primary"))
    return replace(config, connections=(connection, replace(connection, name="beijing", tunnels=(more,))))


@pytest.mark.parametrize("change", [renamed, two_that_share])
def test_a_way_stays_until_the_prober_has_written_the_group_that_takes_its_place(
    change: Callable[[Config], Config],
) -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round(2)
    world.known.probe.connected = True
    way = world.kernel.objects.routes[OSS, ROUTE_METRIC]
    world.known.config = change(world.known.config)
    world.charon_says(*(tunnel.key for tunnel in world.known.config.tunnels()))
    world.round(2)
    assert world.kernel.objects.routes[OSS, ROUTE_METRIC] == way
    assert way.group in world.kernel.objects.groups
    written = desired(world.known.config, world.known.verdicts()).kernel.groups
    world.kernel.objects = replace(world.kernel.objects, groups={**world.kernel.objects.groups, **written})
    world.round(2)
    assert world.is_as_desired()


def test_no_way_stays_for_a_network_whose_tunnels_all_went() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round(2)
    world.known.probe.connected = True
    world.known.config = renamed(world.known.config)
    world.charon_says()
    world.round(2)
    assert (OSS, ROUTE_METRIC) not in world.kernel.objects.routes


def test_a_change_of_ours_is_no_drift() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    world.charon_says(BACKUP)
    world.round(2)
    assert world.known.kernel.repairs == {}


def test_what_the_kernel_refuses_is_a_finding_and_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.kernel.fail(*[errno.ENOBUFS] * 50)
    world.round(2)
    assert "KernelRefused" in world.codes()
    world.round(60)
    assert world.is_as_desired()
    assert world.codes() == []


def test_without_xfrm_interfaces_the_hint_names_the_module_and_the_rest_is_not_told() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    interfaces = world.kernel.objects.links
    world.kernel.objects = KernelObjects(sysctls=world.kernel.objects.sysctls)
    world.kernel.fail(*[0] * 2, *[errno.EOPNOTSUPP] * len(interfaces))
    world.round()
    hints = {f.hint for f in world.known.kernel.findings if f.code == "KernelRefused"}
    assert hints == {"this kernel has no XFRM interfaces: modprobe xfrm_interface (Linux 4.19 or later)"}


def test_nothing_configured_removes_everything_even_if_charon_was_never_seen() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    world.known.charon.state = None
    world.known.config = replace(world.known.config, connections=())
    world.round(2)
    left = world.kernel.objects
    assert not any([left.links, left.routes, left.groups, left.nexthops, left.filter_table])


def test_a_round_about_an_older_configuration_does_not_count_as_converged() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    observe = world.kernel.observe

    async def observe_late(desired: KernelObjects) -> KernelState:
        world.known.config = replace(world.known.config, connections=())  # down, while the round waits
        return await observe(desired)

    world.kernel.observe = observe_late  # type: ignore[method-assign]
    world.round()
    assert not world.reconciler.converged.is_set()


damage = st.lists(st.sampled_from(["link", "link down", "nexthops", "groups", "routes", "clamp"]), max_size=6)


@given(damage, st.lists(st.sampled_from([0, errno.ENOBUFS, errno.EBUSY]), max_size=12))
def test_from_any_damage_and_any_failures_rounds_converge(harms: list[str], faults: list[int]) -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.round()
    for harm in harms:
        objects = world.kernel.objects
        match harm:
            case "link" if objects.links:
                world.kernel.delete_link(next(iter(objects.links)))
            case "link down" if objects.links:
                world.kernel.set_link_down(next(iter(objects.links)))
            case "nexthops" if objects.nexthops:
                world.kernel.delete_nexthop(next(iter(objects.nexthops)))
            case "groups" if objects.groups:
                world.kernel.delete_group(next(iter(objects.groups)))
            case "routes" if objects.routes:
                world.kernel.delete_route(next(iter(objects.routes)))
            case _:
                world.kernel.delete_filter_table()
    world.kernel.fail(*faults)
    world.round(len(faults) + 3)
    assert world.is_as_desired()


def pinned(**uplinks: bool) -> World:
    """Return a world in which the backup is held to eth1, and what of others' interfaces there is."""
    world = World()
    world.known.config = make_config(backup={"uplink": "eth1"})
    world.kernel.uplinks = uplinks
    world.charon_says(PRIMARY, BACKUP)
    return world


def default(gateway: str) -> list[UplinkRoute]:
    return [
        UplinkRoute(
            prefix=IPv4Network("0.0.0.0/0"),
            table=MAIN_TABLE,
            metric=200,
            protocol=16,
            gateway=IPv4Address(gateway),
        )
    ]


def way_to_peer(world: World) -> str:
    """Return the route that packets to the backup's peer take, in short."""
    routes = world.kernel.objects.routes
    if (route := routes.get((PEER, ROUTE_METRIC))) is not None:
        return f"{route.gateway} by {route.interface}"
    return "unreachable" if (PEER, GUARD_METRIC) in routes else "the default route"


def test_a_peer_is_held_to_its_uplink_and_follows_its_gateway() -> None:
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}
    world.round()
    assert (way_to_peer(world), world.codes()) == ("198.51.100.1 by eth1", [])
    world.kernel.uplink_routes = {"eth1": default("198.51.100.9")}
    world.round(2)
    assert (way_to_peer(world), world.codes()) == ("198.51.100.9 by eth1", [])
    assert world.known.kernel.repairs == {}
    assert world.known.kernel.state is not None
    assert set(world.known.kernel.state.outgoing.values()) == {"eth0", "eth1"}


@pytest.mark.parametrize("uplinks", [{}, {"eth1": False}, {"eth1": True}], ids=["none", "down", "no gateway"])
def test_without_a_way_by_its_uplink_a_peer_is_unreachable_and_that_is_told(uplinks: dict[str, bool]) -> None:
    world = pinned(**uplinks)
    world.round()
    assert (way_to_peer(world), world.codes()) == ("unreachable", ["UplinkWithoutGateway"])
    [finding] = world.known.kernel.findings
    assert (finding.subject, finding.severity) == ("hangzhou/backup", Severity.CRITICAL)


def test_a_gateway_that_is_no_longer_known_stays_in_use_and_that_is_told() -> None:
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}
    world.round()
    world.kernel.uplink_routes = {}
    world.round(2)
    assert (way_to_peer(world), world.codes()) == ("198.51.100.1 by eth1", ["UplinkWithoutGateway"])
    assert world.known.kernel.findings[0].severity is Severity.WARNING


def test_a_pin_that_is_no_more_leaves_nothing_behind() -> None:
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}
    world.round()
    world.known.config = make_config()
    world.round()
    assert (way_to_peer(world), world.codes()) == ("the default route", [])


def test_the_way_to_a_peer_stays_until_charon_has_said_goodbye() -> None:
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}
    world.round()
    world.known.charon.connected = True
    world.known.charon.state = make_state(make_ike_sa(BACKUP.owner))
    world.known.config = replace(world.known.config, connections=())
    world.round(2)
    assert way_to_peer(world) == "198.51.100.1 by eth1"
    assert (PEER, GUARD_METRIC) in world.kernel.objects.routes
    assert not world.reconciler.converged.is_set()
    world.known.charon.state = make_state(make_ike_sa(BACKUP.owner, state=IkeState.DELETING))
    world.round(2)
    assert not world.kernel.objects.routes
    assert world.reconciler.converged.is_set()


def test_without_charon_there_is_nothing_to_wait_for() -> None:
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}
    world.round()
    world.known.charon.state = make_state(make_ike_sa(BACKUP.owner))
    world.known.config = replace(world.known.config, connections=())
    world.round()
    assert not world.kernel.objects.routes


def test_a_refused_way_is_told_beside_whatever_else_is_refused() -> None:
    """It rests on no interface of ours: neither is the cause of the other."""
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}
    world.kernel.fail(*[errno.EINVAL] * 50)
    world.round()
    subjects = [f.subject for f in world.known.kernel.findings if f.code == "KernelRefused"]
    assert "ip route add 203.0.113.2/32 via 198.51.100.1 dev eth1 onlink protocol 86" in subjects
    assert any("ip link add" in subject for subject in subjects)


def test_a_rule_of_others_that_goes_first_is_told() -> None:
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}

    async def outgoing(peers: Iterable[Peer]) -> dict[Peer, str]:
        return dict.fromkeys(peers, "eth0")

    world.kernel.outgoing = outgoing  # type: ignore[method-assign]
    world.round()
    assert world.codes() == ["UplinkNotTaken"]


def test_a_prober_that_writes_the_groups_leaves_the_ways_to_the_peers() -> None:
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}
    world.round(2)
    world.known.probe.connected = True
    world.round()
    assert way_to_peer(world) == "198.51.100.1 by eth1"


flaps = st.lists(st.sampled_from(["down", "up", "default lost", "default", "other gateway"]), max_size=8)


@given(flaps)
def test_however_the_uplink_flaps_its_peer_never_takes_another_way_nor_none_untold(events: list[str]) -> None:
    world = pinned(eth1=True)
    world.kernel.uplink_routes = {"eth1": default("198.51.100.1")}
    world.round()
    for event in events:
        match event:
            case "down" | "up":
                world.kernel.set_uplink("eth1", up=event == "up")
            case "default lost":
                world.kernel.uplink_routes = {}
            case _ if world.kernel.uplinks["eth1"]:
                gateway = "198.51.100.1" if event == "default" else "198.51.100.9"
                world.kernel.uplink_routes = {"eth1": default(gateway)}
            case _:
                pass
        assert way_to_peer(world).endswith(("by eth1", "unreachable"))
        world.round()
        known = world.kernel.uplinks["eth1"] and world.kernel.uplink_routes.get("eth1")
        assert (world.codes() == []) is bool(known)
        assert way_to_peer(world) != "unreachable" or "UplinkWithoutGateway" in world.codes()


SOURCE, ANOTHER = IPv4Address("10.1.0.1"), IPv4Address("10.1.0.2")


def sources(world: World) -> set[IPv4Address | None]:
    """Return the sources of the routes into the tunnels."""
    return {route.source for route in world.kernel.objects.routes.values() if route.group}


def test_a_source_is_a_hint_the_routes_stand_without_it_and_take_it_up_again() -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.kernel.set_addresses(SOURCE, ANOTHER)
    world.round(2)
    assert sources(world) == {SOURCE}

    world.kernel.set_addresses(ANOTHER)
    world.round(2)

    assert sources(world) == {None}
    assert not world.known.kernel.missing
    assert world.codes() == ["SourceAddressMissing"]
    [found] = world.known.kernel.findings
    assert found.severity is Severity.WARNING
    applied = len(world.kernel.applied)
    world.round(3)
    assert len(world.kernel.applied) == applied, "it is at rest"

    world.kernel.set_addresses(SOURCE)
    world.round(2)

    assert sources(world) == {SOURCE}
    assert world.codes() == []


@pytest.mark.parametrize("connected", [True, False])
def test_the_same_holds_while_the_prober_writes_the_groups(connected: bool) -> None:
    world = World()
    world.charon_says(PRIMARY, BACKUP)
    world.kernel.set_addresses(SOURCE)
    world.round()
    world.known.probe.connected = connected
    world.kernel.set_addresses(ANOTHER)
    world.round(2)
    assert sources(world) == {None}
    assert world.codes() == ["SourceAddressMissing"]


def test_our_own_interfaces_are_to_forward_whoever_manages_the_sysctls() -> None:
    config = make_config(primary={"interface": "vpn.1"})
    want = desired(config, {}).kernel
    own = {key: sysctl for key, sysctl in want.sysctls.items() if sysctl.own}
    assert own.keys() == {"net.ipv4.conf.vpn/1.forwarding", "net.ipv4.conf.vpn-hz-2.forwarding"}
    have = {key: replace(sysctl, value="0", own=False) for key, sysctl in want.sysctls.items()}
    state = KernelState(
        objects=replace(want, sysctls=have),
        foreign_links=frozenset(),
        foreign_routes=frozenset(),
        counters={},
    )
    set_anyway = plan(want, state, prune=True, manage_sysctls=False)
    assert {action.object for action in set_anyway} == set(own.values())
