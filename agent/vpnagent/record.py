"""Frozen records: ``record`` is ``dataclasses.dataclass`` for those who must start fast. Pure.

The standard library's compiles six methods for every class and imports ``inspect`` to do so: with the
prober's fifty classes that was half of the time to its first probe, and 2 MiB. Here a class gets one
compiled method, its ``__init__``, at its first use, and shares the others. To a type checker it *is* the
standard library's, and ``dataclasses.fields``, ``replace`` and ``asdict`` take its classes as their own.

Only ``frozen=True, slots=True`` and what our classes need: no inheritance, no ``field()``.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import replace

__all__ = ["FrozenRecordError", "Json", "field_names", "record", "replace"]

T = TypeVar("T")
Json = dict[str, Any]  #: an object of JSON, as ``json.loads`` makes it


class FrozenRecordError(AttributeError):
    """A record was to be changed."""


def field_names(kind: type) -> tuple[str, ...] | None:
    """Return the names of a record's fields in their order; None for what is no record."""
    return kind.__dict__.get("__record_fields__")


def _record(
    *, frozen: Literal[True], slots: Literal[True], kw_only: bool = False
) -> Callable[[type[T]], type[T]]:
    """Make a class a record of its annotated fields."""
    del frozen, slots  # said for the reader and for the type checker
    return lambda cls: _made(cls, kw_only=kw_only)


def _made(cls: type, *, kw_only: bool) -> Any:
    names = tuple(cls.__dict__.get("__annotations__", {}))
    defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
    kept = {key: value for key, value in cls.__dict__.items() if key not in names}
    for unwanted in ("__dict__", "__weakref__"):  # the new class makes its own, or none
        kept.pop(unwanted, None)
    body = {
        **kept,
        **_shared(names),
        "__qualname__": cls.__qualname__,
        "__slots__": names,
        "__match_args__": () if kw_only else names,
        "__record_fields__": names,
        "__dataclass_fields__": _Twin(cls, "__dataclass_fields__", kw_only=kw_only),
        "__dataclass_params__": _Twin(cls, "__dataclass_params__", kw_only=kw_only),
    }
    made: Any = type(cls.__name__, cls.__bases__, body)

    def first(self: object, *values: Any, **fields: Any) -> None:
        made.__init__ = _init(made, names, defaults, kw_only=kw_only)
        made.__init__(self, *values, **fields)

    made.__init__ = first
    return made


def _init(made: type, names: tuple[str, ...], defaults: dict[str, Any], *, kw_only: bool) -> Any:
    """Return the method, as one would write it by hand, but that the slots are set past ``__setattr__``."""
    parameters = [f"{name}=_default_{name}" if name in defaults else name for name in names]
    lines = [f"_set_{name}(self, {name})" for name in names]
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    star = ["*"] * (kw_only and bool(names))
    signature = ", ".join(["self", *star, *parameters])
    source = f"def __init__({signature}):\n    " + "\n    ".join(lines or ["pass"])
    scope = {f"_set_{name}": made.__dict__[name].__set__ for name in names}
    scope |= {f"_default_{name}": value for name, value in defaults.items()}
    exec(source, scope)  # noqa: S102 - the names are those of a class body
    return scope["__init__"]


def _shared(names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    """Return the methods that need no compiling."""
    values = _values(names)

    def equal(self: object, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: object) -> int:
        return hash(values(self))

    def shown(self: object) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return {
        "__eq__": equal,
        "__hash__": hashed,
        "__repr__": shown,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__reduce__": lambda self: (_rebuilt, (type(self), {name: getattr(self, name) for name in names})),
    }


def _values(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple(getattr(one, name) for name in names)


def _refuse(self: object, name: str, _value: object = None) -> None:
    raise FrozenRecordError(f"cannot change field {name!r} of a {type(self).__name__}")


def _rebuilt(kind: type[T], fields: dict[str, Any]) -> T:
    return kind(**fields)


def _replace(one: T, /, **changes: Any) -> T:
    """Return a record with other values in some fields."""
    names = field_names(type(one)) or ()
    return type(one)(**{name: getattr(one, name) for name in names} | changes)


class _Twin:
    """What the standard library's functions ask a class for, taken from its own making of the class."""

    def __init__(self, cls: type, attribute: str, *, kw_only: bool) -> None:
        self._cls = cls
        self._attribute = attribute
        self._kw_only = kw_only

    def __get__(self, _record: object, _kind: type) -> Any:
        import dataclasses  # noqa: PLC0415 - what this module is there to avoid

        if "__dataclass_params__" not in self._cls.__dict__:
            dataclasses.dataclass(frozen=True, kw_only=self._kw_only)(self._cls)
        return getattr(self._cls, self._attribute)


if not TYPE_CHECKING:
    record = _record
    replace = _replace
