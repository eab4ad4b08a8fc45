"""``./dev soak DAYS``: the main job for days of simulated time: nothing grows, nothing is lost but at faults.

The tunnels have the cloud's lifetimes, so they are rekeyed as there. Each hour something happens: a fault of
ESP or of everything, a DELETE, flapping, a reload that changes something or nothing, rekeyings. After it the
tunnels must be up again, and until the hour is over not one packet of a steady stream may be missed. What the
agent holds is looked at every hour.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import cycle
from pathlib import Path

from lab.charon import SaKind
from lab.gateway import LabGateway, on_backup, paths_are_up
from lab.topology import BACKUP, PRIMARY
from lab.world import Lab

HOUR = 3600.0
DAY = 24
RECOVERY = 900.0  # seconds until all is as before: flapping is damped, and trials have rests
HOLD_DOWN = "2m"  # not shorter than the detection time of a slow probe
RATE = 1  # packets a second, each way
SETTLED = 6  # hours after which nothing may grow any more
WHAT: tuple[SaKind, ...] = ("child", "ike")
SLACK = 1.10  # of memory, from then on


@dataclass(frozen=True, slots=True)
class Held:
    """What the agent holds: of the daemon, then of the prober; of the kernel; of charon."""

    daemon_kib: int
    prober_kib: int
    daemon_descriptors: int
    prober_descriptors: int
    series: int
    nexthops: int
    routes: int
    ike_sas: int
    child_sas: int


class Soak:
    """One run."""

    def __init__(self, lab: Lab, gateway: LabGateway, interval: str) -> None:
        self._lab = lab
        self._gateway = gateway
        self._interval = interval
        self._mtu = cycle((1398, 1399))
        self.lost = 0
        self.sent = 0
        self.held: list[Held] = []
        self.problems: list[str] = []

    def start(self) -> None:
        """Start the agent, with the cloud's defaults and a probe interval for the duration."""
        document = self._gateway.document()
        document["connections"][0]["probe"] |= {"interval": self._interval, "hold_down": HOLD_DOWN}
        self._gateway.write(document)
        self._document = document
        self._gateway.start()
        self.settle()

    def settle(self) -> None:
        """Until all is as it should be."""
        self._gateway.wait_up(within=RECOVERY)
        self._gateway.wait(paths_are_up, "both paths answer", within=RECOVERY)

    def esp(self) -> None:
        """ESP of the active tunnel is gone for a minute."""
        self._lab.faults.drop(PRIMARY, "esp")
        self._gateway.wait(on_backup, "traffic is on the backup", within=RECOVERY)
        time.sleep(60)
        self._lab.faults.clear()

    def everything(self) -> None:
        """Nothing comes through the standby for ten minutes."""
        self._lab.faults.drop(BACKUP, "everything")
        time.sleep(600)
        self._lab.faults.clear()

    def flapping(self) -> None:
        """The active tunnel comes and goes."""
        for _ in range(10):
            self._lab.faults.drop(PRIMARY, "everything")
            time.sleep(5)
            self._lab.faults.clear()
            time.sleep(5)

    def delete(self) -> None:
        """The cloud deletes the active tunnel."""
        self._lab.cloud.delete(PRIMARY)

    def reload(self) -> None:
        """A reload that changes nothing."""
        self._gateway.ask("reload")

    def change(self) -> None:
        """A reload that changes something."""
        self._document["connections"][0]["mtu"] = next(self._mtu)
        self._gateway.write(self._document)
        self._gateway.ask("reload")

    def rekey(self) -> None:
        """All SAs are rekeyed out of turn."""
        for tunnel in (PRIMARY, BACKUP):
            for what in WHAT:
                self._lab.charon.rekey(f"vpnagent.hangzhou.{tunnel.name}", what)

    def hour(self, what: Callable[[], None]) -> None:
        """One hour: something happens, all is well again, and the rest of it nothing is lost."""
        begun = time.monotonic()
        what()
        self.settle()
        time.sleep(5)
        stream = self._lab.stream(rate=RATE)
        with stream.running():
            time.sleep(max(60.0, begun + HOUR - time.monotonic()))
            result = stream.stop()
        self.lost += result.lost
        self.sent += result.outbound.sent + result.inbound.sent
        if result.lost:
            self.problems.append(f"hour {len(self.held)}, after {what.__name__}: {result}")
        self.held.append(self.look())

    def look(self) -> Held:
        """What the agent holds now."""
        daemon, prober = self._gateway.pid, self._gateway.prober_pid()
        assert daemon
        lines = self._lab.gateway.run("ip", "route").splitlines()
        tunnels = [f"vpnagent.hangzhou.{tunnel.name}" for tunnel in (PRIMARY, BACKUP)]
        return Held(
            resident(daemon),
            resident(prober),
            descriptors(daemon),
            descriptors(prober),
            len(self._gateway.metrics()),
            len(self._lab.gateway.run("ip", "nexthop").splitlines()),
            len(lines),
            sum(len(self._lab.charon.ike_sas(name)) for name in tunnels),
            sum(len(self._lab.charon.children(name)) for name in tunnels),
        )

    def growth(self) -> list[str]:
        """What was more at the end than when all had happened once."""
        settled = self.held[min(SETTLED, len(self.held) - 1) :]
        first, last = settled[: len(settled) // 3 + 1], settled[-(len(settled) // 3 + 1) :]
        grown = []
        for each in fields(Held):
            before = max(getattr(held, each.name) for held in first)
            after = min(getattr(held, each.name) for held in last)
            if after > before * (SLACK if each.name.endswith("kib") else 1):
                grown.append(f"{each.name} grew from {before} to {after}")
        return grown

    def acts(self) -> list[Callable[[], None]]:
        """What happens, in turn."""
        quiet = self.reload
        return [self.esp, self.change, self.delete, quiet, self.flapping, self.rekey, self.everything, quiet]


def resident(pid: int) -> int:
    """Resident memory, KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def descriptors(pid: int) -> int:
    """Open files and sockets."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> int:
    """Run the soak; 1 where something grew or was lost."""
    parser = argparse.ArgumentParser(prog="./dev soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("days", type=float, nargs="?", default=1.0)
    parser.add_argument("--interval", default="10s", help="of the probe (default: 10s)")
    arguments = parser.parse_args()
    lab = Lab()
    lab.start()
    lab.begin()
    soak = Soak(lab, LabGateway(lab), arguments.interval)
    soak.start()
    hours = max(1, round(arguments.days * DAY))
    for number, what in zip(range(1, hours + 1), cycle(soak.acts()), strict=False):
        soak.hour(what)
        print(f"hour {number}, {what.__name__}: {soak.lost} of {soak.sent} lost; {soak.held[-1]}", flush=True)
    problems = [*soak.problems, *soak.growth()]
    print(
        "\n".join(problems) or f"{hours} hours: nothing grew, 0 of {soak.sent} lost but at faults", flush=True
    )
    lab.save("soak")
    lab.stop()
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
