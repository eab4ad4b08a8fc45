"""What documents tell, and where: values that keep their sources, so that two views can be held together.

A fact is known by the key that it has in the YAML (``ike.encryption``); the few that have none there, such
as ``connection_id``, have a name of their own. Values are already in the YAML's words and in this gateway's
view.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from vpnagent.config.wording import Path, key_path
from vpnagent.errors import Problem
from vpnagent.secret import Secret

Value = str | int | tuple[str, ...] | Secret


class Source(NamedTuple):
    """A place in a document, or an option of the command line, which has no path."""

    document: str
    path: Path | None

    def __str__(self) -> str:
        return f"{self.document} {self.json_path}".rstrip()

    @property
    def json_path(self) -> str:
        """The path as RFC 9535 writes it: ``$.VpnConnections.VpnConnection[0].Name``."""
        if self.path is None:
            return ""
        path = key_path(self.path)
        return f"$.{path}" if path and not path.startswith("[") else f"${path}"

    def below(self, *keys: str | int) -> "Source":
        """Return a place within this one."""
        return Source(self.document, (*(self.path or ()), *keys))

    def problem(self, text: str) -> Problem:
        """Return what is wrong here."""
        return Problem(self.document, 0, self.json_path, text)


@dataclass(frozen=True, slots=True)
class Told:
    """A value, and every place that says so."""

    value: Value
    sources: tuple[Source, ...]


Facts = Mapping[str, Told]


def same(one: Value, other: Value) -> bool:
    """Whether two values mean the same: networks have no order."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return sorted(one) == sorted(other)
    return one == other


def merged(views: Iterable[Facts], problems: list[Problem], rule: str = "") -> dict[str, Told]:
    """Return what all views together tell. Where two contradict each other, that is a problem.

    ``rule`` says why they must agree, where that is not plain.
    """
    result: dict[str, Told] = {}
    for facts in views:
        for key, told in facts.items():
            known = result.get(key)
            if known is None:
                result[key] = told
            elif same(known.value, told.value):
                result[key] = Told(known.value, (*known.sources, *told.sources))
            else:
                problems.append(_contradiction(key, known, told, rule))
    return result


def _contradiction(key: str, known: Told, told: Told, rule: str) -> Problem:
    here, there = told.sources[0], known.sources[0]
    if isinstance(told.value, Secret):
        return here.problem(f"is another key than {there}")
    text = f"means {key} {written(told.value)}, but {there} means {written(known.value)}"
    return here.problem(f"{text}: {rule}" if rule else text)


def written(value: Value) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
