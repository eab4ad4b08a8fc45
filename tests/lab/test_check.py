"""What `vpnagent check` finds in tunnels of real ESP."""

import asyncio

from lab.gateway import LabGateway
from lab.topology import PRIMARY
from lab.world import Lab

from vpnagent.checks.large_packets import PATIENT, large_packets
from vpnagent.checks.observation import Observation
from vpnagent.checks.underlay import black_hole
from vpnagent.config.load import load
from vpnagent.finding import Finding

NARROW = 1360  #: bytes of outer packet that the path to the primary's peer lets pass
OVERHEAD = range(50, 100)  #: bytes that ESP in tunnel mode adds, with or without UDP


def black_holes(lab: Lab, gateway: LabGateway) -> list[Finding]:
    """What is found, by this look alone: the whole of `check` takes minutes under emulation."""
    config = load(gateway.configuration)
    with lab.gateway.entered():
        looked = asyncio.run(large_packets(config, PATIENT))
    return list(black_hole(config, Observation(large_packets=looked)))


def test_a_path_that_swallows_large_esp_is_found_and_the_mtu_told(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    assert black_holes(lab, gateway) == []
    lab.faults.swallow(PRIMARY, NARROW)
    [found] = black_holes(lab, gateway)
    print(f"\n{found.text}; {found.hint}")
    assert found.subject == "hangzhou/primary"
    assert NARROW - int(found.hint.partition("mtu: ")[2].split()[0]) in OVERHEAD
    assert gateway.status()["state"] == "up"
