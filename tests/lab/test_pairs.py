"""IKE version 1 with several pairs of networks: a CHILD_SA for each under one IKE_SA, at both ends.

The cloud has an IPsec connection for each pair; its daemon has one IKE_SA with a gateway all the same.
"""

from typing import Any

import pytest
from lab.charon import connection
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, is_up, on_backup, start, tunnel
from lab.topology import (
    BACKUP,
    ECS_HOST,
    IDC_NETWORK,
    PRIMARY,
    SERVICE_HOST,
    SERVICE_NETWORK,
    TUNNELS,
    VPC_NETWORK,
    LabTunnel,
)
from lab.world import Lab

PAIRS = {"services": SERVICE_NETWORK, "vpc": VPC_NETWORK}
OURS = "vpnagent.hangzhou.primary"


def load(lab: Lab, each: LabTunnel, *names: str) -> None:
    """Have a zone take IKE version 1, for these pairs."""
    children: dict[str, Any] = {}
    for name in names:
        child = {"local_ts": [PAIRS[name]], "remote_ts": [IDC_NETWORK]}
        message = connection(name, local=each.remote, remote=each.local, if_id=1, child=child)
        children |= message[name]["children"]
    lab.cloud.load(each, changes={"version": "1", "children": children})


@pytest.fixture
def pairs(lab: Lab, gateway: LabGateway) -> LabGateway:
    """Both tunnels are up, with both pairs."""
    for each in TUNNELS:
        load(lab, each, *PAIRS)
    start(gateway, shared=True, ike={"version": 1}, traffic_selectors="networks")
    return gateway


def carried(status: dict[str, Any]) -> dict[str, bool]:
    return {network["remote"]: network["carried"] for network in status["connections"][0]["networks"]}


def selectors(status: dict[str, Any]) -> set[str]:
    return {network for s in tunnel(status, PRIMARY)["selectors"] for network in s["remote"]}


def test_both_pairs_carry_and_fail_over_together(lab: Lab, pairs: LabGateway) -> None:
    assert len(lab.charon.ike_sas(OURS)) == 1
    assert len(lab.charon.children(OURS)) == len(PAIRS)
    assert selectors(pairs.status()) == set(PAIRS.values())
    lab.cloud.wait_returning(PRIMARY)
    lab.observer.begin()
    stream = lab.stream()
    with stream.running():
        lab.ping(SERVICE_HOST)
        lab.faults.drop(PRIMARY, "esp")
        pairs.wait(on_backup, "the standby carries", within=10 * PATIENCE)
        lab.cloud.wait_returning(BACKUP)
        lab.ping(SERVICE_HOST)
        lab.ping(ECS_HOST)
        lab.faults.heal(PRIMARY)
        pairs.wait(lambda s: is_up(s) and not on_backup(s), "and back", within=200 * PATIENCE**0.5)
        result = stream.stop()
    print(f"\ntwo pairs of IKE version 1, ESP of the first tunnel lost: {result}")
    # One detection time, and an IKE daemon to ask: the shared target is silent on both tunnels.
    assert result.outbound.blackout <= 1 * PATIENCE, lab.drops()
    lab.ping(SERVICE_HOST)
    assert lab.observer.leaks() == []


def test_a_pair_that_the_cloud_lacks_is_told_and_comes_when_it_is_there(lab: Lab, pairs: LabGateway) -> None:
    load(lab, PRIMARY, "vpc")
    lab.cloud.delete(PRIMARY)
    status = pairs.wait(
        lambda s: tunnel(s, PRIMARY)["state"] == "degraded" and not carried(s)[SERVICE_NETWORK],
        "a CHILD_SA is missing",
        within=60 * PATIENCE,
    )
    assert tunnel(status, PRIMARY)["reason"] == f"no CHILD_SA for {IDC_NETWORK} === {SERVICE_NETWORK}"
    [told] = [w for w in status["warnings"] if w["code"] == "SelectorsNarrowed"]
    assert "a CHILD_SA for each pair" in told["hint"]
    assert carried(status)[VPC_NETWORK]
    lab.ping(ECS_HOST)
    explained = pairs.run("explain", SERVICE_HOST, check=False)
    assert f"DO NOT COVER IT: {IDC_NETWORK} === {VPC_NETWORK} (negotiated)" in explained, explained
    load(lab, PRIMARY, *PAIRS)
    pairs.wait(is_up, "the cloud has it now", within=120 * PATIENCE)
    eventually(lambda: all(carried(pairs.status()).values()), "all is carried", within=10 * PATIENCE)
    lab.ping(SERVICE_HOST)
