"""One at a time in a network namespace, and nothing that somebody laid in the way is touched."""

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpnagent.probe import namespace_lock
from vpnagent.probe.namespace_lock import (
    LockError,
    LockHeldError,
    LockRole,
    acquire,
    hold_as_daemon,
    holder_of,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of two users")
SERVICE = 61186
HOLD = """
import sys, time
from vpnagent.probe import namespace_lock as n
n.DIRECTORY = sys.argv[1]
n.acquire(n.LockRole.DAEMON, configuration="/etc/a.yaml", socket="/run/a.sock")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the locks are: not below pytest's own folder, which is closed to other users."""
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory:
        Path(directory).chmod(0o755)
        made = Path(directory) / "run"
        monkeypatch.setattr(namespace_lock, "DIRECTORY", str(made))
        yield made


def lock_file(folder: Path, role: LockRole = LockRole.DAEMON) -> Path:
    return folder / f"netns-{os.stat('/proc/self/ns/net').st_ino}.{role.value}.lock"


@contextlib.contextmanager
def held(role: LockRole, *, socket: str, configuration: str = "/etc/a.yaml") -> Iterator[None]:
    fd = acquire(role, configuration=configuration, socket=socket)
    try:
        yield
    finally:
        os.close(fd)


def test_a_second_one_is_refused_and_told_who_holds_it() -> None:
    with held(LockRole.DAEMON, socket="/run/a.sock"), pytest.raises(LockHeldError) as refused:
        acquire(LockRole.DAEMON, configuration="/etc/b.yaml", socket="/run/b.sock", wait=0.01)
    assert str(refused.value) == (
        f"another daemon works in this network namespace: process {os.getpid()}, "
        "configuration /etc/a.yaml, socket /run/a.sock"
    )
    assert refused.value.exit_status == 1


def test_it_is_free_again_when_its_holder_let_go() -> None:
    with held(LockRole.DAEMON, socket="/run/a.sock"):
        assert holder_of(LockRole.DAEMON)
    assert holder_of(LockRole.DAEMON) is None
    with held(LockRole.DAEMON, socket="/run/b.sock"):
        pass


def test_it_does_not_outlive_a_holder_that_is_killed(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        assert holder_of(LockRole.DAEMON) == (process.pid, "/etc/a.yaml", "/run/a.sock")
        process.kill()
        with held(LockRole.DAEMON, socket="/run/b.sock"):  # also while it is still ending
            pass


def test_it_is_not_handed_to_programs_that_are_started() -> None:
    with held(LockRole.DAEMON, socket="/run/a.sock"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert holder_of(LockRole.DAEMON) is None
    finally:
        child.kill()
        child.wait()


def test_daemon_and_prober_have_a_lock_each() -> None:
    with held(LockRole.DAEMON, socket="/run/a.sock"), held(LockRole.PROBER, socket="/run/prober.sock"):
        pass


def test_a_daemon_adopts_its_own_prober_whatever_the_path_is_called(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with held(LockRole.PROBER, socket=str(tmp_path / "prober.sock")):
        os.close(
            hold_as_daemon(
                configuration="", control_socket="x", prober_socket=str(tmp_path / "link/prober.sock")
            )
        )


def test_a_daemon_is_refused_beside_the_prober_of_another_and_gives_its_lock_back() -> None:
    with (
        held(LockRole.PROBER, socket="/run/a/prober.sock", configuration=""),
        pytest.raises(LockHeldError, match=r"another prober .* socket /run/a/prober\.sock; nothing was done"),
    ):
        hold_as_daemon(
            configuration="", control_socket="x", prober_socket="/run/b/prober.sock", hint="nothing was done"
        )
    assert holder_of(LockRole.DAEMON) is None


@pytest.mark.parametrize(
    "words", [b"", b"\x00\xff\n\n\n", b"1\nrm -rf\x1b[2J\nx\n", b"9" * 100000, b"-1\n\n\n"]
)
def test_a_note_that_is_none_tells_nothing(folder: Path, words: bytes) -> None:
    with held(LockRole.DAEMON, socket="/run/a.sock"):
        lock_file(folder).write_bytes(words)
        assert holder_of(LockRole.DAEMON) == (0, "", "")


def test_a_link_in_its_place_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    lock_file(folder).symlink_to(tmp_path / "victim")
    with pytest.raises(LockError, match="cannot be locked"):
        acquire(LockRole.DAEMON, socket="x")
    assert not (tmp_path / "victim").exists()


def test_a_second_name_of_another_file_is_not_written_to(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "victim").write_text("kept")
    lock_file(folder).hardlink_to(tmp_path / "victim")
    with pytest.raises(LockError, match="is no file of vpnagent's"):
        acquire(LockRole.DAEMON, socket="x")
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_pipe_in_its_place_does_not_hold_anybody_up(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(lock_file(folder))
    with pytest.raises(LockError, match="is no file of vpnagent's"):
        acquire(LockRole.DAEMON, socket="x")


def test_a_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.symlink_to(tmp_path)
    with pytest.raises(LockError, match="cannot be locked"):
        acquire(LockRole.DAEMON, socket="x")


def test_a_folder_in_which_others_write_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(LockError, match="may be written to by others"):
        acquire(LockRole.DAEMON, socket="x")


@needs_root
def test_what_root_makes_in_the_services_folder_is_the_services(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    os.chown(folder, SERVICE, SERVICE)
    with held(LockRole.DAEMON, socket="x"):
        made = lock_file(folder).stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (SERVICE, 0o600)
    assert (folder.stat().st_uid, os.geteuid()) == (SERVICE, 0)


@needs_root
def test_who_may_not_write_to_the_folder_is_told_so(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    os.seteuid(SERVICE)
    try:
        with pytest.raises(LockError) as refused:
            acquire(LockRole.DAEMON, socket="x")
    finally:
        os.seteuid(0)
    assert refused.value.exit_status == 4
