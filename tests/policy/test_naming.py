from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from tests.config_examples import make_config, make_connection, make_tunnel

from vpnagent.config.values import Config, Tunnel, TunnelKey
from vpnagent.errors import ControlError
from vpnagent.policy.naming import former_keys, tunnel_key


def two_primaries() -> Config:
    config = make_config()
    other = make_tunnel(3, key=TunnelKey("beijing", "primary"))
    second = make_connection(name="beijing", tunnels=(other,))
    return replace(config, connections=(*config.connections, second))


@pytest.mark.parametrize("name", ["backup", "hangzhou/backup"])
def test_a_bare_name_serves_where_it_is_unique(name: str) -> None:
    assert tunnel_key(two_primaries(), name) == TunnelKey("hangzhou", "backup")


def test_an_ambiguous_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ControlError, match="'primary' is not unique: hangzhou/primary, beijing/primary"):
        tunnel_key(two_primaries(), "primary")


def test_an_unknown_name_is_refused_with_all_names() -> None:
    with pytest.raises(ControlError, match="'x' is not a tunnel: hangzhou/primary, hangzhou/backup"):
        tunnel_key(make_config(), "x")


def with_tunnels(*tunnels: Tunnel) -> Config:
    config = make_config()
    [connection] = config.connections
    return replace(config, connections=(replace(connection, tunnels=tunnels),))


def test_a_tunnel_is_the_same_under_another_name_if_it_is_to_kernel_and_peer() -> None:
    first, second = make_config().tunnels()
    renamed = replace(first, key=TunnelKey("hangzhou", "spare"))
    assert former_keys(make_config(), with_tunnels(renamed, second)) == {renamed.key: first.key}
    for changes in ({"if_id": 77}, {"interface": "vpn-x"}, {"remote_address": IPv4Address("203.0.113.9")}):
        other = replace(renamed, **changes)
        assert former_keys(make_config(), with_tunnels(other, second)) == {}


def test_names_that_are_swapped_are_nobodys_former_ones() -> None:
    first, second = make_config().tunnels()
    swapped = with_tunnels(replace(first, key=second.key), replace(second, key=first.key))
    assert former_keys(make_config(), swapped) == {}
