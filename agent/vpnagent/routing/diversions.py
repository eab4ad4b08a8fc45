"""Where packets for a remote network really go, by the kernel's own look-up, and which of them go elsewhere.

That our route stands says nothing while a rule with an interface, a source or a protocol, or another's
route, comes before it. The kernel is asked for one host of the network, once as the gateway itself and once
as a host of each local network. Marks are not tried, as who sets them is not known here.
"""

import errno
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from vpnagent.errors import NetlinkError
from vpnagent.routing import route_lookup
from vpnagent.routing.dumps import RTMSG
from vpnagent.routing.message import AF_INET, NLM_F_DUMP, attributes, message
from vpnagent.routing.netlink_socket import NetlinkSocket
from vpnagent.routing.objects import Diversion
from vpnagent.routing.route_lookup import Way

RTM_GETRULE = 34
FRA_IP_PROTO = 22
RULES = message(RTM_GETRULE, NLM_F_DUMP, struct.pack("=BBBBBBBBI", AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP"}  #: those with which the kernel can be asked
LOOPBACK = "lo"
HOSTS = 8  #: local networks as whose hosts it is asked
POINT_TO_POINT = 31  #: prefix length from which on every address is a host
NO_WAY = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EINVAL, errno.EACCES, errno.EXDEV, errno.EAGAIN}
)  #: refused, or not a packet that could come so


class Asker(NamedTuple):
    """Who sends."""

    source: IPv4Address | None  #: None: the kernel picks
    interface: int  #: index of the one by which it comes; 0: from here
    protocol: int = 0  #: 0: none in particular

    def __str__(self) -> str:
        who = "of the gateway itself" if not self.interface else f"of hosts like {self.source}"
        return f"{who} ({PROTOCOLS[self.protocol]})" if self.protocol else who


def first_host(network: IPv4Network) -> IPv4Address:
    """Return the first address of a network that a host can have."""
    return network.network_address + (network.prefixlen < POINT_TO_POINT)


def diversion(
    prefix: IPv4Network,
    answers: Mapping[Asker, Way | None],
    permitted: Collection[str],
    names: Mapping[int, str],
) -> Diversion | None:
    """Return the first of these answers that leads out by another interface than the permitted."""
    for asker, way in answers.items():
        if way is None or way.local:
            continue
        name = names.get(way.interface_index, f"interface {way.interface_index}")
        if name != LOOPBACK and name not in permitted:
            return Diversion(prefix=prefix, asker=str(asker), interface=name, table=way.table)
    return None


async def diversions(
    route: NetlinkSocket,
    names: Mapping[int, str],
    askers: Sequence[Asker],
    tunnels: Mapping[IPv4Network, Collection[str]],
    exits: Mapping[IPv4Network, Collection[str]],
) -> dict[IPv4Network, Diversion]:
    """Return the networks whose packets go elsewhere than into the tunnels; by their exits they may.

    Raises NetlinkError when the kernel cannot be asked.
    """
    found: dict[IPv4Network, Diversion] = {}
    for prefix, interfaces in tunnels.items():
        host, ways_out = first_host(prefix), exits.get(prefix, ())
        answers = {asker: await _way(route, host, asker) for asker in askers}
        if (astray := diversion(prefix, answers, {*interfaces, *ways_out}, names)) is not None:
            entry = await _entry(route, host, next(a for a in askers if str(a) == astray.asker))
            found[prefix] = astray._replace(entry=entry.prefix, protocol=entry.protocol) if entry else astray
        elif ways_out and (meant := diversion(prefix, answers, interfaces, names)) is not None:
            found[prefix] = meant._replace(meant=True)
    return found


async def askers(
    route: NetlinkSocket, source: IPv4Address | None, networks: Iterable[IPv4Network]
) -> list[Asker]:
    """Return the gateway and a host of each local network, also with each protocol that an ip rule names."""
    plain = [Asker(source, 0)]
    for network in list(networks)[:HOSTS]:
        for host in (first_host(network) + 1, first_host(network)):
            way = await _way(route, host, Asker(None, 0)) if host in network else None
            if way is not None and not way.local and way.interface_index:
                plain.append(Asker(host, way.interface_index))
                break
    protocols = {found for found in await route.dump(RULES, _protocol) if found in PROTOCOLS}
    return [asker._replace(protocol=number) for number in (0, *sorted(protocols)) for asker in plain]


def _protocol(body: bytes) -> int | None:
    return int.from_bytes(attributes(body, RTMSG.size).get(FRA_IP_PROTO, b"")) or None


async def _way(route: NetlinkSocket, host: IPv4Address, asker: Asker) -> Way | None:
    return await _ask(route, _question(host, asker, fib_match=False))


async def _entry(route: NetlinkSocket, host: IPv4Address, asker: Asker) -> Way | None:
    return await _ask(route, _question(host, asker, fib_match=True))


def _question(host: IPv4Address, asker: Asker, *, fib_match: bool) -> bytes:
    return route_lookup.request(
        host,
        source=asker.source,
        incoming=asker.interface,
        ip_protocol=asker.protocol,
        fib_match=fib_match,
    )


async def _ask(route: NetlinkSocket, question: bytes) -> Way | None:
    try:
        found = await route.dump(question, route_lookup.way)
    except NetlinkError as error:
        if error.errno not in NO_WAY:
            raise
        return None
    return found[0] if found else None
