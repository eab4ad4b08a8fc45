"""The package under a real systemd, booted in namespaces: the sandbox lets the units work, they come back.

No virtual machine: this host's kernel, and where that has no XFRM interfaces no tunnel comes up.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.native.prober_process import until
from tests.packaging.debian.chroot import ROOT, Booted, booted
from tests.packaging.debian.test_installed import CONFIG, PSK

if os.geteuid() != 0:
    pytest.skip("a systemd needs root: ./dev deb-test runs this", allow_module_level=True)

PATIENCE = 90.0  #: seconds


@pytest.fixture(scope="module")
def debian() -> Iterator[Booted]:
    [deb] = (ROOT / "build/deb").glob("vpnagent_*.deb")
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory, booted(Path(directory)) as made:
        shutil.copy(deb, Path(directory, "vpnagent.deb"))
        until(
            lambda: made.run("systemctl is-system-running || true").strip() in ("running", "degraded"),
            within=PATIENCE,
            every=0.5,
        )
        made.run("dpkg --install /vpnagent.deb")
        Path(directory, "etc/vpnagent/vpnagent.yaml").write_text(CONFIG)
        made.run(f"umask 027; echo {PSK} >/etc/vpnagent/psk/primary")
        made.run("systemctl enable --now vpnagent")
        yield made


def pid(debian: Booted, unit: str) -> int:
    return int(debian.run(f"systemctl show --property MainPID --value {unit}"))


def active(debian: Booted) -> bool:
    return debian.run("systemctl is-active vpnagent vpnagent-prober || true").split() == ["active"] * 2


def test_the_sandbox_lets_them_work(debian: Booted) -> None:
    assert active(debian)
    assert "unreachable 100.64.0.0/10" in debian.run("ip route show proto 86")
    assert debian.run("cat /proc/sys/net/ipv4/nexthop_compat_mode").strip() == "0"
    until(
        lambda: "charon 5.9.8, prober connected" in debian.run("vpnagent status || true"),
        within=PATIENCE,
        every=0.5,
    )
    debian.run("systemctl reload vpnagent")
    debian.run("systemctl start vpnagent-guard")


def test_the_sandbox_lets_a_hook_be_told_without_our_capabilities(debian: Booted) -> None:
    told = "/var/lib/vpnagent/told"
    command = f"(grep ^Cap /proc/self/status; cat) >>{told}"
    hook = f"hooks: [{{name: file, command: [/bin/sh, -c, '{command}'], events: [ConfigurationChanged]}}]"
    debian.run(f'echo "{hook}" >>/etc/vpnagent/vpnagent.yaml; systemctl reload vpnagent')
    until(lambda: "ConfigurationChanged" in debian.run(f"cat {told} || true"), within=PATIENCE, every=0.5)
    had = re.findall(r"^Cap(?:Prm|Eff|Amb):\t(\w+)$", debian.run(f"cat {told}"), re.MULTILINE)
    assert had == ["0" * 16] * 3


@pytest.mark.parametrize(
    ("killed", "other"), [("vpnagent", "vpnagent-prober"), ("vpnagent-prober", "vpnagent")]
)
def test_a_kill_of_one_is_healed_and_leaves_the_other(debian: Booted, killed: str, other: str) -> None:
    before, untouched = pid(debian, killed), pid(debian, other)
    debian.run(f"kill -KILL {before}")
    until(lambda: pid(debian, killed) not in (0, before) and active(debian), within=PATIENCE, every=0.2)
    assert pid(debian, other) == untouched


def test_a_daemon_that_stands_still_is_replaced(debian: Booted) -> None:
    before = pid(debian, "vpnagent")
    debian.run(f"kill -STOP {before}")
    until(lambda: pid(debian, "vpnagent") not in (0, before) and active(debian), within=PATIENCE, every=0.5)


def test_a_purge_leaves_nothing_running(debian: Booted) -> None:
    debian.run("dpkg --purge vpnagent")
    assert debian.run("ip route show proto 86") == ""
    assert "vpnagent" not in debian.run(
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; stat --format %G /run/charon.vici"
    )
