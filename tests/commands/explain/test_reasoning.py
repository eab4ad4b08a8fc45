"""Which kind an address is, which prefix and tunnel it has, and whether selectors cover it."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commands.explain.cases import CATALOGUE, DOWN, NO_ROUTE, OSS, PUBLIC, RDS, UP, make_route, seen
from tests.config_examples import make_config, make_connection

from vpnagent.commands.explain.advice import advise
from vpnagent.commands.explain.reasoning import (
    Target,
    TunnelSeen,
    WayKind,
    covering,
    explain,
    kind_of,
    networks_of,
    target_of,
    tunnels_of,
)
from vpnagent.config.values import Config, TrafficSelectors, TunnelKey
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.status.document import status

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")

known = st.sampled_from([OSS, RDS, PUBLIC, IPv4Address("10.1.0.1"), IPv4Address("10.1.0.2")])
addresses = st.one_of(known, st.ip_addresses(v=4))
networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    known,
    st.integers(1, 32),
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    groups = draw(st.lists(st.lists(networks, min_size=1, max_size=3, unique=True), min_size=1, max_size=3))
    connections = tuple(
        make_connection(name=f"c{number}", remote_networks=tuple(group))
        for number, group in enumerate(groups)
    )
    local = tuple(draw(st.lists(networks, min_size=1, max_size=2)))
    config = make_config(gateway={"local_networks": local})
    return replace(config, connections=connections)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        (OSS, WayKind.CLOUD_SERVICE),
        (RDS, WayKind.VPC),
        (PUBLIC, WayKind.PUBLIC),
        (IPv4Address("10.1.2.3"), WayKind.ON_PREMISES),
        (IPv4Address("127.0.0.1"), WayKind.ON_PREMISES),
        (IPv4Address("192.168.9.9"), WayKind.UNKNOWN),
    ],
)
def test_the_kinds_of_the_page(address: IPv4Address, kind: WayKind) -> None:
    assert kind_of(make_config(), address, local=False) is kind


def test_a_service_s_address_is_one_though_no_connection_carries_it() -> None:
    config = make_config(connection={"remote_networks": (IPv4Network("172.16.0.0/16"),)})
    assert kind_of(config, OSS, local=False) is WayKind.CLOUD_SERVICE


def test_what_is_this_machine_s_own_is_on_premises() -> None:
    assert (
        explain(make_config(), CATALOGUE, OSS, seen(make_route(local=True)), {}).kind is WayKind.ON_PREMISES
    )


@given(configs(), addresses)
def test_the_prefix_is_the_longest_of_all_that_have_the_address(config: Config, address: IPv4Address) -> None:
    found = covering(config, address)
    around = {n.prefixlen for c in config.connections for n in c.remote_networks if address in n}
    assert (found is None) == (not around)
    if found is not None:
        assert found.prefixlen == max(around)
        assert address in found


@given(configs(), addresses)
def test_the_connections_are_those_that_have_the_prefix(config: Config, address: IPv4Address) -> None:
    found = explain(config, CATALOGUE, address, seen(NO_ROUTE), {})
    names = [c.name for c in config.connections if found.prefix in c.remote_networks]
    assert [c.name for c in found.connections] == names


@given(configs(), addresses)
def test_of_an_address_in_both_a_longer_local_network_wins(config: Config, address: IPv4Address) -> None:
    lengths = [n.prefixlen for n in config.gateway.local_networks if address in n]
    remote = covering(config, address)
    local_wins = bool(lengths) and (remote is None or max(lengths) > remote.prefixlen)
    if not address.is_loopback:
        assert (kind_of(config, address, local=False) is WayKind.ON_PREMISES) == local_wins


def test_the_tunnel_is_the_one_whose_interface_the_kernel_chose() -> None:
    found = explain(make_config(), CATALOGUE, OSS, seen(make_route(interface="vpn-hz-2")), {BACKUP: DOWN})
    assert (found.tunnel, found.tunnel_seen, found.others) == (BACKUP, DOWN, (PRIMARY,))


@pytest.mark.parametrize("route", [NO_ROUTE, make_route(interface="eth0"), make_route(local=True)])
def test_without_a_tunnel_s_interface_there_is_no_tunnel(route: object) -> None:
    assert isinstance(route, type(NO_ROUTE) | type(make_route()))
    found = explain(make_config(), CATALOGUE, OSS, seen(route), {PRIMARY: UP})
    assert (found.tunnel, found.tunnel_seen, found.selectors) == (None, None, None)


def test_destination_routing_covers_everything() -> None:
    found = explain(make_config(), CATALOGUE, PUBLIC, seen(make_route(source=PUBLIC)), {})
    assert found.selectors is not None
    assert found.selectors.cover


@given(addresses, addresses)
def test_protected_data_flows_cover_their_networks_and_nothing_else(
    source: IPv4Address, destination: IPv4Address
) -> None:
    config = make_config(connection={"traffic_selectors": TrafficSelectors.NETWORKS})
    found = explain(config, CATALOGUE, destination, seen(make_route(source=source)), {})
    assert found.selectors is not None
    [connection] = config.connections
    assert found.selectors.source_covered == any(source in n for n in config.gateway.local_networks)
    assert found.selectors.destination_covered == any(destination in n for n in connection.remote_networks)


def test_the_daemon_s_status_is_understood() -> None:
    told = tunnels_of(status(Knowledge(config=make_config(), loaded_at=0.0)))
    assert told.keys() == {PRIMARY, BACKUP}
    assert told[PRIMARY].state == "init"
    assert tunnels_of({}) == {}


def narrowed() -> TunnelSeen:
    negotiated = ((("10.1.0.0/16",), ("172.16.0.0/16",)),)
    return TunnelSeen(state="up", reason="heard", forwarding=True, selectors=negotiated)


def test_selectors_are_those_that_were_negotiated_where_the_daemon_tells_them() -> None:
    route = seen(make_route(interface="vpn-hz-1"))
    found = explain(make_config(), CATALOGUE, OSS, route, {PRIMARY: narrowed()})
    assert found.selectors is not None
    assert found.selectors.negotiated
    assert found.selectors.remote == ("172.16.0.0/16",)
    assert not found.selectors.destination_covered
    without = explain(make_config(), CATALOGUE, OSS, route, {PRIMARY: UP})
    assert without.selectors is not None
    assert not without.selectors.negotiated
    assert without.selectors.cover


def test_what_the_witness_says_of_the_prefix_is_told_and_warned_of() -> None:
    networks = [
        {"local": "10.1.0.0/16", "remote": "100.64.0.0/10", "carried": False, "reason": "no way"},
        {"local": "10.1.0.0/16", "remote": "172.16.0.0/16", "carried": True, "reason": ""},
    ]
    told = networks_of({"connections": [{"name": "hangzhou", "networks": networks}]})
    found = explain(make_config(), CATALOGUE, OSS, seen(make_route(interface="vpn-hz-1")), {}, told)
    assert [(n.local, n.carried) for n in found.networks] == [("10.1.0.0/16", False)]
    warned = advise(CATALOGUE, Target(str(OSS), OSS, None), (found,))
    assert "not-carried" in [finding.code for finding in warned]
    assert networks_of({}) == {}


# What may be asked about.

ADDRESS = IPv4Address("172.16.0.10")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("172.16.0.10", Target("172.16.0.10", ADDRESS, None)),
        ("172.16.0.10:3306", Target("172.16.0.10", ADDRESS, 3306)),
        ("Example.COM.:443", Target("example.com", None, 443)),
        ("db", Target("db", None, None)),
    ],
)
def test_a_host_or_an_address_with_or_without_a_port(text: str, target: Target) -> None:
    assert target_of(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":443",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "a b",
        "https://a/b",
        "10.0.0",
        "10.0.0.256",
        "a..b",
        "-a",
        "::1",
    ],
)
def test_anything_else_is_a_usage_error_of_one_line(text: str) -> None:
    with pytest.raises(ControlError) as caught:
        target_of(text)
    assert caught.value.exit_status == USAGE
    assert "\n" not in str(caught.value)


@given(st.text(max_size=20))
def test_no_word_leads_to_another_error(text: str) -> None:
    try:
        target = target_of(text)
    except ControlError:
        return
    assert target_of(str(target)) == target


@given(st.ip_addresses(v=4), st.one_of(st.none(), st.integers(1, 65535)))
def test_every_address_and_port_is_read_as_it_is_written(address: IPv4Address, port: int | None) -> None:
    target = Target(str(address), address, port)
    assert target_of(str(target)) == target
