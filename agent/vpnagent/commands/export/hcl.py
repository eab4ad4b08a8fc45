"""Terraform's language as values, and as text in the layout of ``terraform fmt``. Pure.

HCL native syntax: https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md. Only what is printed here.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

INDENT = "  "
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that stands as it is: ``alicloud_vpn_connection.hangzhou.id``."""

    text: str


HclValue = str | int | bool | Expression | tuple["HclValue", ...] | Mapping[str, "HclValue"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """``name = value``."""

    name: str
    value: HclValue


@dataclass(frozen=True, slots=True)
class Block:
    """``kind "label" "label" { … }``, with a comment above it."""

    kind: str
    labels: tuple[str, ...]
    body: tuple["Attribute | Block", ...]
    comment: str = ""


def attributes(**values: HclValue) -> tuple[Attribute, ...]:
    """Return attributes in the order given."""
    return tuple(Attribute(name, value) for name, value in values.items())


def identifier(name: str) -> str:
    """Return a name of ours as an identifier, which begins with a letter or '_'; different ones stay so."""
    return name if re.match("[A-Za-z]", name) else f"_{name}"


def entry(variable: str, key: str) -> Expression:
    """Return one entry of a variable that is a map."""
    return Expression(f"var.{variable}[{expression(key)}]")


def document(blocks: Iterable[Block]) -> str:
    """Return the text of a file."""
    return "\n".join("".join(f"{line}\n" for line in _block(block)) for block in blocks)


def _block(block: Block) -> Iterator[str]:
    yield from (f"# {line}".rstrip() for line in block.comment.splitlines())
    head = " ".join([block.kind, *(_string(label) for label in block.labels)])
    yield f"{head} {{"
    for number, (is_block, items) in enumerate(itertools.groupby(block.body, _is_block)):
        if number:
            yield ""
        lines = _blocks(items) if is_block else _aligned(items)
        yield from (f"{INDENT}{line}" if line else "" for line in lines)
    yield "}"


def _is_block(item: Attribute | Block) -> bool:
    return isinstance(item, Block)


def _blocks(items: Iterable[Attribute | Block]) -> Iterator[str]:
    for number, item in enumerate(items):
        if number:
            yield ""
        if isinstance(item, Block):
            yield from _block(item)


def _aligned(items: Iterable[Attribute | Block]) -> list[str]:
    pairs = [(item.name, expression(item.value)) for item in items if isinstance(item, Attribute)]
    width = max(len(name) for name, _ in pairs)
    return [f"{name:{width}} = {text}" for name, text in pairs]


def expression(value: HclValue) -> str:
    """Return a value as an expression, on one line."""
    match value:
        case Expression(text):
            return text
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _string(value)
        case tuple():
            return f"[{', '.join(expression(item) for item in value)}]"
        case _:
            return f"{{ {', '.join(f'{key} = {expression(item)}' for key, item in value.items())} }}"


def _string(value: str) -> str:
    """Return a quoted string that nothing in it can leave, and no template is read from."""
    escaped = "".join(_ESCAPES.get(character, character) for character in value)
    return '"' + re.sub(r"([$%])(?=\{)", r"\1\1", escaped) + '"'
