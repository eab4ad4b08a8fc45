"""From the bytes of documents to the text of a YAML: the stages in their order, each judged as a whole."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from vpnagent.cloud_document.assemble import Answers, Assembly, assemble
from vpnagent.cloud_document.documents import Documents
from vpnagent.cloud_document.layout import layout
from vpnagent.cloud_document.merge import merge
from vpnagent.cloud_document.verify import verify
from vpnagent.cloud_document.yaml_text import Rendered, rendered
from vpnagent.config.notation import key_notation
from vpnagent.config.wording import listed
from vpnagent.errors import ConfigError, Problem


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
