"""pydantic's findings -> violations in our own words. Pure.

The texts of our kinds are passed on; the few findings that are pydantic's own (required, unknown, wrong
shape) are worded here, so that neither its jargon nor its URLs show. Values under unknown keys never show.
"""

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vpnagent.config.file_models import ConfigFile
from vpnagent.config.wording import Path, Violation, closest, listed, shown


def file_violations(error: ValidationError) -> list[Violation]:
    """Return what is wrong with the keys and values of a file, each by itself."""
    found = [item for item in error.errors(include_url=False) if not _is_consequence(item)]
    return [
        Violation(item["loc"], _text(item["type"], item["loc"], item["input"], item.get("ctx", {})))
        for item in found
    ]


def _is_consequence(item: ErrorDetails) -> bool:
    """Whether a list is too short only because pydantic does not count entries that are wrong."""
    return item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]


def _text(kind: str, path: Path, value: object, context: dict[str, Any]) -> str:
    match kind:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return _unknown(path)
        case "model_type":
            return f"must be a mapping, not {shown(value)}"
        case "tuple_type":
            return f"must be a list, not {shown(value)}"
        case "too_short":
            return "must not be an empty list"
        case "too_long":
            return f"must have at most {context['max_length']} entries, not {context['actual_length']}"
        case _:
            return str(context.get("error", "is not of the required kind"))


def _unknown(path: Path) -> str:
    known = [*_section(path[:-1]).model_fields]
    meant = closest(str(path[-1]), known)
    return (
        f"unknown key: did you mean {meant}?"
        if meant
        else f"unknown key: known here are {listed(known, 'and')}"
    )


def _section(path: Path) -> type[BaseModel]:
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
