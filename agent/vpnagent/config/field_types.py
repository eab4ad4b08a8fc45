"""The kinds of value that the file can hold: each reads one, states its rule, and describes itself.

A ``Kind`` stands in an ``Annotated`` type of ``file_models``. Its parser takes whatever the YAML holds and
raises ValueError with the rule and the value, so that pydantic's coercions and its wording never show. The
value of a key that leads to a secret is never part of a text: somebody will put the secret itself there.
"""

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from vpnagent.config import units
from vpnagent.config.wording import listed, said, shown

Json = dict[str, Any]


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
USERNAME: Final = text(
    "a user name of 1 to 64 visible ASCII characters without ':'", r"[!-9;-~]{1,64}", title="user name"
)
PATH: Final = Kind(_path(PATH_LENGTH), string("path", pattern="^/"))
SOCKET_PATH: Final = Kind(
    _path(SOCKET_PATH_LENGTH), string("path", pattern="^/", maxLength=SOCKET_PATH_LENGTH)
)
