import pathlib

import pytest

from vpnagent.config.values import TunnelKey
from vpnagent.daemon import memory
from vpnagent.knowledge.incidents import Incidents, Sign, of_tunnel

PRIMARY = TunnelKey("hangzhou", "primary")


def test_what_is_written_is_read_back(tmp_path: pathlib.Path) -> None:
    assert memory.write(str(tmp_path / "state"), {PRIMARY}) is None
    assert memory.read(str(tmp_path / "state")) == {PRIMARY}


def test_without_a_file_nothing_is_drained(tmp_path: pathlib.Path) -> None:
    assert memory.read(str(tmp_path)) == frozenset()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[[1,2,3]]", b"\xff", b"[" * 9999])
def test_a_broken_file_drains_nothing_and_is_told(
    tmp_path: pathlib.Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / memory.FILE).write_bytes(content)
    assert memory.read(str(tmp_path)) == frozenset()
    assert "drains-unreadable" in caplog.text


def test_what_cannot_be_written_is_one_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    problem = memory.write(str(tmp_path / "file" / "state"), {PRIMARY})
    assert problem is not None
    assert "will not survive a restart" in problem
    assert "\n" not in problem


def test_a_write_leaves_no_scratch_file(tmp_path: pathlib.Path) -> None:
    memory.write(str(tmp_path), {PRIMARY})
    memory.write(str(tmp_path), set())
    assert [path.name for path in tmp_path.iterdir()] == [memory.FILE]


def test_open_incidents_are_read_back(tmp_path: pathlib.Path) -> None:
    incidents = Incidents()
    incidents.update({of_tunnel(PRIMARY): Sign.FAULT}, 1_000_000.25)
    assert memory.write_incidents(str(tmp_path / "state"), incidents.open) is None
    assert memory.read_incidents(str(tmp_path / "state")) == incidents.open


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[{}]", b"\xff", b"[" * 9999])
def test_a_broken_file_of_incidents_is_told_and_laid_aside(
    tmp_path: pathlib.Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / memory.INCIDENTS).write_bytes(content)
    assert memory.read_incidents(str(tmp_path)) == ()
    assert "incidents-unreadable" in caplog.text
    assert memory.read_incidents(str(tmp_path)) == ()
