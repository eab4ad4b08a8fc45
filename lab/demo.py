"""`./dev demo`: the main job, from nothing to traffic and back to nothing; `./dev lab`: a shell beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

from lab.deadline import PATIENCE, eventually
from lab.gateway import CHECKOUT, CONNECTION, LabGateway, Status, paths_are_up, tunnel
from lab.observer import SeenPacket, decoded
from lab.topology import (
    BACKUP,
    ECS_HOST,
    IDC_HOST,
    NEVER_IN_CLEAR,
    PRIMARY,
    REMOTE_NETWORKS,
    SERVICE_HOST,
    SERVICE_NETWORK,
    TUNNELS,
    LabTunnel,
)
from lab.world import RESULTS, RUNTIME, Lab

BEGIN = time.monotonic()
STATUS_KEPT = RESULTS / "documents"
WELCOME = """
The lab is running; this is a shell on the gateway. Leaving it ends the lab.

  vpnagent status                       what the agent says
  ip netns exec idc ping 100.100.2.136  a cloud service, from the IDC host (namespaces: {namespaces})
  tail -f {log}
  swanctl --list-sas --uri unix://{vici}
"""


def title(text: str) -> None:
    print(f"\n\033[1m[{time.monotonic() - BEGIN:5.1f} s] {text}\033[0m", flush=True)


def tell(text: str) -> None:
    print(f"    {text}", flush=True)


def show(output: str) -> None:
    for line in output.rstrip().splitlines():
        print(f"  | {line}", flush=True)


def command(lab: Lab, host: str, *argv: str) -> None:
    """Run a command on a host and show it with what it printed."""
    print(f"  {host}$ {' '.join(argv)}", flush=True)
    show(lab.topology[host].run(*argv, check=False))


def keep_status(gateway: LabGateway, name: str) -> None:
    """Keep what the agent says now, for tests/data/status."""
    STATUS_KEPT.mkdir(parents=True, exist_ok=True)
    (STATUS_KEPT / f"{name}.json").write_text(json.dumps(gateway.status(), indent=2) + "\n")


def main() -> int:
    """Tell the story; 0 when all of it came true."""
    title("A gateway in an IDC, two internet paths, and a simulated Alibaba VPN gateway with two zones")
    lab = Lab()
    lab.start()
    lab.begin()
    gateway = LabGateway(lab)
    try:
        negotiate(lab, gateway)
        carry(lab)
        observe(lab)
        repair(lab, gateway)
        fail_over(lab, gateway)
        remove(lab, gateway)
    finally:
        lab.save("demo")
        lab.save_captures()
    title("All of it came true. Logs and captures: build/lab")
    return 0


def negotiate(lab: Lab, gateway: LabGateway) -> None:
    title("The agent starts with this file; the cloud's side is already waiting")
    show(gateway.configuration.read_text())
    gateway.start()
    ready = gateway.wait_ready()
    tell(f"it answers after {time.monotonic() - gateway.started_at:.1f} s, and negotiates")
    seen: set[tuple[str, str]] = {("", "")}
    for _ in range(1000):
        for wanted in TUNNELS:
            entry = (wanted.name, tunnel(ready, wanted)["state"])
            if entry not in seen:
                seen.add(entry)
                tell(f"{CONNECTION}/{wanted.name}: {entry[1]} ({tunnel(ready, wanted)['reason']})")
        if ready["state"] == "up":
            break
        time.sleep(0.05)
        ready = gateway.status()
    gateway.wait_up()
    tell(f"both tunnels are up {time.monotonic() - gateway.started_at:.1f} s after the agent's start")
    keep_status(gateway, "healthy")
    print("  gw$ vpnagent status")
    show(gateway.run("status"))
    command(lab, "gw", "ip", "route")
    command(lab, "gw", "ip", "nexthop")
    assert lab.cloud.returning() == (PRIMARY.name,)
    tell(f"the cloud returns traffic on: {', '.join(lab.cloud.returning())}")


def carry(lab: Lab) -> None:
    title(f"Traffic from the IDC host {IDC_HOST} to a cloud service and to a VPC host")
    for destination in (SERVICE_HOST, ECS_HOST):
        print(f"  idc$ ping -c 3 {destination}")
        show(lab.ping(destination))


def observe(lab: Lab) -> None:
    title("What somebody on the internet saw of it, decoded by scapy")
    packets = lab.observer.packets()
    sealed = [packet for packet in packets if packet.kind in ("esp", "esp-in-udp")]
    for packet in decoded(sealed[-2:]):
        tell(packet.summary())
    kinds = Counter(packet.kind for packet in packets)
    tell("packets on both internet paths: " + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))
    assert sealed, "no ESP was seen"
    no_leak(packets)


def no_leak(packets: list[SeenPacket]) -> None:
    leaks = [packet for packet in packets if packet.kind == "clear"]
    assert not leaks, f"in clear: {leaks[:3]}"
    tell(f"to or from {', '.join(NEVER_IN_CLEAR)} in clear: none")


def repair(lab: Lab, gateway: LabGateway) -> None:
    title(
        "Somebody deletes a route, then an interface: both come back, and nothing leaves in clear meanwhile"
    )
    lab.gateway.run("ip", "route", "del", SERVICE_NETWORK, "proto", "86")
    begin = time.monotonic()
    tell(f"deleted: route {SERVICE_NETWORK}")
    eventually(lambda: routed(lab), "the route returns", within=10 * PATIENCE)
    tell(f"it was back within {time.monotonic() - begin:.2f} s")
    command(lab, "gw", "ip", "route", "show", SERVICE_NETWORK)
    name = tunnel(gateway.status(), PRIMARY)["interface"]
    lab.gateway.run("ip", "link", "del", name)
    begin = time.monotonic()
    tell(f"deleted: interface {name}")
    eventually(lambda: name in lab.gateway.links("xfrm"), "the interface returns", within=10 * PATIENCE)
    gateway.wait_up()
    tell(f"it was back, with its routes, within {time.monotonic() - begin:.2f} s")
    print(f"  idc$ ping -c 3 {SERVICE_HOST}")
    show(lab.ping(SERVICE_HOST))
    no_leak(lab.observer.packets())


def routed(lab: Lab) -> bool:
    """Whether the service network has its route, not the guard alone."""
    lines = lab.gateway.run("ip", "route", "show", SERVICE_NETWORK).splitlines()
    return any(not line.startswith("unreachable") for line in lines)


def fail_over(lab: Lab, gateway: LabGateway) -> None:
    title("ESP of the active tunnel is dropped somewhere on the internet, while its IKE lives")
    gateway.wait(paths_are_up, "both paths are heard", within=20 * PATIENCE)
    stream = lab.stream()
    with stream.running():
        lab.faults.drop(PRIMARY, "esp")
        gateway.wait(is_on(BACKUP), "traffic is on the backup", within=10 * PATIENCE)
        lab.cloud.wait_returning(BACKUP)
        result = stream.stop()
    tell(f"what the hosts missed of a steady stream: {result}")
    keep_status(gateway, "failover")
    print("  gw$ vpnagent status")
    show(gateway.run("status", check=False))
    no_leak(lab.observer.packets())
    lab.faults.clear()
    tell("the fault is gone; the tunnel is tried, must be heard for its hold-down, and carries again")
    gateway.wait(is_on(PRIMARY), "traffic is back", within=60 * PATIENCE)
    lab.cloud.wait_returning(PRIMARY)
    tell(f"the cloud returns traffic on: {', '.join(lab.cloud.returning())}")


def is_on(wanted: LabTunnel) -> Callable[[Status], bool]:
    return lambda status: status["connections"][0]["active"] == [wanted.name]


def remove(lab: Lab, gateway: LabGateway) -> None:
    title("vpnagent down: everything of ours goes, and only that")
    print("  gw$ vpnagent down")
    show(gateway.run("down"))
    command(lab, "gw", "ip", "route")
    left = lab.gateway.run("ip", "route", "show", "proto", "86")
    left += lab.gateway.run("ip", "nexthop") + "".join(lab.gateway.links("xfrm"))
    assert not left, f"left behind: {left}"
    assert all(network not in lab.gateway.run("ip", "route") for network in REMOTE_NETWORKS)
    for wanted in TUNNELS:
        eventually(lambda t=wanted: not lab.cloud.is_up(t), "the cloud was told", within=5 * PATIENCE)  # type: ignore[misc]
    tell("no route, nexthop or interface is left, and the cloud was told")


def shell() -> int:
    """`./dev lab`: the lab with a running agent, and a shell on its gateway."""
    print("starting network, charons and agent ...", flush=True)
    lab = Lab()
    lab.start()
    lab.begin()
    gateway = LabGateway(lab)
    gateway.start()
    gateway.wait_ready()
    names = " ".join(lab.topology.namespaces)
    print(WELCOME.format(namespaces=names, log=gateway.log, vici=lab.charon.socket), flush=True)
    aliases = RUNTIME / "bashrc"
    options = f"--config {gateway.configuration}"
    aliases.write_text(f"vpnagent() {{ command vpnagent \"$@\" {options}; }}\nPS1='gw \\w# '\n")
    path = f"{CHECKOUT}/.venv/bin:{os.environ['PATH']}"
    with lab.gateway.entered():
        subprocess.run(
            ["bash", "--rcfile", str(aliases), "-i"], env={**os.environ, "PATH": path}, check=False
        )
    gateway.kill()
    lab.save("shell")
    lab.stop()
    return 0


if __name__ == "__main__":
    sys.exit(shell() if "--shell" in sys.argv else main())
