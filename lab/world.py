"""The whole lab: network, cloud, gateway's charon, observer, faults; started once for many scenarios."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

from lab.charon import LabCharon
from lab.cloud import Cloud
from lab.namespace import Namespace
from lab.observer import Observer, dropped
from lab.pktgen import Pktgen
from lab.stream import PACKET, RATE, MeasuredStream
from lab.topology import ECS_HOST, IDC_HOST, NAMES, TUNNELS, Faults, Topology
from lab.zygote import Zygote

RESULTS = Path(os.environ.get("VPNAGENT_LAB_RESULTS") or Path(__file__).parents[1] / "build" / "lab")
RUNTIME = Path("/run/vpnagent-lab")


class Lab:
    """Everything but the agent. Logs grow in `RUNTIME` and are copied to `RESULTS`, scenario by scenario."""

    def __init__(self) -> None:
        RUNTIME.mkdir(parents=True)
        self.topology = Topology()
        self.topology.build()
        self.cloud = Cloud(self.topology, RUNTIME)
        self.charon = LabCharon(self.topology["gw"], RUNTIME / "gw", gateway=True)
        self.observer = Observer(self.topology, RUNTIME)
        self.zygote: Zygote | None = None
        self._marks: dict[Path, int] = {}
        self._dropped: dict[str, Counter[str]] = {}

    @property
    def gateway(self) -> Namespace:
        """The gateway's namespace."""
        return self.topology["gw"]

    def start(self, *, zygote: bool = False) -> None:
        """Start all that lives as long as the lab; with a `zygote` agents start fast under emulation."""
        if zygote:
            self.zygote = Zygote(self.gateway, sys.executable, RUNTIME / "zygote.log")
        self.charon.start()
        self.cloud.start()
        self.charon.wait()
        self.observer.start()
        self.faults = Faults(self.topology)

    def stop(self) -> None:
        """End all of it; the namespaces go with the lab's surroundings."""
        if self.zygote:
            self.zygote.close()
        self.faults.close()
        self.observer.stop()
        self.charon.stop()
        self.cloud.stop()

    def stream(
        self, *, far: str = ECS_HOST, port: int = 5000, rate: int = RATE, size: int = PACKET.size
    ) -> MeasuredStream:
        """A two-way stream between the IDC host and a cloud host, not yet running."""
        ends = (self.topology["idc"], IDC_HOST), (self.topology["ecs"], far)
        return MeasuredStream(*ends, port=port, rate=rate, size=size)

    def pktgen(self) -> Pktgen:
        """A kilohertz, not yet running."""
        return Pktgen(self.topology)

    def ping(self, destination: str, *, source: str = "idc", count: int = 3) -> str:
        """Ping from a host; what ping printed. Fails unless every reply came."""
        options = ("-n", "-c", str(count), "-i", "0.2", "-W", "2")
        said = self.topology[source].run("ping", *options, destination, check=False)
        assert f" {count} received" in said, f"{source} ({IDC_HOST}) does not reach {destination}:\n{said}"
        return said

    def begin(self) -> None:
        """A scenario begins: nothing is broken, nothing is up, nothing was seen."""
        shutil.rmtree(RUNTIME / "agent", ignore_errors=True)
        self.faults.clear()
        if self.charon.pid is None:
            self.charon.restart()
        self.charon.forget()
        self.cloud.reset()
        self.observer.begin()
        self._marks = {log: log.stat().st_size for log in self._logs()}
        self.begin_to_count()

    def begin_to_count(self) -> None:
        """What is dropped from now on is told by `drops`."""
        self._dropped = {name: dropped(self.topology[name]) for name in NAMES}

    def lost_in_the_cloud(self) -> int:
        """What the cloud's own kernels had no SA for since `begin`: the gateway could not receive it."""
        zones = [self.topology[tunnel.zone] for tunnel in TUNNELS]
        return sum((dropped(zone) - self._dropped[zone.name])["XfrmOutNoStates"] for zone in zones)

    def drops(self) -> str:
        """What the kernels dropped since `begin_to_count`: said when a scenario loses what it must not."""
        since = {name: dropped(self.topology[name]) - before for name, before in self._dropped.items()}
        return "; ".join(f"{name}: {dict(counts)}" for name, counts in since.items() if counts)

    def remove_traces(self) -> None:
        """What a scenario that failed may have left on the gateway."""
        self.gateway.ip(*(f"link del {name}" for name in self.gateway.links("xfrm")))
        self.gateway.run("ip", "route", "flush", "protocol", "86", check=False)
        self.gateway.run("ip", "nexthop", "flush", "protocol", "86", check=False)
        self.gateway.nft("table inet vpnagent {}\ndelete table inet vpnagent\n")
        self.charon.forget()

    def save(self, name: str) -> None:
        """Copy what the logs say since `begin` to build/lab/NAME."""
        directory = RESULTS / name
        directory.mkdir(parents=True, exist_ok=True)
        for log in self._logs():
            with log.open("rb") as source:
                source.seek(self._marks.get(log, 0))
                (directory / log.name).write_bytes(source.read())
        (directory / "drops.log").write_text(self.drops() + "\n")

    def save_captures(self) -> None:
        """Copy the captures to build/lab."""
        for file in self.observer.files.values():
            shutil.copy(file, RESULTS)

    def _logs(self) -> list[Path]:
        return sorted(RUNTIME.rglob("*.log"))
