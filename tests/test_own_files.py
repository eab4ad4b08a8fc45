"""What lies in our folders: read within bounds, laid aside if it is damaged, and never what stops a start.

VPNAGENT_FUZZ_DIRECTORIES says how many damaged directories are tried (60 by default).
"""

import contextlib
import json
import math
import os
import signal
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.daemon.test_standing import BROKEN, KEY, text

from vpnagent import own_files
from vpnagent.config.values import TunnelKey
from vpnagent.daemon import memory
from vpnagent.daemon.memory import STANDING, UNCONFIRMED, Standing
from vpnagent.errors import ConfigError
from vpnagent.events.store import FILE, Store
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.own_files import DamagedError
from vpnagent.probe.namespace_lock import LockError
from vpnagent.probe.server import StateFile, acquire_lock
from vpnagent.status import report
from vpnagent.status.document import status

EXAMPLES = int(os.environ.get("VPNAGENT_FUZZ_DIRECTORIES", "60"))
DEADLINE = 5  #: seconds for a start
MEMORY = 64 << 20  #: bytes
NAMES = (
    *(STANDING, UNCONFIRMED, memory.FILE, FILE, f"{FILE}.1", f"{STANDING}.new", f"{FILE}.damaged"),
    *("prober.sock.state", "prober.sock.lock", "prober.sock.state.new"),
)
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
ODD_TIMES = ("NaN", "Infinity", "1e300", "1" + "0" * 400, "-1e300", "null", "true", '"x"', "[]")
CONTENTS: tuple[bytes, ...] = (
    *(b"", b"\n", b"{", b"[", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b"\x00" * 5000),
    *(b'[["hangzhou", "primary"]]', b'[["x" , {}]]', b'{"a": "bc"}', b'["ab", "cd"]', BROKEN, text("kept")),
    *(b"%s\n" % (b'{"sequence": 1%s}' % (b"0" * 5000)), b'{"sequence": NaN}\n' * 1000, b"x" * (3 << 20)),
)


def unconfirmed(deadline: str, boot: str = BOOT, digest: str = "x") -> bytes:
    return f'{{"digest": "{digest}", "deadline": {deadline}, "boot_id": "{boot}"}}'.encode()


def event(**changes: Any) -> bytes:
    row = {
        "sequence": 7, "at": "2026-11-30T12:00:00Z", "type": "TunnelDown", "title": "x",
        "severity": "critical", "connection": "hangzhou", "tunnel": "primary", "text": "down", "fields": {},
    }  # fmt: skip
    return json.dumps({**row, **changes}).encode() + b"\n"


ODD_FIELDS: tuple[object, ...] = ({"a": math.nan}, {"a": math.inf}, {"a": [1]}, {"a": "x" * 20_000}, [])
EVENTS = [
    event(),
    *(event(sequence=odd) for odd in (10**400, 2**53, -1, 0, 1.5, True, None)),
    *(event(at=odd) for odd in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "x", 1e300, None)),
    *(event(fields=odd) for odd in ODD_FIELDS),
    event(text="\ud800"),
    event(text="x" * 100_000),
]
FILES = (
    *CONTENTS,
    *(unconfirmed(odd) for odd in ODD_TIMES),
    unconfirmed("1", boot="x"),
    *EVENTS,
    b"".join(EVENTS),
)
Damage = tuple[str, str, int]  #: the name, what lies there, and of a file the index of its content
damages = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["content", "content", "pipe", "folder", "link", "device", "twin", "huge", "socket"]),
        st.integers(0, len(FILES) - 1),
    ),
    min_size=1,
    max_size=len(NAMES),
    unique_by=lambda damage: damage[0],
)


def folder_in(path: Path) -> None:
    path.mkdir()
    (path / "full").touch()


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


WAYS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": folder_in,
    "link": lambda path: path.symlink_to(path.with_name("victim")),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "twin": lambda path: path.hardlink_to(path.with_name("victim")),
    "huge": huge,
    "socket": listener,
}


def lay(folder: Path, damage: Damage) -> None:
    """Lay something in the place of a file."""
    name, kind, index = damage
    if kind == "content":
        (folder / name).write_bytes(FILES[index])
    else:
        WAYS[kind](folder / name)


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fail what takes longer, even where it waits in the kernel."""

    def late(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def started(folder: Path) -> Knowledge:
    """Do with the folder what a start and the time after it do."""
    standing = Standing(str(folder / "vpnagent.yaml"), str(folder))
    loaded = standing.start()
    known = Knowledge(config=loaded.config, loaded_at=time.time(), config_error=loaded.error)
    known.drained = memory.read(str(folder))
    if remaining := standing.remaining(loaded.content):
        known.taken_back_at = time.time() + remaining
    report.refresh(known, time.time())
    json.dumps(status(known), allow_nan=False)
    store = Store(str(folder))
    kept = store.read()
    json.dumps([event.plain() for event in kept.events], allow_nan=False)
    for problem in (store.append(kept.events[-1:]), standing.keep(loaded.content), kept.problem):
        assert problem is None or "\n" not in problem
    memory.write(str(folder), {TunnelKey("hangzhou", "primary")})
    state = StateFile(str(folder / "prober.sock"))
    state.read()
    with contextlib.suppress(LockError):
        os.close(acquire_lock(str(folder / "prober.sock"), replace=False))
    return known


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(damages, st.booleans())
def test_a_damaged_directory_costs_no_start(
    tmp_path_factory: pytest.TempPathFactory, laid: list[Damage], broken: bool
) -> None:
    folder = tmp_path_factory.mktemp("state")
    (folder / "key.psk").write_text(KEY)
    (folder / "key.psk").chmod(0o600)
    (folder / "victim").write_text("kept")
    (folder / "vpnagent.yaml").write_bytes(BROKEN if broken else text("good"))
    for damage in laid:
        lay(folder, damage)
    tracemalloc.start()
    try:
        with within(DEADLINE):
            known = started(folder)
    except ConfigError as error:
        assert broken, "a good file is used, whatever lies beside it"
        lines = str(error).splitlines()
        assert lines[0].startswith(str(folder / "vpnagent.yaml"))
        if any(name == STANDING for name, _, _ in laid):
            assert lines[-1].startswith(str(folder / STANDING)), "what lies there is named"
    else:
        assert known.config.gateway.name in ("good", "kept")
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MEMORY
    assert (folder / "victim").read_text() == "kept"


@pytest.mark.parametrize("deadline", ODD_TIMES)
def test_a_deadline_that_is_no_time_is_told_and_laid_aside(
    tmp_path: Path, deadline: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / UNCONFIRMED).write_bytes(unconfirmed(deadline))
    standing = Standing(str(tmp_path / "vpnagent.yaml"), str(tmp_path))
    if deadline in ("true", "-1e300"):  # long over: what it was for is taken back
        assert standing.unconfirmed() is not None
        return
    assert standing.unconfirmed() is None
    assert f"unconfirmed-unreadable file={tmp_path / UNCONFIRMED}" in caplog.text
    assert f"laid aside as {UNCONFIRMED}.damaged" in caplog.text
    assert (tmp_path / f"{UNCONFIRMED}.damaged").exists()
    assert standing.unconfirmed() is None  # and told once


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert own_files.read(tmp_path / "file", 10) == b"x" * 10
    with pytest.raises(DamagedError, match="it is larger than 9 bytes"):
        own_files.read(tmp_path / "file", 9)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "pipe", "/"])
def test_what_an_operator_names_must_be_a_regular_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with within(DEADLINE), pytest.raises(OSError, match=r"it is no regular file|Is a directory"):
        own_files.of_operator(tmp_path / name, 100)


def test_what_an_operator_names_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert own_files.of_operator(tmp_path / "link", 100) == b"x"


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_files.replace_file(tmp_path / "file", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            own_files.replace_file(tmp_path / "file", b"new")
    assert own_files.read(tmp_path / "file") == b"old"
    own_files.replace_file(tmp_path / "file", b"new")
    assert own_files.read(tmp_path / "file") == b"new"
