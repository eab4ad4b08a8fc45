"""Importing documents in one process, without files except for what the configuration's reader needs."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpnagent.commands.import_.assemble import Answers, Assembly
from vpnagent.commands.import_.imported import assembly_of, yaml_of
from vpnagent.commands.import_.yaml_text import OpenQuestion, Rendered
from vpnagent.config.load import load
from vpnagent.config.values import Config
from vpnagent.errors import ConfigError

DATA = Path(__file__).parents[2] / "data/cloud_documents"
NO_ANSWERS = Answers()


def document(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def to_another_end(name: str) -> Any:
    """Return a document as if its connection led to another address of the cloud."""
    return json.loads(json.dumps(document(name)).replace("203.0.113.1", "203.0.113.9"))


def assembled(documents: Mapping[str, Any], answers: Answers = NO_ANSWERS) -> Assembly:
    return assembly_of({name: json.dumps(data).encode() for name, data in documents.items()}, answers)


def yaml_text(documents: Mapping[str, Any], answers: Answers = NO_ANSWERS) -> str:
    return yaml_of(assembled(documents, answers), documents, "psk").text


def answered(result: Rendered) -> str:
    """Return a YAML in which every question is answered by its own example."""
    lines = result.text.splitlines()
    for number, _, said in result.said:
        if isinstance(said, OpenQuestion):
            lines[number - 1] = lines[number - 1].replace("# ", "", 1)
    return "\n".join(lines)


def loaded(documents: Mapping[str, Any], answers: Answers = NO_ANSWERS) -> Config:
    """Return what the imported YAML loads to, with the keys' files and every question answered."""
    assembly = assembled(documents, answers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vpnagent.yaml"
        path.write_text(answered(yaml_of(assembly, documents, "psk")))
        (path.parent / "psk").mkdir()
        for connection in assembly.connections:
            for tunnel in connection.tunnels:
                if tunnel.psk:
                    file = path.parent / "psk" / connection.psk_file(tunnel)
                    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY, 0o600)
                    os.write(descriptor, tunnel.psk.reveal())
                    os.close(descriptor)
        return load(path, hostname="gateway")


def problems(documents: Mapping[str, Any], answers: Answers = NO_ANSWERS) -> list[str]:
    """Return what is said against documents; nothing for those that can be imported."""
    try:
        yaml_text(documents, answers)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []
