"""``vpnagent events`` against a daemon's answers, and without a daemon."""

import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from tests.listening import listening

from vpnagent.commands.events import events
from vpnagent.errors import ControlError
from vpnagent.events.event import Event, Happening, event_of
from vpnagent.events.store import page, query_of
from vpnagent.finding import EventType, Severity

COUNT = 450


def event(sequence: int) -> Event:
    kind, severity = (
        (EventType.FAILOVER, Severity.WARNING) if sequence % 2 else (EventType.TUNNEL_UP, Severity.INFO)
    )
    happening = Happening(
        type=kind,
        at=time.time() - 3600 + sequence,
        severity=severity,
        connection="hz",
        text=f"no. {sequence}",
    )
    return event_of(happening, sequence)


@pytest.fixture
def socket(tmp_path: pathlib.Path) -> Iterator[str]:
    """A daemon that has an event more each time it is asked for those after the last."""
    path = tmp_path / "control.sock"
    told = [event(sequence) for sequence in range(1, COUNT + 1)]

    async def answer(request: dict[str, Any]) -> Any:
        query = query_of(request)
        if query.after == told[-1].sequence:
            if len(told) == COUNT + 3:
                raise ControlError("enough", 1)
            told.append(event(told[-1].sequence + 1))
        return page(told, query)

    with listening(path, answer):
        yield str(path)


def run(socket: str, *options: str) -> list[str]:
    done = CliRunner().invoke(events, ["--socket", socket, *options])
    assert done.exception is None or str(done.exception) == "enough", done.exception
    return done.stdout.splitlines()


def test_all_pages_are_printed_one_event_a_line(socket: str) -> None:
    lines = run(socket)
    assert len(lines) == COUNT
    assert lines[0].endswith("warning  Failover: no. 1")


def test_json_has_one_object_a_line(socket: str) -> None:
    objects = [json.loads(line) for line in run(socket, "--json", "--limit", "3")]
    assert [o["sequence"] for o in objects] == [COUNT - 2, COUNT - 1, COUNT]
    assert objects[0]["severity"] == "info"


def test_types_and_severities_choose(socket: str) -> None:
    assert len(run(socket, "--type", "Failover")) == COUNT / 2
    assert len(run(socket, "--type", "TunnelUp", "--type", "warning")) == COUNT


def test_since_is_counted_back_from_now(socket: str) -> None:
    assert run(socket, "--since", "10m") == []
    assert len(run(socket, "--since", "2h")) == COUNT


def test_follow_goes_on_until_the_daemon_says_no(socket: str) -> None:
    lines = run(socket, "--follow", "--limit", "1")
    assert [line.rpartition(" ")[2] for line in lines] == [str(COUNT + n) for n in range(4)]


def test_without_a_daemon_the_exit_status_is_3(tmp_path: pathlib.Path) -> None:
    done = CliRunner().invoke(events, ["--socket", str(tmp_path / "none.sock")])
    assert isinstance(done.exception, ControlError)
    assert done.exception.exit_status == 3


def test_a_duration_that_is_none_is_refused(socket: str) -> None:
    assert CliRunner().invoke(events, ["--socket", socket, "--since", "yesterday"]).exit_code == 2
