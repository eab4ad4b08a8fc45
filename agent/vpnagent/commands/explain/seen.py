"""What was seen of one address: the kernel's route, the daemon's word, the answer. Values only."""

import enum
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError


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
