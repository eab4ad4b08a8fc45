"""The YAML to be, as a tree that knows where each value comes from and what is still to be asked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vpnagent.cloud_document.told import Source
from vpnagent.config.wording import Path


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key with its value; ``sources`` is empty where the value is no statement of a document."""

    key: str
    value: str | int | tuple[str, ...]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A key that no document tells: it stands in a comment, with an example that may be wrong."""

    key: str
    example: str
    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that the reader must know, and that no key can say."""

    text: str


@dataclass(frozen=True, slots=True)
class Section:
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


Entry = Leaf | Question | Remark | Section | Sequence


def walk(entries: Iterable[Entry], path: Path = ()) -> Iterator[tuple[Path, Leaf | Question | Item]]:
    """Return what is in a tree with its path in the YAML, from the outside in, in the order of the file."""
    for entry in entries:
        match entry:
            case Leaf() | Question():
                yield (*path, entry.key), entry
            case Section():
                yield from walk(entry.entries, (*path, entry.key))
            case Sequence():
                for index, item in enumerate(entry.items):
                    here = (*path, entry.key, index)
                    yield here, item
                    yield from walk(item.entries, here)
            case Remark():
                pass
