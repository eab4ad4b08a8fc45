"""The life of the package on a Debian: installed, configured, upgraded, removed, purged. In this order."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packaging.debian.chroot import Chroot, chroot
from tests.packaging.debian.tested import package, release

if os.geteuid() != 0:
    pytest.skip("a chroot needs root: ./dev deb-test runs this", allow_module_level=True)

CONFIG = """\
version: 1
gateway: {name: idc-hz-1, local_networks: [10.1.0.0/16], source_address: 10.1.0.1}
connections:
  - name: hangzhou
    attachment: vpn-gateway
    remote_networks: [100.64.0.0/10]
    probe: {targets: [172.16.0.10]}
    tunnels:
      - {name: primary, remote_address: 203.0.113.1, local_address: 192.0.2.2, psk_file: psk/primary}
"""
PSK = "not-a-secret-of-anybody"
UNITS = ("vpnagent.service", "vpnagent-prober.service", "vpnagent-guard.service")


@pytest.fixture(scope="module")
def debian() -> Iterator[Chroot]:
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory, chroot(Path(directory)) as made:
        shutil.copy(package(), made.path("/vpnagent.deb"))
        yield made


@pytest.fixture(scope="module")
def before(debian: Chroot) -> dict[str, str]:
    """What was there before the package."""
    return debian.files()


def install(debian: Chroot) -> str:
    return debian.run("dpkg", "--install", "/vpnagent.deb")


def states(debian: Chroot) -> list[str]:
    return [debian.run("sh", "-c", f"systemctl is-enabled {unit} || true").strip() for unit in UNITS]


def test_it_installs_and_says_what_comes_next(debian: Chroot, before: dict[str, str]) -> None:
    assert before
    assert "not configured yet: vpnagent init" in install(debian)
    assert debian.run("vpnagent", "--version").startswith("vpnagent, version ")
    assert debian.run("dpkg", "--verify", "vpnagent") == ""


def test_nothing_is_enabled_or_running(debian: Chroot) -> None:
    assert states(debian) == ["disabled"] * 3
    assert "vpnagent" not in debian.run("sh", "-c", "cat /proc/[0-9]*/comm")


def test_it_runs_on_debians_python_and_writes_no_bytecode(debian: Chroot) -> None:
    program = "import sys, vpnagent.daemon.daemon; print(sys.executable, sys.version_info[:2], sys.prefix)"
    ran = debian.run("/usr/lib/vpnagent/bin/python", "-I", "-c", program)
    assert ran == f"/usr/lib/vpnagent/bin/python {release().python} /usr/lib/vpnagent\n"
    assert debian.run("find", "/usr/lib/vpnagent", "-newer", "/vpnagent.deb", "-name", "*.pyc") == ""


def test_keys_are_for_root_and_the_service(debian: Chroot) -> None:
    assert debian.run("stat", "--format=%a %U %G", "/etc/vpnagent/psk") == "2750 root vpnagent\n"
    for group in ("vpnagent-admin", "vpnagent-status"):
        assert group in debian.run("getent", "group", group)


def test_systemd_and_strongswan_accept_what_came(debian: Chroot) -> None:
    verified = debian.run("systemd-analyze", "verify", "--man=no", *UNITS, "strongswan.service")
    assert [line for line in verified.splitlines() if "vpnagent" in line] == []
    shown = debian.run("systemd-analyze", "cat-config", "systemd/networkd.conf")
    assert "ManageForeignRoutes=no" in shown
    assert "86 vpnagent" in debian.path("/etc/iproute2/rt_protos.d/vpnagent.conf").read_text()


def test_a_configuration_is_checked_and_guarded_by_the_services_user(debian: Chroot) -> None:
    debian.path("/etc/vpnagent/vpnagent.yaml").write_text(CONFIG)
    key = debian.path("/etc/vpnagent/psk/primary")
    key.write_text(PSK)
    key.chmod(0o640)  # its group is the directory's
    assert PSK not in debian.as_service("vpnagent", "check", "--file-only")
    debian.as_service("vpnagent", "guard")
    assert guards(debian) == "unreachable 100.64.0.0/10 metric 4278198272 \n"


def test_enabling_the_daemon_enables_the_three(debian: Chroot) -> None:
    debian.run("systemctl", "enable", "--quiet", "vpnagent.service")
    assert states(debian) == ["enabled"] * 3


def test_an_upgrade_keeps_configuration_state_and_routes(debian: Chroot) -> None:
    state = debian.path("/var/lib/vpnagent")
    state.mkdir(exist_ok=True)
    (state / "standing.yaml").write_text(CONFIG)
    for _ in range(2):
        assert "not configured" not in install(debian)
    assert debian.path("/etc/vpnagent/vpnagent.yaml").read_text() == CONFIG
    assert states(debian) == ["enabled"] * 3
    assert "unreachable 100.64.0.0/10" in guards(debian)


def test_an_upgrade_from_before_the_group_that_sees_moves_who_may_see_there(debian: Chroot) -> None:
    debian.run("useradd", "--system", "observer")
    debian.run("gpasswd", "--add", "observer", "vpnagent")
    debian.run("groupdel", "vpnagent-status")
    install(debian)
    assert debian.run("id", "--name", "--groups", "observer").split() == ["observer", "vpnagent-status"]
    debian.run("gpasswd", "--add", "observer", "vpnagent")
    install(debian)  # what an operator decides afterwards stands
    assert "vpnagent" in debian.run("id", "--name", "--groups", "observer").split()
    debian.run("userdel", "observer")


def test_a_removal_takes_our_routes_along_and_keeps_what_the_operator_wrote(debian: Chroot) -> None:
    debian.run("ip", "route", "add", "unreachable", "198.51.100.0/24")
    debian.run("dpkg", "--remove", "vpnagent")
    assert guards(debian) == ""
    assert "unreachable 198.51.100.0/24" in debian.run("ip", "route", "show", "type", "unreachable")
    assert debian.path("/etc/vpnagent/psk/primary").read_text() == PSK
    assert debian.path("/var/lib/vpnagent/standing.yaml").exists()


def test_a_purge_says_what_it_removes_and_leaves_the_machine_as_it_was(
    debian: Chroot, before: dict[str, str]
) -> None:
    said = debian.run("dpkg", "--purge", "vpnagent")
    for removed in ("/etc/vpnagent/vpnagent.yaml", "/etc/vpnagent/psk/primary", "user vpnagent"):
        assert f"vpnagent: removed {removed}\n" in said
    assert PSK not in said
    after = debian.files()
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == set()


def guards(debian: Chroot) -> str:
    """Return our unreachable routes, as ip(8) shows them."""
    return debian.run("ip", "route", "show", "proto", "86")
