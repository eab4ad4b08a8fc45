"""How the errors of a configuration name keys and values: one line each, short, in YAML's words.

Standard library only: whatever reads or judges a configuration speaks through this.
"""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

Path = tuple[str | int, ...]


class Violation(NamedTuple):
    """A rule that does not hold: the path of the key that is to blame, and the rule with the value."""

    path: Path
    text: str


SHOWN = 60  #: characters of a value that an error text shows at most

_WORD = re.compile(r"[A-Za-z0-9_-]{1,40}")


def key_path(path: Path) -> str:
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
        case _:
            text = repr(value)
            return text if len(text) <= SHOWN else f"{text[: SHOWN - 2]}…{text[-1]}"


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
