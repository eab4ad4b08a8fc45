"""The YAML to be: a tree that knows the origin of each value and what is still to be asked. Pure."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from vpnagent.commands.import_.json_object import Source
from vpnagent.config.wording import KeyPath
from vpnagent.config.yaml_positions import read


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key with its value; ``sources`` is empty where the value is no statement of a document."""

    key: str
    value: str | int | tuple[str, ...]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A key that no document tells: it stands in a comment, with an example that may be wrong."""

    key: str
    example: str
    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that the reader must know, and that no key can say."""

    text: str


@dataclass(frozen=True, slots=True)
class OutlineSection:
    """A mapping."""

    key: str
    entries: tuple["Entry", ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A mapping in a list, and the object of a document that it stands for."""

    source: Source
    entries: tuple["Entry", ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of mappings."""

    key: str
    items: tuple[Item, ...]


Entry = Leaf | OpenQuestion | Remark | OutlineSection | Sequence


def walk(
    entries: Iterable[Entry], path: KeyPath = ()
) -> Iterator[tuple[KeyPath, Leaf | OpenQuestion | Item]]:
    """Return what is in a tree with its path in the YAML, from the outside in, in the order of the file."""
    for entry in entries:
        match entry:
            case Leaf() | OpenQuestion():
                yield (*path, entry.key), entry
            case OutlineSection():
                yield from walk(entry.entries, (*path, entry.key))
            case Sequence():
                for index, item in enumerate(entry.items):
                    here = (*path, entry.key, index)
                    yield here, item
                    yield from walk(item.entries, here)
            case Remark():
                pass


# The outline as YAML: every value with a comment on where it is from, every question in a comment.
# Comments are of one line each, in a fixed shape, so that ``grep 'TO FILL IN'`` finds what is left to do.

COMMENT_COLUMN: Final = 44
WIDTH: Final = 110

_PLAIN: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text, and the line and path of each question and each remark in it."""

    text: str
    said: tuple[tuple[int, KeyPath, OpenQuestion | Remark], ...]
    remarks: tuple[str, ...] = ()  #: on values that are taken as they are


_Line = tuple[str, tuple[KeyPath, OpenQuestion | Remark] | None]


def rendered(heading: str, entries: Iterable[Entry]) -> Rendered:
    """Return the YAML of an outline, under a heading of comment lines."""
    lines = [*((f"# {line}", None) for line in heading.splitlines()), *_lines(entries, (), "")]
    return Rendered(
        "".join(f"{text.rstrip()}\n" for text, _ in lines),
        tuple((number, *said) for number, (_, said) in enumerate(lines, 1) if said),
    )


def _lines(entries: Iterable[Entry], path: KeyPath, indent: str) -> Iterator[_Line]:
    for entry in entries:
        match entry:
            case Leaf():
                yield f"{indent}{entry.key}: {_value(entry)}".ljust(COMMENT_COLUMN - 2) + _origin(entry), None
            case OpenQuestion():
                yield from ((line, None) for line in _comment(f"TO FILL IN: {entry.text}", indent))
                yield f"{indent}# {entry.key}: {entry.example}", ((*path, entry.key), entry)
            case Remark():
                first, *more = _comment(f"NOTE: {entry.text}", indent)
                yield first, (path, entry)
                yield from ((line, None) for line in more)
            case OutlineSection():
                yield f"{indent}{entry.key}:", None
                yield from _lines(entry.entries, (*path, entry.key), indent + "  ")
            case Sequence():
                yield f"{indent}{entry.key}:", None
                for index, item in enumerate(entry.items):
                    inner = list(_lines(item.entries, (*path, entry.key, index), indent + "    "))
                    yield f"{indent}  - {inner[0][0].lstrip()}", inner[0][1]
                    yield from inner[1:]


def _comment(text: str, indent: str) -> list[str]:
    width = WIDTH - len(indent) - 2
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [f"{indent}# {line}" for line in lines]


def _origin(leaf: Leaf) -> str:
    return f"  # {'; '.join(map(str, leaf.sources))}" if leaf.sources else ""


def _value(leaf: Leaf) -> str:
    if isinstance(leaf.value, tuple):
        return f"[{', '.join(map(scalar, leaf.value))}]"
    return str(leaf.value).lower() if isinstance(leaf.value, int) else scalar(leaf.value)


def scalar(text: str) -> str:
    """Return a text as a YAML scalar that reads as the same text, whatever it looks like."""
    if _PLAIN.fullmatch(text) and _reads_as_itself(text):
        return text
    quoted = yaml.dump(text, default_style='"', allow_unicode=True, width=10 * (WIDTH + len(text)))
    return str(quoted).rstrip("\n")


def _reads_as_itself(text: str) -> bool:
    """Whether neither our reader nor one of YAML 1.1 takes an unquoted text for something else."""
    line = f"key: {text}"
    return all(found == {"key": text} for found in (read(line.encode()).data, yaml.safe_load(line)))
