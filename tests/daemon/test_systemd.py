import os
import pathlib
import socket

import pytest

from vpnagent.daemon.supervisor import notify, watchdog_interval


def test_without_a_manager_nothing_is_sent() -> None:
    assert not notify("READY=1", environ={})


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_receives_the_assignments(tmp_path: pathlib.Path, abstract: bool) -> None:
    name = f"@vpnagent-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        assert notify("READY=1", "STATUS=fine", environ={"NOTIFY_SOCKET": name})
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"


def test_a_full_queue_never_blocks(tmp_path: pathlib.Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        sent = [notify("WATCHDOG=1", environ={"NOTIFY_SOCKET": name}) for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "7"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_an_interval_and_only_by_whom_it_names(
    environ: dict[str, str], expected: float | None
) -> None:
    assert watchdog_interval(environ=environ, pid=7) == expected
