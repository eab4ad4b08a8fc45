"""The IKE ping between two namespaces, with a peer that answers as it is told."""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from lab.namespace import inside
from tests.native.prober_process import CRAFTED, KEYS, tunnel_intent, until
from tests.native.two_tunnels import SHARED, SOURCE, TwoTunnels, two_tunnels

from vpnagent.probe.ike_daemons import IkeSockets
from vpnagent.probe.inbox import Allowance, Poller

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces")

TUNNEL = tunnel_intent(0, remote_address=IPv4Address(SHARED), local_address=IPv4Address(SOURCE))


@pytest.fixture(scope="module")
def world() -> Iterator[TwoTunnels]:
    with two_tunnels() as made:
        yield made


@pytest.fixture
def peer(world: TwoTunnels) -> Iterator[socket.socket]:
    sock = inside(world.far, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sock:
        sock.bind((SHARED, 500))
        sock.settimeout(2)
        yield sock


@pytest.fixture
def sockets(world: TwoTunnels) -> Iterator[IkeSockets]:
    made = IkeSockets(Poller())
    inside(world.gw, lambda: made.send(TUNNEL, CRAFTED.ike_ping))  # opens the socket in its namespace
    yield made
    made.forget_all()


def response(spi: bytes) -> bytes:
    return spi + bytes(8) + bytes([41, 0x20, 34, 0x20]) + struct.pack("!II", 0, 36) + bytes(8)


def test_an_answer_tells_whose_peer_lives(peer: socket.socket, sockets: IkeSockets) -> None:
    ping, sender = peer.recvfrom(2048)
    assert sender[0] == SOURCE
    assert sender[1] not in (500, 4500)
    assert ping[8:] == CRAFTED.ike_ping[8:]
    peer.sendto(response(ping[:8]), sender)
    assert until(lambda: list(sockets.drain(Allowance(100, 0)))) == [KEYS[0]]
    peer.sendto(response(ping[:8]), sender)  # again: it was answered
    with pytest.raises(AssertionError):
        until(lambda: list(sockets.drain(Allowance(100, 0))), within=0.1)


def test_another_spi_or_an_echo_of_the_ping_is_no_answer(peer: socket.socket, sockets: IkeSockets) -> None:
    ping, sender = peer.recvfrom(2048)
    peer.sendto(response(b"\xff" * 8), sender)
    peer.sendto(ping[:19] + b"\x08" + ping[20:], sender)  # the initiator flag of the request itself
    with pytest.raises(AssertionError):
        until(lambda: list(sockets.drain(Allowance(100, 0))), within=0.1)


def test_another_peer_cannot_answer(world: TwoTunnels, peer: socket.socket, sockets: IkeSockets) -> None:
    ping, sender = peer.recvfrom(2048)
    with inside(world.far, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("169.254.10.1", 500))
        other.sendto(response(ping[:8]), sender)
    with pytest.raises(AssertionError):
        until(lambda: list(sockets.drain(Allowance(100, 0))), within=0.1)


def test_a_local_address_that_is_not_there_is_an_error_of_the_send(
    world: TwoTunnels, sockets: IkeSockets
) -> None:
    elsewhere = replace(TUNNEL, local_address=IPv4Address("192.0.2.77"))
    with pytest.raises(OSError, match="Cannot assign"):
        inside(world.gw, lambda: sockets.send(elsewhere, CRAFTED.ike_ping))
