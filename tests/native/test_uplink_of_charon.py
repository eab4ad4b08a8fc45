"""A real charon between two providers: its packets, and its own choice of a source, follow the pin."""

import asyncio
import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator

import pytest
from tests.ipsec.connections import make_connection
from tests.native.charon_pair import Host
from tests.native.two_providers import SECOND, World, listener, two_providers

from vpnagent.ipsec.actions import CharonConnection, LoadConnection, LoadSecret
from vpnagent.ipsec.charon import Charon

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

IKE_PORT = 500
NO_WAY = "error writing to socket"
UPLINK_ADDRESS = "198.51.100.2"


@pytest.fixture
def world() -> Iterator[World]:
    with two_providers() as made:
        yield made


@pytest.fixture
def charon(world: World, tmp_path: pathlib.Path) -> Iterator[Host]:
    host = Host("pinned", 1, tmp_path)
    host.namespace = world.gateway.name
    host.start()
    yield host
    host.kill()


class Ears:
    """The peer, at both providers."""

    def __init__(self, world: World) -> None:
        self._ears = {name: listener(there, SECOND, IKE_PORT) for name, there in world.providers.items()}
        self._heard: set[tuple[str, str]] = set()

    def heard(self) -> set[tuple[str, str]]:
        """Return providers and sources of what has arrived since the beginning."""
        for name, ear in self._ears.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._heard.add((name, ear.recvfrom(2000)[1][0]))
        return self._heard

    def forget(self) -> set[tuple[str, str]]:
        """Return the same, and begin anew."""
        before, self._heard = self.heard(), set()
        return before

    def close(self) -> None:
        for ear in self._ears.values():
            ear.close()


def until(outcome: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not outcome():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


async def negotiate(host: Host, connection: CharonConnection) -> None:
    charon = Charon(host.vici, on_event=lambda _event: None)
    try:
        await charon.connect()
        await charon.apply(LoadSecret(connection))
        await charon.apply(LoadConnection(connection))
        await charon.initiate(connection.key)
    finally:
        charon.close()


@pytest.mark.parametrize("local", [UPLINK_ADDRESS, "%any"])
def test_charon_speaks_by_the_uplink_with_its_address_or_not_at_all(
    world: World, charon: Host, local: str
) -> None:
    world.converge()
    connection = make_connection(local_address=local, remote_address=SECOND, remote_id=SECOND, if_id=0)
    with contextlib.closing(Ears(world)) as ears:
        asyncio.run(negotiate(charon, connection))
        until(lambda: ears.heard() == {("b", UPLINK_ADDRESS)}, "it begins")
        world.gateway.ip("link set eth1 down")
        tries = charon.log().count("error writing to socket")
        until(
            lambda: charon.log().count("error writing to socket") > tries, "it is told that there is no way"
        )
        world.converge()
        assert ears.forget() == {("b", UPLINK_ADDRESS)}
        world.gateway.ip("link set eth1 up")
        world.gateway.ip("route add default via 198.51.100.1 metric 200")
        world.converge()
        until(lambda: ("b", UPLINK_ADDRESS) in ears.heard(), "it is back")
        print(local, ears.heard())
        assert {provider for provider, _ in ears.heard()} == {"b"}
