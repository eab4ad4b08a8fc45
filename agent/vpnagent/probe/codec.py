"""Values to JSON and back, by their type annotations. Pure.

What both ends of the prober's socket exchange are frozen dataclasses; this module writes any of them and
reads them back strictly: every field there, none besides, each of its type. ``decode`` returns a value of
the type asked for or raises ``ValueError``, whatever the bytes. Readers are built once for each type: an
intent of 256 tunnels is read in milliseconds, within the prober's loop.
"""

import enum
import json
import types
import typing
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, TypeVar

from vpnagent.errors import AgentError
from vpnagent.record import field_names

T = TypeVar("T")

_Read = Callable[[Any], Any]


class ProtocolError(AgentError):
    """What came over the prober's socket is no message of this protocol version."""


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
