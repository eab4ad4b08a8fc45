"""The units of systemd/: what systemd itself says of them, and the promises that it cannot check."""

import configparser
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from vpnagent.netlink.rtnetlink import PROTOCOL
from vpnagent.policy.desired import SYSCTLS

SYSTEMD = pathlib.Path(__file__).parents[1] / "systemd"
UNITS = sorted(path.name for path in SYSTEMD.glob("vpnagent*.*") if path.suffix in (".service", ".timer"))
SERVICES = [name for name in UNITS if name.endswith(".service")]
CREATES_OBJECTS = ("vpnagent.service", "vpnagent-prober.service", "vpnagent-guard.service")
EXPOSURE = 1.9  #: of 10, as systemd-analyze security counts


def settings(name: str, section: str) -> dict[str, list[str]]:
    """Return the settings of a unit's section: a key may be there more than once."""
    found: dict[str, list[str]] = {}
    inside = False
    for line in (SYSTEMD / name).read_text().splitlines():
        if line.startswith("["):
            inside = line == f"[{section}]"
        elif inside and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def service(name: str) -> dict[str, list[str]]:
    return settings(name, "Service")


def test_every_unit_is_found() -> None:
    assert UNITS == [
        "vpnagent-drill.service",
        "vpnagent-drill.timer",
        "vpnagent-guard.service",
        "vpnagent-prober.service",
        "vpnagent.service",
    ]


def test_systemd_has_nothing_to_say_of_the_units(tmp_path: pathlib.Path) -> None:
    """What they start is not installed here: /bin/true stands in."""
    for name in UNITS:
        text = re.sub(
            r"/usr/(bin/vpnagent|lib/vpnagent/bin/python)\b", "/bin/true", (SYSTEMD / name).read_text()
        )
        (tmp_path / name).write_text(text)
    (tmp_path / "strongswan.service").write_text("[Service]\nExecStart=/bin/true\n")
    shutil.copytree(SYSTEMD / "strongswan.service.d", tmp_path / "strongswan.service.d")
    done = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            *(tmp_path / name for name in (*UNITS, "strongswan.service")),
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "vpnagent" in line]
    assert (ours, done.returncode) == ([], 0)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_no_more_than_promised(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", SYSTEMD / name],
        check=False,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= EXPOSURE


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_not_roots_and_leaves_no_core(name: str) -> None:
    assert service(name)["User"] == ["vpnagent"]
    assert service(name)["LimitCORE"] == ["0"]
    assert set(service(name)["CapabilityBoundingSet"][0].split()) <= {"CAP_NET_ADMIN", "CAP_NET_RAW"}


@pytest.mark.parametrize("name", CREATES_OBJECTS)
def test_nothing_starts_before_it_is_configured(name: str) -> None:
    assert settings(name, "Unit")["ConditionPathExists"] == ["/etc/vpnagent/vpnagent.yaml"]


@pytest.mark.parametrize("name", ["vpnagent.service", "vpnagent-prober.service"])
def test_a_service_that_ends_comes_back_in_milliseconds_for_ever(name: str) -> None:
    assert settings(name, "Unit")["StartLimitIntervalSec"] == ["0"]
    assert service(name)["Restart"] == ["always"]
    assert re.fullmatch(r"[0-9]{1,3}ms", service(name)["RestartSec"][0])
    assert "0" in service(name)["RestartPreventExitStatus"][0].split(), "vpnagent down"


def test_neither_ends_with_the_other_nor_with_strongswan() -> None:
    """No Requires=, BindsTo= or PartOf= anywhere, and no waiting for charon: it comes after the network."""
    for name in CREATES_OBJECTS:
        unit = settings(name, "Unit")
        assert not {"Requires", "BindsTo", "PartOf", "Requisite", "Upholds"} & unit.keys()
        assert "strongswan" not in " ".join(unit.get("After", []) + unit.get("Wants", []))
        assert "network-online.target" not in " ".join(unit.get("After", []) + unit.get("Wants", []))


def test_the_guards_are_there_before_the_network() -> None:
    unit = settings("vpnagent-guard.service", "Unit")
    assert unit["DefaultDependencies"] == ["no"]
    assert "network-pre.target" in unit["Before"][0].split()
    assert "network-pre.target" in unit["Wants"][0].split()


def test_only_the_two_that_speak_to_charon_may_open_its_socket_and_no_person_needs_to() -> None:
    dropin = (SYSTEMD / "strongswan.service.d/vpnagent.conf").read_text()
    assert "\nExecStartPost=-/usr/bin/chgrp vpnagent-vici /run/charon.vici\n" in dropin
    groups = {name: service(name).get("SupplementaryGroups") for name in SERVICES}
    assert {name for name, found in groups.items() if "vpnagent-vici" in str(found)} == {
        "vpnagent.service",
        "vpnagent-prober.service",
    }


def test_drills_are_off_unless_somebody_turns_them_on() -> None:
    assert "vpnagent-drill" not in " ".join(settings("vpnagent.service", "Install")["Also"])
    assert settings("vpnagent-drill.service", "Install") == {}


def test_a_sysctl_d_file_sets_what_the_daemon_would() -> None:
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read_string("[sysctl]\n" + (SYSTEMD / "sysctl.d/vpnagent.conf").read_text())
    assert dict(parser["sysctl"]) == {sysctl.key: sysctl.value for sysctl in SYSCTLS}


def test_the_routing_protocol_has_its_name() -> None:
    text = (SYSTEMD / "rt_protos.d/vpnagent.conf").read_text()
    assert f"\n{PROTOCOL} vpnagent\n" in text
