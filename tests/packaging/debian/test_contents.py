"""What is in the Debian package, as dpkg-deb tells it."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.packaging.debian.tested import ROOT, package, release

from vpnagent.commands.options import RUNBOOK_URL

MAINTAINER_SCRIPTS = ("postinst", "prerm", "postrm")


@pytest.fixture(scope="module")
def deb() -> Path:
    return package()


@pytest.fixture(scope="module")
def files(deb: Path) -> dict[str, str]:
    """Mode and owner of each path."""
    listed = subprocess.run(["dpkg-deb", "--contents", deb], check=True, capture_output=True, text=True)
    rows = (line.split(maxsplit=5) for line in listed.stdout.splitlines())
    return {row[5].split(" -> ")[0].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/vpnagent",
        "/usr/lib/vpnagent/bin/python",
        "UNITS/system/vpnagent.service",
        "UNITS/system/vpnagent-prober.service",
        "UNITS/system/vpnagent-guard.service",
        "UNITS/system/vpnagent-drill.timer",
        "UNITS/system/strongswan.service.d/vpnagent.conf",
        "UNITS/networkd.conf.d/vpnagent.conf",
        "UNITS/network/05-vpnagent.network",
        "/usr/lib/NetworkManager/conf.d/vpnagent.conf",
        "/usr/lib/sysusers.d/vpnagent.conf",
        "/usr/lib/tmpfiles.d/vpnagent.conf",
        "/etc/strongswan.d/vpnagent.conf",
        "/etc/iproute2/rt_protos.d/vpnagent.conf",
        "/usr/share/man/man8/vpnagent.8.gz",
        "/usr/share/man/man5/vpnagent.yaml.5.gz",
        "/usr/share/bash-completion/completions/vpnagent",
        "/usr/share/zsh/vendor-completions/_vpnagent",
        "/usr/share/fish/vendor_completions.d/vpnagent.fish",
        "/usr/share/doc/vpnagent/examples/example.yaml",
        "/usr/share/doc/vpnagent/SECURITY.md",
        "/usr/share/doc/vpnagent/check.md",
        "/usr/share/doc/vpnagent/sbom.cdx.json",
        RUNBOOK_URL.removeprefix("file://"),
    ],
)
def test_it_brings(files: dict[str, str], path: str) -> None:
    assert path.replace("UNITS", release().units) in files


def test_it_brings_no_configuration_key_or_sysctl(files: dict[str, str]) -> None:
    ours = {path for path in files if path.startswith("/etc/") and not path.endswith("/")}
    assert ours == {"/etc/strongswan.d/vpnagent.conf", "/etc/iproute2/rt_protos.d/vpnagent.conf"}
    assert not [path for path in files if "/sysctl.d/" in path and "/doc/" not in path]


def test_everything_is_roots_and_nothing_is_setuid(files: dict[str, str]) -> None:
    assert {path for path, mode in files.items() if not mode.endswith(" root/root")} == set()
    assert {path for path, mode in files.items() if re.search("s", mode[:10])} == set()


def test_every_module_is_compiled(files: dict[str, str]) -> None:
    sources = [Path(path) for path in files if "/site-packages/vpnagent/" in path and path.endswith(".py")]
    assert sources
    version = "".join(map(str, release().python))
    compiled = [source.parent / "__pycache__" / f"{source.stem}.cpython-{version}.pyc" for source in sources]
    assert [str(path) for path in compiled if str(path) not in files] == []


def test_neither_pip_nor_a_tool_of_the_developers_is_in_it(files: dict[str, str]) -> None:
    packages = {path.split("/site-packages/")[1].split("/")[0] for path in files if "/site-packages/" in path}
    assert not packages & {"pip", "setuptools", "pytest", "mypy", "hypothesis", "virtme"}


@pytest.mark.parametrize("page", ["man8/vpnagent.8.gz", "man5/vpnagent.yaml.5.gz"])
def test_man_has_nothing_to_say_of_a_page(deb: Path, tmp_path: Path, page: str) -> None:
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path], check=True)
    command = ["man", "--warnings", "--local-file", str(tmp_path / "usr/share/man" / page)]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert shown.stderr == ""
    assert len(shown.stdout.splitlines()) > 100


def test_who_maintains_it_is_said_once(deb: Path, files: dict[str, str]) -> None:
    shown = subprocess.run(
        ["dpkg-deb", "--field", deb, "Maintainer"], check=True, capture_output=True, text=True
    )
    assert re.fullmatch(r"vpnagent maintainers <\S+@\S+>\n", shown.stdout)
    assert "invalid" not in shown.stdout


def test_the_scripts_are_shell_that_shellcheck_finds_no_fault_with(deb: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--control", deb, tmp_path], check=True)
    for name in MAINTAINER_SCRIPTS:
        assert (tmp_path / name).read_text().startswith("#!/bin/sh\nset -e\n")
    # What debhelper puts in is its own.
    ours = [ROOT / f"packaging/debian/vpnagent.{name}" for name in MAINTAINER_SCRIPTS]
    subprocess.run(["shellcheck", *ours], check=True)


def test_the_bill_of_materials_has_what_is_in_it(deb: Path, files: dict[str, str], tmp_path: Path) -> None:
    """CycloneDX: each library with the digests of its lock."""
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path], check=True)
    told = json.loads((tmp_path / "usr/share/doc/vpnagent/sbom.cdx.json").read_text())
    listed = {f"{part['name'].replace('-', '_')}-{part['version']}".lower() for part in told["components"]}
    there = {
        path.split("/site-packages/")[1].partition(".dist-info/")[0]
        for path in files
        if ".dist-info/" in path
    }
    assert {name.lower() for name in there if not name.startswith("vpnagent-")} <= listed
    assert all(part["externalReferences"][0]["hashes"] for part in told["components"])


def test_nothing_in_it_names_the_folder_of_its_build(files: dict[str, str]) -> None:
    """RECORD has digests of what pip notes about the folder: two builds were not equal in bytes."""
    assert [path for path in files if path.endswith(("/RECORD", "/direct_url.json"))] == []
