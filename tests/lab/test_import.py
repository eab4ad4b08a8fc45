"""The cloud's own documents make a configuration that brings both tunnels up as it stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from lab.deadline import PATIENCE
from lab.gateway import PROGRAM, LabGateway, is_up
from lab.topology import ECS_HOST, IDC_NETWORK, REMOTE_NETWORKS, SERVICE_HOST, TUNNELS
from lab.world import Lab
from tests.commands.import_.importing import DATA, document

VIEWS = ("download-dual-bgp.json", "describe-dual-bgp.json")
ANSWERS = ("--local-network", IDC_NETWORK, *(w for n in REMOTE_NETWORKS for w in ("--remote-network", n)))


def tunnels_of(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tunnels of a DescribeVpnConnection, in the lab's order."""
    options = described["TunnelOptionsSpecification"]["TunnelOptions"]
    for each in TUNNELS:
        [found] = (option for option in options if option["InternetIp"] == each.remote)
        yield found


@contextmanager
def cloud_as_documented(lab: Lab) -> Iterator[None]:
    """The cloud's ends as the document describes them, not as the lab's own configuration has them."""
    added = []
    for each, told in zip(TUNNELS, tunnels_of(document(VIEWS[1])), strict=True):
        identity = told["TunnelIkeConfig"]["RemoteId"]
        lab.cloud.load(
            each,
            psk=told["TunnelIkeConfig"]["Psk"],
            changes={"proposals": ["aes256-sha256-modp2048"], "remote": {"auth": "psk", "id": identity}},
            child={"esp_proposals": ["aes256-sha256-modp2048"]},
        )
        inside = f"{told['TunnelBgpConfig']['LocalBgpIp']}/30"
        if inside != f"{each.inside_remote}/30":
            added.append((lab.topology[each.zone], inside))
    for zone, inside in added:
        zone.ip(f"address add {inside} dev tunnel")
    try:
        yield
    finally:
        for zone, inside in added:
            zone.ip(f"address del {inside} dev tunnel")


def test_an_imported_document_brings_the_tunnels_up(lab: Lab, gateway: LabGateway) -> None:
    with cloud_as_documented(lab):
        keys = str(gateway.directory / "psk")
        views = [str(DATA / name) for name in VIEWS]
        imported = lab.gateway.run(PROGRAM, "import", *views, "--psk-directory", keys, *ANSWERS)
        agent = yaml.safe_dump({"agent": gateway.document()["agent"]})  # where the lab's charon is
        gateway.configuration.write_text(imported + agent)
        gateway.start()
        status = gateway.wait(is_up, "both tunnels are up", within=20 * PATIENCE)
        assert {t["role"]: t["remote_address"] for t in status["connections"][0]["tunnels"]} == {
            "active": TUNNELS[0].remote,
            "standby": TUNNELS[1].remote,
        }
        lab.cloud.wait_returning(TUNNELS[0])
        for host in (ECS_HOST, SERVICE_HOST):
            lab.ping(host)
        assert lab.observer.leaks() == []
