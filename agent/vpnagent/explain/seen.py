"""What was seen of one address: the kernel's route, the daemon's word, the answer. Values only."""

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
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
class Answer:
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

    route: Route | NoRoute
    answer: Answer
