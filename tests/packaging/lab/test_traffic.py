"""The package on a gateway with a real systemd, its tunnels up over real ESP: what traffic notices of dpkg.

The gateway is the lab's, its namespace that of a Debian booted from the disk that `disk` makes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from lab.deadline import EMULATED, PATIENCE
from lab.gateway import LabGateway, paths_are_up
from lab.namespace import run
from lab.topology import ECS_HOST, SERVICE_HOST, TUNNELS
from lab.world import RESULTS, Lab
from tests.packaging.debian.chroot import Booted

DISK = "/dev/vdb" if EMULATED else "build/deb-test/disk"
UNITS = ("vpnagent.service", "vpnagent-prober.service")


class Packaged(NamedTuple):
    """The gateway: the lab that it is in, its machine, and what its agent says."""

    lab: Lab
    debian: Booted
    agent: LabGateway

    def install(self, package: str) -> str:
        """Install a version, wait until everything is up; what is installed then."""
        self.debian.run(f"dpkg --install {package}")
        self.agent.wait_up(within=30 * PATIENCE)
        self.agent.wait(paths_are_up, "both are probed", within=15 * PATIENCE)
        return self.debian.run("dpkg-query --show --showformat '${Version}' vpnagent")

    def processes(self) -> list[str]:
        """The process ids of daemon and prober."""
        return self.debian.run(f"systemctl show --property MainPID --value {' '.join(UNITS)}").split()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Packaged]:
    with disk() as directory:
        lab = Lab()
        debian = Booted(directory, network=lab.gateway.path)
        try:
            lab.cloud.start()
            debian.wait(within=30 * PATIENCE)
            agent = LabGateway(lab)
            agent.control_socket = debian.root / "run/vpnagent/control.sock"
            yield Packaged(lab, debian, agent)
        finally:
            (RESULTS / "journal.log").write_text(debian.run("journalctl --no-pager"))
            lab.cloud.stop()
            debian.close()


@contextmanager
def disk() -> Iterator[Path]:
    """The Debian, where it is mounted."""
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory:
        run("mount", *(() if EMULATED else ("-o", "loop")), DISK, directory)
        try:
            yield Path(directory)
        finally:
            run("umount", directory)


def configure(gateway: Packaged) -> None:
    """Write what docs/install.md has an operator write."""
    document: dict[str, Any] = gateway.agent.document()
    del document["agent"]
    directory = gateway.debian.root / "etc/vpnagent"
    for tunnel, entry in zip(TUNNELS, document["connections"][0]["tunnels"], strict=True):
        entry["psk_file"] = f"psk/{tunnel.name}"
        gateway.debian.run(f"umask 027; echo {tunnel.psk} >/etc/vpnagent/psk/{tunnel.name}")
    (directory / "vpnagent.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def test_an_installed_package_brings_both_tunnels_up(gateway: Packaged) -> None:
    gateway.debian.run("dpkg --install /older.deb")
    configure(gateway)
    gateway.debian.run("systemctl restart strongswan; systemctl enable --now vpnagent")
    gateway.agent.wait_up(within=30 * PATIENCE)
    for address in (ECS_HOST, SERVICE_HOST):
        gateway.lab.ping(address)


def test_an_upgrade_and_a_downgrade_lose_no_packet_of_a_kilohertz(gateway: Packaged) -> None:
    gateway.lab.begin_to_count()
    first = gateway.processes()
    pktgen = gateway.lab.pktgen()
    with pktgen.running():
        newer = gateway.install("/newer.deb")
        second = gateway.processes()
        older = gateway.install("/older.deb")
        third = gateway.processes()
        count = pktgen.stop()
    print(f"\nupgrade and downgrade, {count.seconds:.0f} s: {count}; {gateway.lab.drops()}")
    assert newer == f"{older}+newer"
    assert len({*first, *second, *third}) == 6, "daemon and prober were not replaced"
    assert all(count.heard)
    assert count.lost == 0, gateway.lab.drops()
