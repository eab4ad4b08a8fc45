"""Another implementation of IKE at the cloud's end: the tunnel comes up, carries, is rekeyed and deleted."""

import pytest
from lab.cloud import Pluto
from lab.deadline import PATIENCE
from lab.gateway import LabGateway, Status, is_up, tunnel
from lab.topology import ECS_HOST, PRIMARY, SERVICE_HOST
from lab.world import Lab

OWNER = "vpnagent.hangzhou.primary"


@pytest.mark.parametrize("version", [2, 1])
def test_a_tunnel_to_libreswan_carries_and_is_rekeyed(version: int, lab: Lab, gateway: LabGateway) -> None:
    document = gateway.document()
    [connection] = document["connections"]
    connection["tunnels"].pop()
    connection["ike"] = {"version": version, "integrity": "sha256", "dh_group": 14}
    connection["esp"] = {"integrity": "sha256", "pfs_group": 14}
    gateway.write(document)
    with Pluto(lab.cloud, PRIMARY).running(
        version=version, ike="aes128-sha256;modp2048", esp="aes128-sha256;modp2048"
    ) as pluto:
        gateway.start()
        try:
            gateway.wait(is_installed, "it has a CHILD_SA", within=20 * PATIENCE)
            pluto.attach()
            gateway.wait(is_up, "the tunnel is up", within=20 * PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{pluto.log()}") from None
        for host in (ECS_HOST, SERVICE_HOST):
            lab.ping(host)
        for what in ("child", "ike"):
            lab.charon.rekey(OWNER, what)
        gateway.wait(is_up, "the tunnel is up still", within=10 * PATIENCE)
        lab.ping(ECS_HOST)
        assert gateway.status()["connections"][0]["last_failover"] is None
        assert lab.observer.leaks() == []


def is_installed(status: Status) -> bool:
    return bool(tunnel(status, PRIMARY)["child_sa"] == "installed")
