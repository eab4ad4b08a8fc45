"""What the control daemon and the prober say to each other: messages, and datagrams that carry them. Pure.

One unix SEQPACKET connection, both ways. A message is a kind and a JSON body; it travels in datagrams
of at most ``FRAGMENT`` octets, each with a header, as an intent of 256 tunnels exceeds what a socket buffer
takes at once. ``Assembler`` puts them together and raises ``ProtocolError`` for anything else, whatever the
bytes.

``encode`` writes any record by its type annotations, ``decode`` reads it back strictly: every field
there, none besides, each of its type. Readers are built once for each type: an intent of 256 tunnels is read
in milliseconds, within the prober's loop.

``VERSION`` is that of everything but the header, ``Hello`` and ``Quit``, which never change: two versions
that meet can say so to each other, and the older prober can be asked to go (ADR 0002).

    daemon                    prober
      |  <------- Hello ------- |   first, from both ends: version, pid, generation in force
      |  -------- Hello ------> |
      |  ------ Configure ----> |   the whole intent, a new generation
      |  <- Accepted | Refused  |
      |  --- IntentUpdate ----> |   flags of some tunnels, a new generation
      |  <-- ProberReport ----- |   every second; left out when the daemon does not read
      |  <- PathChanged, FailedOver, FirstReply: kept until the daemon reads
      |  -------- Quit -------> |
"""

import enum
import json
import struct
import types
import typing
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, Final, TypeVar

from vpnagent.config.values import TunnelKey
from vpnagent.errors import AgentError
from vpnagent.finding import Finding
from vpnagent.probe.actions import Cause, FirstReply, PathChanged, PathReport
from vpnagent.probe.intent import Configure, IntentUpdate
from vpnagent.record import field_names, record

T = TypeVar("T")

VERSION: Final = 6
FRAGMENT: Final = 32 * 1024  #: octets of body in one datagram
MAXIMUM: Final = 4 * 1024 * 1024  #: octets of body in one message; 256 tunnels need less than a tenth
DATAGRAM: Final = 64 * 1024  #: octets to offer for one datagram

_MAGIC = b"vpnp"
_HEADER = struct.Struct("!4sBBHH")  # magic, header version, kind, fragment, number of fragments
_HEADER_VERSION = 1

_Read = Callable[[Any], Any]


class ProtocolError(AgentError):
    """What came over the prober's socket is no message of this protocol version."""


@record(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who speaks, and from a prober that has nothing to report: that it lives. Never changes."""

    version: int
    pid: int
    generation: int  #: of the intent in force; 0: none. Told by the prober


@record(frozen=True, slots=True, kw_only=True)
class Quit:
    """The prober is to end, leaving the kernel as it is. Never changes."""


@record(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The generation is in force."""

    generation: int


@record(frozen=True, slots=True, kw_only=True)
class Refused:
    """The generation is not taken; the one in force stays."""

    generation: int
    in_force: int
    reason: str


@record(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """A nexthop group as the prober last wrote it."""

    id: int
    members: tuple[tuple[int, int], ...]  #: empty: deleted
    error: str  #: why the kernel does not hold what was decided; empty: it does


@record(frozen=True, slots=True, kw_only=True)
class TunnelMeter:
    """The round trips of one tunnel's probes, since the prober began."""

    tunnel: TunnelKey
    counts: tuple[int, ...]  #: by bucket of actions.RTT_BOUNDS, not cumulative
    total: float  #: seconds


@record(frozen=True, slots=True, kw_only=True)
class ProberReport:
    """Everything that is known, now."""

    at: float  #: monotonic seconds, the same clock in both processes
    generation: int
    paths: tuple[PathReport, ...]
    selected: tuple[tuple[str, tuple[str, ...]], ...]  #: connection, names of its tunnels
    groups: tuple[GroupReport, ...]
    findings: tuple[Finding, ...]
    rtt: tuple[TunnelMeter, ...]
    lateness: tuple[int, ...]  #: wake-ups by bucket of actions.LATENESS_BOUNDS, not cumulative
    lateness_total: float  #: seconds
    overflows: int  #: answers that we lost ourselves, to a full socket buffer
    send_errors: int  #: probes that could not be sent
    groups_repaired: int  #: nexthop groups that others changed or removed, and that were put right
    events_lost: int  #: events dropped as the daemon did not read for long


@record(frozen=True, slots=True, kw_only=True)
class FailedOver:
    """A connection's traffic was moved, with the times of it. All times are monotonic seconds."""

    connection: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    cause: Cause
    tunnel: TunnelKey | None
    reason: str
    last_heard: float | None
    decided: float
    netlink_sent: float | None  #: None: no group had to be written
    netlink_acknowledged: float | None  #: None: refused, see GroupReport.error
    suppressed: int


ToProber = Hello | Quit | Configure | IntentUpdate
ToDaemon = Hello | Accepted | Refused | ProberReport | PathChanged | FailedOver | FirstReply
Message = ToProber | ToDaemon

KINDS: Final[dict[int, type[Message]]] = {
    1: Hello,
    2: Quit,
    3: Configure,
    4: IntentUpdate,
    5: Accepted,
    6: Refused,
    7: ProberReport,
    8: PathChanged,
    9: FailedOver,
    10: FirstReply,
}
_NUMBERS = {kind: number for number, kind in KINDS.items()}


def datagrams(message: Message) -> list[bytes]:
    """Return the datagrams that carry a message, in their order."""
    body = encode(message)
    if len(body) > MAXIMUM:
        raise ProtocolError(f"a {type(message).__name__} of {len(body)} octets is too long to be sent")
    parts = [body[at : at + FRAGMENT] for at in range(0, len(body), FRAGMENT)]
    kind = _NUMBERS[type(message)]
    return [
        _HEADER.pack(_MAGIC, _HEADER_VERSION, kind, position, len(parts)) + part
        for position, part in enumerate(parts)
    ]


class Assembler:
    """Puts the datagrams of one connection together; they come in order or not at all."""

    def __init__(self) -> None:
        self._kind = 0
        self._count = 0
        self._parts: list[bytes] = []

    def feed(self, datagram: bytes) -> Message | None:
        """Return the message that a datagram completes; ProtocolError ends the connection."""
        if len(datagram) < _HEADER.size:
            raise ProtocolError(f"a datagram of {len(datagram)} octets")
        magic, version, kind, position, count = _HEADER.unpack_from(datagram)
        if (magic, version) != (_MAGIC, _HEADER_VERSION):
            raise ProtocolError("this is not the prober's protocol")
        if not 0 < count <= MAXIMUM // FRAGMENT or len(datagram) > _HEADER.size + FRAGMENT:
            raise ProtocolError(f"a message of {count} fragments is too long")
        if position == 0:
            self._kind, self._count, self._parts = kind, count, []
        if (kind, count, position) != (self._kind, self._count, len(self._parts)):
            raise ProtocolError(f"fragment {position} of {count} is out of order")
        self._parts.append(datagram[_HEADER.size :])
        if len(self._parts) < count:
            return None
        body, self._parts, self._count = b"".join(self._parts), [], 0
        return _message(kind, body)


def _message(kind: int, body: bytes) -> Message:
    if kind not in KINDS:
        raise ProtocolError(f"unknown kind of message {kind}")
    return decode(KINDS[kind], body)


def encode(value: object) -> bytes:
    """Return the value as compact JSON."""
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False).encode()


def decode(kind: type[T], data: bytes) -> T:
    """Return the value of that type; ProtocolError says what is wrong with the bytes."""
    try:
        plain = json.loads(data, parse_constant=_refuse)
        return typing.cast("T", _reader(kind)(plain))
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ProtocolError(f"not a {kind.__name__}: {error}") from None


def _refuse(constant: str) -> typing.NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _plain(value: Any) -> object:
    """Return the value in terms of what JSON has."""
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | frozenset):
        return [_plain(item) for item in value]
    if (names := field_names(type(value))) is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    return _plain_other(value)


def _plain_other(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IPv4Address | IPv4Interface | IPv4Network):
        return str(value)
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _exactly(kind: type) -> _Read:
    def read(plain: Any) -> Any:
        if type(plain) is not kind:
            raise ValueError(f"{plain!r:.40} is no {kind.__name__}")
        return plain

    return read


def _float(plain: Any) -> float:
    if type(plain) not in (int, float):
        raise ValueError(f"{plain!r:.40} is no number")
    return float(plain)


def _text(plain: Any) -> str:
    if type(plain) is not str:
        raise ValueError(f"{plain!r:.40} is no str")
    plain.encode()  # half a surrogate pair, which JSON can escape, is a UnicodeEncodeError: a ValueError
    return plain


_READERS: dict[Any, _Read] = {
    bool: _exactly(bool),
    int: _exactly(int),
    str: _text,
    float: _float,
    bytes: lambda plain: bytes.fromhex(_text(plain)),
    type(None): _exactly(type(None)),
    IPv4Address: lambda plain: IPv4Address(_text(plain)),
    IPv4Interface: lambda plain: IPv4Interface(_text(plain)),
    IPv4Network: lambda plain: IPv4Network(_text(plain)),
}


def _reader(kind: Any) -> _Read:
    """Return the function that reads a value of this type."""
    if kind not in _READERS:
        arguments = typing.get_args(kind)
        _READERS[kind] = _generic(kind, arguments) if arguments else _named(kind)
    return _READERS[kind]


def _generic(kind: Any, arguments: tuple[Any, ...]) -> _Read:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _optional(arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return _row(tuple, arguments)
    if origin in (tuple, frozenset):
        return _sequence(origin, arguments[0])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(arguments[0], arguments[1])
    raise TypeError(f"{kind} cannot be received")


def _named(kind: Any) -> _Read:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enumerated(kind)
    if isinstance(kind, type) and issubclass(kind, tuple):  # a NamedTuple
        return _row(lambda items: kind(*items), tuple(typing.get_type_hints(kind).values()))
    if isinstance(kind, type) and (names := field_names(kind)) is not None:
        return _record(kind, names)
    raise TypeError(f"{kind} cannot be received")


def _optional(arguments: tuple[Any, ...]) -> _Read:
    others = [kind for kind in arguments if kind is not type(None)]
    if len(others) != 1:
        raise TypeError(f"a union of {arguments} cannot be received")
    read = _reader(others[0])
    return lambda plain: None if plain is None else read(plain)


def _sequence(make: Callable[[Any], Any], kind: Any) -> _Read:
    read = _reader(kind)
    items = _exactly(list)
    return lambda plain: make([read(item) for item in items(plain)])


def _row(make: Callable[[Any], Any], kinds: tuple[Any, ...]) -> _Read:
    readers = [_reader(kind) for kind in kinds]
    exact = _exactly(list)

    def read(plain: Any) -> Any:
        items = exact(plain)
        if len(items) != len(readers):
            raise ValueError(f"{len(items)} items instead of {len(readers)}")
        return make([read_one(item) for read_one, item in zip(readers, items, strict=True)])

    return read


def _mapping(key: Any, item: Any) -> _Read:
    return _sequence(dict, tuple[key, item])


def _enumerated(kind: type[enum.Enum]) -> _Read:
    # By type too: True is equal to 1.
    members = {(type(member.value), member.value): member for member in kind}

    def read(plain: Any) -> Any:
        member = members.get((type(plain), plain))
        if member is None:
            raise ValueError(f"{plain!r:.40} is no {kind.__name__}")
        return member

    return read


def _record(kind: type, names: tuple[str, ...]) -> _Read:
    hints = typing.get_type_hints(kind)
    readers = {name: _reader(hints[name]) for name in names}
    exact = _exactly(dict)

    def read(plain: Any) -> Any:
        fields = exact(plain)
        if fields.keys() != readers.keys():
            raise ValueError(f"{kind.__name__} has other fields")
        return kind(**{name: read_one(fields[name]) for name, read_one in readers.items()})

    return read
