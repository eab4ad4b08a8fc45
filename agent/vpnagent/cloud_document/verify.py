"""The rules of the configuration, held against an imported YAML: what they refuse is told of the document.

So the importer has no second opinion on addresses, lifetimes or algorithms, and what it writes loads as soon
as its questions are answered.
"""

from collections.abc import Iterable, Iterator, Mapping

from vpnagent.cloud_document.outline import Entry, Item, Leaf, Question, walk
from vpnagent.cloud_document.told import Source
from vpnagent.config.build import build, contradictions
from vpnagent.config.draft import draft
from vpnagent.config.rules import violations
from vpnagent.config.wording import Path, Violation, key_path, without_values
from vpnagent.config.yaml_positions import read
from vpnagent.errors import Problem


def verify(text: str, entries: Iterable[Entry]) -> list[Problem]:
    """Return what the configuration's rules say against a text, except that questions are open."""
    sources: dict[Path, Source] = {}
    asked: list[Path] = []
    for path, entry in walk(entries):
        match entry:
            case Leaf():
                if entry.sources:
                    sources[path] = entry.sources[0]
            case Item():
                sources[path] = entry.source
            case Question():
                asked.append(path)
    return [
        _source(violation.path, sources).problem(f"{violation.text} (the key {key_path(violation.path)})")
        for violation in _violations(text, asked)
    ]


def _violations(text: str, asked: Iterable[Path]) -> Iterator[Violation]:
    """Return what a text violates, and would violate with the questions answered."""
    document = read(text.encode())
    yield from (Violation(fault.path, without_values(fault.text)) for fault in document.faults)
    sketch = draft(document)
    config = build(sketch.file, hostname="gateway", folder="/", psks={})
    for violation in (*sketch.violations, *map(sketch.relocated, contradictions(sketch.file))):
        # What is missing is missed where it would be, or by what is around it.
        if not any(_contains(one, violation.path) or _contains(violation.path, one) for one in asked):
            yield violation
    for violation in map(sketch.relocated, violations(config)):
        if not any(_contains(one, violation.path) for one in asked):
            yield violation


def _source(path: Path, sources: Mapping[Path, Source]) -> Source:
    """Return where the value at a path is from; for what no document tells, where what is around it is."""
    while path and path not in sources:
        path = path[:-1]
    return sources[path] if path in sources else next(iter(sources.values()))


def _contains(outer: Path, inner: Path) -> bool:
    return inner[: len(outer)] == outer
