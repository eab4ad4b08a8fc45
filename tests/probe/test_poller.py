"""The prober's wait: for a file descriptor or for a time, whichever comes first."""

import os
import time
from collections.abc import Iterator

import pytest

from vpnagent.probe.inbox import Poller


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
