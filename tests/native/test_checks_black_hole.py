"""Large packets that vanish in a tunnel: real routers that forward, refuse or swallow them.

A tunnel is a veth pair, as not every kernel that tests run on has XFRM interfaces: to the echo requests
both are an interface with an MTU. Behind it a router leads by a link, which may be narrower, to the target::

    gateway  vpn-hz-1 ---- cloud  router  narrow ---- end  peer
"""

import asyncio
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import pytest
from lab.namespace import Namespace, namespace
from tests.config_examples import make_config, make_tunnel
from tests.native.machine import Machine, machine
from tests.native.prober_process import until

from vpnagent.checks.large_packets import BRIEF, PATIENT, large_packets
from vpnagent.checks.observation import LargePackets
from vpnagent.checks.underlay import SMALL
from vpnagent.config.values import Config
from vpnagent.finding import Finding, Severity
from vpnagent.probe.packets import ECHO_REQUEST

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

TARGET = "172.16.0.1"  #: behind the router, unlike the tunnel's other end
MTU = 1399
SWALLOW = "add rule ip filter output icmp type destination-unreachable drop"


@dataclass(frozen=True)
class Tunnel:
    """The gateway with one tunnel, the router in the way, and the peer."""

    machine: Machine
    router: Namespace
    peer: Namespace
    config: Config

    def narrow(self, mtu: int) -> None:
        """Have the link behind the router take packets of up to ``mtu`` bytes only."""
        self.router.ip(f"link set narrow mtu {mtu}")

    def silent(self) -> None:
        """Have the router not say why it drops."""
        self.router.nft("add table ip filter")
        self.router.run("nft add chain ip filter output { type filter hook output priority 0 ; }")
        self.router.nft(SWALLOW)

    def look(self, rounds: tuple[float, ...] = BRIEF) -> tuple[LargePackets, ...]:
        """Return what becomes of large packets."""
        with self.machine.gateway.entered():
            return asyncio.run(large_packets(self.config, rounds))

    def findings(self, *, thorough: bool = True) -> list[Finding]:
        """Return what check says of it, and nothing of the test's own odd routes."""
        found = self.machine.findings(self.config, thorough=thorough)
        return [f for f in found if f.subject == "hangzhou/primary"]


@pytest.fixture
def tunnel(tmp_path: pathlib.Path) -> Iterator[Tunnel]:
    with machine(tmp_path) as made, namespace("router") as router, namespace("peer") as peer:
        gateway = made.gateway
        gateway.ip(f"link add vpn-hz-1 mtu {MTU} type veth peer name cloud netns {router.name}")
        router.ip(f"link add narrow type veth peer name end netns {peer.name}")
        for where, link, address in (
            (gateway, "vpn-hz-1", "169.254.10.2/30"),
            (router, "cloud", "169.254.10.1/30"),
            (router, "narrow", "172.16.0.2/30"),
            (peer, "end", f"{TARGET}/30"),
        ):
            where.ip(f"address add {address} dev {link}")
            where.ip(f"link set {link} up")
        router.run("sysctl -qw net.ipv4.ip_forward=1")
        gateway.ip(f"route add {TARGET} via 169.254.10.1")
        peer.ip("route add default via 172.16.0.2")
        router.ip("route add 10.1.0.1 via 169.254.10.2")
        probe = replace(make_tunnel(1).probe, targets=(IPv4Address(TARGET),))
        yield Tunnel(made, router, peer, make_config(primary={"probe": probe}))


def test_a_path_that_takes_every_packet_costs_two(tunnel: Tunnel) -> None:
    began = time.monotonic()

    [looked] = tunnel.look(rounds=(30.0,))

    assert (looked.mtu, looked.answered, looked.lost) == (MTU, frozenset({576, MTU}), frozenset())
    assert time.monotonic() - began < 30.0  # it ends with the last answer
    assert tunnel.findings() == []


@pytest.mark.parametrize(
    ("line", "passed", "severity"),
    [(1300, 1300, Severity.WARNING), (1399 - 1, 1380, Severity.WARNING), (1100, 576, Severity.CRITICAL)],
)
def test_a_router_that_drops_large_packets_without_a_word(
    tunnel: Tunnel, line: int, passed: int, severity: Severity
) -> None:
    tunnel.narrow(line)
    tunnel.silent()

    [found] = until(tunnel.findings, within=60)  # where the machine stalls, a look concludes nothing

    assert (found.code, found.severity) == ("MtuBlackHole", severity)
    assert f"of up to {passed} bytes and none of " in found.text
    assert f"set its mtu: {passed} " in found.hint
    assert [f.code for f in tunnel.findings(thorough=False)] == ["MtuBlackHole"]  # as the daemon looks


def test_a_router_that_says_why_it_drops_is_believed(tunnel: Tunnel) -> None:
    tunnel.narrow(1300)

    [first] = tunnel.look()
    [then] = tunnel.look()

    assert first.refused
    assert first.lost
    assert (then.mtu, then.lost, then.refused) == (1300, frozenset(), False)  # the kernel has learnt it
    assert tunnel.findings() == []


def test_what_the_kernel_knows_of_the_underlay_is_told_once(tunnel: Tunnel) -> None:
    tunnel.narrow(1300)
    tunnel.silent()
    tunnel.machine.gateway.ip("link set eth0 mtu 1400")

    assert [f.code for f in tunnel.findings()] == ["PathMtuTooSmall"]


def test_a_target_that_answers_nothing_tells_nothing(tunnel: Tunnel) -> None:
    tunnel.peer.run("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
    tunnel.narrow(1300)
    tunnel.silent()

    [looked] = tunnel.look()

    assert looked.answered == frozenset()
    assert tunnel.findings() == []


@contextlib.contextmanager
def answering(peer: Namespace, address: str, largest: int, delay: float) -> Iterator[None]:
    """Answer echo requests of up to ``largest`` bytes in the kernel's place, after ``delay`` seconds."""
    ended = threading.Event()
    with peer.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.bind((address, 0))
    sock.settimeout(0.05)

    def answer() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                packet, sender = sock.recvfrom(2048)
                message = packet[20:]
                if message[0] == ECHO_REQUEST and len(packet) <= largest:
                    total = int.from_bytes(message[2:4]) + (ECHO_REQUEST << 8)
                    checksum = (total & 0xFFFF) + (total >> 16)
                    ended.wait(delay)
                    sock.sendto(b"\0\0" + checksum.to_bytes(2) + message[4:], sender)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sock.close()


def test_a_target_that_answers_late_tells_nothing_while_another_is_asked_again(tunnel: Tunnel) -> None:
    late = "172.16.0.9"
    tunnel.peer.ip(f"address add {late}/32 dev end")
    tunnel.router.ip(f"route add {late} dev narrow")
    tunnel.machine.gateway.ip(f"route add {late} via 169.254.10.1")
    tunnel.peer.run("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
    probe = replace(make_tunnel(1).probe, targets=(IPv4Address(TARGET), IPv4Address(late)))
    both = replace(tunnel, config=make_config(primary={"probe": probe}))

    with answering(tunnel.peer, TARGET, 1300, 0.0), answering(tunnel.peer, late, SMALL, 1.0):
        at_once, later = both.look(rounds=(0.8, 0.8, 0.8))

    assert max(at_once.answered) == 1300
    assert later.answered == frozenset()


def test_loss_is_no_black_hole(tunnel: Tunnel) -> None:
    """Every second request is lost, and the largest with it."""
    tunnel.peer.nft("add table ip filter")
    tunnel.peer.run("nft add chain ip filter input { type filter hook input priority 0 ; }")
    tunnel.peer.nft("add rule ip filter input icmp type echo-request numgen inc mod 2 == 0 drop")

    [looked] = tunnel.look(PATIENT)

    assert looked.answered
    assert tunnel.findings() == []


@pytest.mark.parametrize("command", ["link delete vpn-hz-1", "link set vpn-hz-1 down"])
def test_an_interface_that_is_not_there_or_not_up_is_not_asked(tunnel: Tunnel, command: str) -> None:
    tunnel.machine.gateway.ip(command)

    assert tunnel.look() == ()


def test_the_service_user_may_look(tunnel: Tunnel) -> None:
    """It is no root, and has two capabilities."""
    kept = "-all,+net_admin,+net_raw"
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    program = (
        "import asyncio, sys; sys.path[:0] = ['agent', '.']\n"
        "from tests.config_examples import make_config\n"
        "from vpnagent.checks.large_packets import BRIEF, large_packets\n"
        "print([sorted(one.answered) for one in asyncio.run(large_packets(make_config(), BRIEF))])\n"
    )
    command = [*user, f"--inh-caps={kept}", f"--ambient-caps={kept}", sys.executable, "-c", program]

    with tunnel.machine.gateway.entered():
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert done.stdout == f"[[576, {MTU}]]\n", done.stderr


def test_without_the_capability_it_is_said_to_be_unseen(tunnel: Tunnel) -> None:
    program = (
        "import asyncio, sys; sys.path[:0] = ['agent', '.']\n"
        "from tests.config_examples import make_config\n"
        "from vpnagent.checks.observe import observe\n"
        "seen = asyncio.run(observe(make_config(), '/etc/vpnagent.yaml', thorough=False))\n"
        "print([u.forbidden for u in seen.unseen if u.what == 'large_packets'])\n"
    )

    assert tunnel.machine.gateway.without("net_raw", program) == "[True]\n"
