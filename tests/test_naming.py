from dataclasses import replace

import pytest
from tests.config_examples import make_config, make_connection, make_tunnel

from vpnagent.config.values import Config, TunnelKey
from vpnagent.errors import ControlError
from vpnagent.naming import tunnel_key


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
