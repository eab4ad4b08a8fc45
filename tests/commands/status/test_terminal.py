"""What standard output can show, as a person meets it."""

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.listening import listening
from tests.terminal import NO_CHANGE, on_a_terminal
from tools.screens import document


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[str]:
    """A control socket that tells of a failover."""

    async def answer(_request: dict[str, Any]) -> Any:
        return document("failover")

    with listening(tmp_path / "control.sock", answer):
        yield str(tmp_path / "control.sock")


def status(daemon: str, columns: int = 80, environ: Mapping[str, str] = NO_CHANGE) -> str:
    with on_a_terminal("status", "--socket", daemon, columns=columns, environ=environ) as terminal:
        assert terminal.ended() == 1
        return terminal.written.decode()


def test_a_terminal_has_colours_and_unicode(daemon: str) -> None:
    screen = status(daemon)
    assert "\x1b[33midc-lab: degraded, traffic flows, 1 problem\x1b[0m" in screen
    assert "→" in screen


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_no_escape_sequence(daemon: str, environ: dict[str, str]) -> None:
    screen = status(daemon, environ=environ)
    assert "\x1b" not in screen
    assert "→" in screen


def test_in_the_c_locale_all_is_ascii(daemon: str) -> None:
    screen = status(daemon, environ={"LANG": "C"})
    assert screen.isascii()
    assert "->" in screen


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_screen_has_the_width_of_the_terminal(daemon: str, columns: int) -> None:
    lines = status(daemon, columns, {"NO_COLOR": "1"}).splitlines()
    assert max(map(len, lines)) <= columns
    assert any(re.search("TUNNEL.*REASON", told) for told in lines) == (columns == 200)


def test_a_terminal_that_tells_no_size_has_the_usual_one(daemon: str) -> None:
    lines = status(daemon, 0, {"NO_COLOR": "1"}).splitlines()
    assert 60 < max(map(len, lines)) <= 80
