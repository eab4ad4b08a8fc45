"""Every parameter as it is in force, for one line of the log, and what differs between two files. Pure.

A ``Secret`` shows as ``***``, and so does every argument of a hook's command: many a token is given so.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from vpnagent.config.values import Config, Connection, Hook, Tunnel
from vpnagent.record import field_names

NAMED: Final = (Connection, Tunnel, Hook)


def effective(config: Config) -> str:
    """Return ``gateway.name=idc agent.realtime=false connections.hz.mtu=1399 …``."""
    return " ".join(f"{path}={_shown(value)}" for path, value in _of(config, ""))


def differences(old: Config, new: Config) -> list[str]:
    """Return ``connections.hz.mtu: 1399 -> 1300`` of each parameter; what one of them lacks, as a whole."""
    before, after = dict(_of(old, "")), dict(_of(new, ""))
    found = [
        *(f"{_whole(path, after)}: is removed" for path in before if path not in after),
        *(f"{_whole(path, before)}: is added" for path in after if path not in before),
    ]
    for path, value in after.items():
        if path in before and before[path] != value:
            was, now = _shown(before[path]), _shown(value)
            found.append(f"{path}: {was} -> {now if now != was else 'another'}")
    return list(dict.fromkeys(found))


def _whole(path: str, others: Iterable[str]) -> str:
    """Return the outermost section around a parameter that others have nothing of."""
    parts = path.split(".")
    sections = [".".join(parts[:end]) for end in range(1, len(parts))]
    lacking = (s for s in sections if not any(other.startswith(f"{s}.") for other in others))
    return next(lacking, path)


def _of(value: object, path: str) -> Iterator[tuple[str, object]]:
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
        yield path, value


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
