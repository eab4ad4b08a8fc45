"""A full tunnel is not a dead one, and one that flaps is left alone more and more."""

import contextlib
import socket
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
from lab.deadline import PATIENCE
from lab.gateway import LabGateway, last_failover, on_backup, paths_are_up, start, tunnel
from lab.topology import ECS_HOST, PRIMARY
from lab.world import Lab

POLICED = 60  # packets per second: one by bytes lets small probes pass while it drops large packets
BURST, PAUSE = 6, 0.02  # packets, seconds: several times what passes
STREAM_RATE = 40
SATURATED = 15.0  # seconds
FLAPS = 3


@contextlib.contextmanager
def flood(lab: Lab) -> Iterator[None]:
    """More than the tunnel may carry, from the IDC to the VPC, during the body."""

    def main(pipe: Connection) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not pipe.poll(PAUSE):
                for _ in range(BURST):
                    with contextlib.suppress(OSError):
                        sender.sendto(bytes(1200), (ECS_HOST, 9))

    process, pipe = lab.topology["idc"].fork(main)
    try:
        yield
    finally:
        process.kill()
        process.join(5 * PATIENCE)
        pipe.close()


def test_a_saturated_tunnel_is_kept(lab: Lab, gateway: LabGateway) -> None:
    start(gateway, packet_rate=POLICED)
    ike_sas = lab.charon.children("vpnagent.hangzhou.primary")
    stream = lab.stream(rate=STREAM_RATE)
    with stream.running():
        lab.faults.police(PRIMARY, POLICED)
        with flood(lab):
            time.sleep(SATURATED)
            path = tunnel(gateway.status(), PRIMARY)["path"]
        result = stream.stop()
    lost = [value for key, value in gateway.metrics().items() if "probe_lost" in key and "primary" in key]
    print(f"\nsaturated: {result}; probes lost {lost}; {path}")
    assert sum(lost) > 0, "the policer dropped no probe: nothing was shown"
    assert not last_failover(gateway)
    assert path["state"] == "degraded", path
    assert lab.charon.children("vpnagent.hangzhou.primary") == ike_sas


@pytest.mark.slow("a flapping path is damped: what it must wait for grows, and that is what is shown")
def test_a_flapping_path_is_left_alone_more_and_more(lab: Lab, gateway: LabGateway) -> None:
    start(gateway)
    for _ in range(FLAPS):
        lab.faults.drop(PRIMARY, "everything")
        gateway.wait(
            lambda s: on_backup(s) and tunnel(s, PRIMARY)["path"]["state"] == "down",
            "it is left",
            within=10 * PATIENCE,
        )
        lab.faults.clear()
        gateway.wait(
            lambda s: tunnel(s, PRIMARY)["path"]["state"] == "hold-down",
            "it must prove itself",
            within=60 * PATIENCE**0.5,
        )
    failovers = [value for key, value in gateway.metrics().items() if "failovers_total" in key]
    assert sum(failovers) <= 1, "it came back between the flaps"
    began = time.monotonic()
    gateway.wait(paths_are_up, "it is up again", within=30 * PATIENCE)
    held = time.monotonic() - began
    print(f"\nflapping: {FLAPS} flaps, failovers {failovers}, held down for {held:.1f} s more (2 s at first)")
    assert held > 2 * 2.0
    gateway.wait(lambda s: s["connections"][0]["active"] == ["primary"], "it is back", within=10 * PATIENCE)
