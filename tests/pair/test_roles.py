"""Whose tunnel is it: each has one gateway at any time, and the addresses tell which."""

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config, make_connection, make_pair, make_tunnel

from vpnagent.config.values import Config, Device, TunnelKey
from vpnagent.pair.roles import given_away, moves, present, standby

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")
FIRST, SECOND = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.9")
ADOPTED = {"primary": {"local_address": FIRST}, "backup": {"local_address": SECOND}}
APART = {"primary": {"device": Device.A}, "backup": {"device": Device.B}}


def seen_by(here: Device | None, **tunnels: Any) -> Config:
    return make_config(gateway={"pair": make_pair(here)}, **tunnels)


def test_a_gateway_that_is_alone_has_every_tunnel() -> None:
    config = make_config()
    assert standby(config, ()) == frozenset()
    assert present(config, ()) is config
    assert not any(moves(tunnel, config) for tunnel in config.tunnels())


def test_a_tunnel_with_a_device_is_that_gateways_whatever_addresses_there_are() -> None:
    for owned in ((), (FIRST, IPv4Address("192.0.2.2"))):
        assert standby(seen_by(Device.A, **APART), owned) == {BACKUP}
        assert standby(seen_by(Device.B, **APART), owned) == {PRIMARY}


@given(st.sets(st.sampled_from([FIRST, SECOND])))
def test_a_tunnel_without_a_device_is_of_the_one_that_has_its_address(owned: set[IPv4Address]) -> None:
    away = standby(seen_by(Device.A, **ADOPTED), owned)
    assert (PRIMARY in away, BACKUP in away) == (FIRST not in owned, SECOND not in owned)


@given(st.lists(st.sampled_from([None, *Device]), min_size=2, max_size=2), st.sets(st.sampled_from([FIRST])))
def test_a_tunnel_has_one_gateway_at_any_time(devices: list[Device | None], of_a: set[IPv4Address]) -> None:
    tunnels = {
        name: {"device": device, "local_address": FIRST}
        for name, device in zip(("primary", "backup"), devices, strict=True)
    }
    at_a = standby(seen_by(Device.A, **tunnels), of_a)
    at_b = standby(seen_by(Device.B, **tunnels), {FIRST} - of_a)
    assert at_a | at_b == {PRIMARY, BACKUP}
    assert not at_a & at_b


def test_who_is_neither_gateway_has_none_of_their_tunnels() -> None:
    assert standby(seen_by(None, **APART), ()) == {PRIMARY, BACKUP}


def test_what_is_present_has_no_connection_without_a_tunnel() -> None:
    alone = make_connection(name="other", tunnels=(make_tunnel(3, device=Device.B),))
    config = seen_by(Device.A, **APART)
    both = Config(gateway=config.gateway, agent=config.agent, connections=(*config.connections, alone))
    [connection] = present(both, ()).connections
    assert [tunnel.name for tunnel in connection.tunnels] == ["primary"]


@pytest.mark.parametrize(("owned", "here"), [((FIRST,), False), ((FIRST, SECOND), True)])
def test_what_is_given_away_tells_whether_its_address_is_here(
    owned: tuple[IPv4Address, ...], here: bool
) -> None:
    config = seen_by(
        Device.A, primary={"device": Device.A}, backup={"device": Device.B, "local_address": SECOND}
    )
    assert given_away(config, owned) == {BACKUP.owner: here}
    assert given_away(seen_by(Device.A, **ADOPTED), (FIRST,)) == {BACKUP.owner: False}
