import asyncio

import pytest
from tests.fake_charon import FakeCharon
from tests.ipsec.charon_contract import LAWS, Law, bring_up
from tests.ipsec.connections import make_connection

from vpnagent.errors import ViciError, ViciUnavailableError
from vpnagent.ipsec.actions import LoadConnection
from vpnagent.ipsec.sa import ConnectionLost, ViciEvent


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_fake_obeys_the_laws_of_charon(law: Law) -> None:
    async def scenario() -> None:
        charon = FakeCharon()
        await charon.connect()
        await law(charon, make_connection())

    asyncio.run(scenario())


def test_a_hanging_charon_does_not_answer() -> None:
    async def scenario() -> None:
        charon = FakeCharon()
        await charon.connect()
        charon.hang()
        with pytest.raises(ViciUnavailableError, match="does not answer"):
            await charon.observe()

    asyncio.run(scenario())


def test_a_restarted_charon_has_nothing_and_tells_that_it_was_lost() -> None:
    events: list[ViciEvent] = []

    async def scenario() -> None:
        charon = FakeCharon(on_event=events.append)
        await charon.connect()
        await bring_up(charon, make_connection())
        charon.restart()
        assert not charon.connected
        await charon.connect()
        state = await charon.observe()
        assert (state.connections, state.secrets, state.sas) == (frozenset(), frozenset(), ())

    asyncio.run(scenario())
    assert isinstance(events[-1], ConnectionLost)


def test_a_refusal_is_for_the_next_command_only() -> None:
    async def scenario() -> None:
        charon = FakeCharon()
        await charon.connect()
        charon.refuse("load-conn", "no room")
        with pytest.raises(ViciError, match="no room"):
            await charon.apply(LoadConnection(make_connection()))
        await charon.apply(LoadConnection(make_connection()))

    asyncio.run(scenario())
