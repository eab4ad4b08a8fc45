"""A program is run to its end, or ended."""

import asyncio
import contextlib
from unittest.mock import AsyncMock, Mock

import pytest
from tests.on_a_loop import on_a_loop

from vpnagent import program


@on_a_loop
async def test_what_it_says_and_how_it_ends() -> None:
    ended = await program.run(("sh", "-c", "echo out; echo err >&2; exit 3"), seconds=30)
    assert ended == (3, b"out\n", b"err\n")


@on_a_loop
async def test_what_is_given_is_read() -> None:
    assert (await program.run(("cat",), seconds=30, given=b"given")).output == b"given"


@on_a_loop
async def test_bounded_it_says_the_same() -> None:
    command = ("sh", "-c", "echo out; echo err >&2; exit 3")
    assert await program.run(command, seconds=30, most=10) == (3, b"out\n", b"err\n")


@pytest.mark.parametrize("stream", ["1", "2"])
@on_a_loop
async def test_one_that_says_too_much_is_ended(stream: str) -> None:
    ended = await program.run(("sh", "-c", f"exec yes >&{stream}"), seconds=30, most=1000)
    assert ended.status == -9
    assert 1000 < len(ended.output + ended.complaint) <= 1000 + program.CHUNK


@pytest.mark.parametrize("most", [None, 10])
@on_a_loop
async def test_one_that_hangs_is_ended(most: int | None) -> None:
    with pytest.raises(TimeoutError):
        await program.run(("sleep", "600"), seconds=0.1, most=most)


@on_a_loop
async def test_one_that_cannot_be_killed_is_let_be() -> None:
    async def never(_given: bytes | None = None) -> tuple[bytes, bytes]:
        await asyncio.Event().wait()
        return b"", b""

    stuck = Mock(communicate=never, wait=AsyncMock(side_effect=never), kill=Mock())
    with contextlib.ExitStack() as patches:
        patch = patches.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(asyncio, "create_subprocess_exec", AsyncMock(return_value=stuck))
        patch.setattr(program, "FAREWELL", 0.1)
        with pytest.raises(TimeoutError):
            await program.run(("ip", "link"), seconds=0.1)
    assert stuck.kill.called
