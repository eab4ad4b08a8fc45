"""A gateway with every kind of connection that the rules tell apart."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.config_examples import make_config, make_connection, make_tunnel

from vpnagent.commands.alerts.rule import Scope
from vpnagent.config.values import Attachment, Config, Connection, Forwarding, TunnelKey

SCOPE = Scope(
    gateway="idc-hz-1", job="vpnagent", instance=None, runbook_url="https://wiki.example.com/vpnagent"
)


def connection(name: str, tunnels: Iterable[str] = ("primary", "backup"), **changes: Any) -> Connection:
    """Return a connection of a VPN gateway, with tunnels of these names."""
    made = (
        make_tunnel(number, key=TunnelKey(name, tunnel)) for number, tunnel in enumerate(tunnels, start=1)
    )
    return make_connection(**{"name": name, "tunnels": tuple(made), **changes})


def routed(name: str, tunnels: Iterable[str] = ("a", "b"), **changes: Any) -> Connection:
    """Return a connection of a transit router."""
    usual = {
        "attachment": Attachment.TRANSIT_ROUTER,
        "forwarding": Forwarding.ECMP,
        "bandwidth": 1e9,
        "packet_rate": 120_000,
    }
    return connection(name, tunnels, **{**usual, **changes})


def gateway(*connections: Connection) -> Config:
    """Return a gateway with these connections."""
    return replace(make_config(), connections=connections)


#: hangzhou and ningbo are of one VPN gateway, shanghai has its own; chengdu's limits are not the usual ones.
EVERY_KIND = gateway(
    connection("hangzhou", gateway_id="vpn-bp1"),
    connection("ningbo", ("only",), gateway_id="vpn-bp1"),
    connection("shanghai", ("only",), bandwidth=100e6),
    routed("beijing"),
    routed("chengdu", bandwidth=200e6, packet_rate=10_000),
)
