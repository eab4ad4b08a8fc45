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


# The questions that are open in a text, and the text with answers to them.

#: Each key whose question needs an answer, and how an answer is written into the YAML.
ANSWERED: Final[Mapping[str, str]] = {
    "gateway": "{{local_networks: [{}]}}",
    "attachment": "{}",
    "bandwidth": "{}",
    "remote_networks": "[{}]",
    "remote_address": "{}",
    "local_id": "{}",
    "probe": "{{targets: [{}]}}",
}


def questions(result: Rendered) -> dict[KeyPath, OpenQuestion]:
    """Return what has to be answered; what the first tunnel's role and its inside address are has not."""
    found = ((path, said) for _, path, said in result.said if isinstance(said, OpenQuestion))
    return {path: question for path, question in found if question.key in ANSWERED}


def example_of(question: OpenQuestion) -> str:
    """Return a question's example as it is typed."""
    before, after = ANSWERED[question.key].format("\n").split("\n")
    return str(question.example).removeprefix(before).removesuffix(after)


def answered(result: Rendered, answers: Mapping[KeyPath, str]) -> str:
    """Return the text with answers in the places of their questions."""
    lines = result.text.split("\n")
    for number, path, said in result.said:
        if path in answers and isinstance(said, OpenQuestion):
            place, _, _ = lines[number - 1].partition("#")
            lines[number - 1] = f"{place}{said.key}: {ANSWERED[said.key].format(answers[path])}"
            first = next(n for n in range(number - 1, -1, -1) if "# TO FILL IN: " in lines[n])
            lines[first] = lines[first].replace("# TO FILL IN: ", "# ANSWERED in vpnagent init: ", 1)
    return "\n".join(lines)


def with_source(result: Rendered, address: str) -> Rendered:
    """Return a text whose gateway has a source address."""
    lines = result.text.split("\n")
    place = next(n for n, line in enumerate(lines) if "local_networks: " in line and line[0] != "#")
    if lines[place].startswith("gateway: "):
        lines[place] = lines[place].removesuffix("}") + f", source_address: {address}}}"
        return replace(result, text="\n".join(lines))
    lines.insert(place + 1, f"  source_address: {address}")
    said = tuple((number + (number > place + 1), path, what) for number, path, what in result.said)
    return replace(result, text="\n".join(lines), said=said)


def objection(result: Rendered, answers: Mapping[KeyPath, str], path: KeyPath) -> str | None:
    """Return what is wrong with the answer to one question, beside those before; None if nothing is."""
    text = answered(result, answers)
    if faults := read(text.encode()).faults:
        return without_values(faults[0].text)
    left = {place: question for place, question in questions(result).items() if place not in answers}
    sketch, config = _configured(text, _answers(left, 0))
    for violation in _violations(sketch, config):
        if _contains(path, violation.path):
            return violation.text
    if path[-1] == "probe":
        connection = config.connections[int(path[1])]
        for target in connection.tunnels[0].probe.targets:
            if not any(target in network for network in connection.remote_networks):
                return f"{target} is in none of the networks behind the cloud's end"
    return None
