"""Sequences of faults under a two-way stream, each told as outages and as resets of who had no fault.

An outage is a time in which not both directions flow. Each sequence begins with an agent both of whose paths
are up, and leaves its faults to be cleared by the caller.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from lab.deadline import PATIENCE, eventually
from lab.gateway import CONNECTION, LabGateway, Status
from lab.stream import RATE, StreamResult
from lab.topology import BACKUP, PRIMARY, TUNNELS, LabTunnel
from lab.world import Lab

BOUND = 5.0  # seconds from the moment at which some path works: ADR 10
LONG_DEAD = 45.0  # seconds: trials of a tunnel that was left down rest 20 s and more by then
SLOW_STREAM = 200  # packets a second each way, for what takes minutes
SETTLED = 2.0  # seconds of traffic after an outage, which must not stop again
COMING_BACK = "is coming back"  # as status says of a tunnel that is heard and has yet to prove itself
BLAME = {"PathDown", "TunnelLeftDown", "TunnelDown"}
POLICER = """table ip policer {{
    chain input {{
        type filter hook input priority 0;
        icmp type echo-request limit rate over {rate}/second burst 5 packets drop;
    }}
}}"""


@dataclass(slots=True)
class Course:
    """What a sequence came to."""

    outages: list[float] = field(default_factory=list)
    """Seconds, each from the fault or, where nothing worked, from the repair."""
    reset: list[str] = field(default_factory=list)
    """Tunnels without a fault whose IKE_SA was replaced while traffic flowed."""
    blamed: list[set[str]] = field(default_factory=list)
    """Whom status named, fault by fault."""

    def __str__(self) -> str:
        outages = ", ".join(f"{seconds:.3f}" for seconds in self.outages)
        return f"outages {outages} s; reset {self.reset}; blamed {self.blamed}"


def other(each: LabTunnel) -> LabTunnel:
    return BACKUP if each is PRIMARY else PRIMARY


def ike_sas(lab: Lab, each: LabTunnel) -> frozenset[bytes]:
    return lab.charon.ike_sas(f"vpnagent.{CONNECTION}.{each.name}")


def blamed(status: Status) -> set[str]:
    """Names of the tunnels that a warning calls down."""
    names = {f"{CONNECTION}/{each.name}": each.name for each in TUNNELS}
    told = [w for w in status["warnings"] if w["code"] in BLAME and COMING_BACK not in w["text"]]
    return {name for key, name in names.items() for w in told if key in f"{w['subject']} {w['text']}"}


def told_codes(status: Status) -> set[str]:
    return {warning["code"] for warning in status["warnings"]}


def carries(each: LabTunnel, status: Status) -> bool:
    return bool(status["connections"][0]["active"] == [each.name])


def is_left_down(each: LabTunnel, status: Status) -> bool:
    subject = f"{CONNECTION}/{each.name}"
    return any(w["code"] == "TunnelLeftDown" and w["subject"] == subject for w in status["warnings"])


def takes_over(lab: Lab, gateway: LabGateway, each: LabTunnel) -> Status:
    """Both ends use the tunnel."""
    status = gateway.wait(partial(carries, each), f"{each.name} carries", within=30 * PATIENCE)
    lab.cloud.wait_returning(each, within=30 * PATIENCE)
    return status


def keeps(lab: Lab, each: LabTunnel, before: frozenset[bytes], course: Course) -> None:
    if before.isdisjoint(ike_sas(lab, each)):  # a second one may end that both ends had initiated
        course.reset.append(each.name)


def seconds_of(result: StreamResult, since: float = 0.0) -> list[float]:
    """Outages that last beyond a moment, from that moment on."""
    return [each.end - max(each.begin, since) for each in result.outages if each.end > since]


@contextmanager
def limited_targets(lab: Lab, *, shared: bool) -> Iterator[None]:
    """The target of both tunnels answers half of what they ask; or each tunnel's own of what that asks."""
    where = ["ecs"] if shared else [each.zone for each in TUNNELS]
    for name in where:
        lab.topology[name].nft(POLICER.format(rate=10 if shared else 5))
    try:
        yield
    finally:
        for name in where:
            lab.topology[name].nft("delete table ip policer")


def second_fault(lab: Lab, gateway: LabGateway) -> Course:
    """The standby's ESP dies, is left down and heals; then the active's dies."""
    course = Course()
    innocent = ike_sas(lab, PRIMARY)
    lab.faults.drop(BACKUP, "esp")
    status = gateway.wait(partial(is_left_down, BACKUP), "the standby is left down", within=60 * PATIENCE)
    course.blamed.append(blamed(status))
    time.sleep(LONG_DEAD)
    keeps(lab, PRIMARY, innocent, course)
    eventually(lambda: is_left_down(BACKUP, gateway.status()), "it rests", within=10 * PATIENCE)
    lab.faults.heal(BACKUP)
    stream = lab.stream()
    with stream.running():
        time.sleep(0.5)
        lab.faults.drop(PRIMARY, "esp")
        takes_over(lab, gateway, BACKUP)
        survivor = ike_sas(lab, BACKUP)
        time.sleep(SETTLED)
        course.blamed.append(blamed(gateway.status()))
        keeps(lab, BACKUP, survivor, course)
        course.outages = seconds_of(stream.stop())
    return course


def both_die(lab: Lab, gateway: LabGateway, returns: LabTunnel, dead: float = 20.0) -> Course:
    """ESP of both dies; after a while that of one of them is back."""
    course = Course()
    stream = lab.stream()
    with stream.running():
        for each in (other(returns), returns):
            lab.faults.drop(each, "esp")
        gateway.wait(lambda s: len(blamed(s)) == len(TUNNELS), "both are told", within=20 * PATIENCE)
        course.blamed.append(blamed(gateway.status()))
        time.sleep(dead)
        healed = time.monotonic()
        lab.faults.heal(returns)
        takes_over(lab, gateway, returns)
        survivor = ike_sas(lab, returns)
        time.sleep(SETTLED)
        course.blamed.append(blamed(gateway.status()))
        keeps(lab, returns, survivor, course)
        course.outages = seconds_of(stream.stop(), since=healed)
    return course


def alternating(lab: Lab, gateway: LabGateway, seconds: float, *, seed: int = 0) -> Course:
    """The fault moves from one tunnel to the other, again and again; the healed one works from then on."""
    course = Course()
    pauses = random.Random(seed)
    dead = PRIMARY
    stream = lab.stream(rate=min(RATE, SLOW_STREAM))
    with stream.running():
        time.sleep(0.5)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            lab.faults.heal(other(dead))
            lab.faults.drop(dead, "esp")
            changed = time.monotonic()
            alive, dead = other(dead), other(dead)
            takes_over(lab, gateway, alive)
            time.sleep(SETTLED)
            survivor = ike_sas(lab, alive)
            course.blamed.append(blamed(gateway.status()))
            time.sleep(max(0.0, changed + pauses.uniform(10.0, 18.0) - time.monotonic()))
            keeps(lab, alive, survivor, course)
        course.outages = seconds_of(stream.stop())
    return course


def policed(lab: Lab, gateway: LabGateway, *, shared: bool) -> Course:
    """Targets answer ten pings a second; that is told; then ESP of the active tunnel dies."""
    course = Course()
    before = {each: ike_sas(lab, each) for each in TUNNELS}
    with limited_targets(lab, shared=shared):
        gateway.wait(lambda s: "ProbeTargetLimits" in told_codes(s), "it is told", within=60 * PATIENCE)
        time.sleep(30.0)
        course.blamed.append(blamed(gateway.status()))
        for each in TUNNELS:
            keeps(lab, each, before[each], course)
        stream = lab.stream()
        with stream.running():
            time.sleep(0.5)
            lab.faults.drop(PRIMARY, "esp")
            takes_over(lab, gateway, BACKUP)
            time.sleep(SETTLED)
            course.blamed.append(blamed(gateway.status()))
            keeps(lab, BACKUP, before[BACKUP], course)
            course.outages = seconds_of(stream.stop())
    return course
