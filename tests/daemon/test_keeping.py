"""What a restart must find is written as soon as the disk takes it, over a disk that was full."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.config_examples import make_config
from tests.on_a_loop import on_a_loop

from vpnagent.config.values import TunnelKey
from vpnagent.daemon import memory
from vpnagent.daemon.memory import Keeping
from vpnagent.knowledge.incidents import Sign, of_tunnel
from vpnagent.knowledge.knowledge import Knowledge

ONE, TWO = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which no file finds room; unlink this and it does."""
    marker = tmp_path / "full"
    marker.touch()
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if marker.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    return marker


class Drains:
    """Drains that are to be kept, as they are when they are written."""

    def __init__(self, directory: Path) -> None:
        self.known = Knowledge(config=make_config(), loaded_at=0.0)
        self.keeping = Keeping(self.known)
        self._directory = str(directory)

    async def drain(self, *keys: TunnelKey) -> str | None:
        return await self.keeping.keep("drains", lambda: memory.write(self._directory, keys))

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(finding.code, finding.subject) for finding in self.known.state_findings]

    @property
    def on_disk(self) -> frozenset[TunnelKey]:
        return memory.read(self._directory)


@contextlib.asynccontextmanager
async def running(world: Drains) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(world.keeping.run())
    try:
        yield
    finally:
        task.cancel()


@on_a_loop
async def test_a_full_disk_is_one_finding_however_often_it_refuses(full: Path) -> None:
    world = Drains(full.parent)
    for _ in range(3):
        assert await world.drain(ONE) == (
            f"{full.parent / memory.FILE}: No space left on device: the drain will not survive a restart"
        )
        assert await world.keeping.again("drains") is not None
    assert world.told == [("StateNotKept", "drains")]


@on_a_loop
async def test_what_was_wanted_last_is_written_when_there_is_room(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpnagent.daemon.memory.RETRY", 0.01)
    world = Drains(full.parent)
    async with running(world):
        await world.drain(ONE)
        await world.drain(TWO)
        full.unlink()
        while world.told:  # noqa: ASYNC110 - nobody rings here
            await asyncio.sleep(0.01)
    assert world.on_disk == {TWO}


@on_a_loop
async def test_what_was_written_is_not_written_again(tmp_path: Path) -> None:
    world = Drains(tmp_path)
    assert await world.drain(ONE) is None
    (tmp_path / memory.FILE).unlink()
    assert await world.keeping.again("drains") is None
    assert (world.told, world.on_disk) == ([], frozenset())


@on_a_loop
async def test_incidents_are_written_when_they_change(tmp_path: Path) -> None:
    config = make_config(agent={"state_directory": str(tmp_path)})
    known = Knowledge(config=config, loaded_at=0.0)
    task = asyncio.get_running_loop().create_task(Keeping(known).run_incidents())
    known.incidents.update({of_tunnel(ONE): Sign.FAULT}, 1_000_000.0)
    known.incidents_dirty.set()
    async with asyncio.timeout(20):
        while memory.read_incidents(str(tmp_path)) != known.incidents.open:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
