from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest
from tests.config_examples import make_config, make_connection, make_tunnel

from vpnagent.config.rules import violations
from vpnagent.config.values import Config, Connection, Forwarding, TrafficSelectors, TunnelKey
from vpnagent.config.wording import key_path

VPC = IPv4Network("172.16.0.0/16")


def found(config: Config) -> list[str]:
    return [f"{key_path(path)}: {text}" for path, text in violations(config)]


def networks(*texts: str) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, texts))


def remote(*texts: str) -> dict[str, Any]:
    return {"connection": {"remote_networks": networks(*texts)}}


def probing(*texts: str) -> dict[str, Any]:
    return {"probe": replace(make_tunnel(1).probe, targets=tuple(map(IPv4Address, texts)))}


NARROW = {"traffic_selectors": TrafficSelectors.NETWORKS, "remote_networks": (VPC,)}

OTHER = networks("10.3.0.0/16")
SECOND = make_connection(name="second", forwarding=Forwarding.ECMP, source_address=IPv4Address("10.1.0.9"))

VIOLATIONS: list[tuple[str, Config]] = [
    (
        "connections[1].route_metric: must be that of hangzhou, 0, not 500: "
        "they share 100.64.0.0/10, and one route leads there",
        replace(
            make_config(),
            connections=(
                make_connection(forwarding=Forwarding.ECMP),
                replace(
                    SECOND,
                    source_address=None,
                    route_metric=500,
                    tunnels=(make_tunnel(3, key=TunnelKey("second", "t3")),),
                ),
            ),
        ),
    ),
    (
        "connections[0].local_networks[1]: must be unique: 10.3.0.0/16 is entry 0 too",
        make_config(connection={"local_networks": OTHER * 2}),
    ),
    (
        "connections[0].remote_networks[0]: 10.3.2.0/24 must not overlap the local network 10.3.0.0/16",
        make_config(connection={"local_networks": OTHER, "remote_networks": networks("10.3.2.0/24")}),
    ),
    (
        "connections[0].source_address: is required: the gateway's, 10.1.0.1, is in none of its "
        "local_networks, and traffic_selectors networks let nothing else through",
        make_config(
            connection=NARROW | {"local_networks": OTHER},
            primary=probing("172.16.0.10"),
            backup=probing("172.16.0.10"),
        ),
    ),
    (
        "connections[0].source_address: 10.1.0.9 must be in a local network, "
        "as traffic_selectors networks let nothing else through",
        make_config(
            connection=NARROW | {"local_networks": OTHER, "source_address": IPv4Address("10.1.0.9")},
            primary=probing("172.16.0.10"),
            backup=probing("172.16.0.10"),
        ),
    ),
    (
        "connections[0].remote_networks[0]: 172.16.0.0/16 must not cover 172.16.0.9, "
        "the source_address of hangzhou",
        make_config(connection={"source_address": VPC[9], "remote_networks": (VPC,)}),
    ),
    (
        "connections[1].source_address: must be that of hangzhou, 10.1.0.1, not 10.1.0.9: "
        "they share 100.64.0.0/10, and one route leads there",
        replace(
            make_config(),
            connections=(
                make_connection(forwarding=Forwarding.ECMP),
                replace(SECOND, tunnels=(make_tunnel(3, key=TunnelKey("second", "t3")),)),
            ),
        ),
    ),
    (
        "gateway.local_networks[1]: must be unique: 10.1.0.0/16 is entry 0 too",
        make_config(gateway={"local_networks": networks("10.1.0.0/16", "10.1.0.0/16")}),
    ),
    (
        "connections[0].remote_networks[2]: must be unique: 10.8.0.0/16 is entry 0 too",
        make_config(**remote("10.8.0.0/16", "10.9.0.0/16", "10.8.0.0/16")),
    ),
    (
        "connections[0].remote_networks[0]: 10.1.2.0/24 must not overlap the local network 10.1.0.0/16",
        make_config(**remote("10.1.2.0/24")),
    ),
    (
        "connections[0].remote_networks[0]: 203.0.113.0/31 must not cover 203.0.113.1, "
        "the remote_address of hangzhou/primary",
        make_config(**remote("203.0.113.0/31")),
    ),
    (
        "connections[0].remote_networks[0]: 203.0.113.2/32 must not cover 203.0.113.2, "
        "the remote_address of hangzhou/backup",
        make_config(**remote("203.0.113.2/32")),
    ),
    (
        "connections[0].remote_networks[0]: 192.0.2.0/24 must not cover 192.0.2.2, "
        "the local_address of hangzhou/primary",
        make_config(**remote("192.0.2.0/24"), backup={"local_address": None}),
    ),
    (
        "connections[0].remote_networks[1]: 172.16.0.0/16 must not cover 172.16.0.1, the source_address",
        make_config(gateway={"source_address": VPC[1]}),
    ),
    (
        "connections[0].tunnels[1].remote_address: 203.0.113.1 must differ from that of hangzhou/primary, "
        "or each needs its own local_address",
        make_config(backup={"remote_address": IPv4Address("203.0.113.1")}),
    ),
    (
        "connections[0].tunnels[1].remote_address: 203.0.113.1 must differ from that of hangzhou/primary, "
        "or each needs its own local_address",
        make_config(backup={"remote_address": IPv4Address("203.0.113.1"), "local_address": None}),
    ),
    (
        "connections[0].tunnels[0].remote_address: must not be the local_address, 203.0.113.1",
        make_config(primary={"local_address": IPv4Address("203.0.113.1")}),
    ),
    (
        "connections[0].tunnels[1].inside_address: 169.254.10.0/30 must not be the /30 of "
        "hangzhou/primary too",
        make_config(backup={"inside_address": IPv4Interface("169.254.10.1/30")}),
    ),
    (
        "connections[0].tunnels[0].inside_address: 10.1.9.0/30 must not overlap the local network "
        "10.1.0.0/16",
        make_config(primary={"inside_address": IPv4Interface("10.1.9.1/30")}),
    ),
    (
        "connections[0].tunnels[0].inside_address: 169.254.10.0/30 must not be or hold a remote network, "
        "as it does 169.254.10.1/32",
        make_config(**remote("169.254.10.1/32")),
    ),
    (
        "connections[0].tunnels[1].inside_address: 169.254.11.0/30 must not be or hold a remote network, "
        "as it does 169.254.11.0/30",
        make_config(**remote("169.254.11.0/30")),
    ),
    (
        "connections[0].probe.targets: is required, for lack of targets and inside_address in "
        "primary and backup: an address behind the tunnels that answers, such as 100.100.2.136",
        make_config(primary=probing(), backup=probing()),
    ),
    (
        "gateway.source_address: 10.2.0.1 must be in a local network, "
        "as traffic_selectors networks let nothing else through",
        make_config(
            gateway={"source_address": IPv4Address("10.2.0.1")},
            connection=NARROW,
            primary=probing("172.16.0.10"),
            backup=probing("172.16.0.10"),
        ),
    ),
    (
        "connections[0].tunnels[1]: its probes' target 169.254.11.1 must be in a remote network, "
        "as traffic_selectors networks let nothing else through",
        make_config(connection=NARROW, primary=probing("172.16.0.10"), backup=probing("169.254.11.1")),
    ),
]


@pytest.mark.parametrize(("line", "config"), VIOLATIONS, ids=[line for line, _ in VIOLATIONS])
def test_a_broken_rule_names_the_key_the_rule_and_the_value(line: str, config: Config) -> None:
    assert found(config) == [line]


VALID: dict[str, Config] = {
    "one remote network within another": make_config(**remote("172.16.0.0/12", "172.16.0.0/16")),
    "a remote network around a /30": make_config(**remote("169.254.0.0/16")),
    "one remote address, two providers": make_config(
        backup={
            "remote_address": IPv4Address("203.0.113.1"),
            "local_address": IPv4Address("198.18.0.2"),
        }
    ),
    "the kernel picks the source": make_config(
        gateway={"source_address": None},
        connection=NARROW,
        primary=probing("172.16.0.10"),
        backup=probing("172.16.0.10"),
    ),
    "no inside addresses": make_config(primary={"inside_address": None}, backup={"inside_address": None}),
}


@pytest.mark.parametrize("config", VALID.values(), ids=VALID.keys())
def test_what_is_permitted_is_not_reported(config: Config) -> None:
    assert found(config) == []


def sharing(count: int, forwarding: Forwarding, *prefixes: str) -> Config:
    """Return connections of one tunnel each, all to the same networks."""
    connections: list[Connection] = []
    for number in range(1, count + 1):
        key = TunnelKey(f"c{number}", "only")
        tunnel = make_tunnel(
            number + 2, key=key, inside_address=None, remote_address=IPv4Address("203.0.113.0") + number
        )
        connections.append(
            make_connection(
                name=key.connection,
                tunnels=(tunnel,),
                forwarding=Forwarding.ECMP if number > 1 else forwarding,
                remote_networks=networks(*prefixes),
            )
        )
    return replace(make_config(), connections=tuple(connections))


def test_sixteen_connections_share_a_network_by_ecmp() -> None:
    assert found(sharing(16, Forwarding.ECMP, "10.8.0.0/16", "10.9.0.0/16")) == []


def test_a_seventeenth_is_refused() -> None:
    assert found(sharing(17, Forwarding.ECMP, "10.8.0.0/16")) == [
        "connections[16].remote_networks[0]: 10.8.0.0/16 must not be in more than 16 connections, not 17"
    ]


def test_a_network_is_not_shared_with_an_active_standby_connection() -> None:
    config = sharing(2, Forwarding.ACTIVE_STANDBY, "10.8.0.0/16")
    [first, second] = config.connections
    [tunnel] = first.tunnels
    first = replace(first, tunnels=(replace(tunnel, role=make_tunnel(1).role),))

    assert found(replace(config, connections=(first, second))) == [
        "connections[1].remote_networks[0]: 10.8.0.0/16 is in c1 and c2: "
        "connections share a network only if all are ecmp, or differ in priority"
    ]
    assert found(replace(config, connections=(first, replace(second, priority=1)))) == []
