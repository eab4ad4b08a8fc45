"""``./dev trials``: figures that take many repetitions, with real strongSwan and ESP (docs/benchmarks.md).

Each trial has an agent of its own, so that none lives on what another left. The bounds of the scenarios say
that something works; the figures here say how well.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.figures import at, bench
from lab.deadline import eventually
from lab.gateway import DETECTION, LabGateway, on_backup, paths_are_up, start
from lab.pair import LabPair
from lab.sequences import Course, alternating, both_die, policed, second_fault
from lab.topology import BACKUP, PRIMARY, SERVICE_HOST, TUNNELS, LabTunnel, kernel_view, removal
from lab.world import Lab

FIVE_MINUTES = 300.0
DRIFTS = ("route", "guard", "nexthop", "group", "interface", "address", "interface down")


@dataclass(slots=True)
class Figures:
    """What the trials of one kind measured, by figure."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **figures: float) -> None:
        """Take in one trial's."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value)


@contextmanager
def agent(lab: Lab) -> Iterator[LabGateway]:
    """An agent for one trial, removed with its traces after it."""
    lab.begin()
    gateway = LabGateway(lab)
    try:
        yield gateway
    finally:
        lab.faults.clear()
        gateway.down()
        lab.remove_traces()


def two_way(lab: Lab, figures: Figures, *, shared: bool = False) -> None:
    """ESP of the active tunnel is dropped, IKE lives; the stream is a kilohertz both ways."""
    with agent(lab) as gateway:
        start(gateway, shared=shared)
        stream = lab.stream()
        with stream.running():
            time.sleep(0.5)
            lab.faults.drop(PRIMARY, "esp")
            lab.cloud.wait_returning(BACKUP)
            gateway.wait(on_backup, "traffic is on the backup", within=20)
            time.sleep(0.5)
            result = stream.stop()
        figures.add(
            outbound=result.outbound.blackout / DETECTION,
            inbound=result.inbound.blackout / DETECTION,
            two_way=result.blackout / DETECTION,
        )


def two_way_shared(lab: Lab, figures: Figures) -> None:
    """The same with shared targets only."""
    two_way(lab, figures, shared=True)


def signalled(lab: Lab, figures: Figures, break_it: Callable[[], None]) -> None:
    """What is told is acted on at once."""
    with agent(lab) as gateway:
        start(gateway)
        stream = lab.stream()
        with stream.running():
            time.sleep(0.3)
            break_it()
            gateway.wait(on_backup, "traffic is on the backup", within=20)
            time.sleep(0.3)
            result = stream.stop()
        figures.add(outbound_ms=result.outbound.blackout * 1000)


def deleted(lab: Lab, figures: Figures) -> None:
    """The cloud sends DELETE, and does not come back."""

    def delete(tunnel: LabTunnel = PRIMARY) -> None:
        lab.cloud.load(tunnel, psk="changed-so-that-it-stays-down")
        lab.cloud.delete(tunnel)

    signalled(lab, figures, delete)
    lab.cloud.load(PRIMARY)


def carrier(lab: Lab, figures: Figures) -> None:
    """The uplink of the active tunnel loses its carrier."""
    signalled(lab, figures, lambda: lab.faults.carrier(PRIMARY, up=False))


def up(lab: Lab, figures: Figures) -> None:
    """From the start of `vpnagent run` to both tunnels up, at both ends."""
    with agent(lab) as gateway:
        gateway.start()
        begun = time.monotonic()
        gateway.wait_up()
        figures.add(seconds=time.monotonic() - begun)


def drift(lab: Lab, figures: Figures) -> None:
    """What somebody removes by hand is back."""
    with agent(lab) as gateway:
        gateway.start()
        gateway.wait_up()
        for what in DRIFTS:
            before, lines = kernel_view(lab.gateway), removal(lab.gateway, what)
            lab.gateway.ip(*lines)
            removed = time.monotonic()
            eventually(lambda: kernel_view(lab.gateway) == before, what, within=15, every=0.005)  # noqa: B023
            figures.add(**{f"{what.replace(' ', '_')}_ms": (time.monotonic() - removed) * 1000})
            gateway.wait_up()


def drained(lab: Lab, figures: Figures) -> None:
    """Drain and undrain under a kilohertz both ways."""
    with agent(lab) as gateway:
        start(gateway)
        stream = lab.stream(far=SERVICE_HOST)
        with stream.running():
            gateway.ask("drain", tunnel="primary")
            gateway.wait(on_backup, "moved", within=10)
            gateway.ask("undrain", tunnel="primary")
            gateway.wait(lambda s: not on_backup(s), "back", within=10)
            time.sleep(0.3)
            result = stream.stop()
        figures.add(lost=result.lost, sent=result.outbound.sent + result.inbound.sent)


def rekeyed(lab: Lab, figures: Figures) -> None:
    """Five rekeyings of each kind; what the cloud's kernel had no SA for is not lost by us."""
    with agent(lab) as gateway:
        start(gateway)
        stream = lab.stream()
        with stream.running():
            for what in ("child", "ike") * 5:
                lab.charon.rekey("vpnagent.hangzhou.primary", what)
            gateway.wait(paths_are_up, "the paths are told", within=10)
            result = stream.stop()
        at_the_cloud = min(lab.lost_in_the_cloud(), result.inbound.lost)
        figures.add(lost=result.lost - at_the_cloud, sent=result.outbound.sent + result.inbound.sent)


def upgraded(lab: Lab, figures: Figures) -> None:
    """Daemon and prober are replaced under a kilohertz each way that no process sends."""
    with agent(lab) as gateway:
        start(gateway)
        pktgen = lab.pktgen()
        with pktgen.running():
            prober = gateway.prober_pid()
            gateway.stop()
            os.kill(prober, signal.SIGTERM)
            gateway.start()
            gateway.wait_up()
            gateway.wait(paths_are_up, "both are probed", within=20)
            count = pktgen.stop()
        figures.add(lost=count.lost, sent=sum(count.sent))


def in_sequence(lab: Lab, figures: Figures, sequence: Callable[[LabGateway, bool], Course]) -> None:
    """A sequence of faults with own targets and with shared ones; resets are of tunnels without a fault."""
    for shared in (False, True):
        with agent(lab) as gateway:
            start(gateway, shared=shared)
            course = sequence(gateway, shared)
        targets = "shared" if shared else "own"
        for seconds in course.outages:
            figures.add(**{f"outage_s_{targets}": seconds})
        figures.add(**{f"resets_{targets}": len(course.reset)})


def second_faults(lab: Lab, figures: Figures) -> None:
    """A standby that was left down heals, then the active tunnel's ESP dies."""
    in_sequence(lab, figures, lambda gateway, _: second_fault(lab, gateway))


def both_dead(lab: Lab, figures: Figures) -> None:
    """ESP of both dies, and that of one of them returns: the outage from then on."""
    returns, dead = random.choice((PRIMARY, BACKUP)), random.uniform(2.0, 40.0)
    in_sequence(lab, figures, lambda gateway, _: both_die(lab, gateway, returns, dead))


def taking_turns(lab: Lab, figures: Figures) -> None:
    """For five minutes the fault moves from one tunnel to the other."""
    seed = random.randrange(1 << 30)
    in_sequence(
        lab,
        figures,
        lambda gateway, _: alternating(lab, gateway, FIVE_MINUTES, seed=seed),
    )


def limited(lab: Lab, figures: Figures) -> None:
    """Targets police pings, then the active tunnel's ESP dies."""
    in_sequence(lab, figures, lambda gateway, shared: policed(lab, gateway, shared=shared))


def adopted(lab: Lab, figures: Figures, *, unique: str = "no") -> None:
    """One of two gateways loses its power, and the other adopts its addresses and tunnels."""
    lab.begin()
    for tunnel in TUNNELS:
        lab.cloud.load(tunnel, changes={"unique": unique})
    with LabPair(lab, "adopt").built() as pair:
        pair.configure()
        pair.start()
        pair.carried_by(pair.a)
        stream = lab.stream()
        with stream.running():
            time.sleep(0.5)
            pair.a.power_off()
            pair.carried_by(pair.b)
            time.sleep(0.3)
            result = stream.stop()
    figures.add(outbound_ms=result.outbound.blackout * 1000, inbound_ms=result.inbound.blackout * 1000)


def adopted_twice(lab: Lab, figures: Figures) -> None:
    """The same with a cloud that keeps the SAs of the dead gateway, whatever INITIAL_CONTACT says."""
    adopted(lab, figures, unique="never")


TRIALS: dict[str, Callable[[Lab, Figures], None]] = {
    "two-way": two_way,
    "two-way-shared": two_way_shared,
    "deleted": deleted,
    "carrier": carrier,
    "up": up,
    "drift": drift,
    "drain": drained,
    "rekey": rekeyed,
    "upgrade": upgraded,
    "second-fault": second_faults,
    "both-die": both_dead,
    "alternating": taking_turns,
    "policed": limited,
    "adopt": adopted,
    "adopt-kept-sas": adopted_twice,
}


def told(figures: Figures) -> Iterator[str]:
    """Return a line for each figure; what is counted is summed."""
    for name, values in figures.values.items():
        if name in {"lost", "sent"} or name.startswith("resets"):
            yield f"{name} {sum(values):.0f}"
        else:
            yield f"{name}: p50 {at(values, 0.5):.3g}, max {max(values):.3g} of {len(values)}"


def main() -> int:
    """Run the trials that are asked for."""
    parser = argparse.ArgumentParser(prog="./dev trials", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(TRIALS)}; default: all")
    parser.add_argument("--count", type=int, default=20, help="trials of each kind (default: 20)")
    arguments = parser.parse_args()
    wanted: dict[str, Any] = {name: TRIALS[name] for name in arguments.names or TRIALS}
    failures = 0
    with bench("trials with real strongSwan and ESP"):
        lab = Lab()
        lab.start()
        for name, trial in wanted.items():
            figures = Figures()
            for number in range(arguments.count):
                try:
                    trial(lab, figures)
                except (
                    AssertionError,
                    OSError,
                ) as error:  # told, counted, and the others are taken all the same
                    failures += 1
                    print(f"{name} {number}: FAILED: {str(error).partition(chr(10))[0]}", flush=True)
                    lab.save(f"{name}-{number}")
            print(f"{name}: {'; '.join(told(figures))}", flush=True)
        lab.stop()
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
