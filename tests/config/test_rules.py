from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from tests.config_examples import make_config, make_connection, make_pair, make_tunnel

from vpnagent.config.rules import violations
from vpnagent.config.values import (
    CertificateFiles,
    Config,
    Device,
    Forwarding,
    Ike,
    Role,
    TrafficSelectors,
    TunnelKey,
)
from vpnagent.config.wording import key_path

CERTIFICATES = CertificateFiles(certificate="/c", private_key="/k", ca="/ca")
LAN = IPv4Network("10.1.0.0/16")
VPC = IPv4Network("172.16.0.0/16")


def found(config: Config) -> list[str]:
    return [f"{key_path(path)}: {text}" for path, text in violations(config)]


def ike(**changes: Any) -> Ike:
    return replace(make_connection().ike, **changes)


def ikev1(**changes: Any) -> dict[str, Any]:
    return {"ike": ike(version=1, **changes), "remote_networks": (VPC,)}


def probe(**changes: Any) -> dict[str, Any]:
    return {"probe": replace(make_tunnel(1).probe, **changes)}


PAIR = {"pair": make_pair(Device.A)}
SAME = make_pair(Device.A)
VIOLATIONS: list[tuple[str, Config]] = [
    (
        "connections[0].tunnels[1].device: has no meaning without gateway.pair",
        make_config(backup={"device": Device.B}),
    ),
    (
        "connections[0].tunnels[1].device: is required, or local_address: "
        "else both gateways of the pair would negotiate it",
        make_config(gateway=PAIR, backup={"local_address": None}),
    ),
    (
        "connections[0].tunnels[1].local_address: "
        "must be one that moves, not 10.1.0.3, or device is required",
        make_config(gateway=PAIR, backup={"local_address": IPv4Address("10.1.0.3")}),
    ),
    *(
        (
            f"gateway.pair.virtual_addresses[1]: {rule}",
            make_config(
                gateway={
                    "pair": replace(SAME, virtual_addresses=(IPv4Address("10.1.0.1"), IPv4Address(second)))
                }
            ),
        )
        for second, rule in (
            ("192.0.2.1", "must be in one of the local_networks, not 192.0.2.1"),
            ("10.1.0.3", "must be one that moves, not 10.1.0.3, the address of a node"),
            ("10.1.0.1", "must be unique: 10.1.0.1 stands there twice"),
        )
    ),
    *(
        (
            f"gateway.pair.nodes.b.{key}: must be another than that of a, {getattr(SAME.a, key)}",
            make_config(gateway={"pair": replace(SAME, b=replace(SAME.b, **{key: getattr(SAME.a, key)}))}),
        )
        for key in ("host", "address", "name")
    ),
    (
        "connections[0].tunnels[0].local_id: must be this gateway's: "
        "203.0.113.2 is the cloud's, the remote_address of hangzhou/backup",
        make_config(primary={"local_id": "203.0.113.2"}),
    ),
    (
        "connections[0].tunnels[1].remote_id: must be the cloud's: "
        "192.0.2.2 is this gateway's, the local_address of hangzhou/primary",
        make_config(backup={"remote_id": "192.0.2.2"}),
    ),
    (
        "connections[0].tunnels[1].name: must be unique in its connection: another tunnel is named primary",
        make_config(backup={"key": TunnelKey("hangzhou", "primary")}),
    ),
    (
        "connections[0].tunnels[1].interface: must be unique: "
        "vpn-hz-1 is the interface of hangzhou/primary too",
        make_config(backup={"interface": "vpn-hz-1"}),
    ),
    (
        "connections[0].tunnels[1].if_id: must be unique: 1 is the if_id of hangzhou/primary too",
        make_config(backup={"if_id": 1}),
    ),
    (
        "connections[0].tunnels[1].interface: must not be an uplink, as vpn-hz-2 is",
        make_config(primary={"uplink": "vpn-hz-2"}),
    ),
    (
        "connections[0].tunnels[0].uplink_gateway: has no meaning without uplink",
        make_config(primary={"uplink_gateway": IPv4Address("198.51.100.1")}),
    ),
    (
        "connections[0].tunnels: active-standby needs exactly one tunnel with role active, not none",
        make_config(primary={"role": Role.STANDBY}),
    ),
    (
        "connections[0].tunnels: active-standby needs exactly one tunnel with role active, "
        "not primary and backup",
        make_config(backup={"role": Role.ACTIVE}),
    ),
    (
        "connections[0].tunnels[1].weight: has no meaning with forwarding active-standby: must be 1, not 2",
        make_config(backup={"weight": 2}),
    ),
    (
        "connections[0].ike.mode: IKE version 2 has no modes: must be main, not aggressive",
        make_config(connection={"ike": ike(mode="aggressive")}),
    ),
    (
        "connections[0].ike.encryption: aes128gcm16 needs IKE version 2: "
        "version 1 has no AES-GCM for itself (RFC 5282)",
        make_config(connection=ikev1(encryption="aes128gcm16")),
    ),
    (
        "connections[0].tunnels[1].ike.mode: IKE version 2 has no modes: must be main, not aggressive",
        make_config(backup={"ike": ike(mode="aggressive")}),
    ),
    (
        "connections[0].tunnels[1].ike.encryption: aes128gcm16 needs IKE version 2: "
        "version 1 has no AES-GCM for itself (RFC 5282)",
        make_config(
            connection={"ike": ike(encryption="aes128gcm16")},
            backup={"ike": ike(version=1, encryption="aes128gcm16")},
        ),
    ),
    (
        "connections[0].tunnels[1].remote_id: must be an IPv4 address in IKE version 1, main mode, "
        "with a pre-shared key, not 'cloud.example'",
        make_config(
            primary={"remote_id": "cloud-a.example"},
            backup={"remote_id": "cloud.example", "ike": ike(version=1)},
        ),
    ),
    (
        "connections[0].tunnels[0].local_id: is required, as local_address is %any",
        make_config(primary={"local_address": None, "local_id": ""}),
    ),
    (
        "connections[0].tunnels[1].remote_id: must be an IPv4 address in IKE version 1, main mode, "
        "with a pre-shared key, not 'cloud.example'",
        make_config(connection=ikev1(), backup={"remote_id": "cloud.example"}),
    ),
    (
        "connections[0].probe.hold_down: 0.2s must not be shorter than the detection time, "
        "interval x detect_multiplier = 0.3s",
        make_config(primary=probe(hold_down=0.2)),
    ),
]


TWO_LINES = make_config(
    primary={"uplink": "eth1"},
    backup={
        "uplink": "eth2",
        "remote_address": IPv4Address("203.0.113.1"),
        "local_address": IPv4Address("198.51.100.2"),
    },
)


def test_two_lines_to_one_address_are_fine() -> None:
    assert found(TWO_LINES) == []


@pytest.mark.parametrize(("line", "config"), VIOLATIONS, ids=[line for line, _ in VIOLATIONS])
def test_a_broken_rule_names_the_key_the_rule_and_the_value(line: str, config: Config) -> None:
    assert found(config) == [line]


def test_of_ike_version_1_the_pairs_of_networks_are_few() -> None:
    many = tuple(IPv4Network((f"172.16.{number}.0", 24)) for number in range(101))
    config = make_config(
        connection=ikev1() | {"traffic_selectors": TrafficSelectors.NETWORKS, "remote_networks": many},
        primary=probe(targets=(many[0][10],)),
        backup=probe(targets=(many[0][10],)),
    )
    [line] = found(config)
    assert line == (
        "connections[0].remote_networks: with IKE version 1 must make at most 100 pairs with the local "
        "networks, not 101"
    )


VALID: dict[str, Config] = {
    "the example": make_config(),
    "roles and weights of ecmp": make_config(
        connection={"forwarding": Forwarding.ECMP}, primary={"weight": 3}, backup={"role": Role.ACTIVE}
    ),
    "IKEv1, one network": make_config(
        connection=ikev1() | {"traffic_selectors": TrafficSelectors.NETWORKS},
        primary=probe(targets=(VPC[10],)),
        backup=probe(targets=(VPC[10],)),
    ),
    "IKEv1, several pairs of networks": make_config(
        gateway={"local_networks": (LAN, IPv4Network("10.2.0.0/16"))},
        connection=ikev1() | {"traffic_selectors": TrafficSelectors.NETWORKS, "remote_networks": (VPC,)},
        primary=probe(targets=(VPC[10],)),
        backup=probe(targets=(VPC[10],)),
    ),
    "IKEv1, several networks, any selectors": make_config(connection={"ike": ike(version=1)}),
    "IKEv1, aggressive, a name": make_config(
        connection=ikev1(mode="aggressive"), primary={"local_id": "idc.example"}
    ),
    "IKEv1, certificates, a name": make_config(
        connection=ikev1(),
        primary={"local_id": "CN=idc", "certificates": CERTIFICATES, "psk": None},
    ),
    "IKEv1 with AES-GCM of ESP": make_config(
        connection=ikev1() | {"esp": replace(make_connection().esp, encryption="aes256gcm16")}
    ),
    "%any with an identity": make_config(primary={"local_address": None}),
    "hold_down is the detection time": make_config(primary=probe(hold_down=0.3)),
    "the tunnels of two connections have the same names": replace(
        make_config(),
        connections=(
            make_connection(),
            make_connection(
                name="beijing",
                remote_networks=(IPv4Network("172.20.0.0/16"),),
                tunnels=(
                    make_tunnel(3, key=TunnelKey("beijing", "primary"), role=Role.ACTIVE),
                    make_tunnel(4, key=TunnelKey("beijing", "backup")),
                ),
            ),
        ),
    ),
}


@pytest.mark.parametrize("config", VALID.values(), ids=VALID.keys())
def test_what_is_permitted_is_not_reported(config: Config) -> None:
    assert found(config) == []


def test_connections_have_names_of_their_own() -> None:
    other = make_connection(
        remote_networks=(IPv4Network("172.20.0.0/16"),),
        tunnels=(make_tunnel(3, role=Role.ACTIVE), make_tunnel(4)),
    )
    config = replace(make_config(), connections=(make_connection(), other))

    assert found(config) == ["connections[1].name: must be unique: another connection is named hangzhou"]


def test_all_broken_rules_are_reported_together() -> None:
    config = make_config(
        connection={"ike": ike(mode="aggressive")},
        primary={"role": Role.STANDBY},
        backup={"if_id": 1, "weight": 9, "interface": "vpn-hz-1"},
    )

    assert len(found(config)) == 5


SHARED_ID = {"remote_id": "vpn.example.com"}


def test_tunnels_of_one_remote_id_must_share_their_key() -> None:
    shared = make_config(primary=SHARED_ID, backup={"remote_id": "VPN.example.com"})

    assert found(shared) == [
        "connections[0].tunnels[1].remote_id: 'VPN.example.com' is the remote_id of hangzhou/primary too, "
        "with the same local_id and another key: charon finds a pre-shared key by the two ids"
    ]
    lines = make_config(primary=SHARED_ID, backup={**SHARED_ID, "local_id": "192.0.2.2"})
    assert found(lines) == []


def test_one_key_certificates_and_keys_that_were_not_read_may_share_a_remote_id() -> None:
    key = make_tunnel(1).psk

    assert found(make_config(primary=SHARED_ID, backup={**SHARED_ID, "psk": key})) == []
    assert found(make_config(primary=SHARED_ID, backup={**SHARED_ID, "psk": None})) == []
