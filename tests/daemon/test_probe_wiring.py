"""What the prober is told, made from the example configuration."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from tests.config_examples import make_config

from vpnagent.config.values import Config, ProbeMethod, TunnelKey, UdpEncapsulation
from vpnagent.daemon.probe_wiring import group_routes, intent, targets, vici_requests, without
from vpnagent.knowledge.tunnels import ChildStatus, IkeStatus, SaStatus
from vpnagent.policy.desired import desired, group_ids, nexthop_ids
from vpnagent.policy.selection import Verdict
from vpnagent.probe.intent import Intent
from vpnagent.routing.objects import KernelObjects, KernelState, NexthopGroup, Peer, Route

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")


def kernel_with(*groups: NexthopGroup) -> KernelState:
    return KernelState(
        objects=KernelObjects(groups={group.id: group for group in groups}),
        foreign_links=frozenset(),
        foreign_routes=frozenset(),
        counters={},
    )


def made(*, config: Config | None = None, kernel: KernelState | None = None) -> Intent:
    return intent(
        config or make_config(),
        verdicts={
            PRIMARY: Verdict(child_sa_installed=True),
            BACKUP: Verdict(child_sa_installed=True, drained=True),
        },
        statuses={
            PRIMARY: SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED, encapsulated=True)
        },
        kernel=kernel or kernel_with(),
        paths={},
        ike_ping=True,
    )


def test_a_tunnel_is_told_with_what_is_known_of_it() -> None:
    primary, backup = made().tunnels()
    assert (primary.key, primary.child_sa_installed) == (PRIMARY, True)
    assert (primary.encapsulated, primary.drained) == (True, False)
    assert (backup.key, backup.encapsulated, backup.drained) == (BACKUP, False, True)
    assert primary.nexthop_id == nexthop_ids(make_config())["vpn-hz-1"]


def test_the_prober_hears_nothing_of_the_other_gateways_tunnels() -> None:
    whole = made()
    assert without(whole, ()) == whole
    left = without(whole, {PRIMARY})
    assert [tunnel.key for tunnel in left.tunnels()] == [BACKUP]
    assert without(whole, {PRIMARY, BACKUP}).groups == whole.groups, "a group without a tunnel is emptied"


def test_a_tunnels_outer_interface_is_what_the_kernel_takes_or_its_uplink() -> None:
    """While the uplink is gone the kernel knows no way: it is still the uplink that the tunnel waits for."""
    primary, backup = make_config().tunnels()
    pinned = make_config(backup={"uplink": "eth1"})
    taken = {Peer(t.remote_address, t.local_address): "eth7" for t in (primary, backup)}

    assert [t.outer_interface for t in made(config=pinned).tunnels()] == [None, "eth1"]
    told = made(config=pinned, kernel=replace(kernel_with(), outgoing=taken)).tunnels()
    assert [t.outer_interface for t in told] == ["eth7", "eth7"]


def test_the_groups_are_those_that_the_routes_use() -> None:
    [(names, id_)] = group_ids(make_config()).items()
    [group] = made().groups
    assert (group.id, group.connections, group.members) == (id_, names, ())


def test_a_group_that_is_there_is_handed_over_as_it_is() -> None:
    [id_] = group_ids(make_config()).values()
    [group] = made(kernel=kernel_with(NexthopGroup(id=id_, members=((1, 1),)))).groups
    assert group.members == ((1, 1),)


def test_the_other_host_of_the_inside_network_is_a_tunnel_target() -> None:
    tunnel = make_config(primary={"inside_address": None}).tunnels()[0]
    assert [t.inside_peer for t in targets(tunnel)] == [False]
    [target] = targets(make_config().tunnels()[0])
    assert (target.address, target.inside_peer) == (IPv4Address("169.254.10.1"), True)


def test_icmp_has_no_port() -> None:
    assert make_config().tunnels()[0].probe.method is ProbeMethod.ICMP
    assert {t.port for t in made().tunnels()} == {0}


def command_of(packet: bytes) -> bytes:
    """A VICI request: its type, the length of its name, its name, the message."""
    return packet[2 : 2 + packet[1]]


def test_charon_is_asked_by_the_tunnels_own_name() -> None:
    first = vici_requests(make_config())[0]
    assert command_of(first.terminate[0]) == b"terminate"
    assert b"vpnagent.hangzhou.primary" in first.terminate[0]
    assert command_of(first.initiate[0]) == b"initiate"


def test_forced_encapsulation_loads_the_connection_first() -> None:
    config = make_config(connection={"udp_encapsulation": UdpEncapsulation.NEVER})
    load, initiate = vici_requests(config)[0].initiate_encapsulated
    assert command_of(load) == b"load-conn"
    assert b"encap\x00\x03yes" in load
    assert initiate == vici_requests(config)[0].initiate[0]


def test_no_secret_is_in_any_packet() -> None:
    secrets = {c.psk.reveal() for c in desired(make_config(), {}).connections.values() if c.psk}
    for requests in vici_requests(make_config()):
        for packet in (*requests.terminate, *requests.initiate, *requests.initiate_encapsulated):
            assert not [secret for secret in secrets if secret in packet]


def test_what_the_prober_puts_back_is_what_the_daemon_makes() -> None:
    config = make_config(connection={"route_metric": 500, "priority": 7, "local_networks": ()})
    up = {t.key: Verdict(child_sa_installed=True) for t in config.tunnels()}
    wanted = {r for r in desired(config, up).kernel.routes.values() if r.group}
    back = {
        Route(prefix=IPv4Network(prefix), group=g.group, source=g.source, metric=g.metric)
        for g in group_routes(config)
        for prefix in g.prefixes.split()
    }
    assert back == wanted
    assert [c.priority for c in made(config=config).connections] == [7]
    assert {route.metric for route in back} == {500}
