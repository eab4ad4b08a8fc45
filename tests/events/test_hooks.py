"""Hooks with real programs and real sockets: told in order, retried, bounded, and never in the loop's way."""

import asyncio
import contextlib
import gc
import json
import pathlib
import stat
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.config_examples import make_config
from tests.on_a_loop import on_a_loop

from vpnagent.config.values import Hook, HookType
from vpnagent.events import hooks as module
from vpnagent.events.event import Event, Happening, event_of
from vpnagent.events.hooks import HookError, Hooks, environment, tell, wants
from vpnagent.finding import EventType, Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.secret import Secret

TOKEN = "token-Hush-55aa"
SECRET_PATH = "/Hush-77bb"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module.PASSED_ON:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def event(sequence: int, severity: Severity = Severity.INFO) -> Event:
    happening = Happening(type=EventType.FAILOVER, at=1.5, severity=severity, text="moved", connection="hz")
    return event_of(happening, sequence)


def hook(**changes: Any) -> Hook:
    kind = HookType.COMMAND if "command" in changes else HookType.WEBHOOK
    plain = Hook(
        name="pager", type=kind, command=(), url=None, token=None, events=("info",), timeout=20.0, retries=3
    )
    return replace(plain, **changes)


def script(directory: pathlib.Path, text: str) -> tuple[str, ...]:
    path = directory / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return (str(path),)


def knowing(*configured: Hook) -> Knowledge:
    return Knowledge(config=replace(make_config(), hooks=configured), loaded_at=0.0)


@contextlib.asynccontextmanager
async def running(known: Knowledge) -> AsyncIterator[Hooks]:
    hooks = Hooks(known)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(hooks.run())
        yield hooks
        task.cancel()


async def until(true: Callable[[], object]) -> None:
    for _ in range(12000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 120 s")


class Webhook:
    """An HTTP server on loopback that answers each request as it is told to."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)  #: the last one stays; None: none at all
        self.requests: list[tuple[str, dict[str, Any]]] = []  #: header and body
        self.port = 0

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            header = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(header.lower().partition("content-length: ")[2].split()[0])
            self.requests.append((header, json.loads(await reader.readexactly(length))))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is None:
                await reader.read()  # until the other end is gone
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Webhook"]:
        async with await asyncio.start_server(self._converse, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    def hook(self, **changes: Any) -> Hook:
        url = f"http://127.0.0.1:{self.port}{SECRET_PATH}"
        return hook(url=Secret(url.encode()), token=Secret(TOKEN.encode()), **changes)

    def told(self) -> list[int]:
        return [body["sequence"] for _, body in self.requests]


def answer(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


OK = answer("200 OK")


@on_a_loop
async def test_a_webhook_gets_the_event_as_json_with_the_token() -> None:
    async with Webhook(OK).listening() as webhook:
        await tell(webhook.hook(), (event(7),), gateway="idc-hz-1")
    [(header, body)] = webhook.requests
    assert header.startswith(f"POST {SECRET_PATH} HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}\r\n" in header
    assert body == {"gateway": "idc-hz-1", **event(7).plain()}


@pytest.mark.parametrize(
    ("status", "final"),
    [("503 Busy", False), ("429 Later", False), ("404 Not Found", True), ("301 Moved", False)],
)
def test_an_answer_that_is_no_success_is_told_without_secrets(status: str, final: bool) -> None:
    @on_a_loop
    async def attempt() -> None:
        async with Webhook(answer(status)).listening() as webhook:
            with pytest.raises(HookError, match=f"^HTTP status {status[:3]}$") as refused:
                await tell(webhook.hook(), (event(1),), gateway="g")
        assert refused.value.final is final

    attempt()


@on_a_loop
async def test_a_redirect_is_not_followed_with_the_token() -> None:
    async with Webhook(OK).listening() as other:
        moved = f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{other.port}/\r\nContent-Length: 0\r\n\r\n"
        async with Webhook(moved.encode()).listening() as webhook:
            with pytest.raises(HookError, match="HTTP status 307"):
                await tell(webhook.hook(), (event(1),), gateway="g")
    assert other.requests == []


@on_a_loop
async def test_nobody_who_listens_is_told_in_words() -> None:
    async with Webhook(OK).listening() as webhook:
        gone = webhook.hook()
    with pytest.raises(HookError, match="Connection refused"):
        await tell(gone, (event(1),), gateway="g")


@on_a_loop
async def test_a_command_gets_the_event_on_its_input_and_a_small_environment(tmp_path: pathlib.Path) -> None:
    command = script(tmp_path, f"cat > {tmp_path}/event; env > {tmp_path}/env; pwd >> {tmp_path}/env")
    await tell(hook(command=command), (event(3),), gateway="g")
    assert json.loads((tmp_path / "event").read_text())["sequence"] == 3
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names <= {"PATH", "LANG", "PWD", "OLDPWD", "_", "SHLVL", "/"}


@on_a_loop
async def test_a_command_that_fails_is_told_by_its_last_words(tmp_path: pathlib.Path) -> None:
    command = script(tmp_path, "echo one >&2; echo no route to pager >&2; exit 3")
    with pytest.raises(HookError, match=r"^no route to pager$"):
        await tell(hook(command=command), (event(1),), gateway="g")


@on_a_loop
async def test_a_command_that_is_not_there_is_told() -> None:
    with pytest.raises(HookError, match="/nowhere/at/all: No such file"):
        await tell(hook(command=("/nowhere/at/all",)), (event(1),), gateway="g")


@on_a_loop
async def test_a_command_that_never_ends_is_ended_with_what_it_started(tmp_path: pathlib.Path) -> None:
    command = script(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(HookError, match=r"no end within 0\.5 s"):
        await tell(hook(command=command, timeout=0.5), (event(1),), gateway="g")
    child = pathlib.Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"
    await until(lambda: not child.exists() or child.read_text().split()[2] == "Z")


@on_a_loop
async def test_a_command_that_talks_without_end_fills_no_memory(tmp_path: pathlib.Path) -> None:
    command = script(tmp_path, "head -c 50000000 /dev/zero | tr '\\0' x >&2; echo done >&2; exit 1")
    with pytest.raises(HookError) as refused:
        await tell(hook(command=command), (event(1),), gateway="g")
    assert len(str(refused.value)) <= 200


@on_a_loop
async def test_a_command_that_does_not_read_leaves_no_traceback(tmp_path: pathlib.Path) -> None:
    left: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: left.append(context))
    more_than_a_pipe_holds = replace(event(1), text="moved" * 100_000)
    await tell(hook(command=script(tmp_path, "exec <&-; exit 0")), (more_than_a_pipe_holds,), gateway="g")
    gc.collect()
    assert left == []


@on_a_loop
async def test_each_hook_gets_what_it_asks_for_in_order(tmp_path: pathlib.Path) -> None:
    async with Webhook(OK).listening() as all_of_it, Webhook(OK).listening() as the_worst:
        known = knowing(all_of_it.hook(name="all"), the_worst.hook(name="worst", events=("critical",)))
        async with running(known) as hooks:
            for sequence in range(1, 7):
                hooks.offer(event(sequence, Severity.CRITICAL if sequence % 3 == 0 else Severity.INFO))
            await until(lambda: len(all_of_it.requests) == 6 and len(the_worst.requests) == 2)
    assert all_of_it.told() == [1, 2, 3, 4, 5, 6]
    assert the_worst.told() == [3, 6]


@on_a_loop
async def test_what_was_refused_for_a_while_arrives_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnagent.events.backlog.PAUSES", (0.01,))
    async with Webhook(answer("503 Busy"), answer("503 Busy"), OK).listening() as webhook:
        known = knowing(webhook.hook())
        async with running(known) as hooks:
            hooks.offer(event(1))
            hooks.offer(event(2))
            await until(lambda: webhook.told() == [1, 1, 1, 2])
        assert list(hooks.findings()) == []
    assert known.hook_failures == {}


@on_a_loop
async def test_what_is_given_up_is_counted_and_a_warning_until_the_next_success() -> None:
    async with Webhook(answer("404 Not Found"), OK).listening() as webhook:
        known = knowing(webhook.hook())
        async with running(known) as hooks:
            hooks.offer(event(1))
            await until(lambda: known.hook_failures)
            [finding] = hooks.findings()
            assert finding.code == "HookFailing"
            assert "HTTP status 404; 1 lost, 0 wait" in finding.text
            assert "Hush" not in finding.text
            hooks.offer(event(2))
            await until(lambda: not list(hooks.findings()))
    assert known.hook_failures == {"pager": 1}


@on_a_loop
async def test_hooks_that_hang_refuse_and_drip_hold_up_neither_the_loop_nor_each_other(
    tmp_path: pathlib.Path,
) -> None:
    """The loop is measured while three bad hooks are told of hundreds of events and a good one of all."""
    lateness = 0.0

    async def measure() -> None:
        nonlocal lateness
        while True:
            due = time.monotonic() + 0.01
            await asyncio.sleep(0.01)
            lateness = max(lateness, time.monotonic() - due)

    async with Webhook(None).listening() as hanging, Webhook(b"HTTP/1.1 2").listening() as torn:
        known = knowing(
            hanging.hook(name="hanging", timeout=1.0),
            torn.hook(name="torn", timeout=1.0),
            hook(name="absent", command=("/nowhere",)),
            hook(name="good", command=script(tmp_path, f"cat >> {tmp_path}/told")),
        )
        async with running(known) as hooks, asyncio.TaskGroup() as group:
            measuring = group.create_task(measure())
            for sequence in range(1, 41):
                hooks.offer(event(sequence))
            told = tmp_path / "told"
            await until(lambda: told.exists() and told.read_text().count("\n") == 40)
            await until(lambda: len(hanging.requests) > 1 and len(torn.requests) > 1)
            for sequence in range(41, 541):
                hooks.offer(event(sequence))
            assert known.hook_failures["hanging"] > 0
            measuring.cancel()
    sequences = [json.loads(line)["sequence"] for line in (tmp_path / "told").read_text().splitlines()]
    assert sequences[:40] == list(range(1, 41))
    assert lateness < 5.0  # of a shared machine; on an idle one some milliseconds
    print(f"lateness of the loop: {lateness * 1000:.1f} ms")


@on_a_loop
async def test_a_reload_keeps_what_waits_for_a_hook_that_stays() -> None:
    async with Webhook(None, OK).listening() as webhook:
        known = knowing(webhook.hook())
        async with running(known) as hooks:
            hooks.offer(event(1))
            await until(lambda: webhook.requests)
            known.config = replace(known.config, hooks=(webhook.hook(retries=1), webhook.hook(name="new")))
            hooks.offer(event(2))
            await until(lambda: len(webhook.requests) == 4)
    assert sorted(webhook.told()) == [1, 1, 2, 2]


@on_a_loop
async def test_at_the_end_there_is_one_more_attempt_and_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN", 8.0)
    async with Webhook(OK).listening() as good, Webhook(None).listening() as hanging:
        hooks = Hooks(knowing(good.hook(name="good"), hanging.hook(name="hanging")))
        hooks.offer(event(1))
        hooks.offer(event(2))
        await hooks.drain()
    assert good.told() == [1, 2]
    assert hanging.told() == [1]


@pytest.mark.parametrize(
    ("kind", "phase", "words", "told"),
    [
        (HookType.DINGTALK, "begin", ("info",), True),
        (HookType.DINGTALK, "during", ("info",), False),
        (HookType.EMAIL, "during", ("info",), False),
        (HookType.DINGTALK, "during", ("Failover",), True),
        (HookType.DINGTALK, "end", ("info",), True),
        (HookType.DINGTALK, "", ("info",), True),
        (HookType.DINGTALK, "begin", ("critical",), False),
        (HookType.WEBHOOK, "during", ("info",), True),
        (HookType.COMMAND, "during", ("info",), True),
    ],
)
def test_people_are_told_of_an_incident_when_it_begins_and_when_it_ends(
    kind: HookType, phase: str, words: tuple[str, ...], told: bool
) -> None:
    assert wants(hook(type=kind, events=words), replace(event(1), phase=phase)) is told


def test_of_our_environment_only_what_the_way_out_needs_is_passed_on() -> None:
    ours = {"HTTPS_PROXY": "p", "no_proxy": "n", "SSL_CERT_FILE": "c", "HOME": "h", "NOTIFY_SOCKET": "s"}
    assert environment(ours).keys() == {"PATH", "LANG", "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE"}
