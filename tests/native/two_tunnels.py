"""Two stand-ins for tunnels between a gateway and a far end, in namespaces of their own.

This kernel has no XFRM interfaces, so a tunnel is a veth pair without ARP (both ends share a MAC: like a
tunnel it takes any packet). Between the ends stands a router whose forwarding is switched off to lose a
direction without a trace, through a file opened beforehand: nothing is spawned while it is measured.

    gw  t0 ---- m0  mid  n0 ---- f0  far        10.1.0.1        on gw, the probes' and the stream's source
        t1 ---- m1       n1 ---- f1             169.254.10.1/.20.1   on far: the inside peers, one a tunnel
                                                100.100.2.136   on far: the shared target, and the stream's
"""

import contextlib
import functools
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from lab.namespace import Namespace, inside, ip
from lab.stream import MeasuredStream

SOURCE = "10.1.0.1"
INSIDE = ("169.254.10.1", "169.254.20.1")
SHARED = "100.100.2.136"
NEXTHOPS = (101, 102)
GROUP = 900


@dataclass
class TwoTunnels:
    """Names of the namespaces, and the switches."""

    gw: str
    mid: str
    far: str
    switches: dict[str, TextIO] = field(default_factory=dict)  #: forwarding, by interface of mid

    def lose(self, *interfaces: str) -> None:
        """Drop what arrives at these interfaces: m0 is tunnel 0 outward, n0 inward."""
        for interface in interfaces:
            self._forward(interface, "0")

    def heal(self) -> None:
        """Forward everything again."""
        for interface in self.switches:
            self._forward(interface, "1")

    def stream(self, *, back: bool = False) -> MeasuredStream:
        """A kilohertz outward, or both ways, that runs already."""
        near, far = (Namespace(self.gw), SOURCE), (Namespace(self.far), SHARED)
        made = MeasuredStream(near, far, back=back)
        made.start()
        return made

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Have everything forwarded again after the block, and the group where it was at first."""
        try:
            yield
        finally:
            self.heal()
            ip(f"nexthop replace id {GROUP} group {NEXTHOPS[0]} proto 86", namespace=self.gw)

    def _forward(self, interface: str, value: str) -> None:
        file = self.switches[interface]
        file.seek(0)
        file.write(value)
        file.flush()


@contextlib.contextmanager
def two_tunnels(name: str = "") -> Iterator[TwoTunnels]:
    """Make the world, and unmake it; a second one at the same time needs a name."""
    gw, mid, far = (f"vpna-{os.getpid()}{name}-{role}" for role in ("gw", "mid", "far"))
    world = TwoTunnels(gw, mid, far)
    try:
        for namespace in (world.gw, world.mid, world.far):
            ip(f"netns add {namespace}")
        _wire(world)
        _address(world)
        for interface in ("m0", "m1", "n0", "n1"):
            path = f"/proc/sys/net/ipv4/conf/{interface}/forwarding"
            world.switches[interface] = inside(world.mid, functools.partial(_open, path))
        yield world
    finally:
        for file in world.switches.values():
            file.close()
        for namespace in (world.gw, world.mid, world.far):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, stderr=subprocess.DEVNULL)


def _open(path: str) -> TextIO:
    return open(path, "w")


def _wire(world: TwoTunnels) -> None:
    pairs = [("gw", "t", "mid", "m"), ("mid", "n", "far", "f")]
    names = {"gw": world.gw, "mid": world.mid, "far": world.far}
    for tunnel in (0, 1):
        for left, a, right, b in pairs:
            mac = f"02:00:00:00:{ord(a):02x}:{tunnel:02x}"
            common = f"address {mac} arp off"
            peer = f"peer name {b}{tunnel} netns {names[right]}"
            ip(f"link add {a}{tunnel} netns {names[left]} type veth {peer}")
            ip(f"link set {a}{tunnel} {common} up", namespace=names[left])
            ip(f"link set {b}{tunnel} {common} up", namespace=names[right])


def _address(world: TwoTunnels) -> None:
    ip(
        "link set lo up",
        f"addr add {SOURCE}/32 dev lo",
        *(f"nexthop add id {NEXTHOPS[n]} dev t{n}" for n in (0, 1)),
        f"nexthop add id {GROUP} group {NEXTHOPS[0]} proto 86",
        f"route add 100.64.0.0/10 nhid {GROUP} src {SOURCE}",
        "route add unreachable 100.64.0.0/10 metric 4278198272",
        namespace=world.gw,
    )
    rules = [
        command
        for n in (0, 1)
        for command in (
            f"rule add iif m{n} lookup {10 + n}",
            f"route add default dev n{n} table {10 + n}",
            f"rule add iif n{n} lookup {20 + n}",
            f"route add default dev m{n} table {20 + n}",
        )
    ]
    ip("link set lo up", *rules, namespace=world.mid)
    ip(
        "link set lo up",
        *(f"addr add {address}/32 dev lo" for address in (*INSIDE, SHARED)),
        *(f"rule add from {INSIDE[n]} lookup {10 + n}" for n in (0, 1)),
        *(f"route add default dev f{n} table {10 + n}" for n in (0, 1)),
        *(f"nexthop add id {NEXTHOPS[n]} dev f{n}" for n in (0, 1)),
        f"nexthop add id {GROUP} group {NEXTHOPS[0]}",
        f"route add default nhid {GROUP}",
        namespace=world.far,
    )
    _sysctl(world.gw, {"net/ipv4/nexthop_compat_mode": "0"})
    _sysctl(world.mid, {f"net/ipv4/conf/{name}/rp_filter": "0" for name in ("all", "default")})
    _sysctl(world.mid, {"net/ipv4/ip_forward": "1"})
    _sysctl(world.far, {f"net/ipv4/conf/{n}/rp_filter": "0" for n in ("all", "default", "f0", "f1")})
    _sysctl(world.mid, {f"net/ipv4/conf/{n}/rp_filter": "0" for n in ("m0", "m1", "n0", "n1")})
    _sysctl(world.far, {"net/ipv4/icmp_ratelimit": "0"})


def _sysctl(namespace: str, values: dict[str, str]) -> None:
    def write() -> None:
        for key, value in values.items():
            with open(f"/proc/sys/{key}", "w") as file:
                file.write(value)

    inside(namespace, write)


def udp_socket(namespace: str) -> socket.socket:
    """Return a UDP socket that lives in a namespace."""
    return inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
