"""What is asked about: ``HOST``, ``ADDRESS``, either with ``:PORT``. Pure."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from vpnagent.control import USAGE
from vpnagent.errors import ControlError

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
