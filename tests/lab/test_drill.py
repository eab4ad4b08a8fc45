"""A rehearsed failover over real ESP: lossless, told in full, refused where it would hurt, and taken back."""

import json
import signal
import subprocess
from typing import Any

import pytest
from lab.deadline import EMULATED, PATIENCE, eventually
from lab.gateway import PROGRAM, LabGateway, Status, paths_are_up, tunnel
from lab.topology import BACKUP, ECS_HOST, PRIMARY, TUNNELS
from lab.world import Lab
from lab.zygote import Forked

LEASE = 5.0
# A starting process stalls an emulated machine for most of a second, and one that sees every packet there
# keeps up with a few: that is no fault of the path.
INTERVAL, LONGEST, RATE = ("50ms", "5s", 20) if EMULATED else ("10ms", "500ms", 1000)
BESIDE = min(RATE, 100)  # packets a second beside a capture, whose timeline has its bound
OPTIONS = ("--json", "--interval", INTERVAL, "--max-gap", LONGEST)


class Drill:
    """`vpnagent drill`, running."""

    def __init__(self, lab: Lab, gateway: LabGateway, *options: str) -> None:
        self._log = gateway.directory / "drill.log"
        arguments = ("drill", "--socket", str(gateway.control_socket), *OPTIONS, *options)
        self.process: subprocess.Popen[bytes] | Forked
        if lab.zygote:
            self.process = lab.zygote.start(*arguments, log=self._log)
        else:
            self.process = lab.gateway.start(PROGRAM, *arguments, log=self._log)

    def report(self) -> tuple[int, dict[str, Any]]:
        """Its exit status and what it printed, once it has ended."""
        status = self.process.wait(20 * PATIENCE)
        said = self._log.read_text()
        print(f"\n{said}")
        return status, json.loads(said)


def start(gateway: LabGateway) -> None:
    """Start an agent whose paths are known to work."""
    gateway.start()
    gateway.wait_up()
    gateway.wait(paths_are_up, "both paths answer", within=10 * PATIENCE)


def active(status: Status) -> list[str]:
    return list(status["connections"][0]["active"])


def test_a_drill_loses_nothing_and_shows_the_packets_of_both_tunnels(lab: Lab, gateway: LabGateway) -> None:
    start(gateway)
    stream = lab.stream(rate=BESIDE)
    with stream.running():
        status, report = Drill(lab, gateway, "--dwell", "1s", "--capture").report()
        result = stream.stop()
    print(result)
    assert (status, report["problems"]) == (0, [])
    assert report["stream"]["target"] == ECS_HOST
    assert result.lost == 0
    there, back = report["switches"]
    assert (there["to"], back["to"]) == (["backup"], ["primary"])
    assert there["lost"] == back["lost"] == 0
    for switch in (there, back):
        assert switch["netlink_sent_seconds"] <= switch["netlink_acknowledged_seconds"]
        assert switch["first_reply_seconds"] > switch["netlink_acknowledged_seconds"]
        assert switch["replies_on"] == ["vpn-primary"]  # where the cloud's own choice stays
    timeline = "\n".join(report["timeline"])
    for each in TUNNELS:
        assert f"{each.local} > {each.remote} spi" in timeline  # outside, as ESP
        requests = [line for line in report["timeline"] if f"vpn-{each.name}" in line and "out ICMP" in line]
        assert requests, timeline  # inside, in clear
    assert active(gateway.status()) == ["primary"]


def test_a_drill_is_refused_while_the_standby_is_dead(lab: Lab, gateway: LabGateway) -> None:
    start(gateway)
    lab.faults.drop(BACKUP)
    gateway.wait(
        lambda s: tunnel(s, BACKUP)["path"]["state"] == "down", "the standby is dead", within=10 * PATIENCE
    )
    status, report = Drill(lab, gateway).report()
    assert status == 1
    assert "refused: no healthy standby for hangzhou/primary: backup: " in report["problems"][0]
    assert report["switches"] == []
    assert active(gateway.status()) == ["primary"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_drill_that_is_ended_leaves_nothing_drained(
    lab: Lab, gateway: LabGateway, number: signal.Signals
) -> None:
    start(gateway)
    stream = lab.stream()
    with stream.running():
        drill = Drill(lab, gateway, "--dwell", "10m")
        gateway.wait(lambda s: active(s) == ["backup"], "it dwells", within=20 * PATIENCE)
        drill.process.send_signal(number)
        gateway.wait(lambda s: active(s) == ["primary"], "it is over", within=LEASE + 5 * PATIENCE)
        drill.process.wait(20 * PATIENCE)
        result = stream.stop()
    print(f"\n{number.name}: {result}")
    assert result.lost == 0
    eventually(lambda: tunnel(gateway.status(), PRIMARY)["state"] == "up", "undrained", within=5 * PATIENCE)
    assert "TunnelDrained" not in {w["code"] for w in gateway.status()["warnings"]}
