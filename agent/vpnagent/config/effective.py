"""Every parameter as it is in force, for one line of the log. Pure.

A ``Secret`` shows as ``***``, and so does every argument of a hook's command: many a token is given so.
"""

import enum
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vpnagent.config.values import Config, Connection, Hook, Tunnel
from vpnagent.record import field_names

NAMED: Final = (Connection, Tunnel, Hook)


def effective(config: Config) -> str:
    """Return ``gateway.name=idc agent.realtime=false connections.hz.mtu=1399 …``."""
    return " ".join(f"{path}={shown}" for path, shown in _of(config, ""))


def _of(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Hook):
        value = replace(value, command=(*value.command[:1], *("***" for _ in value.command[1:])))
    names = field_names(type(value))
    if names is not None:
        said = ("name", "key") if isinstance(value, NAMED) else ()  # by the path
        for name in names:
            if name not in said:
                yield from _of(getattr(value, name), f"{path}.{name}".removeprefix("."))
    elif isinstance(value, tuple) and value and isinstance(value[0], NAMED):
        for member in value:
            yield from _of(member, f"{path}.{member.name}")
    else:
        yield path, _shown(value)


def _shown(value: object) -> str:
    """Return a value without white space outside of quotes."""
    match value:
        case None | () | "":
            return "-"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case enum.Enum():
            return str(value.value)
        case tuple():
            return ",".join(map(_shown, value))
        case _:
            text = str(value)
            return repr(text) if any(character.isspace() for character in text) else text
