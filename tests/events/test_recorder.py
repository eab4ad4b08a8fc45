"""The recorder on a real loop and a real directory: numbered, logged, counted, kept, and never in the way."""

import asyncio
import contextlib
import errno
import logging
import os
import pathlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.config_examples import make_config
from tests.on_a_loop import on_a_loop
from tests.status.test_report import BACKUP, PRIMARY, known

from vpnagent.errors import ControlError
from vpnagent.events.event import Event
from vpnagent.events.recorder import Recorder
from vpnagent.events.store import Store
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.status.report import findings, refresh


def knowledge(directory: pathlib.Path) -> Knowledge:
    known_here = known(PRIMARY, BACKUP)
    known_here.config = make_config(agent={"state_directory": str(directory)})
    return known_here


@contextlib.asynccontextmanager
async def recording(known: Knowledge) -> AsyncIterator[Recorder]:
    """Run a recorder as the daemon does, without its 0.2 s."""
    recorder = Recorder(known, time.time(), time.monotonic())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder.run())
        yield recorder
        task.cancel()
        await asyncio.wait([task])
    await recorder.close(time.time())


def look(recorder: Recorder, known: Knowledge) -> Knowledge:
    """Look once, as the daemon does every 0.2 s; return what is known then."""
    refresh(known, time.time())
    recorder.look(time.time(), time.monotonic())
    return known


async def until(true: Callable[[], object]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 20 s")


def on_disk(directory: pathlib.Path) -> list[Event]:
    return Store(str(directory)).read().events


def types(answer: dict[str, Any]) -> list[str]:
    return [event["type"] for event in answer["events"]]


async def one_run(directory: pathlib.Path) -> list[str]:
    """Return the types that one run of the daemon answers, after it saw both tunnels come up."""
    here = knowledge(directory)
    async with recording(here) as recorder:
        await recorder.answer({})  # what is kept has been read
        look(recorder, here)
        return types(await recorder.answer({}))


@on_a_loop
async def test_numbers_and_events_go_on_over_restarts(tmp_path: pathlib.Path) -> None:
    first = await one_run(tmp_path)
    assert first == ["DaemonStarted", "TunnelUp", "TunnelUp"]
    assert await one_run(tmp_path) == [*first, "DaemonStopped", *first]
    assert [event.sequence for event in on_disk(tmp_path)] == list(range(1, 9))


@on_a_loop
async def test_an_end_without_a_word_is_told_at_the_next_start(tmp_path: pathlib.Path) -> None:
    here = knowledge(tmp_path)
    recorder = Recorder(here, time.time(), time.monotonic())
    task = asyncio.get_running_loop().create_task(recorder.run())
    await until(lambda: on_disk(tmp_path))
    task.cancel()  # killed: nothing else is done
    await asyncio.wait([task])
    await one_run(tmp_path)
    assert on_disk(tmp_path)[1].text.endswith("the last run did not stop in order")


@on_a_loop
async def test_every_event_is_counted_and_logged_with_what_it_is(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = knowledge(tmp_path)
    with caplog.at_level(logging.INFO, "vpnagent"):
        async with recording(here) as recorder:
            await recorder.answer({})
            here.charon.connected, here.charon.error = False, "charon: no answer"
            look(recorder, here)
    assert here.event_counts == {"DaemonStarted": 1, "CharonGone": 1, "TunnelUp": 2, "DaemonStopped": 1}
    told = [record for record in caplog.records if record.getMessage().startswith("event ")]
    assert [record.event.type.value for record in told] == [  # type: ignore[attr-defined]
        "DaemonStarted",
        "CharonGone",
        "TunnelUp",
        "TunnelUp",
        "DaemonStopped",
    ]
    assert told[1].levelno == logging.ERROR
    assert "sequence=2 text='charon: no answer'" in told[1].getMessage()


@on_a_loop
async def test_a_disk_that_refuses_is_a_warning_and_loses_no_event_when_it_takes_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpnagent.events.recorder.RETRY", 0.01)
    full = tmp_path / "full"
    full.touch()

    def refuse(_descriptor: int) -> None:
        if full.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdatasync", refuse)
    here = knowledge(tmp_path)
    async with recording(here) as recorder:
        await until(lambda: look(recorder, here).event_findings)
        assert {f.code for f in findings(here)} == {"EventsNotKept"}
        look(recorder, here)
        assert "WarningBegan" in types(await recorder.answer({}))
        full.unlink()
        await until(lambda: not look(recorder, here).event_findings)
    assert [event.sequence for event in on_disk(tmp_path)] == [1, 2, 3, 4, 5]


@on_a_loop
async def test_a_disk_that_hangs_holds_up_neither_looks_nor_answers(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write hangs in its thread for as long as the test runs: whatever waited for it would not return."""
    reading, writing = os.pipe()
    monkeypatch.setattr(os, "fdatasync", lambda _: os.read(reading, 1))
    here = knowledge(tmp_path)
    async with recording(here) as recorder:
        for number in range(100):
            await recorder.answer({})
            here.config = replace(here.config, gateway=replace(here.config.gateway, name=f"g{number}"))
            look(recorder, here)
        assert types(await recorder.answer({})).count("ConfigurationChanged") == 5
        os.write(writing, b"x" * 100)
        await until(lambda: on_disk(tmp_path)[-1:] and on_disk(tmp_path)[-1].type.value != "DaemonStarted")


@on_a_loop
async def test_a_question_without_meaning_is_refused(tmp_path: pathlib.Path) -> None:
    async with recording(knowledge(tmp_path)) as recorder:
        with pytest.raises(ControlError, match="no type of event"):
            await recorder.answer({"types": ["Nonsense"]})
