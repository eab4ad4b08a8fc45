"""What is taken from a socket is bounded, and an overflow is only what our own full buffer lost."""

import socket
import time

from vpnagent.probe.inbox import Allowance, Inbox, attach
from vpnagent.probe.packets import REJECT, assembled
from vpnagent.probe.shell import Noise

SMALL = 16 * 1024  #: bytes of buffer


def pair(room: int | None = None) -> tuple[Inbox, socket.socket]:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if room is not None:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    inbox = Inbox(receiver)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    return inbox, sender


def drain(inbox: Inbox, allowance: Allowance | None = None) -> list[bytes]:
    allowed = allowance or Allowance(10_000, 0)
    return [data for data, *_ in inbox.drain(time.monotonic_ns(), time.time_ns(), allowed)]


def test_no_more_is_taken_than_is_allowed_and_the_rest_waits() -> None:
    inbox, sender = pair()
    with inbox.socket, sender:
        for _ in range(50):
            sender.send(b"x")
        allowance = Allowance(20, 0)
        assert [len(drain(inbox, allowance)) for _ in range(7)] == [10, 5, 3, 1, 1, 0, 0]
        assert len(drain(inbox)) == 30


def test_what_time_brings_is_allowed_up_to_a_burst() -> None:
    allowance = Allowance(100, 1000)
    allowance.left = 0
    allowance.renew(0.01)
    assert allowance.left == 10
    allowance.renew(10.0)
    assert allowance.left == 100


def test_each_packet_has_its_ends_and_its_time() -> None:
    inbox, sender = pair()
    with inbox.socket, sender:
        before = time.monotonic()
        sender.send(b"x")
        [packet] = inbox.drain(time.monotonic_ns(), time.time_ns(), Allowance(10, 0))
        _, source, destination, interface, at = packet
        assert source == sender.getsockname()
        assert destination == bytes([127, 0, 0, 1])
        assert interface == socket.if_nametoindex("lo")
        assert before - 0.01 <= at <= time.monotonic()


def test_what_a_full_buffer_loses_is_an_overflow() -> None:
    inbox, sender = pair(SMALL)
    with inbox.socket, sender:
        for _ in range(200):
            sender.send(b"x")
        kept = len(drain(inbox))
        assert kept < 200
        sender.send(b"after")  # it tells how many were lost before it
        drain(inbox)
        for _ in range(200):
            sender.send(b"x")
        drain(inbox)
        assert inbox.overflows >= 200 - kept


def test_what_the_filter_refuses_is_no_overflow() -> None:
    inbox, sender = pair()
    with inbox.socket, sender:
        sender.send(b"before")
        drain(inbox)
        attach(inbox.socket, assembled([REJECT]))
        for _ in range(100):
            sender.send(b"x")
        attach(inbox.socket, assembled([(0x06, 0, 0, 0xFFFF)]))
        sender.send(b"after")
        assert drain(inbox) == [b"after"]
        assert inbox.overflows == 0


def test_noise_is_looked_at_now_and_then_and_is_over_when_it_is_over() -> None:
    noise = Noise()
    noise.take(5, 1.0)
    assert not noise.heard(1.0)
    noise.take(1_000_000, 1.01)
    assert noise.heard(1.01)
    assert not noise.heard(noise.over)
    noise.take(0, 2.5)
    assert not noise.heard(2.5)
