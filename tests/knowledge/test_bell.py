import asyncio

import pytest

from vpnagent.knowledge.knowledge import rung


def test_it_returns_when_rung_and_when_patience_ends() -> None:
    async def run() -> None:
        event = asyncio.Event()
        assert not await rung(event, 0.01)
        event.set()
        assert await rung(event, 10)

    asyncio.run(run())


def test_a_cancellation_that_comes_with_the_event_is_not_lost() -> None:
    async def loop_for_ever(event: asyncio.Event) -> None:
        while True:
            event.clear()
            await rung(event, 10)

    async def run() -> None:
        event = asyncio.Event()
        task = asyncio.get_running_loop().create_task(loop_for_ever(event))
        await asyncio.sleep(0.01)
        event.set()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=2)
        assert done
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
