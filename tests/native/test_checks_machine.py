"""The way to the peers, ports, settings and charon of a machine: each trouble is made for real, and found."""

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.config_examples import make_config, make_tunnel
from tests.native.charon_pair import CHARON, Host
from tests.native.machine import Machine, machine

from vpnagent.config.values import Config
from vpnagent.finding import Severity

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)


@pytest.fixture
def tidy(tmp_path: pathlib.Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_no_route_to_the_peers(tidy: Machine) -> None:
    tidy.gateway.ip("route delete default")

    found = tidy.findings()

    assert [(f.code, f.severity) for f in found] == [("NoWayToPeer", Severity.CRITICAL)] * 2
    assert "203.0.113.1 (Network is unreachable)" in found[0].text


def test_an_uplink_without_a_gateway(tidy: Machine) -> None:
    """The LAN leads nowhere; the provider's wire has the default route."""
    by_lan, by_wire = (
        make_config(backup={"uplink": name, "local_address": None}) for name in ("lan", "eth0")
    )

    [found] = tidy.findings(by_lan)

    assert (found.code, found.subject) == ("UplinkWithoutGateway", "hangzhou/backup")
    assert found.text.startswith("no route through lan leads to 203.0.113.2: hangzhou/backup stays down")
    assert tidy.findings(by_wire) == []


def test_a_local_address_that_is_not_here(tidy: Machine) -> None:
    tidy.gateway.ip("address delete 192.0.2.2/24 dev eth0")
    tidy.gateway.ip("address add 192.0.2.9/24 dev eth0")
    tidy.gateway.ip("route replace default via 192.0.2.1")

    assert tidy.codes() == {"NoWayToPeer"}


def test_the_way_to_a_peer_through_our_own_tunnel(tidy: Machine) -> None:
    tidy.gateway.ip("tuntap add vpn-hz-1 mode tun")
    tidy.gateway.ip("address add 169.254.10.2/30 dev vpn-hz-1")
    tidy.gateway.ip("link set vpn-hz-1 up")
    tidy.gateway.ip("route add 203.0.113.0/24 dev vpn-hz-1")
    anywhere = make_config(primary={"local_address": None}, backup={"local_address": None})

    assert {finding.code for finding in tidy.findings(anywhere)} == {"PeerThroughTunnel"}


def test_an_uplink_with_a_small_mtu_is_known_without_a_packet(tidy: Machine) -> None:
    tidy.gateway.ip("link set eth0 mtu 1400")

    found = tidy.findings()

    assert [finding.code for finding in found] == ["PathMtuTooSmall"] * 2
    assert "packets of 1399 bytes become 1472 in ESP, and 1400 fit" in found[0].text


def test_a_small_mtu_further_on_is_heard_of_from_the_router(tidy: Machine) -> None:
    provider = tidy.provider
    provider.run("sysctl -qw net.ipv4.ip_forward=1")
    provider.ip("link add narrow type veth peer name end")
    for link in ("narrow", "end"):
        provider.ip(f"link set {link} mtu 1420 up")
    provider.ip("address add 198.51.100.1/24 dev narrow")
    provider.ip("route add 203.0.113.0/24 via 198.51.100.2")
    provider.ip("neighbour add 198.51.100.2 lladdr 02:00:00:00:00:09 dev narrow")

    found = tidy.findings(thorough=True)

    assert [finding.code for finding in found] == ["PathMtuTooSmall"] * 2
    assert "1420 fit" in found[0].text


def test_another_ike_daemon_has_the_port(tidy: Machine) -> None:
    with tidy.gateway.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pluto:
        pluto.bind(("0.0.0.0", 500))
        found = tidy.findings(thorough=True)

    assert [(f.code, f.severity) for f in found] == [("IkePortTaken", Severity.CRITICAL)]
    assert "UDP 500" in found[0].text


def test_settings_that_let_packets_past_ipsec_or_leave_pings_unanswered(tidy: Machine) -> None:
    tidy.gateway.run("sysctl -qw net.ipv4.conf.all.disable_xfrm=1 net.ipv4.icmp_echo_ignore_all=1")

    found = {finding.subject: finding for finding in tidy.findings()}

    assert {f.code for f in found.values()} == {"SysctlHarmful"}
    assert found["net.ipv4.conf.all.disable_xfrm"].severity is Severity.CRITICAL
    assert "health checks" in found["net.ipv4.icmp_echo_ignore_all"].text


def test_settings_that_nobody_manages(tidy: Machine) -> None:
    tidy.gateway.run("sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.eth0.rp_filter=1")
    tidy.gateway.run("sysctl -qw net.ipv4.conf.all.rp_filter=0")
    unmanaged = make_config(agent={"manage_sysctls": False})

    found = {f.subject for f in tidy.findings(unmanaged) if f.code == "SysctlDiffers"}

    assert {"net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"} <= found
    assert tidy.findings() == []


def test_keys_in_a_folder_where_anybody_may_put_another(tidy: Machine) -> None:
    folder = tidy.folder / "psk"
    folder.mkdir()
    (tidy.folder / "vpnagent.yaml").write_text("connections: [{tunnels: [{psk_file: psk/primary}]}]\n")
    assert tidy.findings() == []

    folder.chmod(0o777)

    assert (tidy.only("WritableByOthers").subject, tidy.only("WritableByOthers").severity) == (
        str(folder),
        Severity.CRITICAL,
    )


def test_a_vici_socket_for_everybody(tidy: Machine) -> None:
    path = tidy.folder / "charon.vici"
    open_to_all = make_config(agent={"vici_socket": str(path)})
    with socket.socket(socket.AF_UNIX) as vici:
        vici.bind(str(path))
        path.chmod(0o777)

        found = tidy.findings(open_to_all)

    assert [finding.code for finding in found] == ["WritableByOthers"]
    assert "as root" in found[0].text


@contextlib.contextmanager
def charon(machine: Machine, *, libipsec: bool = False) -> Iterator[Config]:
    """Run a real charon in the gateway; yield the configuration that names its socket."""
    host = Host("check", 1, machine.folder)
    host.namespace = machine.gateway.name
    host.start(libipsec=libipsec)
    try:
        yield make_config(agent={"vici_socket": host.vici})
    finally:
        host.kill()


@pytest.mark.skipif(not os.path.exists(CHARON), reason="charon-systemd is not installed")
def test_a_running_charon_is_asked_for_version_plugins_and_algorithms(tidy: Machine) -> None:
    with charon(tidy) as config:
        found = tidy.findings(config, thorough=True)

        assert {f.severity for f in found} <= {Severity.INFO}  # it holds its ports, and has what is needed
        guomi = replace(config.connections[0].ike, encryption="sm4")
        lacking = make_config(
            agent={"vici_socket": config.agent.vici_socket},
            connection={"ike": guomi, "tunnels": (make_tunnel(1),)},
        )
        assert "AlgorithmMissing" in {finding.code for finding in tidy.findings(lacking)}


@pytest.mark.skipif(not os.path.exists(CHARON), reason="charon-systemd is not installed")
def test_a_charon_with_esp_in_user_space(tidy: Machine) -> None:
    with charon(tidy, libipsec=True) as config:
        found = [f for f in tidy.findings(config) if f.code == "PluginConflict"]

    assert [(f.subject, f.severity) for f in found][:1] == [("kernel-libipsec", Severity.CRITICAL)]
