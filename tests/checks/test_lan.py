"""Whether the local networks can be reached, as check tells it."""

from ipaddress import IPv4Network

import pytest
from tests.config_examples import make_config

from vpnagent.checks.lan import lan
from vpnagent.checks.observation import Observation
from vpnagent.routing.objects import LocalWays

DOWN = LocalWays(frozenset({"lan0"}), frozenset({"eth0"}), frozenset({IPv4Network("10.1.0.0/16")}))


@pytest.mark.parametrize(
    ("ways", "codes"),
    [
        (None, []),
        (LocalWays(frozenset({"lan0"}), frozenset({"eth0"}), frozenset()), []),
        (DOWN, ["NoWayToLan"]),
        (DOWN._replace(interfaces=frozenset()), []),  # one leg: the default route leads to the LAN
    ],
)
def test_a_local_network_without_a_way_is_told(ways: LocalWays | None, codes: list[str]) -> None:
    assert [finding.code for finding in lan(make_config(), Observation(local_ways=ways))] == codes
