"""The kinds of value that the file can hold: each reads one, states its rule, and describes itself.

A ``Kind`` stands in an ``Annotated`` type of ``file_models``. Its parser takes whatever the YAML holds and
raises ValueError with the rule and the value, so that pydantic's coercions and its wording never show. The
value of a key that leads to a secret is never part of a text: somebody will put the secret itself there.
"""

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, ip_address
from typing import Any, Final, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from vpnagent.config import units
from vpnagent.config.wording import listed, said, shown
from vpnagent.record import Json


@dataclass(frozen=True, slots=True)
class Kind:
    """A parser, and the JSON Schema of what it accepts; the schema's title names the kind to people."""

    parse: Callable[[object], object]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        return dict(self.schema)


def string(title: str, **schema: object) -> Json:
    """Return the JSON Schema of a text."""
    return {"type": "string", "title": title, **schema}


def integer(low: int, high: int) -> Kind:
    """Return the kind of an integer within bounds, both allowed."""
    title = f"integer from {low} to {high}"

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(said(f"must be an {title}, not {{}}", shown(value)))
        return value

    return Kind(parse, {"type": "integer", "minimum": low, "maximum": high, "title": title})


def duration(low: str, high: str) -> Kind:
    """Return the kind of a duration within bounds, both allowed: seconds as float."""
    return _quantity(f"duration from {low} to {high}", (low, high), units.duration, units.DURATION_PATTERN)


def rate(low: str, high: str) -> Kind:
    """Return the kind of a rate within bounds, both allowed: bits per second as float."""
    return _quantity(f"rate from {low} to {high}", (low, high), units.rate, units.RATE_PATTERN)


def _quantity(title: str, bounds: tuple[str, str], read: Callable[[object], float], pattern: str) -> Kind:
    low, high = map(read, bounds)

    def parse(value: object) -> float:
        quantity = read(value)
        if not low <= quantity <= high:
            raise ValueError(said(f"must be a {title}, not {{}}", shown(value)))
        return quantity

    number = {"type": "number", "minimum": low, "maximum": high}
    schema = {
        "anyOf": [{"type": "string", "pattern": pattern}, number],
        "title": title,
        "examples": [bounds[1]],
    }
    return Kind(parse, schema)


def choice(*allowed: str | int) -> Kind:
    """Return the kind of a value out of a list."""
    words = [str(word) for word in allowed]

    def parse(value: object) -> str | int:
        # True == 1 and 1.0 == 1 in Python, not here.
        if isinstance(value, str | int) and not isinstance(value, bool) and value in allowed:
            return value
        raise ValueError(said(f"must be {listed(words)}, not {{}}", shown(value)))

    return Kind(parse, {"enum": list(allowed), "title": listed(words)})


def member(of: type[enum.Enum]) -> Kind:
    """Return the kind of an enumeration's values, which become its members."""
    words = choice(*(item.value for item in of))
    return Kind(lambda value: of(words.parse(value)), words.schema)


def text(rule: str, pattern: str, *, title: str, secret: bool = False) -> Kind:
    """Return the kind of a text that matches a pattern in full; errors of a ``secret`` one never show it."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise ValueError(
                said(f"must be {rule}") if secret else said(f"must be {rule}, not {{}}", shown(value))
            )
        return value

    return Kind(parse, string(title, pattern=f"^{pattern}$"))


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(said("must be true or false, not {}", shown(value)))


IDENTITY_LENGTH: Final = 100  #: characters; the cloud's LocalId and RemoteId (CreateVpnConnection)


def _identity(value: object) -> str:
    rule = f"must be an address, a name or a certificate's subject of 1 to {IDENTITY_LENGTH} ASCII characters"
    if not isinstance(value, str) or not 1 <= len(value) <= IDENTITY_LENGTH or not value.isprintable():
        raise ValueError(said(f"{rule}, not {{}}", shown(value)))
    if not value.isascii():  # load-conn of strongSwan 5.9.8: "invalid value for: id"
        raise ValueError(said(f"{rule}, not {{}}", shown(value)))
    # charon takes both as patterns: a peer of any name would be let in.
    if value != value.strip() or value.startswith("%") or "*" in value:
        raise ValueError(
            said("must name one peer, without wildcards and white space around it, not {}", shown(value))
        )
    if _lets_in_several(value):
        raise ValueError(f"must name one peer, and to charon it lets in several, not {shown(value)}")
    return value


_PATTERN: Final = re.compile(r"(ipv[46](net|range)|[a-z0-9]+:\^.*\$$)", re.IGNORECASE)


def _lets_in_several(identity: str) -> bool:
    """Whether charon takes an identity for a network, a range, a regular expression, or anybody.

    strongSwan src/libstrongswan/utils/identification.c, create_ip_address_from_string and
    identification_create_from_string_with_regex.
    """
    if identity in ("0.0.0.0", "::", "0::0") or _PATTERN.match(identity):
        return True
    for separator in "/-":
        first, found, rest = identity.partition(separator)
        if found and _is_ip(first) and (separator == "/" or _is_ip(rest)):
            return True
    return False


def _is_ip(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


INTERFACE_LENGTH: Final = 15  #: characters, IFNAMSIZ - 1
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_KERNELS: Final = ("all", "default", "lo")  #: the first two are directories of net.ipv4.conf


def _interface(value: object) -> str:
    rule = "must be the name of an interface"
    if not isinstance(value, str) or not _INTERFACE.fullmatch(value):
        raise ValueError(
            said(
                f"{rule}: letters, digits, '_', '-' and '.', a letter or digit first, not {{}}", shown(value)
            )
        )
    if len(value) > INTERFACE_LENGTH:
        raise ValueError(
            said(f"{rule}: at most {INTERFACE_LENGTH} characters, not {{}} ({{}})", shown(value), len(value))
        )
    if value in _KERNELS:
        raise ValueError(said(f"{rule}, and {{}} is the kernel's own", value))
    return value


def _path(limit: int) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
            raise ValueError(said("must be an absolute path, not {}", shown(value)))
        if len(value.encode()) > limit:
            raise ValueError(said(f"must be a path of at most {limit} bytes, not {{}}", shown(value)))
        return value

    return parse


PATH_LENGTH: Final = 4000  #: bytes, PATH_MAX less what the daemon puts in such a directory
SOCKET_PATH_LENGTH: Final = 107  #: bytes, sun_path less its NUL (unix(7))

BOOLEAN: Final = Kind(_boolean, {"type": "boolean", "title": "true or false"})
NAME: Final = text("a name of 1 to 32 letters, digits, '_' and '-'", "[A-Za-z0-9_-]{1,32}", title="name")
WORD: Final = text("a word of 1 to 64 characters without white space", r"\S{1,64}", title="word")
CREDENTIAL: Final = text(
    "the name of a systemd credential: letters, digits, '.', '_' and '-'",
    "[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}",
    title="name of a credential",
    secret=True,
)
FILE: Final = text(
    "the name of a file, of one line", r"[^\x00-\x1f\x7f]{1,4000}", title="name of a file", secret=True
)
ARGUMENT: Final = text("an argument of one line", r"[^\x00\n\r]{1,4000}", title="argument", secret=True)
URL: Final = text(
    "the address of a webhook, as in https://alerts.example.com/vpn, without user and password",
    r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(/[\x21-\x7e]{0,2000})?",
    title="http or https address",
    secret=True,
)
IDENTITY: Final = Kind(_identity, string("IKE identity", minLength=1, maxLength=IDENTITY_LENGTH))
INTERFACE: Final = Kind(_interface, string("name of an interface", minLength=1, maxLength=INTERFACE_LENGTH))
HOST: Final = text(
    "a host name, as hostname(1) tells it",
    "[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?",
    title="host name",
)
SERVER: Final = text("the name or address of a server", r"[A-Za-z0-9.-]{1,253}", title="host")
MAIL_ADDRESS: Final = text(
    "a mail address such as oncall@example.com", r"[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,253}", title="mail address"
)
USERNAME: Final = text(
    "a user name of 1 to 64 visible ASCII characters without ':'", r"[!-9;-~]{1,64}", title="user name"
)
PATH: Final = Kind(_path(PATH_LENGTH), string("path", pattern="^/"))
SOCKET_PATH: Final = Kind(
    _path(SOCKET_PATH_LENGTH), string("path", pattern="^/", maxLength=SOCKET_PATH_LENGTH)
)


# The kinds of value that are IPv4 addresses and networks; see the kinds above.
# Only what a host or a routed network can have is accepted. An IPv6 address is told from nonsense.

T = TypeVar("T")

#: what is not routed on the Internet: RFC 1918, RFC 6598
PRIVATE: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))

#: special-purpose blocks (RFC 6890) in which there is neither a host nor a routed network
SPECIAL: Final = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}


def _parsed(value: object, parse: Callable[[str], T], rule: str) -> T:
    """Return what ``parse`` makes of a text. Raises ValueError with the rule and the value."""
    if isinstance(value, str):
        try:
            return parse(value)
        except ValueError:
            if _is_ipv6(value):
                rule = f"IPv6 is not supported yet: {rule}"
    raise ValueError(said(f"{rule}, not {{}}", shown(value)))


def _is_ipv6(text: str) -> bool:
    host = text.removeprefix("[").partition("]")[0]
    try:
        IPv6Interface(host)
    except ValueError:
        return False
    return True


def _address(value: object) -> IPv4Address:
    found = _parsed(value, IPv4Address, "must be an IPv4 address such as 192.0.2.1")
    _refuse_special(found)
    return found


def _refuse_special(address: IPv4Address) -> None:
    for block, name in SPECIAL.items():
        if address in block:
            raise ValueError(
                said("must be the unicast address of a host, not {} ({}, {})", address, name, block)
            )


def _address_or_any(value: object) -> IPv4Address | None:
    return None if value == "%any" else _address(value)


_PREFIX = re.compile(r"[0-9.]+/([0-9]|[12][0-9]|3[0-2])", re.ASCII)


def _prefix(text: str) -> IPv4Interface:
    # ipaddress takes netmasks too, and an address without a length for a single host.
    if not _PREFIX.fullmatch(text):
        raise ValueError
    return IPv4Interface(text)


def _network(value: object) -> IPv4Network:
    written = _parsed(value, _prefix, "must be an IPv4 network such as 172.16.0.0/16")
    network = written.network
    if written.ip != network.network_address:
        raise ValueError(said("{} has host bits set: the network is {}", written, network))
    if network.prefixlen == 0:
        raise ValueError(
            said("must name the networks themselves, not {}, which takes the default route", network)
        )
    for block, name in SPECIAL.items():
        if network.overlaps(block):
            raise ValueError(said("{} must not overlap {} ({})", network, block, name))
    return network


def _inside_address(value: object) -> IPv4Interface:
    rule = "must be this gateway's address in the tunnel's /30, such as 169.254.10.2/30"
    interface = _parsed(value, _slash_30, rule)
    _refuse_special(interface.ip)
    hosts = list(interface.network.hosts())
    if interface.ip not in hosts:
        raise ValueError(
            said("must be an address of a host, {}, not {}", listed(map(str, hosts)), interface.ip)
        )
    return interface


def _slash_30(text: str) -> IPv4Interface:
    if not text.endswith("/30"):
        raise ValueError
    return _prefix(text)


_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
MAX_PORT: Final = 65535


def _listen(value: object) -> str:
    if value == "":
        return ""
    return _parsed(
        value, _endpoint, "must be an IPv4 address and a port such as 127.0.0.1:9786, or '' for none"
    )


def _endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    IPv4Address(host)
    if not _PORT.fullmatch(port) or int(port) > MAX_PORT:
        raise ValueError
    return text


ADDRESS: Final = Kind(_address, string("IPv4 address", format="ipv4", examples=["203.0.113.1"]))
ADDRESS_OR_ANY: Final = Kind(
    _address_or_any,
    {"anyOf": [{"type": "string", "format": "ipv4"}, {"const": "%any"}], "title": "IPv4 address or %any"},
)
NETWORK: Final = Kind(
    _network, string("IPv4 network", pattern=r"^[0-9.]+/[0-9]+$", examples=["172.16.0.0/16"])
)
INSIDE_ADDRESS: Final = Kind(
    _inside_address, string("IPv4 address/30", pattern=r"^[0-9.]+/30$", examples=["169.254.10.2/30"])
)
LISTEN: Final = Kind(
    _listen, string("address:port", pattern=r"^([0-9.]+:[0-9]+)?$", examples=["127.0.0.1:9786"])
)
