"""The rules of the configuration, held against an imported YAML: what they refuse is told of the document.

So the importer has no second opinion on addresses, lifetimes or algorithms, and what it writes loads as soon
as its questions are answered.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from vpnagent.commands.import_.assemble import Answers, Assembly, assemble
from vpnagent.commands.import_.documents import Documents, merge
from vpnagent.commands.import_.json_object import Source
from vpnagent.commands.import_.layout import layout
from vpnagent.commands.import_.yaml_text import Entry, Item, Leaf, OpenQuestion, Rendered, rendered, walk
from vpnagent.config.build import build, contradictions
from vpnagent.config.draft import Draft, draft
from vpnagent.config.notation import key_notation, notation
from vpnagent.config.rules import violations
from vpnagent.config.values import Config
from vpnagent.config.wording import KeyPath, Violation, key_path, listed, without_values
from vpnagent.config.yaml_positions import YamlValue, read
from vpnagent.errors import ConfigError, Problem


def verify(text: str, entries: Iterable[Entry]) -> tuple[list[Problem], list[str]]:
    """Return what the configuration's rules say against a text, and what they remark on its values.

    The questions are answered twice, each time differently: what only one of the answers breaks is no fault
    of the documents.
    """
    sources: dict[KeyPath, Source] = {}
    asked: dict[KeyPath, OpenQuestion] = {}
    for path, entry in walk(entries):
        match entry:
            case Leaf():
                if entry.sources:
                    sources[path] = entry.sources[0]
            case Item():
                sources[path] = entry.source
            case OpenQuestion():
                asked[path] = entry
    sketch, config = _configured(text, _answers(asked, 0))
    other = list(_violations(*_configured(text, _answers(asked, 1))))
    problems = [
        _source(violation.path, sources).problem(f"{violation.text} (the key {key_path(violation.path)})")
        for violation in _violations(sketch, config)
        if violation in other and not any(_contains(path, violation.path) for path in asked)
    ]
    names = {key_path(path): source for path, source in sources.items()}
    remarks = [
        f"{names[finding.subject]}: {finding.code}: {finding.text}: {finding.hint}"
        for finding in notation(config)
        if finding.subject in names
    ]
    return problems, remarks


#: Answers that have nothing in common with the examples of the questions.
_OTHERS: Final[Mapping[str, YamlValue]] = {
    "gateway": {"local_networks": ["192.168.255.0/24"]},
    "attachment": "transit-router",
    "remote_networks": ["192.168.254.0/24"],
    "local_id": "198.51.100.11",
}


def _answers(asked: Mapping[KeyPath, OpenQuestion], variant: int) -> Iterator[tuple[KeyPath, YamlValue]]:
    """Yield an answer to each question: its example, or another. No two tunnels have one address."""
    for number, (path, question) in enumerate(asked.items(), 1):
        if question.key == "remote_address":
            yield path, f"192.0.2.{number % 100 + 100 * variant}"
        elif variant and question.key in _OTHERS:
            yield path, _OTHERS[question.key]
        else:
            yield path, read(f"{question.key}: {question.example}".encode()).data[question.key]


def _configured(text: str, answers: Iterable[tuple[KeyPath, YamlValue]]) -> tuple[Draft, Config]:
    """Return a text with its questions answered."""
    document = read(text.encode())
    for (*outer, key), value in answers if document.data else ():
        section: Any = document.data
        for part in outer:
            section = section[part]
        section[key] = value
    sketch = draft(document)
    faults = tuple(Violation(fault.path, without_values(fault.text)) for fault in document.faults)
    sketch = replace(sketch, violations=(*faults, *sketch.violations))
    return sketch, build(sketch.file, hostname="gateway", folder="/", psks={})


def _violations(sketch: Draft, config: Config) -> Iterator[Violation]:
    yield from sketch.violations
    for violation in (*contradictions(sketch.file), *violations(config)):
        yield sketch.relocated(violation)


def _source(path: KeyPath, sources: Mapping[KeyPath, Source]) -> Source:
    """Return where the value at a path is from; for what no document tells, where what is around it is."""
    while path and path not in sources:
        path = path[:-1]
    return sources[path] if path in sources else next(iter(sources.values()))


def _contains(outer: KeyPath, inner: KeyPath) -> bool:
    return inner[: len(outer)] == outer


# From the bytes of documents to the text of a YAML: the stages in their order, each judged as a whole.


def assembly_of(documents: Mapping[str, bytes], answers: Answers) -> Assembly:
    """Return what documents tell, by their names. Raises ConfigError with every problem of a stage."""
    read = Documents()
    problems = read.reading.problems
    for name, content in documents.items():
        read.read(name, content)
    _raise_if(problems)
    connections = merge(read.views, problems)
    _raise_if(problems)
    assembly = assemble(connections, answers, problems)
    _raise_if(problems)
    return replace(assembly, notes=tuple(read.notes(connections)))


def yaml_of(assembly: Assembly, documents: Iterable[str], psk_directory: str | None) -> Rendered:
    """Return the YAML. Raises ConfigError where the configuration's rules refuse what the documents tell.

    ``psk_directory`` is what the YAML calls it; None: the keys are not going to be written.
    """
    entries = layout(assembly, psk_directory)
    heading = f"Imported from {listed(documents, 'and')}. Each comment is the origin of its value."
    result = rendered(heading, entries)
    problems, remarks = verify(result.text, entries)
    _raise_if(problems)
    return replace(result, remarks=(*remarks, *_of_keys(assembly)))


def _of_keys(assembly: Assembly) -> Iterator[str]:
    """Yield what is said of the pre-shared keys in the documents, without a key."""
    for connection in assembly.connections:
        for tunnel in connection.tunnels:
            for finding in key_notation(tunnel.psk) if tunnel.psk else ():
                yield f"{tunnel.facts['psk'].sources[0]}: {finding.code}: {finding.text}: {finding.hint}"


def _raise_if(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(tuple(dict.fromkeys(problems)))
