"""Connections for the tests of the IPsec subject: every field has a value, and any can be replaced."""

from collections.abc import Iterable, Mapping
from typing import Any

from vpnagent.config.values import Esp, Ike, TunnelKey, UdpEncapsulation
from vpnagent.ipsec.actions import CharonConnection
from vpnagent.ipsec.sa import CharonState, ChildSa, ChildState, IkeSa, IkeState
from vpnagent.secret import Secret

PSK = b"Hush-7f3a,!~"

Changes = Mapping[str, Any]


def make_ike(**changes: Any) -> Ike:
    fields: dict[str, Any] = {
        "version": 2,
        "mode": "main",
        "encryption": "aes128",
        "integrity": "sha1",
        "dh_group": 2,
        "lifetime": 86400.0,
        "dpd_delay": 10.0,
    }
    return Ike(**fields | changes)


def make_esp(**changes: Any) -> Esp:
    fields: dict[str, Any] = {
        "encryption": "aes128",
        "integrity": "sha1",
        "pfs_group": 2,
        "lifetime": 86400.0,
    }
    return Esp(**fields | changes)


def make_connection(tunnel: str = "primary", *, cloud: str = "hangzhou", **changes: Any) -> CharonConnection:
    fields: dict[str, Any] = {
        "key": TunnelKey(cloud, tunnel),
        "local_address": "192.0.2.2",
        "remote_address": "203.0.113.1",
        "local_id": "198.51.100.10",
        "remote_id": "203.0.113.1",
        "ike": make_ike(),
        "esp": make_esp(),
        "udp_encapsulation": UdpEncapsulation.ALWAYS,
        "local_ts": ("0.0.0.0/0",),
        "remote_ts": ("0.0.0.0/0",),
        "if_id": 1,
        "psk": Secret(PSK),
        "certificates": None,
    }
    return CharonConnection(**fields | changes)


def by_name(*connections: CharonConnection) -> dict[str, CharonConnection]:
    return {connection.name: connection for connection in connections}


def make_child(name: str = "primary", **changes: Any) -> ChildSa:
    fields: dict[str, Any] = {
        "name": name,
        "unique_id": "1",
        "state": ChildState.INSTALLED,
        "if_id": 1,
        "bytes_in": 0,
        "bytes_out": 0,
        "packets_in": 0,
        "packets_out": 0,
        "installed_for": 60.0,
        "encapsulated": True,
    }
    return ChildSa(**fields | changes)


def make_ike_sa(connection: str = "vpnagent.hangzhou.primary", **changes: Any) -> IkeSa:
    fields: dict[str, Any] = {
        "connection": connection,
        "unique_id": "1",
        "remote_host": "203.0.113.1",
        "state": IkeState.ESTABLISHED,
        "initiator": True,
        "established_for": 60.0,
        "children": (make_child(),),
    }
    return IkeSa(**fields | changes)


def make_state(*sas: IkeSa, connections: Iterable[str] = (), secrets: Iterable[str] = ()) -> CharonState:
    return CharonState(
        version="5.9.8",
        connections=frozenset(connections),
        secrets=frozenset(secrets),
        sas=sas,
    )
