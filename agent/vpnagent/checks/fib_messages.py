"""Read routes and rules of others out of netlink's answers (linux/rtnetlink.h, linux/fib_rules.h). Pure.

Of the main table only what lies within a remote network counts: a wider route loses to ours. Of another
table, which a rule may put before the main one, everything counts that meets one.
"""

import struct
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

from vpnagent.checks.observation import Route, Rule
from vpnagent.netlink.message import AF_INET, NLM_F_DUMP, attributes, message, string
from vpnagent.routing.dumps import (
    RTA_DST,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_F_CLONED,
    RTM_GETROUTE,
    RTMSG,
    RTN_UNICAST,
    u32,
)
from vpnagent.routing.objects import MAIN_TABLE, PROTOCOL

RTM_GETRULE: Final = 34
LOCAL_TABLE: Final = 255

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY = 1, 2, 3, 6
FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_PROTOCOL = 14, 15, 21
FRA_FWMARK, FRA_FWMASK, FRA_L3MDEV, FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE = 10, 16, 19, 22, 23, 24
#: of what cannot be asked for: TUN_ID, SUPPRESS_IFGROUP, OIFNAME, UID_RANGE, DSCP
OBSCURE: Final = (12, 13, 17, 20, 25)
FIB_RULE_INVERT: Final = 2

I32: Final = struct.Struct("=i")
PORTS: Final = struct.Struct("=HH")
ALL_BITS: Final = 0xFFFFFFFF

ALL_ROUTES: Final = message(RTM_GETROUTE, NLM_F_DUMP, RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
RULES: Final = message(RTM_GETRULE, NLM_F_DUMP, RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))


def is_default(route: Route) -> bool:
    """Whether it is a default route of the main table."""
    return route.table == MAIN_TABLE and not route.prefix.prefixlen


def route_row(body: bytes, names: Mapping[int, str], networks: Sequence[IPv4Network]) -> Route | None:
    """Read an RTM_NEWROUTE that counts, or that is a default route; else None."""
    family, length, _, tos, _, protocol, _, kind, flags = RTMSG.unpack_from(body)
    if family != AF_INET or protocol == PROTOCOL or tos or flags & RTM_F_CLONED:
        return None
    found = attributes(body, RTMSG.size)
    table = u32(found.get(RTA_TABLE))
    if table == LOCAL_TABLE:
        return None
    prefix = IPv4Network((found.get(RTA_DST, bytes(4)), length))
    if prefix.prefixlen and not any(_counts(prefix, network, table) for network in networks):
        return None
    return Route(
        table=table,
        prefix=prefix,
        kind=kind,
        interface=names.get(u32(found.get(RTA_OIF)), ""),
        metric=u32(found.get(RTA_PRIORITY)),
        protocol=protocol,
    )


def lan_row(body: bytes, names: Mapping[int, str], networks: Sequence[IPv4Network]) -> Route | None:
    """Read an RTM_NEWROUTE that leads to part of a local network, other than by default."""
    family, length, _, tos, _, protocol, _, kind, flags = RTMSG.unpack_from(body)
    if family != AF_INET or not length or tos or flags & RTM_F_CLONED or kind != RTN_UNICAST:
        return None
    found = attributes(body, RTMSG.size)
    if u32(found.get(RTA_TABLE)) != MAIN_TABLE or protocol == PROTOCOL:
        return None
    prefix = IPv4Network((found.get(RTA_DST, bytes(4)), length))
    if not any(prefix.overlaps(network) for network in networks):
        return None
    return Route(
        table=MAIN_TABLE,
        prefix=prefix,
        kind=kind,
        interface=names.get(u32(found.get(RTA_OIF)), ""),
        metric=u32(found.get(RTA_PRIORITY)),
        protocol=protocol,
    )


def _counts(prefix: IPv4Network, network: IPv4Network, table: int) -> bool:
    return prefix.subnet_of(network) if table == MAIN_TABLE else prefix.overlaps(network)


def rule_row(body: bytes) -> Rule | None:
    """Read an RTM_NEWRULE. The header is a route's, with the action in the place of the type."""
    family, destination_length, source_length, tos, table, _, _, action, flags = RTMSG.unpack_from(body)
    if family != AF_INET:
        return None
    found = attributes(body, RTMSG.size)
    suppressed = found.get(FRA_SUPPRESS_PREFIXLEN)
    mark = u32(found.get(FRA_FWMARK))
    return Rule(
        priority=u32(found.get(FRA_PRIORITY)),
        source=IPv4Network((found.get(FRA_SRC, bytes(4)), source_length)),
        destination=IPv4Network((found.get(FRA_DST, bytes(4)), destination_length)),
        incoming=string(found.get(FRA_IIFNAME, b"")),
        table=u32(found.get(FRA_TABLE)) or table,
        action=action,
        suppressed_length=I32.unpack(suppressed)[0] if suppressed else -1,
        protocol=(found.get(FRA_PROTOCOL) or b"\0")[0],
        inverted=bool(flags & FIB_RULE_INVERT),
        mark=mark,
        mask=u32(found.get(FRA_FWMASK)) if FRA_FWMASK in found else (ALL_BITS if mark else 0),
        tos=tos,
        ip_protocol=(found.get(FRA_IP_PROTO) or b"\0")[0],
        source_ports=_ports(found.get(FRA_SPORT_RANGE)),
        destination_ports=_ports(found.get(FRA_DPORT_RANGE)),
        obscure=any(_set(found, attribute) for attribute in OBSCURE),
        of_devices=any(found.get(FRA_L3MDEV, b"")),
    )


def _ports(value: bytes | None) -> tuple[int, int]:
    """Read a fib_rule_port_range; (0, 0) for none."""
    return PORTS.unpack(value) if value is not None and len(value) == PORTS.size else (0, 0)


def _set(found: Mapping[int, bytes], attribute: int) -> bool:
    """Whether a selector is there and not the kernel's word for none: SUPPRESS_IFGROUP -1."""
    value = found.get(attribute, b"")
    return any(value) and value != b"\xff\xff\xff\xff"
