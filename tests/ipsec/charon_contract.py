"""What the rest of the agent relies on in charon: laws that hold for the real one and for the fake alike.

tests/ipsec/test_fake_charon.py runs them in memory, tests/native/test_charon_contract.py against
charon-systemd. ``connection`` is one that its peer answers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import pytest
from tests.ipsec.connections import make_ike

from vpnagent.config.values import TunnelKey
from vpnagent.errors import ViciError
from vpnagent.ipsec.actions import (
    CharonAction,
    CharonConnection,
    LoadConnection,
    LoadSecret,
    Terminate,
    TerminateChild,
    UnloadConnection,
    UnloadSecret,
)
from vpnagent.ipsec.sa import CharonState, IkeState


class AnyCharon(Protocol):
    """The adapter's interface."""

    async def observe(self) -> CharonState: ...
    async def apply(self, action: CharonAction) -> None: ...
    async def initiate(self, key: TunnelKey, child: str | None = None) -> None: ...


Law = Callable[[AnyCharon, CharonConnection], Awaitable[None]]


async def until(
    charon: AnyCharon, holds: Callable[[CharonState], bool], *, deadline: float = 10.0
) -> CharonState:
    """Observe until it holds; fail after ``deadline`` seconds."""
    state = await charon.observe()
    async with asyncio.timeout(deadline):
        while not holds(state):
            await asyncio.sleep(0.02)
            state = await charon.observe()
    return state


def carries(state: CharonState) -> bool:
    return any(sa.carrying_children for sa in state.sas)


async def load(charon: AnyCharon, connection: CharonConnection) -> None:
    if connection.psk is not None:
        await charon.apply(LoadSecret(connection))
    await charon.apply(LoadConnection(connection))


async def bring_up(charon: AnyCharon, connection: CharonConnection) -> CharonState:
    await load(charon, connection)
    await charon.initiate(connection.key)
    return await until(charon, carries)


async def what_is_loaded_is_seen(charon: AnyCharon, connection: CharonConnection) -> None:
    await load(charon, connection)
    state = await charon.observe()
    assert (set(state.connections), set(state.secrets)) == ({connection.name}, {connection.name})


async def loading_initiates_nothing(charon: AnyCharon, connection: CharonConnection) -> None:
    await load(charon, connection)
    assert (await charon.observe()).sas == ()


async def unloading_is_seen(charon: AnyCharon, connection: CharonConnection) -> None:
    await load(charon, connection)
    await charon.apply(UnloadConnection(connection.name))
    await charon.apply(UnloadSecret(connection.name))
    state = await charon.observe()
    assert (state.connections, state.secrets) == (frozenset(), frozenset())


async def unloading_what_is_not_there_is_refused_for_connections_only(
    charon: AnyCharon, connection: CharonConnection
) -> None:
    await charon.apply(UnloadSecret(connection.name))
    with pytest.raises(ViciError, match="not found"):
        await charon.apply(UnloadConnection(connection.name))


async def an_initiated_connection_carries(charon: AnyCharon, connection: CharonConnection) -> None:
    (sa,) = (await bring_up(charon, connection)).sas
    (child,) = sa.carrying_children
    assert (sa.connection, sa.state, sa.initiator) == (connection.name, IkeState.ESTABLISHED, True)
    assert (child.name, child.if_id) == (connection.key.tunnel, connection.if_id)


async def initiating_what_is_not_loaded_is_refused(charon: AnyCharon, connection: CharonConnection) -> None:
    with pytest.raises(ViciError, match="not found"):
        await charon.initiate(connection.key)


async def loading_again_leaves_the_sas_alone(charon: AnyCharon, connection: CharonConnection) -> None:
    before = await bring_up(charon, connection)
    await load(charon, connection)
    after = await charon.observe()
    assert [sa.unique_id for sa in after.sas] == [sa.unique_id for sa in before.sas]
    assert carries(after)


async def loading_changed_settings_leaves_the_sas_alone(
    charon: AnyCharon, connection: CharonConnection
) -> None:
    before = await bring_up(charon, connection)
    await load(charon, replace(connection, ike=make_ike(encryption="aes256")))
    after = await charon.observe()
    assert [sa.unique_id for sa in after.sas] == [sa.unique_id for sa in before.sas]
    assert carries(after)


async def unloading_leaves_the_sas_alone(charon: AnyCharon, connection: CharonConnection) -> None:
    await bring_up(charon, connection)
    await charon.apply(UnloadConnection(connection.name))
    await charon.apply(UnloadSecret(connection.name))
    assert carries(await charon.observe())


async def a_terminated_sa_carries_no_more(charon: AnyCharon, connection: CharonConnection) -> None:
    (sa,) = (await bring_up(charon, connection)).sas
    await charon.apply(Terminate(sa.connection, sa.unique_id, "test"))
    assert not carries(await charon.observe())
    await until(charon, lambda state: not state.sas)


async def initiating_what_carries_makes_no_second_child(
    charon: AnyCharon, connection: CharonConnection
) -> None:
    await bring_up(charon, connection)
    await charon.initiate(connection.key)
    state = await until(charon, lambda state: not any(sa.negotiating_child for sa in state.sas))
    assert [len(sa.carrying_children) for sa in state.sas] == [1]


async def a_terminated_child_leaves_its_ike_sa(charon: AnyCharon, connection: CharonConnection) -> None:
    (sa,) = (await bring_up(charon, connection)).sas
    await charon.apply(TerminateChild(sa.connection, sa.carrying_children[0].unique_id, "test"))
    state = await until(charon, lambda state: not carries(state))
    assert [left.unique_id for left in state.sas] == [sa.unique_id]


async def terminating_what_is_gone_is_no_error(charon: AnyCharon, connection: CharonConnection) -> None:
    await charon.apply(Terminate(connection.name, "4711", "test"))
    await charon.apply(TerminateChild(connection.name, "4711", "test"))


async def a_terminated_tunnel_can_be_initiated_again_at_once(
    charon: AnyCharon, connection: CharonConnection
) -> None:
    (sa,) = (await bring_up(charon, connection)).sas
    await charon.apply(Terminate(sa.connection, sa.unique_id, "test"))
    await charon.initiate(connection.key)
    await until(charon, carries)


async def an_unknown_algorithm_is_refused(charon: AnyCharon, connection: CharonConnection) -> None:
    with pytest.raises(ViciError, match="invalid value for: proposals"):
        await charon.apply(LoadConnection(replace(connection, ike=make_ike(encryption="sm4"))))


LAWS: tuple[Law, ...] = (
    what_is_loaded_is_seen,
    loading_initiates_nothing,
    unloading_is_seen,
    unloading_what_is_not_there_is_refused_for_connections_only,
    an_initiated_connection_carries,
    initiating_what_is_not_loaded_is_refused,
    loading_again_leaves_the_sas_alone,
    loading_changed_settings_leaves_the_sas_alone,
    unloading_leaves_the_sas_alone,
    a_terminated_sa_carries_no_more,
    a_terminated_child_leaves_its_ike_sa,
    initiating_what_carries_makes_no_second_child,
    terminating_what_is_gone_is_no_error,
    a_terminated_tunnel_can_be_initiated_again_at_once,
    an_unknown_algorithm_is_refused,
)
