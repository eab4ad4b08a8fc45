"""What of a file is well formed, and what is not. Pure.

A wrong value spoils its section only: the gateway, the daemon, or one connection. The rest goes on to the
rules between values, so that one reading of the errors mends a file, and none of them is a mere consequence.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from vpnagent.config.file_errors import file_violations
from vpnagent.config.file_models import (
    AgentSection,
    ConfigFile,
    ConnectionSection,
    GatewaySection,
    HookSection,
)
from vpnagent.config.wording import Path, Violation
from vpnagent.config.yaml_positions import Document


@dataclass(frozen=True, slots=True)
class Draft:
    """The well-formed sections of a file, and what is wrong with the others."""

    file: ConfigFile
    indexes: tuple[int, ...]  #: of its connections in the YAML
    violations: tuple[Violation, ...]

    def relocated(self, violation: Violation) -> Violation:
        """Return a violation of ``file`` with its path in the YAML."""
        match violation.path:
            case ("connections", int(index), *rest):
                return Violation(("connections", self.indexes[index], *rest), violation.text)
            case _:
                return violation


def draft(document: Document) -> Draft:
    """Return what can be used of a document."""
    unreadable = {fault.path for fault in document.faults}
    try:
        file = ConfigFile.model_validate(document.data)
    except ValidationError as error:
        found = tuple(v for v in file_violations(error) if v.path not in unreadable)
        return _sound(document, found)
    if unreadable:
        return _sound(document, ())
    return Draft(file, tuple(range(len(file.connections))), ())


def _sound(document: Document, found: tuple[Violation, ...]) -> Draft:
    paths = [*(violation.path for violation in found), *(fault.path for fault in document.faults)]
    spoilt = {_section(path) for path in paths}
    data = document.data
    connections = data.get("connections")
    if ("connections",) in spoilt or not isinstance(connections, list):
        connections = []
    indexes = tuple(index for index in range(len(connections)) if ("connections", index) not in spoilt)
    hooks = data.get("hooks")
    if ("hooks",) in spoilt or not isinstance(hooks, list):
        hooks = []
    file = ConfigFile.model_construct(
        gateway=GatewaySection.model_construct(local_networks=())
        if ("gateway",) in spoilt
        else GatewaySection.model_validate(data.get("gateway")),
        agent=AgentSection(),
        connections=tuple(ConnectionSection.model_validate(connections[index]) for index in indexes),
        hooks=tuple(map(HookSection.model_validate, hooks)),
    )
    return Draft(file, indexes, found)


def _section(path: Path) -> Path:
    return path[:2] if path[:1] == ("connections",) else path[:1]
