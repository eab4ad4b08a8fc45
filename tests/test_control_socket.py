"""The control socket, both ends, over a real unix socket."""

import asyncio
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.listening import listening

from vpnagent import control_server
from vpnagent.control import UNREACHABLE
from vpnagent.control_client import ask
from vpnagent.errors import ControlError


async def answer(request: dict[str, Any]) -> Any:
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
        asyncio.run(control_server.refuse_if_alive(path))


def test_without_a_daemon_the_exit_status_says_unreachable(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ControlError, match="the daemon does not run") as error:
        ask(str(tmp_path / "control.sock"), "status")
    assert error.value.exit_status == UNREACHABLE
