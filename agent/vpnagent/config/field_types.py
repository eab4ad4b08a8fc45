"""The kinds of value that the file can hold: each reads one, states its rule, and describes itself.

A ``Kind`` stands in an ``Annotated`` type of ``file_models``. Its parser takes whatever the YAML holds and raises
ValueError with the rule and the value, so that pydantic's coercions and its wording never show. The
value of a key that leads to a secret is never part of a text: somebody will put the secret itself there.
"""

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from vpnagent.config import units
from vpnagent.config.wording import closest, listed, shown

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A parser, and the JSON Schema of what it accepts; its title is the name of the kind in the documentation."""

    parse: Callable[[object], object]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        return dict(self.schema)


def integer(low: int, high: int) -> Kind:
    """Return the kind of an integer within bounds, both allowed."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be an integer from {low} to {high}, not {shown(value)}")
        return value

    return Kind(
        parse, {"type": "integer", "minimum": low, "maximum": high, "title": f"integer from {low} to {high}"}
    )


def duration(low: str, high: str) -> Kind:
    """Return the kind of a duration within bounds, both allowed: seconds as float."""
    return _quantity("duration", (low, high), units.duration, units.DURATION_PATTERN)


def rate(low: str, high: str) -> Kind:
    """Return the kind of a rate within bounds, both allowed: bits per second as float."""
    return _quantity("rate", (low, high), units.rate, units.RATE_PATTERN)


def _quantity(kind: str, bounds: tuple[str, str], read: Callable[[object], float], pattern: str) -> Kind:
    low, high = (read(bound) for bound in bounds)

    def parse(value: object) -> float:
        number = read(value)
        if not low <= number <= high:
            raise ValueError(f"must be a {kind} from {bounds[0]} to {bounds[1]}, not {shown(value)}")
        return number

    number = {"type": "number", "minimum": low, "maximum": high}
    return Kind(
        parse,
        {
            "anyOf": [{"type": "string", "pattern": pattern}, number],
            "title": f"{kind} from {bounds[0]} to {bounds[1]}",
        },
    )


def choice(*allowed: str | int, refused: Mapping[str | int, str] | None = None) -> Kind:
    """Return the kind of a value out of a list; ``refused`` names others with the reason against each."""

    def parse(value: object) -> str | int:
        if not isinstance(value, str | int) or isinstance(value, bool) or value not in allowed:
            reason = (refused or {}).get(value) if isinstance(value, str | int) else None
            raise ValueError(f"{shown(value)} {reason}" if reason else _not_allowed(value))
        return value

    def _not_allowed(value: object) -> str:
        text = f"must be {listed(str(word) for word in allowed)}, not {shown(value)}"
        meant = closest(value, [str(word) for word in allowed]) if isinstance(value, str) else None
        return f"{text}: did you mean {meant}?" if meant and len(allowed) > 3 else text

    return Kind(parse, {"enum": list(allowed), "title": listed(str(word) for word in allowed)})


def member(of: type[enum.Enum]) -> Kind:
    """Return the kind of an enumeration's values, which become its members."""
    words = choice(*(item.value for item in of))
    return Kind(lambda value: of(words.parse(value)), words.schema)


def text(rule: str, pattern: str, *, title: str, secret: bool = False) -> Kind:
    """Return the kind of a text that matches a pattern in full; of a ``secret`` one errors show nothing."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise ValueError(f"must be {rule}" if secret else f"must be {rule}, not {shown(value)}")
        return value

    return Kind(parse, {"type": "string", "pattern": f"^{pattern}$", "title": title})


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {shown(value)}")
    return value


def _ipv4(value: object, what: str, example: str) -> str:
    """Return the text of something IPv4; the caller parses it. IPv6 is told from nonsense."""
    rule = f"must be {what} such as {example}, not {shown(value)}"
    if not isinstance(value, str):
        raise ValueError(rule)  # noqa: TRY004 - pydantic collects ValueError
    try:
        IPv6Interface(value.strip("[]"))
    except ValueError:
        return value
    raise ValueError(f"IPv6 is not supported yet: {rule}")


#: special-purpose address blocks (RFC 6890) that neither a host nor a routed network can be in
_NEVER: Final = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}


def _address(value: object) -> IPv4Address:
    written = _ipv4(value, "an IPv4 address", "192.0.2.1")
    try:
        address = IPv4Address(written)
    except AddressValueError:
        raise ValueError(f"must be an IPv4 address such as 192.0.2.1, not {shown(value)}") from None
    _refuse_special(address)
    return address


def _refuse_special(address: IPv4Address) -> None:
    for block, name in _NEVER.items():
        if address in block:
            raise ValueError(f"must be the unicast address of a host, not {address} ({name}, {block})")


def _address_or_any(value: object) -> IPv4Address | None:
    return None if value == "%any" else _address(value)


_PREFIX = re.compile(r"([0-9.]+)/([0-9]|[12][0-9]|3[0-2])", re.ASCII)


def _network(value: object) -> IPv4Network:
    rule = f"must be an IPv4 network such as 172.16.0.0/16, not {shown(value)}"
    written = _ipv4(value, "an IPv4 network", "172.16.0.0/16")
    if not _PREFIX.fullmatch(written):
        raise ValueError(rule)
    try:
        network = IPv4Network(written, strict=False)
    except ValueError:
        raise ValueError(rule) from None
    if written.partition("/")[0] != str(network.network_address):
        raise ValueError(f"{shown(value)} has host bits set: the network is {network}")
    if network.prefixlen == 0:
        raise ValueError("0.0.0.0/0 would take the default route: name the networks themselves")
    for block, name in _NEVER.items():
        if network.overlaps(block):
            raise ValueError(f"{network} must not overlap {block} ({name})")
    return network


def _inside_address(value: object) -> IPv4Interface:
    rule = f"must be this gateway's IPv4 address with /30, such as 169.254.10.2/30, not {shown(value)}"
    written = _ipv4(value, "this gateway's IPv4 address with /30,", "169.254.10.2/30")
    try:
        interface = IPv4Interface(written)
    except ValueError:
        raise ValueError(rule) from None
    if not written.endswith("/30"):
        raise ValueError(rule)
    _refuse_special(interface.ip)
    if interface.ip not in list(interface.network.hosts()):
        hosts = listed(str(host) for host in interface.network.hosts())
        raise ValueError(f"{interface} is not the address of a host: {interface.network} has {hosts}")
    return interface


def _listen(value: object) -> str:
    rule = f"must be an IPv4 address and a port such as 127.0.0.1:9786, or '' for none, not {shown(value)}"
    if value == "":
        return ""
    if not isinstance(value, str):
        raise ValueError(rule)  # noqa: TRY004 - pydantic collects ValueError
    host, _, port = value.rpartition(":")
    _ipv4(host, "an IPv4 address and a port", "127.0.0.1:9786")
    try:
        IPv4Address(host)
    except AddressValueError:
        raise ValueError(rule) from None
    if not re.fullmatch("[1-9][0-9]{0,4}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(rule)
    return value


def _identity(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 100 or not value.isprintable():
        raise ValueError(
            f"must be an address, a name or a subject of 1 to 100 characters, not {shown(value)}"
        )
    if value != value.strip() or "%any" in value or "*" in value:
        raise ValueError(
            f"must name one peer, without wildcards or white space around it, not {shown(value)}"
        )
    return value


def _file_name(value: object) -> str:
    # No value in these texts: it may be the secret itself, or a private key.
    if not isinstance(value, str) or not 1 <= len(value) <= 4095 or not value.isprintable():
        raise ValueError("must be the name of a file, of one line")
    return value


_ILLEGAL_INTERFACES: Final = ("all", "default", "lo")  #: the first two are directories of net.ipv4.conf


def _interface(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value, re.ASCII):
        raise ValueError(
            f"must be an interface name of letters, digits, '_', '-' and '.', starting with a letter or digit, not {shown(value)}"
        )
    if len(value) > 15:
        raise ValueError(
            f"must be an interface name of at most 15 characters, not {shown(value)} ({len(value)})"
        )
    if value in _ILLEGAL_INTERFACES:
        raise ValueError(f"must not be {value!r}, which the kernel keeps for itself")
    return value


def _absolute(limit: int) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
            raise ValueError(f"must be an absolute path, not {shown(value)}")
        if len(value.encode()) > limit:
            raise ValueError(f"must be a path of at most {limit} bytes, not {shown(value)}")
        return value

    return parse


def _string(title: str, **schema: object) -> Json:
    return {"type": "string", "title": title, **schema}


BOOLEAN: Final = Kind(_boolean, {"type": "boolean", "title": "true or false"})
NAME: Final = text("a name of 1 to 32 letters, digits, '_' and '-'", "[A-Za-z0-9_-]{1,32}", title="name")
WORD: Final = text("a word of 1 to 64 visible characters", r"[^\s\x00-\x1f]{1,64}", title="word")
CREDENTIAL: Final = text(
    "the name of a systemd credential (letters, digits, '.', '_' and '-')",
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}",
    title="name of a credential",
    secret=True,
)
ADDRESS: Final = Kind(_address, _string("IPv4 address", format="ipv4"))
ADDRESS_OR_ANY: Final = Kind(
    _address_or_any,
    {"anyOf": [{"type": "string", "format": "ipv4"}, {"const": "%any"}], "title": "IPv4 address or %any"},
)
NETWORK: Final = Kind(_network, _string("IPv4 network", pattern=r"^[0-9.]+/[0-9]+$"))
INSIDE_ADDRESS: Final = Kind(_inside_address, _string("IPv4 address/30", pattern=r"^[0-9.]+/30$"))
LISTEN: Final = Kind(_listen, _string("address:port", pattern=r"^([0-9.]+:[0-9]+)?$"))
IDENTITY: Final = Kind(_identity, _string("identity", minLength=1, maxLength=100))
FILE: Final = Kind(_file_name, _string("file", minLength=1))
INTERFACE: Final = Kind(_interface, _string("interface name", minLength=1, maxLength=15))
PATH: Final = Kind(_absolute(4000), _string("path", pattern="^/"))
SOCKET_PATH: Final = Kind(_absolute(107), _string("path", pattern="^/", maxLength=107))  #: sun_path, unix(7)
