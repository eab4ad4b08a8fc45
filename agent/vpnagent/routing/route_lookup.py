"""Ask the kernel for the way to an address, as ``ip route get`` does: the request, and its answers. No I/O.

Two questions: the way itself, and the route that gives it (RTM_F_FIB_MATCH, since Linux 4.13).
net/ipv4/route.c, inet_rtm_getroute().
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from vpnagent.routing.dumps import (
    RTA_DST,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_SRC,
    RTA_TABLE,
    RTM_GETROUTE,
    RTMSG,
    u32,
)
from vpnagent.routing.message import AF_INET, NLM_F_ACK, attribute, attributes, message

RTA_IIF, RTA_IP_PROTO = 3, 27
RTAX_MTU = 2
RTN_LOCAL = 2
RTM_F_LOOKUP_TABLE = 0x1000
RTM_F_FIB_MATCH = 0x2000
HOST = 32  #: prefix length


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One RTM_NEWROUTE in answer to a question."""

    prefix: IPv4Network
    interface_index: int  #: 0: a multipath route
    gateway: IPv4Address | None
    source: IPv4Address | None
    mtu: int  #: bytes; 0: the interface's
    local: bool
    table: int
    protocol: int


def request(
    destination: IPv4Address,
    *,
    source: IPv4Address | None = None,
    incoming: int = 0,
    ip_protocol: int = 0,
    fib_match: bool = False,
) -> bytes:
    """Return the question for the way to an address, or for the route in the table that gives it.

    ``incoming`` is the interface by which the packet would come, 0: from here; ``ip_protocol`` 1, 6 or 17.
    """
    flags = RTM_F_LOOKUP_TABLE | (RTM_F_FIB_MATCH if fib_match else 0)
    body = RTMSG.pack(AF_INET, HOST, HOST if source else 0, 0, 0, 0, 0, 0, flags)
    body += attribute(RTA_DST, destination.packed)
    if source:
        body += attribute(RTA_SRC, source.packed)
    if incoming:
        body += attribute(RTA_IIF, struct.pack("=I", incoming))
    if ip_protocol:
        body += attribute(RTA_IP_PROTO, bytes([ip_protocol]))
    return message(RTM_GETROUTE, NLM_F_ACK, body)


def way(body: bytes) -> Way | None:
    """Read an RTM_NEWROUTE; None for what is not of IPv4."""
    family, length, _, _, table, protocol, _, kind, _ = RTMSG.unpack_from(body)
    if family != AF_INET:
        return None
    found = attributes(body, RTMSG.size)
    metrics = attributes(found.get(RTA_METRICS, b""))
    return Way(
        prefix=IPv4Network((found.get(RTA_DST, bytes(4)), length)),
        interface_index=u32(found.get(RTA_OIF)),
        gateway=_address(found.get(RTA_GATEWAY)),
        source=_address(found.get(RTA_PREFSRC)),
        mtu=u32(metrics.get(RTAX_MTU)),
        local=kind == RTN_LOCAL,
        table=u32(found.get(RTA_TABLE)) or table,
        protocol=protocol,
    )


def _address(value: bytes | None) -> IPv4Address | None:
    return IPv4Address(value) if value else None
