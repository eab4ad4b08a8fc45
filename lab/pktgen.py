"""A kilohertz in both directions, sent by the kernel's packet generator and counted by nftables.

Senders and receivers in user space cost an emulated processor more than what they measure, and what their
sockets drop while they wait for it looks like the gateway's loss. Here no process takes part: pktgen counts
what it sends (kernel documentation, networking/pktgen), a rule on the other host what arrives, and late is
not lost. Which packet was lost when is what `stream` tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.deadline import EMULATED, GUEST, PATIENCE
from lab.namespace import Namespace, run
from lab.topology import ECS_HOST, IDC_HOST, Topology

RATE = 550 if EMULATED else 1000  # packets a second in each direction; emulated, that is nearly all there is
CONTROL = Path("/proc/thread-self/net/pktgen")
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")
STALL = 20_000  # packets
INTERFACE = "lan"
PORT = 5999
GRACE = 2 * PATIENCE  # seconds for what is still on its way when the senders have stopped
COUNTER = f"""
table inet pktgen {{
    counter heard {{ }}
    chain input {{
        type filter hook prerouting priority raw
        udp dport {PORT} counter name heard drop
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What became of both directions' packets."""

    sent: tuple[int, int]
    """Outbound, inbound."""
    heard: tuple[int, int]
    """Of the outbound, of the inbound."""
    seconds: float

    @property
    def lost(self) -> int:
        return sum(self.sent) - sum(self.heard)

    def __str__(self) -> str:
        return "; ".join(
            f"{name} {sent - heard} of {sent} lost at {sent / self.seconds:.0f}/s"
            for name, sent, heard in zip(("outbound", "inbound"), self.sent, self.heard, strict=True)
        )


class Pktgen:
    """Two generators, idle until `running`: from the IDC host to a VPC host, and back."""

    def __init__(self, topology: Topology) -> None:
        if not CONTROL.exists():  # a kernel without modules has it built in
            run("modprobe", "pktgen")
        ways = (("idc", IDC_HOST, "gw", ECS_HOST), ("ecs", ECS_HOST, "vpc", IDC_HOST))
        self._hosts = [topology[name] for name, *_rest in ways]
        for processor, (name, source, router, destination) in enumerate(ways):
            mac = json.loads(topology[router].run("ip", "-json", "link", "show", INTERFACE))[0]["address"]
            settings = {
                "pkt_size": 60,
                "count": 0,
                "delay": 10**9 // RATE,
                "dst_mac": mac,
                **dict.fromkeys(("src_min", "src_max"), source),
                **dict.fromkeys(("dst_min", "dst_max"), destination),
                **dict.fromkeys(("udp_src_min", "udp_src_max", "udp_dst_min", "udp_dst_max"), PORT),
            }
            with topology[name].entered():
                tell(f"kpktgend_{processor}", "rem_device_all", f"add_device {INTERFACE}")
                tell(INTERFACE, *(f"{key} {value}" for key, value in settings.items()))

    @contextlib.contextmanager
    def running(self) -> Iterator[Pktgen]:
        """Both send for the body; call `stop` inside for the count."""
        with contextlib.ExitStack() as undo:
            for host in self._hosts:
                host.nft(COUNTER)
                undo.callback(host.nft, "delete table inet pktgen")
            if GUEST:
                undo.enter_context(patient_kernel())
            self._begun = time.monotonic()
            # Whoever writes "start" waits until the generator is stopped.
            command = ("sh", "-c", "echo start >/proc/net/pktgen/pgctrl")
            self._starters = [host.start(*command, log=Path("/dev/null")) for host in self._hosts]
            undo.callback(self._halt)
            yield self

    def stop(self) -> Count:
        """Both stop; what they sent, and what was heard of it."""
        seconds = time.monotonic() - self._begun
        self._halt()
        near, far = self._hosts
        totals = (sent(near), sent(far))
        deadline = time.monotonic() + GRACE
        while (arrived := (heard(far), heard(near))) != totals and time.monotonic() < deadline:
            time.sleep(0.1)
        return Count(sent=totals, heard=arrived, seconds=seconds)

    def _halt(self) -> None:
        for host, starter in zip(self._hosts, self._starters, strict=True):
            if starter.poll() is None:
                with host.entered():
                    tell("pgctrl", "stop")
                starter.wait(10 * PATIENCE)


@contextlib.contextmanager
def patient_kernel() -> Iterator[None]:
    """What a guest's processor that stands still must not cost: it is not the gateway's loss.

    Wires hold what comes meanwhile. No process delays a generator, which would make up for it at once: such a
    burst lies in one processor's queues, and what another encrypts overtakes it by more than a replay window.
    """
    usual = BACKLOG.read_text()
    BACKLOG.write_text(str(STALL))
    for file in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            if file.read_text().startswith("kpktgend_"):
                os.sched_setscheduler(int(file.parent.name), os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        BACKLOG.write_text(usual)


def tell(file: str, *commands: str) -> None:
    """Write commands to one of the generator's files, in the namespace that was entered."""
    for command in commands:
        (CONTROL / file).write_text(f"{command}\n")


def sent(host: Namespace) -> int:
    """How many packets the generator has put on the wire."""
    with host.entered():
        text = (CONTROL / INTERFACE).read_text()
    figures = re.search(r"pkts-sofar: (\d+)", text)
    assert figures, text
    return int(figures[1])


def heard(host: Namespace) -> int:
    """How many packets of the other host's generator have arrived."""
    said = json.loads(host.run("nft", "--json", "list", "counter", "inet", "pktgen", "heard"))
    return int(next(item["counter"]["packets"] for item in said["nftables"] if "counter" in item))
