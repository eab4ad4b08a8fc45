"""What a site runs beside the agent on each of two gateways: keepalived, a stateful firewall, conntrackd.

The texts are what an engineer would write by hand (keepalived.conf(5), conntrackd.conf(5)).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Without a router_id keepalived asks the DNS for its own name at its start, and waits. Its limit of CPU time
# is counted in ticks, so that the default of 10 ms, one tick here, ends it at times.
VRRP = """
global_defs {{
    router_id {host}
    vrrp_version 3
    vrrp_garp_master_delay 0
    vrrp_garp_master_repeat 2
    vrrp_garp_master_refresh 1
    vrrp_rt_priority 50
    vrrp_rlimit_rttime 200000
}}
"""
GROUP = """
vrrp_sync_group gateway {{
    group {{
        {names}
    }}
}}
"""
INSTANCE = """
vrrp_instance {network} {{
    state BACKUP
    interface {network}
    virtual_router_id {number}
    priority {priority}
    advert_int 0.1
    nopreempt
    unicast_src_ip {source}
    unicast_peer {{
        {peer}
    }}
    virtual_ipaddress {{
        {address} dev {network}
    }}
}}
"""

# Whoever asks from the LAN is answered. A connection that this node has not seen begin is refused.
FIREWALL = """
table inet site {
    counter refused { }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "lan" ct state new tcp flags & (fin|syn|rst|ack) == syn accept
        iifname "lan" meta l4proto { icmp, udp } ct state new accept
        counter name refused
    }
}
"""

# NOTRACK without an external cache: what the other node tells is in the kernel at once, so nothing has to be
# committed when an address moves.
CONNTRACKD = """
Sync {{
    Mode NOTRACK {{
        DisableExternalCache yes
        StartupResync yes
    }}
    UDP {{
        IPv4_address {address}
        IPv4_Destination_Address {peer}
        Port 3780
        Interface {interface}
        Checksum on
    }}
}}
General {{
    Systemd no
    HashSize 8192
    HashLimit 65536
    LogFile {folder}/conntrackd.log
    LockFile {folder}/conntrackd.lock
    UNIX {{
        Path {folder}/conntrackd.ctl
    }}
    NetlinkBufferSize 2097152
    NetlinkBufferSizeMaxGrowth 8388608
    Filter From Kernelspace {{
        Protocol Accept {{
            TCP
            UDP
            ICMP
        }}
        Address Ignore {{
            IPv4_address 127.0.0.1
            {ignored}
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class MovingAddress:
    """An address that moves, and what its VRRP instance says on one node."""

    network: str
    address: str
    number: int
    priority: int
    source: str
    peer: str


def keepalived(host: str, addresses: Iterable[MovingAddress]) -> str:
    """A keepalived.conf with one instance for each address; all of them move together."""
    wanted = tuple(addresses)
    group = GROUP.format(names=" ".join(each.network for each in wanted))
    return (
        VRRP.format(host=host)
        + group
        + "".join(
            INSTANCE.format(
                network=each.network,
                address=each.address,
                number=each.number,
                priority=each.priority,
                source=each.source,
                peer=each.peer,
            )
            for each in wanted
        )
    )


def conntrackd(*, address: str, peer: str, interface: str, folder: Path, ignored: Iterable[str]) -> str:
    """A conntrackd.conf; `ignored` are the node's own addresses, whose flows mean nothing to the other."""
    return CONNTRACKD.format(
        address=address,
        peer=peer,
        interface=interface,
        folder=folder,
        ignored="\n            ".join(f"IPv4_address {each}" for each in ignored),
    )
