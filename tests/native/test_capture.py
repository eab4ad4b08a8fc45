"""A drill's capture against the real kernel."""

import multiprocessing
import os
import socket
import time
from ipaddress import IPv4Address

import pytest
from lab.namespace import namespace

from vpnagent.commands.drill.capture import Capture

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, raw sockets")

HERE = IPv4Address("127.0.0.1")
FLOOD = 4.0  #: seconds, at most


def flood() -> None:
    """What looks like ESP in UDP, as fast as it goes."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end = time.monotonic() + FLOOD
    while time.monotonic() < end:
        for _ in range(100):
            sender.sendto(bytes(64), (str(HERE), 4500))


def test_a_capture_ends_while_packets_come_as_fast_as_they_are_read() -> None:
    with namespace("capture") as here, here.entered():
        capture = Capture(0, [HERE])
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((str(HERE), 4500))
        senders = [multiprocessing.get_context("fork").Process(target=flood) for _ in range(2)]
        for sender in senders:
            sender.start()
        receiver.recv(100)

        captured = capture.collect()

        still_coming = [sender.is_alive() for sender in senders]
        for sender in senders:
            sender.kill()
            sender.join()
        receiver.close()
    assert captured.packets
    assert still_coming == [True, True]


def test_a_capture_holds_only_what_its_filter_keeps() -> None:
    with namespace("capture") as here, here.entered():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            capture = Capture(0, [HERE])
            sender.sendto(b"another port", (str(HERE), 4501))
            sender.sendto(b"as ESP in UDP", (str(HERE), 4500))

        captured = capture.collect()

    assert [packet.data[28:] for packet in captured.packets] == [
        b"as ESP in UDP"
    ] * 2  # leaves lo, comes back
