from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.config.build import (
    IF_IDS,
    build,
    contradictions,
    device_here,
    gateway_name,
    if_id,
    inside_peer,
    interface_name,
)
from vpnagent.config.file_models import ConfigFile
from vpnagent.config.values import (
    CertificateFiles,
    Config,
    Connection,
    Device,
    Forwarding,
    NetworkType,
    Role,
    TrafficSelectors,
    TunnelKey,
)
from vpnagent.config.wording import key_path
from vpnagent.secret import Secret

names = st.text("abcXYZ019_-", min_size=1, max_size=32)


def file(*tunnels: dict[str, Any], gateway: dict[str, Any] | None = None, **connection: Any) -> ConfigFile:
    """Return a file of one connection that says no more than it must."""
    least = {"name": "hz", "attachment": "vpn-gateway", "remote_networks": ["172.16.0.0/16"]}
    filled = [
        {"name": f"t{number}", "remote_address": f"203.0.113.{number}"} | tunnel
        for number, tunnel in enumerate(tunnels or ({},), 1)
    ]
    return ConfigFile.model_validate(
        {
            "gateway": {"local_networks": ["10.1.0.0/16"]} | (gateway or {}),
            "connections": [least | {"tunnels": filled} | connection],
        }
    )


def built(*tunnels: dict[str, Any], **more: Any) -> Config:
    return build(file(*tunnels, **more), hostname="idc.example", folder="/etc/vpnagent", psks={})


def connection(*tunnels: dict[str, Any], **more: Any) -> Connection:
    return built(*tunnels, **more).connections[0]


def test_the_defaults_are_those_of_the_contract() -> None:
    config = built({})
    [made] = config.connections
    [tunnel] = made.tunnels

    assert config.agent.metrics_listen == "127.0.0.1:9786"
    assert config.agent.manage_sysctls is True
    assert (made.bandwidth, made.packet_rate, made.mtu) == (1e9, 120_000, 1399)
    assert (made.ike.version, made.ike.mode, made.ike.lifetime, made.ike.dpd_delay) == (
        2,
        "main",
        86400.0,
        10.0,
    )
    assert (made.ike.encryption, made.ike.integrity, made.ike.dh_group) == ("aes128", "sha1", 2)
    assert (made.esp.encryption, made.esp.integrity, made.esp.pfs_group) == ("aes128", "sha1", 2)
    assert made.traffic_selectors is TrafficSelectors.ANY
    assert (made.udp_encapsulation.value, made.on_path_down.value, made.gateway_id) == (
        "always",
        "reset",
        None,
    )
    assert (tunnel.local_address, tunnel.uplink, tunnel.uplink_gateway, tunnel.weight) == (
        None,
        None,
        None,
        1,
    )
    assert (tunnel.probe.interval, tunnel.probe.detect_multiplier, tunnel.probe.hold_down) == (0.1, 3, 5.0)


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("idc-hz-1", "idc-hz-1"),
        ("gw.idc.example", "gw"),
        ("büro 1", "b-ro-1"),
        ("", "gateway"),
        ("x" * 40, "x" * 32),
    ],
)
def test_the_gateway_is_named_after_the_host(hostname: str, name: str) -> None:
    assert gateway_name(hostname) == name


def test_a_gateway_with_a_name_keeps_it() -> None:
    assert built({}).gateway.name == "idc"
    assert built({}, gateway={"name": "hz"}).gateway.name == "hz"


@pytest.mark.parametrize(
    ("attachment", "written", "forwarding"),
    [
        ("vpn-gateway", {}, Forwarding.ACTIVE_STANDBY),
        ("transit-router", {}, Forwarding.ECMP),
        ("vpn-gateway", {"forwarding": "ecmp"}, Forwarding.ECMP),
        ("transit-router", {"forwarding": "active-standby"}, Forwarding.ACTIVE_STANDBY),
    ],
)
def test_forwarding_follows_the_attachment(
    attachment: str, written: dict[str, str], forwarding: Forwarding
) -> None:
    assert connection({}, attachment=attachment, **written).forwarding is forwarding


A, S = Role.ACTIVE, Role.STANDBY


@pytest.mark.parametrize(
    ("written", "roles"),
    [
        ((None,), [A]),
        ((None, None), [A, S]),
        (("active", None), [A, S]),
        ((None, "active"), [S, A]),
        (("standby", None), [S, A]),
        ((None, "standby"), [A, S]),
        (("standby", "standby"), [S, S]),
        (("active", "active"), [A, A]),
    ],
)
def test_one_tunnel_is_active_unless_the_file_says_otherwise(
    written: tuple[str | None, ...], roles: list[Role]
) -> None:
    made = connection(*({"role": role} if role else {} for role in written))

    assert [tunnel.role for tunnel in made.tunnels] == roles


def test_every_tunnel_is_active_with_ecmp() -> None:
    assert [t.role for t in connection({}, {}, forwarding="ecmp").tunnels] == [A, A]


def test_identities_are_the_addresses_unless_written() -> None:
    by_default, written, any_ = (
        connection(tunnel).tunnels[0]
        for tunnel in (
            {"local_address": "192.0.2.2"},
            {"local_address": "192.0.2.2", "local_id": "idc", "remote_id": "cloud"},
            {"local_address": "%any"},
        )
    )

    assert (by_default.local_id, by_default.remote_id) == ("192.0.2.2", "203.0.113.1")
    assert (written.local_id, written.remote_id) == ("idc", "cloud")
    assert any_.local_id == ""


def test_shared_targets_are_known_though_no_tunnel_is_asked_them() -> None:
    [connection] = built(
        {"inside_address": "169.254.10.2/30"}, probe={"targets": ["172.16.0.10"]}
    ).connections
    assert connection.shared_targets == (IPv4Address("172.16.0.10"),)
    assert connection.tunnels[0].probe.targets == (IPv4Address("169.254.10.1"),)


@pytest.mark.parametrize(
    ("tunnel", "targets"),
    [
        ({}, ["172.16.0.10"]),
        ({"inside_address": "169.254.10.2/30"}, ["169.254.10.1"]),
        ({"inside_address": "169.254.10.1/30"}, ["169.254.10.2"]),
        (
            {"inside_address": "169.254.10.2/30", "targets": ["172.16.0.11", "172.16.0.12"]},
            ["172.16.0.11", "172.16.0.12"],
        ),
        ({"targets": ["172.16.0.11"]}, ["172.16.0.11"]),
    ],
)
def test_its_own_targets_win_over_the_peer_inside_and_that_over_shared_ones(
    tunnel: dict[str, Any], targets: list[str]
) -> None:
    [made] = connection(tunnel, probe={"targets": ["172.16.0.10"]}).tunnels

    assert [str(target) for target in made.probe.targets] == targets


def test_without_any_target_there_is_none() -> None:
    assert connection({}).tunnels[0].probe.targets == ()


@pytest.mark.parametrize(
    ("probe", "port"),
    [({}, 443), ({"method": "dns"}, 53), ({"method": "dns", "port": 5353}, 5353), ({"method": "tcp"}, 443)],
)
def test_the_port_follows_the_method(probe: dict[str, Any], port: int) -> None:
    assert connection({}, probe=probe).tunnels[0].probe.port == port


def test_pfs_can_be_disabled() -> None:
    assert connection({}, esp={"pfs_group": "disabled"}).esp.pfs_group is None


def test_certificates_are_named_from_the_folder_of_the_file() -> None:
    files = {"certificate": "gw.pem", "private_key": "/etc/ssl/gw.key", "ca": "../ca.pem"}
    [tunnel] = connection({"certificate": files}).tunnels

    assert tunnel.certificates == CertificateFiles(
        certificate="/etc/vpnagent/gw.pem", private_key="/etc/ssl/gw.key", ca="/etc/ca.pem"
    )


def test_each_tunnel_gets_its_own_secret() -> None:
    secret = Secret(b"hush")

    [made] = build(file({}, {}), hostname="h", folder="/", psks={(0, 1): secret}).connections

    assert [tunnel.psk for tunnel in made.tunnels] == [None, secret]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (TunnelKey("hz", "t1"), "vpn-hz-t1"),
        (TunnelKey("hangzh", "main"), "vpn-hangzh-main"),
        (TunnelKey("hangzhou", "primary"), "vpn-hangzh-43b4"),
        (TunnelKey("abcde-", "primary"), "vpn-abcde-cc0d"),
    ],
)
def test_an_interface_is_named_after_the_tunnel_and_shortened_with_a_hash(key: TunnelKey, name: str) -> None:
    # These are names in running kernels: a change of them takes every tunnel down at the next upgrade.
    assert interface_name(key) == name


@given(names, names)
def test_derived_names_fit_the_kernel_and_ids_their_range(one: str, two: str) -> None:
    key = TunnelKey(one, two)

    assert len(interface_name(key)) <= 15
    assert interface_name(key).isascii()
    assert if_id(key) in IF_IDS


def test_a_derived_id_never_changes() -> None:
    assert if_id(TunnelKey("hangzhou", "backup")) == 0x567911BD


@given(st.integers(0, 2**30 - 1), st.sampled_from([1, 2]))
def test_the_peer_inside_is_the_other_host_of_the_slash_30(block: int, host: int) -> None:
    address = IPv4Interface((block * 4 + host, 30))

    assert inside_peer(address) == IPv4Address(block * 4 + 3 - host)


@pytest.mark.parametrize(
    ("tunnel", "more", "text"),
    [
        (
            {},
            {},
            "connections[0].tunnels[0]: exactly one of psk_file, psk_credential and certificate "
            "is required, not none",
        ),
        (
            {"psk_file": "psk", "psk_credential": "c"},
            {},
            "connections[0].tunnels[0]: exactly one of psk_file, psk_credential and certificate "
            "is required, not psk_file and psk_credential",
        ),
        (
            {"psk_file": "psk", "role": "active"},
            {"forwarding": "ecmp"},
            "connections[0].tunnels[0].role: has no meaning with forwarding ecmp, "
            "where every tunnel carries traffic",
        ),
    ],
)
def test_what_only_the_file_can_tell_is_told(tunnel: dict[str, Any], more: dict[str, Any], text: str) -> None:
    made = file(tunnel, **more)

    assert [f"{key_path(path)}: {text}" for path, text in contradictions(made)] == [text]


def test_a_plain_file_contradicts_nothing() -> None:
    assert list(contradictions(file({"psk_file": "psk", "role": "active"}, {"psk_credential": "c"}))) == []


@pytest.mark.parametrize(
    ("addresses", "written", "expected"),
    [
        (("203.0.113.1", "203.0.113.2"), {}, NetworkType.PUBLIC),
        (("192.168.66.1", "100.64.0.1"), {}, NetworkType.PRIVATE),
        (("192.168.66.1", "203.0.113.2"), {}, NetworkType.PUBLIC),
        (("192.168.66.1", "10.0.0.1"), {"network_type": "public"}, NetworkType.PUBLIC),
        (("203.0.113.1", "203.0.113.2"), {"network_type": "private"}, NetworkType.PRIVATE),
    ],
)
def test_the_network_is_private_where_the_clouds_addresses_are(
    addresses: tuple[str, str], written: dict[str, str], expected: NetworkType
) -> None:
    config = built(*({"remote_address": address} for address in addresses), **written)
    assert config.connections[0].network_type is expected


PHASES = {
    "ike": {
        "version": [1, 2],
        "encryption": ["aes128", "aes256"],
        "integrity": ["sha1", "sha256"],
        "dh_group": [2, 14],
        "lifetime": ["1h", "24h"],
        "dpd_delay": ["10s", "30s"],
        "dpd": [True, False],
    },
    "esp": {
        "encryption": ["aes128", "aes256"],
        "integrity": ["sha1", "sha256"],
        "pfs_group": [2, 14, "disabled"],
        "lifetime": ["1h", "24h"],
    },
}


def one_of(values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


settings_of = st.fixed_dictionaries(
    {
        phase: st.fixed_dictionaries({}, optional={key: one_of(of) for key, of in keys.items()})
        for phase, keys in PHASES.items()
    },
    optional={"udp_encapsulation": st.sampled_from(["always", "auto", "never"])},
)


@given(settings_of, settings_of)
def test_a_tunnel_overrides_its_connection_key_by_key(base: dict[str, Any], override: dict[str, Any]) -> None:
    made = connection(override, {}, **base)
    merged = {**base, **override, **{phase: base[phase] | override[phase] for phase in PHASES}}
    expected = connection(**merged)
    plain = connection(**base)
    first, second = made.tunnels

    assert made.ike_of(first) == expected.ike
    assert made.esp_of(first) == expected.esp
    assert made.udp_encapsulation_of(first) == expected.udp_encapsulation
    assert (made.ike_of(second), made.esp_of(second)) == (plain.ike, plain.esp)
    assert made.udp_encapsulation_of(second) == plain.udp_encapsulation


def test_a_tunnel_that_says_what_its_connection_says_overrides_nothing() -> None:
    said = {"ike": {"encryption": "aes256"}, "esp": {"pfs_group": 14}, "udp_encapsulation": "auto"}

    assert connection(said, **said) == connection({}, **said)


NODES = {"a": {"host": "rt1.idc.example", "address": "10.1.0.2"}, "b": {"host": "rt2", "address": "10.1.0.3"}}
OF_A, OF_B = IPv4Address("10.1.0.2"), IPv4Address("10.1.0.3")


@pytest.mark.parametrize(
    ("hostname", "addresses", "here"),
    [
        ("elsewhere", {OF_A}, Device.A),
        ("rt1", {OF_B}, Device.B),  # the address goes first: namespaces share a host name
        ("RT2.idc.example", set(), Device.B),
        ("rt1.idc.example", set(), Device.A),
        ("rt1", set(), None),  # another domain's
        ("rt2", {OF_A, OF_B}, Device.B),
        ("elsewhere", {OF_A, OF_B}, None),
        ("elsewhere", set(), None),
    ],
)
def test_a_machine_knows_which_of_two_it_is_by_its_address_or_else_its_name(
    hostname: str, addresses: set[IPv4Address], here: Device | None
) -> None:
    section = file(gateway={"pair": {"nodes": NODES}}).gateway.pair
    assert section
    assert device_here(section, hostname, addresses.__contains__) is here


def test_each_of_two_gateways_has_its_own_name_and_source() -> None:
    nodes = {"a": NODES["a"] | {"name": "one", "source_address": "10.1.0.12"}, "b": NODES["b"]}
    written = file(gateway={"pair": {"nodes": nodes}, "source_address": "10.1.0.1"})
    seen = [build(written, hostname="x", folder="/", psks={}, here=here).gateway for here in (*Device, None)]
    assert [gateway.name for gateway in seen] == ["one", "rt2", "x"]
    assert [str(gateway.source_address) for gateway in seen] == ["10.1.0.12", "10.1.0.1", "10.1.0.1"]


def test_with_a_pair_the_name_stands_under_its_nodes() -> None:
    written = file({"psk_file": "k"}, gateway={"pair": {"nodes": NODES}, "name": "idc"})
    [(path, text)] = contradictions(written)
    assert (key_path(path), text) == (
        "gateway.name",
        "has no meaning with pair: each of its nodes has a name",
    )
