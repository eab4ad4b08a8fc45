"""What of a file is well formed, and what is not, in our words instead of pydantic's. Pure.

A wrong value spoils its section only: the gateway, the daemon, or one connection. The rest goes on to the
rules between values, so that one reading of the errors mends a file, and none of them is a mere consequence.
"""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vpnagent.config.file_models import (
    AgentSection,
    ConfigFile,
    ConnectionSection,
    GatewaySection,
)
from vpnagent.config.hooks import HookSection
from vpnagent.config.wording import KeyPath, Violation, Wording, closest, listed, said, shown, wording_of
from vpnagent.config.yaml_positions import Document
from vpnagent.errors import MOST_TOLD

# pydantic's findings -> violations in our own words. Pure.
# The texts of our kinds are passed on; the few findings that are pydantic's own (required, unknown, wrong
# shape) are worded here, so that neither its jargon nor its URLs show. Values under unknown keys never
# show.

UNKNOWN: Final = "unknown key"


def file_violations(error: ValidationError) -> list[Violation]:
    """Return what is wrong with the keys and values of a file, each by itself."""
    found = [item for item in error.errors(include_url=False) if not _is_consequence(item)]
    return [
        Violation(item["loc"], said(UNKNOWN))
        if index >= MOST_TOLD and item["type"] == "extra_forbidden"  # looking for what is meant takes time
        else Violation(item["loc"], _text(item["type"], item["loc"], item["input"], item.get("ctx", {})))
        for index, item in enumerate(found)
    ]


def _is_consequence(item: ErrorDetails) -> bool:
    """Whether a list is too short only because pydantic does not count entries that are wrong."""
    return item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]


def _text(kind: str, path: KeyPath, value: object, context: dict[str, Any]) -> Wording:
    match kind:
        case "missing":
            return said("is required")
        case "extra_forbidden":
            return said(_unknown(path))
        case "model_type":
            return said("must be a mapping, not {}", shown(value))
        case "tuple_type":
            return said("must be a list, not {}", shown(value))
        case "too_short":
            return said("must not be an empty list")
        case "too_long":
            most = context["max_length"]
            return said(f"must have at most {most} entries, not {{}}", context["actual_length"])
        case _:
            return wording_of(context.get("error", ValueError("is not of the required kind")))


def _unknown(path: KeyPath) -> str:
    known = [*_section_type(path[:-1]).model_fields]
    meant = closest(str(path[-1]), known)
    hint = f"did you mean {meant}?" if meant else f"known here are {listed(known, 'and')}"
    return f"{UNKNOWN}: {hint}"


def known_part(path: KeyPath) -> KeyPath:
    """Return the beginning of a path that consists of known keys: an unknown one may be anything."""
    section: type[BaseModel] | None = ConfigFile
    for index, part in enumerate(path):
        if not isinstance(part, str):
            continue
        if section is None or part not in section.model_fields:
            return path[:index]
        section = _model_or_none(section.model_fields[part].annotation)
    return path


def _model_or_none(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, if it holds any."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    return next(filter(None, map(_model_or_none, getattr(annotation, "__args__", ()))), None)


def _section_type(path: KeyPath) -> type[BaseModel]:
    """Return the model of the mapping at a path."""
    section: type[BaseModel] = ConfigFile
    for part in path:
        if isinstance(part, str):
            section = _model_in(section.model_fields[part].annotation)
    return section


def _model_in(annotation: Any) -> type[BaseModel]:
    """Return the model that a list or an optional field holds."""
    while not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        annotation = annotation.__args__[0]
    return annotation


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


def _section(path: KeyPath) -> KeyPath:
    return path[:2] if path[:1] == ("connections",) else path[:1]
