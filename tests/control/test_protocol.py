import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.control.protocol import (
    CHANGE_COMMANDS,
    READ_COMMANDS,
    UNREACHABLE,
    USAGE,
    answer_of,
    encode,
    request_of,
)
from vpnagent.errors import ControlError


@pytest.mark.parametrize("command", sorted(READ_COMMANDS | CHANGE_COMMANDS))
def test_a_known_command_is_read_back(command: str) -> None:
    assert request_of(encode({"command": command, "tunnel": "ä"})) == {"command": command, "tunnel": "ä"}


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"command":1}', b'{"command":"rm"}', b"\xff", b"[" * 9999]
)
def test_anything_else_is_a_usage_error(line: bytes) -> None:
    with pytest.raises(ControlError) as error:
        request_of(line)
    assert error.value.exit_status == USAGE


@given(st.binary(max_size=60))
def test_no_bytes_raise_another_error(line: bytes) -> None:
    for parse in (request_of, answer_of):
        try:
            parse(line)
        except ControlError:
            continue


def test_an_answer_carries_its_result() -> None:
    assert answer_of(encode({"ok": True, "result": {"state": "up"}})) == {"state": "up"}


def test_a_refusal_carries_its_text_and_exit_status() -> None:
    with pytest.raises(ControlError, match="not permitted") as error:
        answer_of(encode({"ok": False, "error": "not permitted", "exit_status": 4}))
    assert error.value.exit_status == 4


def test_an_unreadable_answer_means_that_the_daemon_is_not_reached() -> None:
    with pytest.raises(ControlError) as error:
        answer_of(b"nonsense")
    assert error.value.exit_status == UNREACHABLE


def test_a_message_is_one_line() -> None:
    assert encode({"text": "a\nb"}).count(b"\n") == 1
    assert json.loads(encode({"text": "a\nb"})) == {"text": "a\nb"}
