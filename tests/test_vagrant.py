"""vagrant/ without a virtual machine: its scripts, its configurations, and the lab's addresses in them."""

import ipaddress
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from lab import topology
from vpnagent.config.load import load

VAGRANT = pathlib.Path(__file__).parents[1] / "vagrant"
MACHINES = VAGRANT / "machines"
SCRIPTS = sorted(
    path
    for path in VAGRANT.rglob("*")
    if path.is_file() and os.access(path, os.X_OK) and b"sh\n" in path.read_bytes()[:20]
)
IDENTIFIERS = [str(path.relative_to(VAGRANT)) for path in SCRIPTS]
CHAOS = MACHINES / "internet" / "usr" / "local" / "bin" / "chaos"
STREAM = MACHINES / "host" / "usr" / "local" / "bin" / "stream"
CLOUD = MACHINES / "vpc" / "usr" / "local" / "bin" / "cloud"
GATEWAY = MACHINES / "gateway" / "etc" / "vpnagent"


def addresses(machine: str) -> set[str]:
    """The addresses that a machine's networkd files give it, without their prefix length."""
    texts = (file.read_text() for file in (MACHINES / machine).rglob("*.network"))
    return {found for text in texts for found in re.findall(r"^Address=([0-9.]+)", text, re.MULTILINE)}


def lab_addresses(*namespaces: str) -> set[str]:
    """The same of the namespaces that a machine stands for."""
    lines = (line for namespace in namespaces for line in topology.ADDRESSES[namespace])
    return {found for line in lines for found in re.findall(r"^address add ([0-9.]+)", line)}


def vagrantfile_addresses() -> dict[str, set[str]]:
    """Machine => what the Vagrantfile says of it."""
    text = (VAGRANT / "Vagrantfile").read_text()
    entries = re.findall(r'^  "(\w+)" => \[\{(.*?)\}, \d+\]', text, re.MULTILINE | re.DOTALL)
    return {name: set(re.findall(r'=> "([0-9.]+)"', networks)) for name, networks in entries}


def test_scripts_are_found() -> None:
    assert {"prepare", "provision", "smoke", "world", "box/build"} <= set(IDENTIFIERS)


@pytest.mark.parametrize("script", SCRIPTS, ids=IDENTIFIERS)
def test_a_script_has_no_syntax_error(script: pathlib.Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=IDENTIFIERS)
def test_shellcheck_finds_nothing(script: pathlib.Path) -> None:
    subprocess.run(["shellcheck", "--external-sources", script], check=True)


@pytest.mark.skipif(not shutil.which("ruby"), reason="ruby is not installed")
def test_the_vagrantfile_is_ruby() -> None:
    subprocess.run(["ruby", "-c", VAGRANT / "Vagrantfile"], check=True, capture_output=True)


def test_no_machine_has_a_name_that_vagrant_takes_for_an_id() -> None:
    names = vagrantfile_addresses()
    assert len(names) == 6
    assert not [name for name in names if re.fullmatch("[0-9a-f]+", name)]


@pytest.mark.parametrize(
    ("machine", "namespaces"),
    [
        ("idc", ["idc"]),
        ("gateway", ["gw"]),
        ("internet", ["net-a", "net-b"]),
        ("zone1", ["zone1"]),
        ("zone2", ["zone2"]),
    ],
)
def test_a_machine_has_the_addresses_of_the_lab(machine: str, namespaces: list[str]) -> None:
    assert addresses(machine) == lab_addresses(*namespaces)


def test_the_vpc_is_router_and_host_in_one() -> None:
    assert addresses("vpc") == lab_addresses("vpc", "ecs") - {"172.16.0.1"}


@pytest.mark.parametrize("machine", vagrantfile_addresses())
def test_the_vagrantfile_and_networkd_agree(machine: str) -> None:
    elsewhere = {topology.ECS_HOST, topology.SERVICE_HOST}
    inside = {address for address in addresses(machine) if ipaddress.ip_address(address).is_link_local}
    assert vagrantfile_addresses()[machine] == addresses(machine) - elsewhere - inside


def test_a_mac_is_made_of_its_machine_and_network() -> None:
    text = (VAGRANT / "Vagrantfile").read_text()
    [numbers] = re.findall(r"^NUMBERS = \{(.*)\}$", text, re.MULTILINE)
    [networks] = re.findall(r"^NETWORKS = %w\[(.*)\]$", text, re.MULTILINE)
    for machine, number in re.findall(r'"(\w+)" => (\d)', numbers):
        [used] = re.findall(rf'"{machine}"\]? =>? ?\[\{{(.*?)\}}', text, re.DOTALL)
        wanted = {
            f"52:54:00:86:{int(number):02x}:{networks.split().index(name) + 1:02x}"
            for name in re.findall(r'"([a-z-]+)" =>', used)
        }
        files = (file.read_text() for file in (MACHINES / machine).rglob("*.network"))
        assert {
            mac for text in files for mac in re.findall(r"^MACAddress=(.*)$", text, re.MULTILINE)
        } == wanted


def test_the_gateway_has_the_tunnels_of_the_lab() -> None:
    document = yaml.safe_load((GATEWAY / "vpnagent.yaml").read_text())
    [connection] = document["connections"]
    assert connection["remote_networks"] == list(topology.REMOTE_NETWORKS)
    for tunnel, entry in zip(topology.TUNNELS, connection["tunnels"], strict=True):
        assert entry["name"] == tunnel.name
        assert entry["remote_address"] == tunnel.remote
        assert entry["local_address"] == tunnel.local
        assert entry["inside_address"] == f"{tunnel.inside_local}/30"
        assert (GATEWAY / entry["psk_file"]).read_text().strip() == tunnel.psk
        assert tunnel.psk in (MACHINES / tunnel.zone / "etc/swanctl/conf.d/vpn-gateway.conf").read_text()


def test_the_gateways_configuration_is_accepted(tmp_path: pathlib.Path) -> None:
    shutil.copytree(GATEWAY, tmp_path, dirs_exist_ok=True)
    for key in (tmp_path / "psk").iterdir():
        key.chmod(0o600)
    [connection] = load(tmp_path / "vpnagent.yaml").connections
    assert [tunnel.name for tunnel in connection.tunnels] == [tunnel.name for tunnel in topology.TUNNELS]


def test_the_clouds_document_is_the_gateways_configuration(tmp_path: pathlib.Path) -> None:
    networks = [
        "--local-network",
        "10.1.0.0/16",
        *(w for n in topology.REMOTE_NETWORKS for w in ("--remote-network", n)),
    ]
    imported = tmp_path / "vpnagent.yaml"
    files = ["--output", str(imported), "--psk-directory", str(tmp_path / "psk")]
    document = MACHINES / "gateway/home/vagrant/describe.json"
    subprocess.run([sys.executable, "-m", "vpnagent", "import", document, *files, *networks], check=True)
    shutil.copytree(GATEWAY, tmp_path / "by-hand")
    for key in (tmp_path / "by-hand/psk").iterdir():
        key.chmod(0o600)
    [connection], [by_hand] = (
        load(path).connections for path in (imported, tmp_path / "by-hand/vpnagent.yaml")
    )
    assert (connection.name, connection.ike, connection.esp) == (by_hand.name, by_hand.ike, by_hand.esp)
    for tunnel, wanted, lab in zip(connection.tunnels, by_hand.tunnels, topology.TUNNELS, strict=True):
        assert (tunnel.name, tunnel.role) == (wanted.name, wanted.role)
        assert (tunnel.remote_address, tunnel.inside_address) == (
            wanted.remote_address,
            wanted.inside_address,
        )
        assert str(tunnel.local_id) == lab.local
        assert (tmp_path / f"psk/hangzhou.{tunnel.name}.psk").read_text().strip() == lab.psk


@pytest.mark.parametrize("command", [CHAOS, CLOUD, STREAM], ids=["chaos", "cloud", "stream"])
def test_help_shows_an_example(command: pathlib.Path) -> None:
    help_ = subprocess.run([command, "--help"], check=True, capture_output=True, text=True).stdout
    assert "example:" in help_.lower()


def test_a_stream_that_all_comes_back_has_lost_nothing() -> None:
    with subprocess.Popen([STREAM, "--reflect", "127.0.0.1"]) as far:
        try:
            told = ""
            for _ in range(20):  # the far end may not listen yet
                command = [str(STREAM), "--seconds", "0.2", "--rate", "100", "127.0.0.1"]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                if "out: 0 lost; back: 0 lost" in told:
                    break
            assert re.fullmatch(r"\d+ sent, \d+/s; out: 0 lost; back: 0 lost; blackout 0\.000 s\n", told)
        finally:
            far.kill()


@pytest.mark.parametrize(
    "arguments", [["esp-drop"], ["drop", "third"], ["loss", "primary", "0"], ["restore", "x"], ["break"]]
)
def test_chaos_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    refused = subprocess.run([CHAOS, *arguments], check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
