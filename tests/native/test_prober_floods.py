"""What a neighbour of the gateway can do to the prober: nothing, by floods, forgeries or wrong checksums.

The neighbour sends any packet with any source from another interface. It knows targets, addresses and
methods; of what a probe carries it knows nothing (blind).
"""

import contextlib
import functools
import os
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from lab.namespace import inside, ip
from tests.native.flood import LAN, NEIGHBOUR, PACE, anew, flood, ipv4, neighbour, probing, resolvers
from tests.native.prober_process import (
    ControlDaemon,
    Group,
    Requests,
    all_up,
    answered,
    configure,
    control_daemon,
    cpu_seconds,
    states,
    until,
)
from tests.native.two_tunnels import INSIDE, SOURCE, TwoTunnels, two_tunnels

from vpnagent.config.values import ProbeMethod
from vpnagent.policy.selection import PathState
from vpnagent.probe import packets
from vpnagent.probe.actions import PathChanged
from vpnagent.probe.inbox import Allowance, Inbox, attach
from vpnagent.probe.intent import ProbeTarget
from vpnagent.probe.packets import MOST_RANGES, between
from vpnagent.probe.shell import RENEWAL

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, raw sockets, nexthops")

DETECTION = 0.3
SECOND = ((102, 1),)


@pytest.fixture(scope="module")
def world() -> Iterator[TwoTunnels]:
    with two_tunnels() as made:
        yield made


@pytest.fixture(scope="module")
def lan(world: TwoTunnels) -> Iterator[str]:
    with neighbour(world) as made:
        yield made


@pytest.fixture
def directory(world: TwoTunnels) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
    world.heal()
    ip("nexthop replace id 900 group 101 proto 86", namespace=world.gw)


def more(daemon: ControlDaemon, count: int) -> bool:
    return answered(daemon)[0] > count


@pytest.mark.parametrize(
    ("method", "kind", "source"),
    [
        ("icmp", "echo-replies", INSIDE[0]),
        ("icmp", "echo-requests", NEIGHBOUR),
        ("tcp", "resets", INSIDE[0]),
        ("tcp", "resets", NEIGHBOUR),
        ("dns", "dns-answers", INSIDE[0]),
        ("dns", "dns-answers", NEIGHBOUR),
    ],
)
def test_no_flood_holds_a_failover_back_or_causes_one(
    world: TwoTunnels, lan: str, directory: Path, method: str, kind: str, source: str
) -> None:
    group = Group(world.gw)
    with contextlib.closing(group), probing(world, directory, method) as daemon:
        pid, before = daemon.started[0].pid, len(daemon.of(PathChanged))
        with flood(lan, kind, source=source):
            cpu, began = cpu_seconds(pid), time.monotonic()
            time.sleep(2.0)  # what is to happen in it is nothing
            assert daemon.of(PathChanged)[before:] == []
            world.lose("m0", "n0")
            lost = time.monotonic()
            until(lambda: group() == SECOND, within=10)
            taken = time.monotonic() - lost
            used = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
        assert taken <= 2 * DETECTION
        assert used <= 0.5
        assert daemon.lost_at == []
        assert daemon.report
        assert daemon.report.overflows == 0


def test_a_flood_of_what_the_filter_passes_holds_a_failover_back_until_the_secret_is_renewed(
    world: TwoTunnels, lan: str, directory: Path
) -> None:
    group = Group(world.gw)
    with contextlib.closing(group), probing(world, directory, "icmp") as daemon, Requests(world) as seen:
        until(lambda: seen.last)
        replay = bytes([0]) + seen.last[21:]  # by who sees the probes: its secret is renewed in a moment
        with flood(lan, replay.hex(), seconds=20):
            time.sleep(1.0)
            world.lose("m0", "n0")
            lost = time.monotonic()
            until(lambda: group() == SECOND, within=10)
            taken = time.monotonic() - lost
        assert taken <= 2 * (RENEWAL + DETECTION)  # a secret asks, and may be answered, each for so long
        assert daemon.lost_at == []


@pytest.mark.parametrize(
    ("method", "kind"), [("icmp", "echo-replies"), ("tcp", "resets"), ("dns", "dns-answers")]
)
def test_a_blind_forger_is_never_believed(
    world: TwoTunnels, lan: str, directory: Path, method: str, kind: str
) -> None:
    with probing(world, directory, method) as daemon:
        world.lose("m0", "n0")
        until(lambda: states(daemon)[0] is PathState.DOWN)
        time.sleep(0.2)
        anew(daemon)
        before = answered(daemon)
        with flood(lan, kind, rate=100_000):
            time.sleep(4.0)  # what is to happen in it is nothing
        anew(daemon)
        assert answered(daemon)[0] == before[0]
        assert states(daemon)[0] is PathState.DOWN


def test_the_right_nonce_from_another_address_or_to_another_one_is_no_answer(
    world: TwoTunnels, lan: str, directory: Path
) -> None:
    with probing(world, directory, "icmp") as daemon, Requests(world) as seen:
        until(lambda: seen.last)
        world.lose("m0", "n0")
        until(lambda: states(daemon)[0] is PathState.DOWN)
        anew(daemon)
        before = answered(daemon)[0]
        with inside(lan, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)) as raw:
            number = struct.unpack_from("!I", seen.last, 40)[0]
            for sequence in range(number, number + 100):
                reply = bytearray(seen.last[20:])
                reply[0] = 0
                struct.pack_into("!H", reply, 6, sequence & 0xFFFF)
                struct.pack_into("!I", reply, 20, sequence)
                for source, destination in ((NEIGHBOUR, SOURCE), (INSIDE[1], SOURCE), (INSIDE[0], LAN)):
                    raw.sendto(ipv4(source, destination, 1, bytes(reply)), (destination, 0))
        anew(daemon)
        assert answered(daemon)[0] == before


def test_queries_leave_from_ports_that_change(world: TwoTunnels, directory: Path) -> None:
    raw = inside(world.far, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP))
    with raw, probing(world, directory, "dns"):
        raw.settimeout(2)
        seen = {struct.unpack_from("!H6xH", raw.recv(2048), 20)[:2] for _ in range(40)}
    assert len({port for port, _ in seen}) >= 15
    assert len({id_ for _, id_ in seen}) == 40


def test_the_largest_filter_and_its_successor_fit_where_there_is_the_least_room(world: TwoTunnels) -> None:
    def addresses(first: int) -> set[bytes]:
        return {(first + 2 * number).to_bytes(4) for number in range(MOST_RANGES)}

    def fit() -> None:
        with contextlib.suppress(FileNotFoundError):  # a kernel with one for all namespaces
            Path("/proc/sys/net/core/optmem_max").write_text("20480")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for first in (0, 1_000_000):
                attach(sock, packets.dns_filter({53}, 64, between(addresses(first), addresses(first))))

    inside(world.gw, fit)


def test_wrong_checksums_are_no_overflow_of_ours(world: TwoTunnels) -> None:
    def attack() -> int:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as good,
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw,
        ):
            inbox = Inbox(sock)
            sock.bind((SOURCE, 0))
            port = sock.getsockname()[1]
            for _ in range(20):
                raw.sendto(struct.pack("!HHHH", 9, port, 12, 0xBAAD) + bytes(4), (SOURCE, 0))
                good.sendto(b"x", (SOURCE, port))
                list(inbox.drain(time.monotonic_ns(), time.time_ns(), Allowance(100, 0)))
            return inbox.overflows

    assert inside(world.gw, attack) == 0


def test_an_answer_to_the_question_of_before_a_reload_ends_nothing(
    world: TwoTunnels, directory: Path
) -> None:
    def wanted(peer: bool) -> Any:
        target = ProbeTarget(address=IPv4Address(INSIDE[0]), inside_peer=peer)
        return configure(**PACE, method=ProbeMethod.DNS, port=53, first={"targets": (target,)})

    with (
        resolvers(world, delay=0.05),
        control_daemon(world, wanted=wanted(False), directory=directory) as daemon,
    ):
        until(lambda: all_up(daemon), within=10)
        for number in range(10):
            daemon.configure(wanted(number % 2 == 0))
            count = answered(daemon)[0]
            until(functools.partial(more, daemon, count + 2), within=5)
        assert daemon.lost_at == []
