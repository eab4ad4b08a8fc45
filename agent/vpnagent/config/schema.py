"""The file's JSON Schema, and its tables for docs/configuration.md.

``python -m vpnagent.config.schema > docs/vpnagent.schema.json`` renews the one; with ``--tables`` it prints
the others, which stand in the documentation as they are. Tests keep both equal to the models.
"""

import enum
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from vpnagent.config.build import AUTHENTICATION
from vpnagent.config.file_models import ConfigFile
from vpnagent.config.hooks import TARGETS
from vpnagent.config.values import Config, Connection, Hook, Tunnel
from vpnagent.record import Json, field_names

URL: Final = "https://json-schema.org/draft/2020-12/schema"


def schema() -> Json:
    """Return the JSON Schema of the file."""
    found = ConfigFile.model_json_schema()
    definitions = found["$defs"]
    for section in (found, *definitions.values()):
        section["properties"] = {
            name: _field(field, definitions) for name, field in section["properties"].items()
        }
    definitions["TunnelSection"]["oneOf"] = [{"required": [key]} for key in AUTHENTICATION]
    definitions["HookSection"]["oneOf"] = [{"required": [key]} for key in TARGETS]
    return {"$schema": URL, **found, "title": "vpnagent.yaml"}


def keys() -> frozenset[str]:
    """Return the name of every key that there is."""
    found = ConfigFile.model_json_schema()
    return frozenset(name for section in (found, *found["$defs"].values()) for name in section["properties"])


def _field(field: Json, definitions: Json) -> Json:
    """Return a field with a description, and without the nulls that stand for defaults told in words."""
    field = {name: value for name, value in field.items() if (name, value) != ("default", None)}
    if {"type": "null"} in field.get("anyOf", ()):
        field |= field.pop("anyOf")[0]
    if name := _reference(field):
        field.setdefault("description", definitions[name]["description"])
        field["title"] = "list of mappings" if "items" in field else "mapping"
    return field


def _reference(field: Json) -> str | None:
    """Return the name of the definition that a field, or the list in it, refers to."""
    target: str | None = field.get("items", field).get("$ref")
    return target.removeprefix("#/$defs/") if target else None


def tables() -> str:
    """Return a heading, a sentence and a table for each kind of mapping, in the order of the file."""
    found = schema()
    return "\n\n".join(_tables("", found, dict(found["$defs"]))) + "\n"


def _tables(path: str, section: Json, definitions: Json) -> Iterator[str]:
    """Yield them; those that were, at another path, are taken out of ``definitions``."""
    fields = section["properties"]
    rows = [_row(name, field, required=name in section.get("required", ())) for name, field in fields.items()]
    heading = f"## `{path}`" if path else "## The file"
    table = ["| key | type | default | meaning |", "|---|---|---|---|", *rows]
    yield "\n".join([heading, "", section["description"], "", *table])
    for name, field in fields.items():
        reference = _reference(field)
        if reference and (definition := definitions.pop(reference, None)):
            inner = f"{path}.{name}".removeprefix(".") + ("[]" if "items" in field else "")
            yield from _tables(inner, definition, definitions)


def _row(name: str, field: Json, *, required: bool) -> str:
    meaning, _, words = field["description"].partition(" Default: ")
    default = "required" if required else words.removesuffix(".")
    if "default" in field:
        default = f"`{json.dumps(field['default']).strip(chr(34))}`"
    return f"| `{name}` | {field['title']} | {default or 'none'} | {meaning} |"


def main(arguments: list[str]) -> None:
    """Print the schema, or with ``--tables`` the tables."""
    text = tables() if arguments == ["--tables"] else json.dumps(schema(), indent=2) + "\n"
    sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])


# Every parameter as it is in force, for one line of the log, and what differs between two files. Pure.
# A ``Secret`` shows as ``***``, and so does every argument of a hook's command: many a token is given so.

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
