"""A valid configuration of two tunnels, as YAML text and as the value it must load to.

``make_config()`` needs neither files nor pydantic, so that every test may use it; that it equals what
``EXAMPLE_YAML`` loads to is asserted in tests/config/test_load.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from vpnagent.config.values import (
    Agent,
    Attachment,
    Config,
    Connection,
    Device,
    Esp,
    Forwarding,
    Gateway,
    GatewayPair,
    Ike,
    OnPathDown,
    PairNode,
    Probe,
    ProbeMethod,
    Role,
    TrafficSelectors,
    Tunnel,
    TunnelKey,
    UdpEncapsulation,
)
from vpnagent.secret import Secret

PRIMARY_PSK = b"primary-Hush-7f3a"
BACKUP_PSK = b"backup-Hush-9c1d"

EXAMPLE_YAML = """\
version: 1
gateway:
  name: idc-hz-1
  local_networks: [10.1.0.0/16]
  source_address: 10.1.0.1
connections:
  - name: hangzhou
    attachment: vpn-gateway
    bandwidth: 200Mbps
    remote_networks: [100.64.0.0/10, 172.16.0.0/16]
    tunnels:
      - name: primary
        role: active
        remote_address: 203.0.113.1
        local_address: 192.0.2.2
        local_id: 198.51.100.10
        psk_file: psk/primary
        inside_address: 169.254.10.2/30
        interface: vpn-hz-1
        if_id: 1
      - name: backup
        role: standby
        remote_address: 203.0.113.2
        local_address: 192.0.2.2
        local_id: 198.51.100.10
        psk_file: psk/backup
        inside_address: 169.254.11.2/30
        interface: vpn-hz-2
        if_id: 2
"""

Changes = Mapping[str, Any]
NONE: Changes = {}


def write_example(folder: Path, agent: str = "") -> Path:
    """Write the example with its keys into a folder, and YAML of ``agent:`` after it; return its file."""
    (folder / "psk").mkdir()
    for name, psk in (("primary", PRIMARY_PSK), ("backup", BACKUP_PSK)):
        (folder / "psk" / name).touch(mode=0o600)
        (folder / "psk" / name).write_bytes(psk)
    file = folder / "vpnagent.yaml"
    file.write_text(EXAMPLE_YAML + agent)
    return file


def make_config(
    *,
    gateway: Changes = NONE,
    agent: Changes = NONE,
    connection: Changes = NONE,
    primary: Changes = NONE,
    backup: Changes = NONE,
) -> Config:
    """Return the example; each argument replaces fields of that part: ``primary={"if_id": 7}``."""
    tunnels = (make_tunnel(1, **primary), make_tunnel(2, **backup))
    return Config(
        gateway=replace(_GATEWAY, **gateway),
        agent=replace(_AGENT, **agent),
        connections=(make_connection(**{"tunnels": tunnels, **connection}),),
    )


def make_connection(**changes: Any) -> Connection:
    """Return the example's connection, with fields replaced."""
    connection = Connection(
        name="hangzhou",
        attachment=Attachment.VPN_GATEWAY,
        bandwidth=200e6,
        packet_rate=120_000,
        forwarding=Forwarding.ACTIVE_STANDBY,
        remote_networks=(IPv4Network("100.64.0.0/10"), IPv4Network("172.16.0.0/16")),
        traffic_selectors=TrafficSelectors.ANY,
        ike=Ike(
            version=2,
            mode="main",
            encryption="aes128",
            integrity="sha1",
            dh_group=2,
            lifetime=86400.0,
            dpd_delay=10.0,
        ),
        esp=Esp(encryption="aes128", integrity="sha1", pfs_group=2, lifetime=86400.0),
        mtu=1399,
        udp_encapsulation=UdpEncapsulation.ALWAYS,
        on_path_down=OnPathDown.RESET,
        gateway_id=None,
        tunnels=(make_tunnel(1), make_tunnel(2)),
    )
    return replace(connection, **changes)


def make_tunnel(number: int, **changes: Any) -> Tunnel:
    """Return the example's tunnel 1 (primary) or 2 (backup), with fields replaced.

    Other numbers give further tunnels of the same kind, all standby and named ``t<number>``.
    """
    name = {1: "primary", 2: "backup"}.get(number, f"t{number}")
    tunnel = Tunnel(
        key=TunnelKey("hangzhou", name),
        role=Role.ACTIVE if number == 1 else Role.STANDBY,
        remote_address=IPv4Address("203.0.113.0") + number,
        local_address=IPv4Address("192.0.2.2"),
        uplink=None,
        uplink_gateway=None,
        remote_id=f"203.0.113.{number}",
        local_id="198.51.100.10",
        psk=Secret(PRIMARY_PSK if number == 1 else BACKUP_PSK),
        certificates=None,
        inside_address=IPv4Interface(f"169.254.{9 + number}.2/30"),
        interface=f"vpn-hz-{number}",
        if_id=number,
        weight=1,
        probe=Probe(
            method=ProbeMethod.ICMP,
            targets=(IPv4Address(f"169.254.{9 + number}.1"),),
            port=443,
            interval=0.1,
            detect_multiplier=3,
            hold_down=5.0,
        ),
    )
    return replace(tunnel, **changes)


def make_pair(here: Device | None) -> GatewayPair:
    """Return two gateways, rt1 and rt2, as seen by one of them."""

    def node(number: int) -> PairNode:
        address = IPv4Address("10.1.0.1") + number
        return PairNode(host=f"rt{number}", address=address, name=f"rt{number}", source_address=address)

    return GatewayPair(here=here, a=node(1), b=node(2))


_GATEWAY = Gateway(
    name="idc-hz-1",
    local_networks=(IPv4Network("10.1.0.0/16"),),
    source_address=IPv4Address("10.1.0.1"),
)

_AGENT = Agent(
    vici_socket="/var/run/charon.vici",
    control_socket="/run/vpnagent/control.sock",
    state_directory="/var/lib/vpnagent",
    metrics_listen="127.0.0.1:9786",
    manage_sysctls=True,
    realtime=False,
)
