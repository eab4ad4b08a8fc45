"""The control socket, both ends, over a real unix socket."""

import asyncio
import contextlib
import grp
import os
import pathlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.listening import listening
from tests.native.service_user import python_for_others

from vpnagent.control import server
from vpnagent.control.client import ask
from vpnagent.control.protocol import UNREACHABLE
from vpnagent.errors import ControlError

PLANS: list[None] = []  #: answered so far


async def answer(request: dict[str, Any]) -> Any:
    if request["command"] == "plan":
        PLANS.append(None)
        time.sleep(0.01)  # noqa: ASYNC251 - it holds the loop, as a large status does
    if request["command"] == "reload":
        raise ControlError("vpnagent.yaml:1: version: must be 1", 2)
    if request["command"] == "down":
        raise RuntimeError("a bug")
    return request


@pytest.fixture
def path(tmp_path: pathlib.Path) -> Iterator[str]:
    path = tmp_path / "run" / "control.sock"
    path.parent.mkdir()
    path.touch()  # what a killed daemon left
    with listening(path, answer):
        yield str(path)


def test_a_request_is_answered(path: str) -> None:
    assert ask(path, "drain", tunnel="primary") == {"command": "drain", "tunnel": "primary"}


def test_a_refusal_reaches_the_asker_with_its_exit_status(path: str) -> None:
    with pytest.raises(ControlError, match="must be 1") as error:
        ask(path, "reload")
    assert error.value.exit_status == 2


def test_a_bug_is_one_line_for_the_asker(path: str) -> None:
    with pytest.raises(ControlError, match="the daemon failed; its log says how"):
        ask(path, "down")


def test_only_group_and_owner_may_open_it(path: str) -> None:
    assert pathlib.Path(path).stat().st_mode & 0o777 == 0o660


def test_a_second_daemon_is_refused(path: str) -> None:
    with pytest.raises(ControlError, match="another daemon already runs"):
        asyncio.run(server.refuse_if_alive(path))


def test_without_a_daemon_the_exit_status_says_unreachable(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ControlError, match="the daemon does not run") as error:
        ask(str(tmp_path / "control.sock"), "status")
    assert error.value.exit_status == UNREACHABLE


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: connections of several users")
READER, OTHER = 61190, 61191
DEADLINE = 20.0  #: seconds
PRELUDE = """
import json, socket, sys, time
def connection():
    made = socket.socket(socket.AF_UNIX)
    made.connect(sys.argv[1])
    made.settimeout(20)
    return made
def say(what):
    print(what, flush=True)
"""


@pytest.fixture
def open_to_all() -> Iterator[str]:
    """A socket that other users come to; pytest's own folder is closed to them."""
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory:
        pathlib.Path(directory).chmod(0o755)
        path = pathlib.Path(directory) / "control.sock"
        with listening(path, answer):
            path.chmod(0o666)
            yield str(path)


@contextlib.contextmanager
def somebody(
    uid: int, path: str, program: str, groups: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run a client of another user for the body."""
    environment, python = python_for_others()
    process = subprocess.Popen(
        ["env", *environment, python, "-c", PRELUDE + program, path],
        user=uid,
        group=uid,
        extra_groups=groups,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


HOLD = """
held, refused = [], []
for _ in range(int({count})):
    made = connection()
    held.append(made)
    try: made.sendall(b'{{"command": "status"}}\\n')
    except BrokenPipeError: pass  # refused before: why can still be read
    answer = json.loads(made.makefile("rb").readline())
    if not answer["ok"]:
        refused.append(answer["error"])
say(f"{{len(held) - len(refused)}} {{len(refused)}} {{refused[:1]}}")
time.sleep(60)
"""


@needs_root
def test_a_user_holds_so_many_connections_and_others_get_theirs(open_to_all: str) -> None:
    most = server.MOST_OF_A_USER
    with somebody(READER, open_to_all, HOLD.format(count=most + 5)) as reader:
        assert said(reader).startswith(f"{most} 5 ['the daemon has no room for more connections of yours")
        with somebody(OTHER, open_to_all, HOLD.format(count=1)) as other:
            assert said(other) == "1 0 []"
        assert ask(open_to_all, "status") == {"command": "status"}


@needs_root
def test_users_together_do_not_keep_root_nor_a_newcomer_out(open_to_all: str) -> None:
    users = server.MOST // server.MOST_OF_A_USER
    with contextlib.ExitStack() as stack:
        for number in range(users):
            program = HOLD.format(count=server.MOST_OF_A_USER)
            assert (
                said(stack.enter_context(somebody(READER + number, open_to_all, program))).split()[1] == "0"
            )
        assert ask(open_to_all, "drain", tunnel="a")["tunnel"] == "a"
        newcomer = stack.enter_context(somebody(READER + users, open_to_all, HOLD.format(count=1)))
        assert said(newcomer) == "1 0 []"


@needs_root
def test_who_sends_many_requests_at_once_keeps_nobody_waiting(open_to_all: str) -> None:
    program = """
made = connection()
made.sendall(b'{"command": "status"}\\n' * 2000)
file = made.makefile("rb")
file.readline()
say("began")
for _ in range(1999): file.readline()
say("ended")
"""
    with somebody(READER, open_to_all, program) as reader:
        assert said(reader) == "began"
        assert ask(open_to_all, "status") == {"command": "status"}
        assert reader.poll() is None, "all was answered before root was"


@needs_root
def test_readers_are_answered_in_turn_and_leave_root_most_of_the_time(open_to_all: str) -> None:
    program = """
for _ in range(15):
    made = connection()
    made.sendall(b'{"command": "plan"}\\n' * 200)
    globals().setdefault("held", []).append(made)
say("asked")
time.sleep(60)
"""
    with somebody(READER, open_to_all, program) as reader:
        assert said(reader) == "asked"
        before = len(PLANS)
        until(lambda: len(PLANS) > before)
        before = len(PLANS)
        for _ in range(10):
            assert ask(open_to_all, "status") == {"command": "status"}
        assert len(PLANS) - before <= 30


@needs_root
def test_who_does_not_read_is_dropped_at_his_deadline(
    open_to_all: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WRITE_TIMEOUT", 0.2)
    program = """
made = connection()
made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
try:
    for _ in range(100000): made.sendall(b'{"command": "status", "x": "' + b"x" * 9000 + b'"}\\n')
except OSError: say("dropped")
"""
    with somebody(READER, open_to_all, program) as reader:
        assert said(reader) == "dropped"


def test_who_says_nothing_is_dropped_at_his_deadline(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_TIMEOUT", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(DEADLINE)
        silent.connect(path)
        assert silent.recv(1) == b""


@needs_root
@pytest.mark.parametrize(("member", "expected"), [(True, "True"), (False, "False")])
def test_a_member_of_the_group_of_admins_may_change(
    open_to_all: str, monkeypatch: pytest.MonkeyPatch, member: bool, expected: str
) -> None:
    monkeypatch.setattr(server, "ADMIN_GROUP", "daemon")
    groups = (grp.getgrnam("daemon").gr_gid,) if member else (READER,)
    program = """
made = connection()
made.sendall(b'{"command": "drain"}\\n')
say(json.loads(made.makefile("rb").readline())["ok"])
"""
    with somebody(READER, open_to_all, program, groups) as reader:
        assert said(reader) == expected


@needs_root
def test_who_is_in_more_groups_than_can_be_asked_for_is_no_admin(
    open_to_all: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ADMIN_GROUP", "daemon")
    program = """
made = connection()
made.sendall(b'{"command": "drain"}\\n')
say(json.loads(made.makefile("rb").readline())["error"])
"""
    with somebody(READER, open_to_all, program, tuple(range(70000, 72000))) as reader:
        assert said(reader).startswith("not permitted")


def test_without_descriptors_it_waits_and_says_so_a_few_times(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PAUSE", 0.02)
    accept = socket.socket.accept
    full = [True]

    def refused(self: socket.socket) -> tuple[socket.socket, object]:
        if full[0]:
            raise OSError(24, "Too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", refused)
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.settimeout(DEADLINE)
        waiting.connect(path)
        until(lambda: "control-accept-failed error='Too many open files'" in caplog.text)
        full[0] = False
        waiting.sendall(b'{"command": "status"}\n')
        assert b'"ok":true' in waiting.recv(4096)


def test_an_asker_has_one_deadline_for_the_whole_answer(tmp_path: pathlib.Path) -> None:
    """Somebody in the daemon's place who says a little now and then holds nobody for ever."""
    path = str(tmp_path / "control.sock")
    trickle = "import socket,sys,time\ns=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen()\n"
    trickle += "print('up',flush=True);c=s.accept()[0]\nwhile True: c.send(b' ');time.sleep(.05)"
    with subprocess.Popen(["python3", "-c", trickle, path], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert said(process) == "up"
            began = time.monotonic()
            with pytest.raises(ControlError, match=r"does not answer on .* within 0\.5 s"):
                ask(path, "status", timeout=0.5)
            assert time.monotonic() - began < DEADLINE / 2
        finally:
            process.kill()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
