"""The laws of tests/ipsec/charon_contract.py, against the real charon."""

import asyncio
import os
from collections.abc import Iterator

import pytest
from tests.ipsec.charon_contract import LAWS, Law, load, until
from tests.native.charon_pair import Host, charon_pair, connection

from vpnagent.ipsec.actions import Terminate, UnloadConnection, UnloadSecret
from vpnagent.ipsec.charon import Charon

if os.geteuid() != 0:
    pytest.skip("real charons need root: ./dev test runs these", allow_module_level=True)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    with charon_pair(tmp_path_factory.mktemp("charons")) as pair:
        yield pair


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_charon_obeys_its_laws(hosts: tuple[Host, Host], law: Law) -> None:
    asyncio.run(_uphold(law, *hosts))


async def _uphold(law: Law, a: Host, b: Host) -> None:
    here = Charon(a.vici, on_event=lambda _event: None)
    there = Charon(b.vici, on_event=lambda _event: None)
    await here.connect()
    await there.connect()
    try:
        await load(there, connection(b, a))
        await law(here, connection(a, b))
    finally:
        await _empty(here)
        await _empty(there)
        here.close()
        there.close()


async def _empty(charon: Charon) -> None:
    state = await charon.observe()
    for name in state.connections:
        await charon.apply(UnloadConnection(name))
    for id_ in state.secrets:
        await charon.apply(UnloadSecret(id_))
    for sa in state.sas:
        await charon.apply(Terminate(sa.connection, sa.unique_id, "the test is over", force=True))
    await until(charon, lambda state: not state.sas)
