"""One fault is one incident for as long as it lasts, over the tunnel's trials and a restart of the daemon."""

import itertools
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, Status, tunnel
from lab.topology import PRIMARY
from lab.world import Lab

FAULT = 300.0  # seconds
STEP = 15.0  # seconds between two looks at the age
UNSURE = 5.0 * PATIENCE**0.5  # seconds: the detection, and a look that takes its time


def age(since: str, status_at: datetime) -> float:
    return (status_at - datetime.fromisoformat(since)).total_seconds()


def down(status: Status) -> dict[str, Any] | None:
    found = (w for w in status["warnings"] if (w["code"], w["subject"]) == ("TunnelDown", "hangzhou/primary"))
    return next(found, None)


def told_since(gateway: LabGateway, number: int) -> list[dict[str, Any]]:
    """Return the events after that one that belong to an incident."""
    return [event for event in gateway.ask("events", after=number)["events"] if event["incident"]]


@pytest.mark.deadline(1800)
@pytest.mark.slow("a fault of five minutes, and the time after it")
def test_five_minutes_without_udp_4500_are_one_incident(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    before = gateway.ask("events", after=0)["last"]
    lab.faults.drop(PRIMARY, "udp-4500")
    began = datetime.now(UTC)
    first = gateway.wait(lambda s: bool(s["incidents"]), "the incident begins", within=10 * PATIENCE)
    [incident] = first["incidents"]
    for number in itertools.count():
        since_then = (datetime.now(UTC) - began).total_seconds()
        if since_then >= FAULT:
            break
        if number == 10:
            gateway.stop()
            gateway.start()
        gateway.wait(lambda s: s["charon"]["connected"], "it has looked", within=20 * PATIENCE)
        time.sleep(STEP)
        status, now = gateway.status(), datetime.now(UTC)
        [same] = status["incidents"]
        told = down(status)
        assert (same["id"], same["since"]) == (incident["id"], incident["since"])
        assert told is not None, status["warnings"]
        assert abs(age(told["since"], now) - (now - began).total_seconds()) < UNSURE
        assert {w["incident"] for w in status["warnings"] if w["severity"] == "critical"} == {incident["id"]}
    lab.faults.clear()
    gateway.wait_up(within=200 * PATIENCE)
    gateway.wait(lambda s: not s["incidents"], "the incident ends", within=60 * PATIENCE)
    eventually(lambda: told_since(gateway, before)[-1]["phase"] == "end", "its end is told", within=PATIENCE)
    events = told_since(gateway, before)
    print("\n" + "\n".join(f"{e['at']} {e['phase']:6} {e['type']} {e['text']}" for e in events))
    assert {e["incident"] for e in events} == {incident["id"]}
    assert [(e["phase"], e["type"]) for e in events if e["phase"] != "during"] == [
        ("begin", "TunnelDown"),
        ("end", "TunnelUp"),
    ]
    assert [e["type"] for e in events].count("TunnelDown") == 1
    assert tunnel(gateway.status(), PRIMARY)["state"] == "up"
