"""What goes over the internet, seen by somebody who listens there.

One tcpdump per internet path, from before the first packet. `packets()` first sends a marker over every path
and waits until it is in the captures, so that what it returns is complete. The fast reader knows just enough
of IPv4 to find a leak among thousands of packets; `decoded()` hands a few to scapy, which is the authority.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from lab.deadline import PATIENCE, eventually
from lab.namespace import Namespace
from lab.topology import NEVER_IN_CLEAR, Topology

PATHS = ("net-a", "net-b")
INTERFACE = "gw"
SNAP_LENGTH = 160
MARKER_PORT = 9
FILE_HEADER = 24
PacketKind = Literal["esp", "esp-in-udp", "ike", "clear", "marker", "other"]
SECRET = tuple(ipaddress.ip_network(network) for network in NEVER_IN_CLEAR)


@dataclass(frozen=True, slots=True)
class SeenPacket:
    """An IPv4 packet on the internet."""

    path: str
    at: float
    kind: PacketKind
    source: str
    destination: str
    raw: bytes


class Observer:
    """Captures on all internet paths."""

    def __init__(self, topology: Topology, directory: Path) -> None:
        self.files = {path: directory / f"{path}.pcap" for path in PATHS}
        self._topology = topology
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start = dict.fromkeys(PATHS, FILE_HEADER)

    def start(self) -> None:
        """Begin to capture, and open the markers' socket."""
        for path, file in self.files.items():
            arguments = (
                "-i",
                INTERFACE,
                "-w",
                str(file),
                "-U",
                "--immediate-mode",
                "-Z",
                "root",
                "-B",
                "8192",
            )
            self._processes.append(
                self._topology[path].start(
                    "tcpdump", *arguments, "-s", str(SNAP_LENGTH), "ip", log=file.with_suffix(".out")
                )
            )
        self._markers = [self._marker(path) for path in PATHS]
        eventually(self._began, "the captures begin", within=10 * PATIENCE)

    def _marker(self, path: str) -> socket.socket:
        """A socket on a path's own end: it needs no neighbour, which may be powered off."""
        with self._topology[path].entered():
            marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        marker.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, INTERFACE.encode())
        marker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return marker

    def _began(self) -> bool:
        return all(file.exists() and file.stat().st_size >= FILE_HEADER for file in self.files.values())

    def stop(self) -> None:
        """End the captures."""
        for marker in self._markers:
            marker.close()
        for process in self._processes:
            process.terminate()
            process.wait(10 * PATIENCE)

    def begin(self) -> None:
        """Forget what was captured until now: a scenario begins."""
        self._flush()
        self._start = {path: file.stat().st_size for path, file in self.files.items()}

    def packets(self) -> list[SeenPacket]:
        """Everything since `begin`, complete, markers left out."""
        self._flush()
        return [packet for path in PATHS for packet in self._read(path) if packet.kind != "marker"]

    def leaks(self) -> list[SeenPacket]:
        """Packets that carried an inside address in clear."""
        return [packet for packet in self.packets() if packet.kind == "clear"]

    def _flush(self) -> None:
        nonce = secrets.token_bytes(12)
        for marker in self._markers:
            marker.sendto(nonce, ("255.255.255.255", MARKER_PORT))
        eventually(
            lambda: all(self._has(path, nonce) for path in PATHS),
            "the marker is captured",
            within=10 * PATIENCE,
        )

    def _has(self, path: str, nonce: bytes) -> bool:
        with self.files[path].open("rb") as file:
            file.seek(max(FILE_HEADER, file.seek(0, 2) - 65536))
            return nonce in file.read()

    def _read(self, path: str) -> Iterator[SeenPacket]:
        with self.files[path].open("rb") as file:
            file.seek(self._start[path])
            data = file.read()
        offset = 0
        while offset + 16 <= len(data):
            seconds, micros, length, _ = struct.unpack_from("=IIII", data, offset)
            raw = data[offset + 16 + 14 : offset + 16 + length]
            offset += 16 + length
            if len(raw) >= 20:
                yield packet(path, seconds + micros / 1e6, raw)


def packet(path: str, at: float, raw: bytes) -> SeenPacket:
    """Read one IPv4 packet."""
    source, destination = (str(ipaddress.IPv4Address(raw[at : at + 4])) for at in (12, 16))
    return SeenPacket(path, at, kind_of(raw), source, destination, raw)


def kind_of(raw: bytes) -> PacketKind:
    """What an outsider can tell of a packet; an inside address in clear comes before all else."""
    if any(ipaddress.IPv4Address(raw[at : at + 4]) in network for at in (12, 16) for network in SECRET):
        return "clear"
    header, protocol = (raw[0] & 15) * 4, raw[9]
    if protocol == socket.IPPROTO_ESP:
        return "esp"
    if protocol != socket.IPPROTO_UDP:
        return "other"
    ports = struct.unpack_from("!HH", raw, header)
    if 4500 in ports:  # four zero bytes tell IKE from an SPI; a single byte is a NAT keep-alive
        payload = raw[header + 8 : header + 12]
        return "ike" if payload == bytes(4) or payload == b"\xff" else "esp-in-udp"
    if 500 in ports:
        return "ike"
    return "marker" if ports[1] == MARKER_PORT else "other"


def decoded(packets: list[SeenPacket], limit: int = 20) -> list[Any]:
    """The first `limit` packets as scapy sees them."""
    from scapy.layers import ipsec  # noqa: F401, PLC0415  # registers ESP over UDP 4500
    from scapy.layers.inet import IP  # noqa: PLC0415  # seconds to import under emulation

    return [IP(packet.raw) for packet in packets[:limit]]


# Where packets went: the kernel's own counters of what it dropped, and why, in every namespace.

PROC = Path("/proc/thread-self/net")
QUIET = ("Octets", "InReceives", "OutRequests", "InDelivers", "ForwDatagrams", "InDatagrams", "OutDatagrams")
EXTENDED = ("InNoRoutes", "IPReversePathFilter")  # of netstat, the counters beyond the MIBs


def dropped(namespace: Namespace) -> Counter[str]:
    """Everything that counts a packet that did not go the usual way (proc_net_snmp, xfrm_proc, netdevice)."""
    with namespace.entered():
        return Counter(dict([*_snmp(), *_xfrm(), *_devices()]))


def _snmp() -> Iterator[tuple[str, int]]:
    for file in ("snmp", "netstat"):
        lines = (PROC / file).read_text().splitlines()
        for names, values in list(pairwise(lines))[::2]:
            group, *keys = names.split()
            for key, value in zip(keys, values.split()[1:], strict=True):
                if (group in ("Ip:", "Udp:") and not key.endswith(QUIET)) or key in EXTENDED:
                    yield f"{group[:-1]}{key}", int(value)


def _xfrm() -> Iterator[tuple[str, int]]:
    for line in (PROC / "xfrm_stat").read_text().splitlines():
        name, value = line.split()
        yield name, int(value)


def packets(namespace: Namespace, interface: str) -> tuple[int, int]:
    """How many packets an interface has received and sent."""
    with namespace.entered():
        figures = dict(_figures())[interface]
    return figures[1], figures[9]


def _devices() -> Iterator[tuple[str, int]]:
    for name, figures in _figures():
        yield f"{name} receive", sum(figures[2:4])
        yield f"{name} transmit", sum(figures[10:12])


def _figures() -> Iterator[tuple[str, list[int]]]:
    """Bytes, packets, errors, drops and four more that were received; the same that were sent."""
    for line in (PROC / "dev").read_text().splitlines()[2:]:
        name, _, figures = line.partition(":")
        yield name.strip(), [int(figure) for figure in figures.split()]
