"""The adapter against something that speaks VICI but is not the charon that we know."""

import asyncio
import pathlib

import pytest
from tests.ipsec.test_vici import CONFIRM, UNKNOWN_COMMAND, UNKNOWN_EVENT, answer, event, framed, read_command

from vpnagent.config.values import TunnelKey
from vpnagent.errors import ViciUnavailableError
from vpnagent.ipsec.charon import Charon
from vpnagent.ipsec.sa import IkeUpDown, ViciEvent

OURS = "vpnagent.hangzhou.primary"


class Script:
    """A server that answers commands by name, and registrations with a confirmation."""

    def __init__(self, answers: dict[str, list[bytes]]) -> None:
        self._answers = {"version": [answer({"version": "5.9.8"})], "get-algorithms": [answer({})]} | answers
        self._writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                command = await read_command(reader)
                writer.write(framed(*self._answers.get(command, [CONFIRM])))
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


async def play(path: pathlib.Path, answers: dict[str, list[bytes]]) -> tuple[Charon, list[ViciEvent]]:
    """Connect to a script, observe once, and hang up."""
    events: list[ViciEvent] = []
    server = await asyncio.start_unix_server(Script(answers), path / "vici")
    charon = Charon(str(path / "vici"), on_event=events.append)
    try:
        await charon.connect()
        await charon.observe()
    finally:
        charon.close()
        server.close()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))  # the script's own
    return charon, events


OBSERVED = {
    "list-sas": [answer({})],
    "get-conns": [answer({"conns": []})],
    "get-shared": [answer({"keys": []})],
}


def test_version_and_algorithms_are_read_when_connecting(tmp_path: pathlib.Path) -> None:
    told = {"get-algorithms": [answer({"dh": {"MODP_1024": "openssl"}})]}
    charon, _ = asyncio.run(play(tmp_path, OBSERVED | told))
    assert (charon.version, charon.algorithms) == ("5.9.8", {"dh": frozenset({"MODP_1024"})})


def test_an_event_that_this_charon_does_not_know_is_done_without(tmp_path: pathlib.Path) -> None:
    charon, events = asyncio.run(play(tmp_path, OBSERVED | {"alert": [UNKNOWN_EVENT]}))
    assert charon.version == "5.9.8"
    assert events == []


def test_events_of_foreign_connections_and_strange_ones_are_dropped(tmp_path: pathlib.Path) -> None:
    told = [
        CONFIRM,
        event("ike-updown", {"home": {"uniqueid": "1"}}),
        event("ike-updown", {OURS: {}}),
        event("ike-updown", {"up": "yes", OURS: {"uniqueid": "2"}}),
    ]
    _, events = asyncio.run(play(tmp_path, OBSERVED | {"log": told}))
    assert events == [IkeUpDown(connection=OURS, ike_sa="2", up=True)]


@pytest.mark.parametrize(
    "answers",
    [
        {"version": [UNKNOWN_COMMAND]},
        {"version": [answer({})]},
        {"get-algorithms": [answer({"success": "no", "errmsg": "no"})]},
        {"list-sa": [UNKNOWN_EVENT]},
        {"log": [UNKNOWN_EVENT]},
        OBSERVED | {"list-sas": [event("list-sa", {OURS: {"uniqueid": "1", "state": "NEW"}}), answer({})]},
        OBSERVED | {"get-conns": [answer({"conns": "x"})]},
    ],
)
def test_whatever_is_not_our_charon_is_unavailable(
    tmp_path: pathlib.Path, answers: dict[str, list[bytes]]
) -> None:
    with pytest.raises(ViciUnavailableError) as raised:
        asyncio.run(play(tmp_path, answers))
    assert "\n" not in str(raised.value)


def test_without_a_connection_nothing_can_be_asked() -> None:
    charon = Charon("/nowhere", on_event=lambda _event: None)
    with pytest.raises(ViciUnavailableError, match="not connected"):
        asyncio.run(charon.initiate(TunnelKey("hangzhou", "primary")))
    assert not charon.connected
