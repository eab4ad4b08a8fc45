"""A neighbour of the gateway that sends what it likes, from any source, and a prober that it sends it to.

``python -m tests.native.flood KIND SOURCE RATE SECONDS`` runs inside its namespace (``flood``).

Raw IPv4 packets from a namespace beside the gateway (``neighbour``), with any source, as fast as the machine
sends them: prepared beforehand, handed to the kernel in batches (sendmmsg(2)). Prints how many it sent.
"""

import contextlib
import ctypes
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.namespace import inside, ip
from tests.native.prober_process import ControlDaemon, all_up, configure, control_daemon, until
from tests.native.two_tunnels import INSIDE, SOURCE, TwoTunnels

from vpnagent.config.values import ProbeMethod
from vpnagent.probe.packets import checksum, words

LAN, NEIGHBOUR = "192.0.2.1", "192.0.2.2"
PACE: dict[str, Any] = {"interval": 0.1, "detect_multiplier": 3, "hold_down": 0.5}
METHODS = {"icmp": (ProbeMethod.ICMP, 0), "tcp": (ProbeMethod.TCP, 9), "dns": (ProbeMethod.DNS, 53)}
FLAT_OUT = 10_000_000  #: packets a second: more than any machine sends
_BATCH = 64
_PREPARED = 16_384  #: packets, all different


@contextlib.contextmanager
def neighbour(world: TwoTunnels) -> Iterator[str]:
    """Put a namespace on a LAN of the gateway; yield its name."""
    name = f"vpna-{os.getpid()}-lan"
    try:
        ip(f"netns add {name}")
        ip(f"link add lan netns {world.gw} type veth peer name lan netns {name}")
        ip(f"addr add {LAN}/24 dev lan", "link set lan up", namespace=world.gw)
        ip(f"addr add {NEIGHBOUR}/24 dev lan", "link set lan up", namespace=name)
        ip("link set lo up", f"route add default via {LAN}", namespace=name)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def resolvers(world: TwoTunnels, delay: float = 0.0) -> Iterator[None]:
    """Answer every query to the inside peers, some time later."""
    sockets = [inside(world.far, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
    ended = threading.Event()

    def answer(sock: socket.socket) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                query, sender = sock.recvfrom(2048)
                reply = query[:2] + b"\x81\x80" + query[4:]
                if delay:
                    threading.Timer(delay, lambda r=reply, s=sender: sock.sendto(r, s)).start()
                else:
                    sock.sendto(reply, sender)

    threads = [threading.Thread(target=answer, args=(sock,)) for sock in sockets]
    for sock, address, thread in zip(sockets, INSIDE, threads, strict=True):
        sock.bind((address, 53))
        sock.settimeout(0.1)
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        time.sleep(2 * delay)  # what is on its way
        for sock in sockets:
            sock.close()


def anew(daemon: ControlDaemon) -> None:
    """Wait for the next report."""
    report = daemon.report
    until(lambda: daemon.report is not report)


@contextlib.contextmanager
def probing(world: TwoTunnels, directory: Path, name: str) -> Iterator[ControlDaemon]:
    """Run a prober by one of ``METHODS`` whose paths are heard."""
    method, port = METHODS[name]
    wanted = configure(**PACE, method=method, port=port)
    with resolvers(world), control_daemon(world, wanted=wanted, directory=directory) as daemon:
        until(lambda: all_up(daemon), within=10)
        yield daemon


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """Return a packet; the kernel fills the header's checksum in (raw(7))."""
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    return struct.pack("!BBHIBBH", 0x45, 0, 20 + len(payload), 0, 64, protocol, 0) + ends + payload


def _transport(source: str, destination: str, protocol: int, segment: bytes, at: int) -> bytes:
    """Return the packet with the checksum of its TCP or UDP segment, which stands at that octet."""
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination)
    total = words(pseudo + struct.pack("!HH", protocol, len(segment))) + words(segment)
    segment = segment[:at] + struct.pack("!H", checksum(total)) + segment[at + 2 :]
    return ipv4(source, destination, protocol, segment)


def echo_reply(draw: random.Random, source: str, destination: str) -> bytes:
    """Return one that answers a request of ours, but for what cannot be known."""
    body = struct.pack("!HHQII", draw.randrange(65536), draw.randrange(4096), draw.getrandbits(64), 0, 1)
    total = words(body)
    return ipv4(source, destination, 1, struct.pack("!BBH", 0, 0, checksum(total)) + body)


def reset(draw: random.Random, source: str, destination: str) -> bytes:
    """Return one that answers a SYN to port 9 from some port, likewise."""
    ports = 9, draw.randrange(20000, 32016)
    numbers = 0, draw.getrandbits(32)
    segment = struct.pack("!HHIIBBHHH", *ports, *numbers, 0x50, 0x14, 0, 0, 0)
    return _transport(source, destination, 6, segment, 16)


def dns_answer(draw: random.Random, source: str, destination: str) -> bytes:
    """Return one that answers a query for the root's name servers from some port, likewise."""
    message = struct.pack("!HHHHHH", draw.randrange(65536), 0x8180, 1, 0, 0, 0) + b"\0\0\x02\0\x01"
    segment = struct.pack("!HHHH", 53, draw.randrange(32768, 61000), 8 + len(message), 0) + message
    return _transport(source, destination, 17, segment, 6)


def request(_: random.Random, source: str, destination: str) -> bytes:
    """Return an echo request, which the gateway's kernel answers."""
    return ipv4(source, destination, 1, struct.pack("!BBHI", 8, 0, checksum(0x0800), 0))


KINDS: dict[str, Callable[[random.Random, str, str], bytes]] = {
    "echo-replies": echo_reply,
    "resets": reset,
    "dns-answers": dns_answer,
    "echo-requests": request,
}


@contextlib.contextmanager
def flood(
    namespace: str, kind: str, *, source: str = INSIDE[0], rate: int = FLAT_OUT, seconds: float = 60.0
) -> Iterator[None]:
    """Let a namespace send for so long, or until the end of the block; from when it really sends on.

    Of a kind of ``KINDS``, or else this ICMP message, in hexadecimal digits.
    """
    command = [sys.executable, "-m", "tests.native.flood", kind, source, str(rate), str(seconds)]
    sender = inside(
        namespace,
        lambda: subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]),
    )
    try:
        assert sender.stdout
        assert sender.stdout.readline() == b"begun\n"
        yield
    finally:
        sender.terminate()
        sender.communicate()


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("name_length", ctypes.c_uint32),
        ("iovec", ctypes.POINTER(_Iovec)),
        ("iovecs", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


def send(kind: str, source: str, rate: float, seconds: float) -> None:
    """Send; print a line when it begins."""
    draw = random.Random(os.urandom(8))
    make = KINDS.get(kind) or (lambda *_: ipv4(source, SOURCE, 1, bytes.fromhex(kind)))
    packets = [make(draw, source, SOURCE) for _ in range(_PREPARED)]
    vectors = (_Iovec * _PREPARED)(*(_Iovec(packet, len(packet)) for packet in packets))
    name = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(SOURCE))
    messages = (_Message * _PREPARED)(
        *(_Message(_Header(name, 16, ctypes.pointer(vectors[n]), 1)) for n in range(_PREPARED))
    )
    libc = ctypes.CDLL(None)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        print("begun", flush=True)
        began, sent = time.monotonic(), 0
        while (spent := time.monotonic() - began) < seconds:
            if sent > rate * spent:
                time.sleep(min(0.001, sent / rate - spent))
                continue
            at = sent % _PREPARED
            done = libc.sendmmsg(sock.fileno(), ctypes.byref(messages[at]), min(_BATCH, _PREPARED - at), 0)
            if done < 0:
                raise OSError("sendmmsg refuses")
            sent += done
    print(f"{sent / spent:.0f} packets a second", flush=True)


if __name__ == "__main__":
    send(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
