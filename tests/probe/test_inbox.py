"""What waits is taken in at its time and within bounds; an overflow is only what our own full buffer lost."""

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.inbox import Allowance, Inbox, Poller, ReceiveTime, attach
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


MS = 1_000_000
S = 1_000 * MS
WALL = 1_800_000_000 * S


def test_a_stamp_is_put_on_the_monotonic_scale() -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(100 * MS, WALL + 100 * MS)
    assert clock.of(WALL + 99 * MS) == 99 * MS


def test_a_packet_without_a_stamp_came_now() -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(100 * MS, WALL + 100 * MS)
    assert clock.of(None) == 100 * MS


@given(st.integers(-(10**6), 10**6).filter(lambda seconds: seconds != 0))
def test_a_step_of_the_wall_clock_falls_back_to_now_and_is_over_with_the_next_drain(step: int) -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(100 * MS, WALL + 100 * MS + step * S)
    assert clock.of(WALL + 99 * MS) == 100 * MS
    clock.end()
    clock.begin(200 * MS, WALL + 200 * MS + step * S)
    assert clock.of(WALL + 150 * MS + step * S) == 150 * MS


def test_slewing_at_the_kernels_maximum_is_no_step() -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(3600 * S, WALL + 3600 * S + 3600 * S // 2000)
    assert clock.of(WALL + 3599 * S + 3600 * S // 2000) == 3599 * S


@given(st.integers(0, 5 * S), st.integers(-10 * S, 10 * S))
def test_no_stamp_lies_outside_the_time_since_the_socket_was_empty(age: int, step: int) -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(10 * S, WALL + 10 * S)
    clock.end()
    clock.begin(15 * S, WALL + 15 * S + step)
    assert 10 * S <= clock.of(WALL + 15 * S - age) <= 15 * S


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_wait_ends_at_its_time_and_not_before(pipe: tuple[int, int]) -> None:
    poller = Poller()
    poller.watch(pipe[0], lambda: None)
    due = time.monotonic() + 0.0123
    assert poller.wait(due) == []
    assert time.monotonic() >= due


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 60.0])
def test_what_is_ready_is_told_whatever_the_time(pipe: tuple[int, int], seconds: float) -> None:
    poller = Poller()
    poller.watch(pipe[0], lambda: None)
    os.write(pipe[1], b"x")
    assert poller.wait(time.monotonic() + seconds) == [pipe[0]]


PACKAGE = Path(__file__).parents[2] / "agent" / "vpnagent"


def test_no_other_module_attaches_a_filter() -> None:
    attaching = [
        path.name for path in PACKAGE.rglob("*.py") if re.search(r"ATTACH_FILTER|\"@HP\"", path.read_text())
    ]
    assert attaching == ["inbox.py"]
