"""How the errors of a configuration name keys and values: one line each, short, in YAML's words.

Standard library only: whatever reads or judges a configuration speaks through this.
"""

import difflib
import re
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from vpnagent.config.values import Config, Connection, Esp, Ike, Tunnel

KeyPath = tuple[str | int, ...]


class Wording(str):
    """What is wrong, for the terminal of who asked; ``rule`` says it without a value, for all others.

    A key that somebody put into the wrong place is such a value, and must not travel.
    """

    rule: str
    __slots__ = ("rule",)


class Violation(NamedTuple):
    """A rule that does not hold: the path of the key that is to blame, and the rule with the value."""

    path: KeyPath
    text: Wording


def said(template: str, *values: object) -> Wording:
    """Return a rule with the values that break it, in the places that ``{}`` holds for them."""
    wording = Wording(template.format(*values) if values else template)
    wording.rule = _HELD.sub("…", _CONTRAST.sub("", template)) if values else template
    return wording


def without_values(text: str) -> Wording:
    """Return a text that holds none."""
    wording = Wording(text)
    wording.rule = text
    return wording


def rule_of(text: str) -> str:
    """Return what of a wording everybody may learn; of a text that is none, nothing."""
    return text.rule if isinstance(text, Wording) else "is refused: vpnagent check, on this machine, says why"


def wording_of(error: Exception) -> Wording:
    """Return the wording that an error was raised with; of one without, nobody else learns anything."""
    found = error.args[0] if error.args else None
    if isinstance(found, Wording):
        return found
    wording = Wording(str(error))
    wording.rule = "is not of the required kind"
    return wording


_CONTRAST = re.compile(r",? not \{[^}]*\}(?: \(\{[^}]*\}(?:, \{[^}]*\})?\))?")
_HELD = re.compile(r"\{[^}]*\}")
SHOWN = 60  #: characters of a value that an error text shows at most

_WORD = re.compile(r"[A-Za-z0-9_-]{1,40}")


def key_path(path: KeyPath) -> str:
    """Return ``connections[0].tunnels[1].remote_address``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _WORD.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{shown(part)}]"
    return text


def shown(value: object) -> str:
    """Return a value as an error text shows it; of a collection only the kind."""
    match value:
        case None:
            return "empty"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str() if may_be_secret(value):
            return "what is there, which may be a secret"
        case _:
            text = repr(value)
            return text if len(text) <= SHOWN else f"{text[: SHOWN - 2]}…{text[-1]}"


LEAST_SECRET = 12  #: characters
RANDOM = 24  #: characters without a separator, from which on two kinds of them are enough
_KINDS = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"), re.compile(r"[^A-Za-z0-9._:/@-]"))


def may_be_secret(text: str) -> bool:
    """Whether in a text is what looks like a key or a password: long, in one piece, of mixed characters."""
    return any(map(_looks_random, text.split()))


def _looks_random(text: str) -> bool:
    if len(text) < LEAST_SECRET:
        return False
    kinds = sum(kind.search(text) is not None for kind in _KINDS)
    return kinds > 2 or (kinds > 1 and max(map(len, re.split("[._:/@-]", text))) >= RANDOM)  # noqa: PLR2004


def listed(words: Iterable[str], last: str = "or") -> str:
    """Return ``a, b or c``."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return what was probably meant by a misspelt word."""
    names = list(known)
    if found := difflib.get_close_matches(word, names, n=1):
        return found[0]
    return next((name for name in names if len(word) > 1 and name.startswith(word)), None)


# Walking a configuration with the path of each part, for the rules. Standard library only.


class Place(NamedTuple):
    """A tunnel and where it stands."""

    path: KeyPath
    connection: Connection
    tunnel: Tunnel

    def key(self, name: str) -> KeyPath:
        """Return the path of one of the tunnel's keys."""
        return (*self.path, name)

    def setting(self, *names: str) -> KeyPath:
        """Return the path of ``udp_encapsulation``, or of ``ike`` or ``esp`` and a key of it.

        That is the tunnel's own where it differs from its connection's, which all others share.
        """
        own, shared = (getattr(holder, names[0]) for holder in (self.tunnel, self.connection))
        for name in names[1:]:
            own, shared = own and getattr(own, name), getattr(shared, name)
        differs = getattr(self.tunnel, names[0]) is not None and own != shared
        return (*(self.path if differs else self.path[:2]), *names)

    @property
    def ike(self) -> Ike:
        """The tunnel's phase 1."""
        return self.connection.ike_of(self.tunnel)

    @property
    def esp(self) -> Esp:
        """The tunnel's phase 2."""
        return self.connection.esp_of(self.tunnel)


def connections(config: Config) -> Iterator[tuple[KeyPath, Connection]]:
    """Return each connection with its path."""
    for index, connection in enumerate(config.connections):
        yield ("connections", index), connection


def tunnels(config: Config) -> Iterator[Place]:
    """Return each tunnel of each connection with its path."""
    for path, connection in connections(config):
        for index, tunnel in enumerate(connection.tunnels):
            yield Place((*path, "tunnels", index), connection, tunnel)


W = TypeVar("W")
V = TypeVar("V", bound=Hashable)


def repeated(items: Iterable[tuple[W, V]]) -> Iterator[tuple[W, V, W]]:
    """Return each repetition of a value: where it is, the value, and where it was first."""
    first: dict[V, W] = {}
    for where, value in items:
        if value in first:
            yield where, value, first[value]
        else:
            first[value] = where
