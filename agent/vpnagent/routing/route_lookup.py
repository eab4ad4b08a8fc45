"""Ask the kernel for the way to an address, as ``ip route get`` does: the request, and its answers. No I/O.

Two questions: the way itself, and the route that gives it (RTM_F_FIB_MATCH, since Linux 4.13).
net/ipv4/route.c, inet_rtm_getroute().
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

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
    U32,
    u32,
)
from vpnagent.routing.message import AF_INET, NLM_F_ACK, attribute, attributes, message

RTA_IIF, RTA_IP_PROTO = 3, 27
RTAX_MTU = 2
RTN_LOCAL = 2
RTM_F_LOOKUP_TABLE = 0x1000
RTM_F_FIB_MATCH = 0x2000
RTA_IIF, RTA_MARK, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT = 3, 16, 27, 28, 29
PORT = struct.Struct("!H")
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


class Flow(NamedTuple):
    """What policy routing may ask of a packet, beside its addresses; 0: as a plain packet."""

    mark: int = 0
    tos: int = 0
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0

    def __str__(self) -> str:
        names = ("mark", "TOS", "protocol", "source port", "port")
        shown = (f"{self.mark:#x}", f"{self.tos:#x}", *map(str, self[2:]))
        return ", ".join(f"{n} {text}" for n, text, value in zip(names, shown, self, strict=True) if value)


PLAIN = Flow()


class Found(NamedTuple):
    """One answer, as far as it says where a packet goes."""

    interface_index: int  #: 0: none, or several
    table: int
    length: int  #: of the prefix: of the entry where that was asked for, else 32
    local: bool


def question(
    destination: IPv4Address, *, source: IPv4Address | None, incoming: int, flow: Flow, entry: bool
) -> bytes:
    """Return the question for the way of a packet; an answer or a refusal comes, and no acknowledgement.

    ``incoming`` is the index of the interface by which it comes; 0: it is this machine's own. ``entry``: not
    the way but the route in the table is asked for.
    """
    flags = RTM_F_LOOKUP_TABLE | (RTM_F_FIB_MATCH if entry else 0)
    body = RTMSG.pack(AF_INET, HOST, HOST if source else 0, flow.tos, 0, 0, 0, 0, flags)
    body += attribute(RTA_DST, destination.packed)
    if source:
        body += attribute(RTA_SRC, source.packed)
    for kind, number in ((RTA_IIF, incoming), (RTA_MARK, flow.mark)):
        if number:
            body += attribute(kind, U32.pack(number))
    if flow.protocol:
        body += attribute(RTA_IP_PROTO, bytes([flow.protocol]))
    for kind, port in ((RTA_SPORT, flow.source_port), (RTA_DPORT, flow.destination_port)):
        if port:
            body += attribute(kind, PORT.pack(port))
    return message(RTM_GETROUTE, 0, body)


def found(body: bytes) -> Found:
    """Read an RTM_NEWROUTE that answers a question."""
    _, length, _, _, table, _, _, kind, _ = RTMSG.unpack_from(body)
    told = attributes(body, RTMSG.size)
    return Found(u32(told.get(RTA_OIF)), u32(told.get(RTA_TABLE)) or table, length, kind == RTN_LOCAL)
