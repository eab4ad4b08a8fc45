import asyncio

import pytest

from vpnagent.daemon.supervisor import supervise
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
