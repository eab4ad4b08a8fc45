"""What an address is to this gateway, and what follows from what was seen of it. Pure and total.

Three kinds: in a VPC; outside of VPCs, from 100.64.0.0/10; public only. Not every service has the second
kind.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Any

from vpnagent.commands.explain.catalogue import Catalogue, Service
from vpnagent.config.values import CLOUD_SERVICES, Config, Connection, Tunnel, TunnelKey
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError
from vpnagent.policy.desired import ipsec_connections
from vpnagent.witness.values import range_of

# What was seen of one address: the kernel's route, the daemon's word, the answer. Values only.


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRoute:
    """The way that the kernel gives a packet of this gateway's own, now."""

    interface: str
    source: IPv4Address | None
    gateway: IPv4Address | None  #: None: the destination is at the other end of the interface
    mtu: int  #: bytes: the route's, else the interface's
    local: bool  #: the address is this machine's own
    table: int
    prefix: IPv4Network | None  #: of the route that was taken; None: not told
    protocol: int  #: who made it (rtm_protocol); 0: not told


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Why there is no way: the kernel's errno and its words."""

    errno: int
    reason: str


class Outcome(enum.Enum):
    """How the path answered."""

    ANSWERED = "answered"
    REFUSED = "refused"  #: somebody answered that nothing listens there
    SILENT = "silent"
    UNREACHABLE = "unreachable"  #: the kernel, or a router on the way, has no route
    NOT_ASKED = "not-asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAnswer:
    """What came of one bounded attempt."""

    outcome: Outcome
    method: str  #: ``TCP 443`` or ``ICMP echo``
    rtt: float | None  #: seconds, where something answered
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSeen:
    """The daemon's word on a tunnel, as in ``status``."""

    state: str
    reason: str
    forwarding: bool
    selectors: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()  #: negotiated; empty: not told


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSeen:
    """The daemon's word on a local and a remote network, as in ``status``."""

    local: str
    remote: str
    carried: bool | None  #: None: not looked at
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was seen of an address."""

    route: ExplainedRoute | NoRoute
    answer: TargetAnswer


# What is asked about: ``HOST``, ``ADDRESS``, either with ``:PORT``. Pure.

HIGHEST_PORT = 65535
NAME_LENGTH = 253  #: characters (RFC 1035 §2.3.4)
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?", re.ASCII)
_NUMERIC = re.compile(r"[0-9.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """A host, by name in lower case or by address, and a TCP port."""

    host: str
    address: IPv4Address | None  #: None: a name
    port: int | None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def target_of(text: str) -> Target:
    """Return the target that a word names. Raises ControlError."""
    host, colon, digits = text.partition(":")
    if ":" in digits and "/" not in text:
        raise ControlError(f"{text}: IPv6 is not supported: the tunnels carry IPv4", USAGE)
    port = _port(digits) if colon else None
    if (colon and port is None) or not 0 < len(host) <= NAME_LENGTH or not _NAME.fullmatch(host):
        raise ControlError(f"{text!r}: must be HOST or ADDRESS, with or without :PORT", USAGE)
    if not _NUMERIC.fullmatch(host):
        return Target(host.lower().removesuffix("."), None, port)
    try:
        return Target(host, IPv4Address(host), port)
    except AddressValueError as error:
        raise ControlError(f"{text!r}: not an IPv4 address: {error}", USAGE) from None


def _port(digits: str) -> int | None:
    if not digits.isascii() or not digits.isdigit():
        return None
    return int(digits) if 1 <= int(digits[:6]) <= HIGHEST_PORT else None


NONE: Mapping[str, tuple[NetworkSeen, ...]] = MappingProxyType({})


class WayKind(enum.Enum):
    """What stands behind an address."""

    VPC = "in a VPC"
    CLOUD_SERVICE = "cloud service outside of VPCs"
    PUBLIC = "public address"
    ON_PREMISES = "on premises"
    UNKNOWN = "private address that no connection carries"


@dataclass(frozen=True, slots=True)
class ChildSelectors:
    """The traffic selectors of the tunnel that a packet takes, and what of the packet they cover."""

    local: tuple[str, ...]
    remote: tuple[str, ...]
    negotiated: bool  #: else as configured: charon, or the daemon, did not tell
    source_covered: bool
    destination_covered: bool

    @property
    def cover(self) -> bool:
        """Whether charon's policies let the packet through (RFC 7296 §2.9)."""
        return self.source_covered and self.destination_covered


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that is known of one address."""

    address: IPv4Address
    kind: WayKind
    service: Service | None
    prefix: IPv4Network | None  #: of remote_networks, the longest that has the address
    connections: tuple[Connection, ...]  #: which carry that prefix together
    tunnel: TunnelKey | None  #: whose interface the kernel chose, now
    tunnel_seen: TunnelSeen | None  #: None: the daemon was not asked, or does not know the tunnel
    others: tuple[TunnelKey, ...]  #: further tunnels to the prefix: standbys, or sharers of the flows
    selectors: ChildSelectors | None  #: of that tunnel
    networks: tuple[NetworkSeen, ...]  #: the witness's word on that prefix; empty without the daemon
    seen: Seen


def explain(
    config: Config,
    catalogue: Catalogue,
    address: IPv4Address,
    seen: Seen,
    tunnels: Mapping[TunnelKey, TunnelSeen],
    networks: Mapping[str, tuple[NetworkSeen, ...]] = NONE,
) -> Explanation:
    """Return what is known of an address; ``tunnels`` and ``networks`` are the daemon's view, or empty."""
    prefix = covering(config, address)
    tunnel = _tunnel(config, seen)
    sharing = tuple(c for c in config.connections if prefix in c.remote_networks)
    return Explanation(
        address=address,
        kind=kind_of(config, address, local=isinstance(seen.route, ExplainedRoute) and seen.route.local),
        service=catalogue.at(address),
        prefix=prefix,
        connections=sharing,
        tunnel=tunnel.key if tunnel else None,
        tunnel_seen=tunnels.get(tunnel.key) if tunnel else None,
        others=tuple(t.key for c in sharing for t in c.tunnels if t != tunnel),
        selectors=_selectors(config, tunnel, address, seen, tunnels) if tunnel else None,
        networks=tuple(n for c in sharing for n in networks.get(c.name, ()) if n.remote == str(prefix)),
        seen=seen,
    )


def tunnels_of(status: Mapping[str, Any]) -> dict[TunnelKey, TunnelSeen]:
    """Return what the daemon's status says of each tunnel; nothing for an empty one."""
    return {
        TunnelKey(connection["name"], tunnel["name"]): TunnelSeen(
            state=tunnel["state"],
            reason=tunnel["reason"],
            forwarding=tunnel["forwarding"],
            selectors=tuple(
                (tuple(child["local"]), tuple(child["remote"])) for child in tunnel.get("selectors", ())
            ),
        )
        for connection in status.get("connections", [])
        for tunnel in connection["tunnels"]
    }


def networks_of(status: Mapping[str, Any]) -> dict[str, tuple[NetworkSeen, ...]]:
    """Return what the daemon's status says of each connection's networks; nothing for an empty one."""
    return {
        connection["name"]: tuple(
            NetworkSeen(local=n["local"], remote=n["remote"], carried=n["carried"], reason=n["reason"])
            for n in connection.get("networks", ())
        )
        for connection in status.get("connections", [])
    }


def covering(config: Config, address: IPv4Address) -> IPv4Network | None:
    """Return the longest of all remote networks that has the address, as the kernel's look-up would."""
    around = [n for c in config.connections for n in c.remote_networks if address in n]
    return max(around, key=lambda network: network.prefixlen, default=None)


def kind_of(config: Config, address: IPv4Address, *, local: bool) -> WayKind:
    """Return the kind; what the configuration says of an address goes before what the address looks like."""
    if local or address.is_loopback:
        return WayKind.ON_PREMISES
    lengths = [n.prefixlen for n in config.local_networks() if address in n]
    remote = covering(config, address)
    if lengths and (remote is None or remote.prefixlen < max(lengths)):
        return WayKind.ON_PREMISES
    if address in CLOUD_SERVICES:
        return WayKind.CLOUD_SERVICE
    if remote is not None:
        return WayKind.VPC
    return WayKind.PUBLIC if address.is_global else WayKind.UNKNOWN


def _tunnel(config: Config, seen: Seen) -> Tunnel | None:
    if not isinstance(seen.route, ExplainedRoute) or seen.route.local:
        return None
    return next((t for t in config.tunnels() if t.interface == seen.route.interface), None)


def _selectors(
    config: Config,
    tunnel: Tunnel,
    address: IPv4Address,
    seen: Seen,
    tunnels: Mapping[TunnelKey, TunnelSeen],
) -> ChildSelectors:
    """Return the selectors as they were negotiated, and what they say of a packet of the gateway's own.

    Where nobody tells them, those that charon was given: the peer may have narrowed them.
    """
    told = tunnels[tunnel.key].selectors if tunnel.key in tunnels else ()
    loaded = ipsec_connections(config)[tunnel.key.owner]
    of_children = told or ((loaded.local_ts, loaded.remote_ts),)
    source = seen.route.source if isinstance(seen.route, ExplainedRoute) else None
    # Of several CHILD_SAs the one counts that takes the packet, else the first.
    local, remote = next((child for child in of_children if _within(address, child[1])), of_children[0])
    return ChildSelectors(
        local=local,
        remote=remote,
        negotiated=bool(told),
        source_covered=source is None or _within(source, local),
        destination_covered=_within(address, remote),
    )


def _within(address: IPv4Address, selectors: tuple[str, ...]) -> bool:
    ranges = (found for selector in selectors if (found := range_of(selector)))
    return any(low <= int(address) <= high for low, high in ranges)
