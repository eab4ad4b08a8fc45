import asyncio
import os
import pathlib
import socket

import pytest

from vpnagent.daemon.supervisor import notify, supervise, watchdog_interval
from vpnagent.errors import AgentError


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_failing_task_is_started_again_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    stop = asyncio.Event()
    starts: list[int] = []

    async def failing() -> None:
        starts.append(len(starts))
        if len(starts) == 3:
            stop.set()
            await forever()
        raise AgentError("no kernel") if len(starts) == 1 else RuntimeError("a bug")

    asyncio.run(asyncio.wait_for(supervise({"failing": failing, "steady": forever}, stop), 10))
    assert starts == [0, 1, 2]
    assert "task-failed task=failing error=no kernel" in caplog.text
    assert "task-crashed task=failing" in caplog.text


def test_a_task_that_returns_is_done() -> None:
    stop = asyncio.Event()
    runs: list[int] = []

    async def once() -> None:
        runs.append(1)
        asyncio.get_running_loop().call_later(0.3, stop.set)

    asyncio.run(asyncio.wait_for(supervise({"once": once}, stop), 10))
    assert runs == [1]


def test_stop_cancels_every_task_and_waits_for_it() -> None:
    stop = asyncio.Event()
    ended: list[bool] = []

    async def slow_to_end() -> None:
        try:
            stop.set()
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    asyncio.run(asyncio.wait_for(supervise({"slow": slow_to_end}, stop), 10))
    assert ended == [True]


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
