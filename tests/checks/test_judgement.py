"""The checks that are about versions, sizes and files. What needs a network is in tests/native."""

import json
import pathlib
import stat
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config, make_connection

from vpnagent.checks import readings
from vpnagent.checks.host import MODULES, host, version
from vpnagent.checks.judge import judge
from vpnagent.checks.observation import (
    Address,
    Interface,
    Modules,
    Observation,
    ObservedCharon,
    ObservedRoute,
    OpenFile,
    Pool,
    Underlay,
    Unseen,
)
from vpnagent.checks.occupancy import occupancy
from vpnagent.checks.traps import charon_traps
from vpnagent.checks.underlay import CHECKS, CIPHERS, largest_inner, packet_size, underlay
from vpnagent.commands.check import with_ranges
from vpnagent.commands.explain.observe import catalogue
from vpnagent.config.values import (
    CertificateFiles,
    Config,
    Esp,
    TrafficSelectors,
    TunnelKey,
    UdpEncapsulation,
)
from vpnagent.finding import Severity
from vpnagent.policy.desired import pins
from vpnagent.routing.uplinks import Steering

NEVER = {"udp_encapsulation": UdpEncapsulation.NEVER}
CERTIFICATES = {"certificates": CertificateFiles(certificate="/c", private_key="/k", ca="/ca"), "psk": None}
EVERYTHING = {
    "encryption": frozenset({"AES_CBC"}),
    "integrity": frozenset({"HMAC_SHA1_96"}),
    "prf": frozenset({"PRF_HMAC_SHA1"}),
    "dh": frozenset({"MODP_1024"}),
}


def charon(version: str = "6.0.6", *plugins: str) -> Observation:
    return Observation(
        charon=ObservedCharon(version=version, plugins=frozenset(plugins), algorithms=EVERYTHING)
    )


def of_charon(seen: Observation, config: Config | None = None) -> list[tuple[str, str, Severity]]:
    return [(f.code, f.subject, f.severity) for f in charon_traps(config or make_config(), seen)]


def test_nothing_seen_is_nothing_found() -> None:
    assert judge(make_config(), Observation()) == []


def test_what_was_not_seen_is_an_info() -> None:
    unseen = Unseen(what="clock_synchronised", why="Operation not permitted", forbidden=True)

    [found] = judge(make_config(), Observation(unseen=(unseen,)))

    assert (found.code, found.severity) == ("NotLookedAt", Severity.INFO)
    assert found.text == "clock synchronised: could not be looked at: Operation not permitted"
    assert found.hint == "run vpnagent check as root"


def test_the_worst_comes_first() -> None:
    seen = replace(
        charon("5.9.8", "kernel-libipsec", "bypass-lan", "dhcp"), unseen=(Unseen(what="x", why="y"),)
    )
    order = [f.severity for f in judge(make_config(), seen)]

    assert order == sorted(order, key=[Severity.CRITICAL, Severity.WARNING, Severity.INFO].index)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("6.1.0-56-amd64", (6, 1, 0)), ("5.9.8", (5, 9, 8)), ("U6.0rc1", (6, 0)), ("5.3", (5, 3)), ("?", ())],
)
def test_a_version_is_the_numbers_at_its_start(text: str, numbers: tuple[int, ...]) -> None:
    assert version(text) == numbers


@pytest.mark.parametrize(
    ("release", "codes"), [("4.19.0-27-amd64", ["KernelTooOld"]), ("5.3.0", []), ("6.1.0-56-amd64", [])]
)
def test_a_kernel_without_nexthop_objects(release: str, codes: list[str]) -> None:
    assert [f.code for f in host(make_config(), Observation(release=release))] == codes


def test_a_kernel_that_refuses_nexthop_objects() -> None:
    seen = Observation(release="6.1.0", nexthop_objects=False)

    assert [f.code for f in host(make_config(), seen)] == ["NexthopObjectsMissing"]


@pytest.mark.parametrize(
    ("found", "codes"),
    [
        (
            Modules(lacking=frozenset({"esp4"}), unloaded=frozenset(), loading_forbidden=False),
            ["ModuleMissing"],
        ),
        (
            Modules(lacking=frozenset(), unloaded=frozenset({"esp4"}), loading_forbidden=True),
            ["ModuleForbidden"],
        ),
        (Modules(lacking=frozenset(), unloaded=frozenset({"esp4"}), loading_forbidden=False), []),
    ],
)
def test_a_module_must_be_there_or_loadable(found: Modules, codes: list[str]) -> None:
    assert [f.code for f in host(make_config(), Observation(modules=found))] == codes


@pytest.mark.parametrize(("root", "severity"), [(True, Severity.CRITICAL), (False, Severity.INFO)])
def test_root_without_the_capabilities_cannot_run_the_daemon(root: bool, severity: Severity) -> None:
    seen = Observation(lacking_capabilities=frozenset({"CAP_NET_RAW"}), root=root)

    assert [(f.code, f.severity) for f in host(make_config(), seen)] == [("CapabilityMissing", severity)]


def test_the_clock_matters_to_certificates() -> None:
    seen = Observation(clock_synchronised=False)
    certified = make_config(primary=CERTIFICATES)

    assert [f.severity for f in host(make_config(), seen)] == [Severity.INFO]
    assert [f.severity for f in host(certified, seen)] == [Severity.WARNING]


def test_the_size_of_a_packet_is_that_of_its_tunnels_own_esp() -> None:
    larger = replace(make_connection().esp, encryption="aes256", integrity="sha512")
    size = packet_size(1399, make_connection().esp, udp=True)
    ways = (
        Underlay(tunnel=TunnelKey("hangzhou", name), source=None, mtu=size, error="")
        for name in ("primary", "backup")
    )
    seen = Observation(underlays=tuple(ways))

    assert list(underlay(make_config(), seen)) == []
    [found] = underlay(make_config(backup={"esp": larger}), seen)
    assert (found.code, found.subject) == ("PathMtuTooSmall", "hangzhou/backup")
    # Not in UDP a packet is 8 bytes smaller.
    assert list(underlay(make_config(connection={"mtu": 1405}, primary=NEVER, backup=NEVER), seen)) == []


def test_aes_without_instructions_matters_at_speed() -> None:
    seen = Observation(hardware_aes=False)

    assert [f.code for f in host(make_config(), seen)] == ["NoHardwareAes"]
    assert list(host(make_config(connection={"bandwidth": 100e6}), seen)) == []


@pytest.mark.parametrize("kind", [stat.S_IFDIR, stat.S_IFREG, stat.S_IFSOCK])
def test_what_others_may_write_to_is_critical(kind: int) -> None:
    [found] = host(make_config(), Observation(open_files=(OpenFile(path="/etc/x", mode=kind | 0o777),)))

    assert (found.code, found.severity) == ("WritableByOthers", Severity.CRITICAL)
    assert found.text.startswith("/etc/x has mode 0777: any user may")


@pytest.mark.parametrize(
    ("text", "traps"),
    [
        ("5.7.2", {"vici-deadlock", "rekey-collision", "5.7.2"}),
        ("5.9.8", {"vici-deadlock", "rekey-collision"}),
        ("5.9.11", {"rekey-collision"}),
        ("6.0.4", {"link-bounce"}),
        ("6.0.6", set()),
    ],
)
def test_the_known_traps_of_a_version(text: str, traps: set[str]) -> None:
    assert {subject for _, subject, _ in of_charon(charon(text))} == traps


def test_a_charon_before_xfrm_interfaces_is_of_no_use() -> None:
    assert ("CharonTooOld", "5.7.2", Severity.CRITICAL) in of_charon(charon("5.7.2"))


def test_faults_with_certificates_matter_where_they_are_used() -> None:
    assert ("CharonTrap", "name-constraints", Severity.WARNING) in of_charon(
        charon("6.0.5"), make_config(primary=CERTIFICATES)
    )


def test_plugins_that_conflict() -> None:
    found = of_charon(charon("6.0.6", "kernel-libipsec", "farp", "aes"))

    assert found == [
        ("PluginConflict", "kernel-libipsec", Severity.CRITICAL),
        ("PluginConflict", "farp", Severity.INFO),
    ]
    narrow = make_config(connection={"traffic_selectors": TrafficSelectors.NETWORKS})
    assert ("PluginConflict", "farp", Severity.WARNING) in of_charon(charon("6.0.6", "farp"), narrow)


ESPS = st.builds(
    lambda cipher, check: replace(make_connection().esp, encryption=cipher, integrity=check),
    st.sampled_from(sorted(CIPHERS)),
    st.sampled_from(sorted(CHECKS)),
)


@pytest.mark.parametrize(
    ("cipher", "check", "udp", "size"),
    [
        # 20 IP + 8 UDP + 8 ESP + 16 IV + 1408 text + 12 ICV; and the same by hand for the others
        ("aes128", "sha1", True, 1472),
        ("aes256", "sha256", False, 1468),
        ("3des", "md5", True, 1464),
        ("aes128gcm16", "sha256", True, 1464),
    ],
)
def test_the_size_of_an_esp_packet(cipher: str, check: str, udp: bool, size: int) -> None:
    esp = replace(make_connection().esp, encryption=cipher, integrity=check)

    assert packet_size(1399, esp, udp=udp) == size


@given(st.integers(200, 9000), ESPS, st.booleans())
def test_the_largest_packet_that_fits_is_the_largest(outer: int, esp: Esp, udp: bool) -> None:
    inner = largest_inner(outer, esp, udp=udp)

    assert packet_size(inner, esp, udp=udp) <= outer < packet_size(inner + 1, esp, udp=udp)


NETWORKS = st.builds(
    lambda address, length: IPv4Network((address & ~((1 << 32 - length) - 1), length)),
    st.integers(0x64000000, 0x64FFFFFF),
    st.integers(8, 32),
)


@given(NETWORKS, NETWORKS)
def test_an_address_is_a_conflict_exactly_if_its_network_meets_a_remote_one(
    own: IPv4Network, remote: IPv4Network
) -> None:
    config = make_config(connection={"remote_networks": (remote,)})
    address = Address(interface="lan", address=IPv4Interface((own.network_address, own.prefixlen)))

    found = list(occupancy(config, Observation(addresses=(address,))))

    assert [f.code for f in found] == (["AddressInRemote"] if own.overlaps(remote) else [])
    if found and remote.subnet_of(own):
        assert found[0].severity is Severity.CRITICAL


def test_the_hint_names_the_narrow_ranges_of_the_region() -> None:
    address = Address(interface="lan", address=IPv4Interface("100.70.3.1/24"))
    [found] = occupancy(make_config(), Observation(addresses=(address,)))

    named = with_ranges(found, catalogue(), "cn-hangzhou")

    assert "vpnagent check --region" in found.hint
    assert "100.118.28.0/24, 100.114.102.0/24, 100.98.170.0/24, 100.118.31.0/24" in named.hint
    assert "100.100.2.136/32" in named.hint
    assert "PrivateLink" in named.hint
    assert (named.code, named.subject) == (found.code, found.subject)
    assert "Log Service" not in with_ranges(found, catalogue(), "ap-southeast-1").hint.partition(" (OSS")[0]
    lacking = with_ranges(found, catalogue(), "ap-southeast-1").hint
    assert "of Log Service the table has none there" in lacking
    assert "the table has none there" not in named.hint


def test_many_routes_through_one_interface_are_one_finding_with_examples() -> None:
    routes = tuple(
        ObservedRoute(
            table=254, prefix=IPv4Network((0x64580000 + n, 32)), kind=1, interface="wg0", metric=0, protocol=3
        )
        for n in range(50)
    )

    [found] = occupancy(make_config(), Observation(routes=routes))

    assert "50 routes of others (100.88.0.0/32, 100.88.0.1/32, 100.88.0.2/32, …), through wg0" in found.text


def test_a_bridge_of_containers_is_told_as_such() -> None:
    address = Address(interface="docker0", address=IPv4Interface("172.16.0.1/24"))
    for kind, code in (("bridge", "ContainersInRemote"), ("", "AddressInRemote")):
        bridge = Interface(name="docker0", kind=kind, mtu=1500)
        seen = Observation(addresses=(address,), interfaces=(bridge,))
        assert [f.code for f in occupancy(make_config(), seen)] == [code]


def test_modules_are_looked_for_where_the_kernel_has_them(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "lib/modules/6.1.0"
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/net/netfilter/nf_tables.ko\n")
    (folder / "modules.dep").write_text("kernel/net/ipv4/esp4.ko.xz: kernel/net/xfrm/xfrm_algo.ko.xz\n")

    found = readings.modules("6.1.0", tmp_path)

    assert found.lacking == frozenset({"xfrm_interface", "xfrm_user"})
    assert found.unloaded == frozenset({"esp4"})
    with pytest.raises(readings.UnreadableError, match="lists no modules"):
        readings.modules("6.2.0", tmp_path)
    for module in MODULES:
        (tmp_path / "sys/module" / module).mkdir(parents=True)
    assert readings.modules("6.2.0", tmp_path).lacking == set()


def test_pools_of_docker_cni_and_podman(tmp_path: pathlib.Path) -> None:
    files = {
        "etc/docker/daemon.json": {
            "bip": "100.65.0.1/24",
            "default-address-pools": [{"base": "100.66.0.0/16", "size": 24}],
        },
        "etc/cni/net.d/10-x.conflist": {"plugins": [{"ipam": {"ranges": [[{"subnet": "100.67.0.0/16"}]]}}]},
        "etc/containers/networks/p.json": {"subnets": [{"subnet": "fd00::/64"}, {"subnet": "100.68.0.0/16"}]},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps(content))

    assert {str(pool.network) for pool in readings.pools(tmp_path)} == {
        "100.65.0.0/24",
        "100.66.0.0/16",
        "100.67.0.0/16",
        "100.68.0.0/16",
    }


def test_docker_that_runs_without_pools_of_its_own_has_the_defaults(tmp_path: pathlib.Path) -> None:
    assert readings.pools(tmp_path) == ()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/docker.sock").touch()

    config = make_config(connection={"remote_networks": (IPv4Network("172.20.5.0/24"),)})
    found = list(occupancy(config, Observation(pools=readings.pools(tmp_path))))

    assert [f.subject for f in found] == ["172.20.0.0/14 Docker's defaults"]


def test_a_file_that_is_not_json_is_told_by_name(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text("{")

    with pytest.raises(readings.UnreadableError, match=r"daemon\.json is not JSON"):
        readings.pools(tmp_path)


def test_name_servers_of_version_4(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("# x\nnameserver ::1\nnameserver 100.64.0.1\nnameserver\n")

    assert readings.resolvers(tmp_path) == (IPv4Address("100.64.0.1"),)


def test_a_pool_in_two_remote_networks_is_told_for_each() -> None:
    pool = Pool(network=IPv4Network("0.0.0.0/1"), where="x")

    assert len(list(occupancy(make_config(), Observation(pools=(pool,))))) == 1


def test_a_tunnel_whose_uplink_leads_nowhere_is_told_once() -> None:
    config = make_config(backup={"uplink": "eth1"})
    [pin] = pins(config)
    way = Underlay(tunnel=TunnelKey("hangzhou", "backup"), source=None, mtu=0, error="No such device")
    steering = {pin: Steering(route=None, problem="there is no interface eth1")}

    [found] = underlay(config, Observation(underlays=(way,), steering=steering))

    assert (found.code, found.subject) == ("UplinkWithoutGateway", "hangzhou/backup")
    assert found.text == "there is no interface eth1: hangzhou/backup stays down, as it takes no other way"
