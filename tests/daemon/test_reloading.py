"""Reload, confirm and take back, with real files and no daemon."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.daemon.test_standing import BROKEN, place, text, write

from vpnagent.config.values import TunnelKey
from vpnagent.daemon import memory
from vpnagent.daemon.memory import Keeping, Standing
from vpnagent.daemon.reloading import Reloader, confirm_within
from vpnagent.errors import ControlError
from vpnagent.knowledge.knowledge import Knowledge

__all__ = ["place"]


class World:
    """A daemon's configuration, begun with the file named old."""

    def __init__(self, place: Path) -> None:
        self.place = place
        write(place, text("old"))
        self.standing = Standing(str(place / "vpnagent.yaml"), str(place / "state"))
        self.loaded = self.standing.start()
        self.known = Knowledge(config=self.loaded.config, loaded_at=0.0)
        self.woken = 0
        self.keeping = Keeping(self.known)
        self.reloader = Reloader(self.known, self.standing, self.keeping, self.wake)

    def wake(self) -> None:
        self.woken += 1

    @property
    def name(self) -> str:
        return self.known.config.gateway.name

    def waits(self) -> bool:
        """Whether the configuration in force waits to be confirmed."""
        return self.known.taken_back_at is not None

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - nobody rings here
                await asyncio.sleep(0.02)


def play(place: Path, scene: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World(place)
        await world.reloader.started(world.loaded)
        watch = asyncio.get_running_loop().create_task(world.reloader.watch())
        try:
            await scene(world)
        finally:
            watch.cancel()

    asyncio.run(run())


def test_a_reload_stands_at_once(place: Path) -> None:
    async def scene(world: World) -> None:
        write(place, text("new"))
        assert (await world.reloader.reload())["changed"]
        write(place, BROKEN)
        assert world.standing.start().config.gateway.name == "new"

    play(place, scene)


def test_a_refused_reload_changes_nothing_and_is_told(place: Path) -> None:
    async def scene(world: World) -> None:
        write(place, BROKEN)
        with pytest.raises(ControlError):
            await world.reloader.reload(within=60)
        assert (world.name, world.woken) == ("old", 0)
        assert world.known.config_error is not None
        assert not world.waits()

    play(place, scene)


def test_an_unconfirmed_change_is_taken_back(place: Path) -> None:
    async def scene(world: World) -> None:
        write(place, text("new"))
        await world.reloader.reload(within=1)
        assert world.name == "new"
        assert world.waits()
        await world.until(lambda: world.name == "old")
        assert not world.waits()
        assert "not confirmed" in (world.known.config_error or "")
        with pytest.raises(ControlError):
            await world.reloader.confirm()

    play(place, scene)


def test_a_confirmed_change_stands(place: Path) -> None:
    async def scene(world: World) -> None:
        write(place, text("new"))
        await world.reloader.reload(within=1)
        await world.reloader.confirm()
        assert world.standing.unconfirmed() is None
        assert not world.waits()
        assert world.standing.start().config.gateway.name == "new"

    play(place, scene)


def test_a_change_that_was_taken_back_can_be_reloaded_for_good(place: Path) -> None:
    async def scene(world: World) -> None:
        write(place, text("new"))
        await world.reloader.reload(within=1)
        await world.until(lambda: world.name == "old")
        await world.reloader.reload()
        assert (world.name, world.known.config_error) == ("new", None)
        assert world.standing.start().config.gateway.name == "new"

    play(place, scene)


def test_a_daemon_that_is_started_meanwhile_goes_on_waiting(place: Path) -> None:
    async def scene(world: World) -> None:
        write(place, text("new"))
        await world.reloader.reload(within=2)
        again = World.__new__(World)
        again.standing = world.standing
        again.loaded = world.standing.start()
        again.known = Knowledge(config=again.loaded.config, loaded_at=0.0)
        assert again.name == "new"
        reloader = Reloader(again.known, again.standing, Keeping(again.known), world.wake)
        await reloader.started(again.loaded)
        assert again.waits()
        watch = asyncio.get_running_loop().create_task(reloader.watch())
        await world.until(lambda: again.name == "old")
        watch.cancel()

    play(place, scene)


def test_without_a_place_for_the_note_a_conditional_change_is_not_made(place: Path) -> None:
    async def scene(world: World) -> None:
        write(place, text("new"))
        for file in (place / "state").iterdir():
            file.unlink()
        (place / "state").rmdir()
        (place / "state").write_text("a file")
        with pytest.raises(ControlError, match="not reloaded"):
            await world.reloader.reload(within=60)
        assert world.name == "old"

    play(place, scene)


def test_a_change_is_kept_when_a_full_disk_has_room_and_none_is_made_on_condition_before(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be gone back to must be on disk first."""
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if (place / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)

    async def scene(world: World) -> None:
        full = place / "full"
        full.touch()
        write(place, text("new"))
        assert "No space left on device" in (await world.reloader.reload())["warning"]
        assert world.name == "new"
        write(place, text("newer"))
        with pytest.raises(ControlError, match=r"not reloaded: .*No space left"):
            await world.reloader.reload(within=60)
        assert [f.code for f in world.known.state_findings] == ["StateNotKept"]
        full.unlink()
        await world.reloader.reload(within=60)
        assert world.known.state_findings == ()
        write(place, BROKEN)
        assert world.standing.start().config.gateway.name == "new"

    play(place, scene)


def test_the_drain_of_a_tunnel_goes_with_it_to_its_new_name_and_is_kept(place: Path) -> None:
    mark = b"psk_file: key.psk"

    async def scene(world: World) -> None:
        directory = str(place / "state")
        fixed = text("old").replace(mark, mark + b", interface: vpn-1, if_id: 1")
        agent = replace(world.known.config.agent, state_directory=directory)
        world.known.config = replace(world.known.config, agent=agent)
        write(place, fixed)
        await world.reloader.reload()
        world.known.drained = frozenset({TunnelKey("hangzhou", "primary")})
        write(place, fixed.replace(b"name: primary", b"name: first"))
        await world.reloader.reload()
        assert world.known.drained == memory.read(directory) == {TunnelKey("hangzhou", "first")}

    play(place, scene)


@pytest.mark.parametrize("seconds", [0, 0.5, -1, 86401, True, "5m", float("nan"), [1]])
def test_an_impossible_time_is_refused(seconds: object) -> None:
    with pytest.raises(ControlError, match="1 s to 24 h"):
        confirm_within({"confirm_within": seconds})


def test_a_reload_without_a_condition_has_none() -> None:
    assert confirm_within({"command": "reload"}) is None
    assert confirm_within({"confirm_within": 300}) == 300.0
