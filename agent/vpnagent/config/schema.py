"""The file's JSON Schema, and its tables for docs/configuration.md.

``python -m vpnagent.config.schema > docs/vpnagent.schema.json`` renews the one; with ``--tables`` it prints
the others, which stand in the documentation as they are. Tests keep both equal to the models.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from vpnagent.config.build import AUTHENTICATION
from vpnagent.config.file_models import ConfigFile
from vpnagent.config.hooks import TARGETS

URL: Final = "https://json-schema.org/draft/2020-12/schema"

Json = dict[str, Any]


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
