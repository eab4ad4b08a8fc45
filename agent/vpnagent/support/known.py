"""Whether a text holds a secret that is known, in whatever spelling. Pure.

A secret is looked for as it is, escaped as JSON, Python, a shell or a URL does it, in base64 (as part of
more, too) and in hexadecimal, across line breaks and the colons of dumps. One that is shorter than ``LEAST``
would be found everywhere by chance: of it only whole words count.
"""

import base64
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus

from vpnagent.record import dataclass
from vpnagent.secret import Secret

LEAST: Final = 8  #: bytes
BASE64_PHASES: Final = 3  #: three bytes make four characters
SEXTET: Final = 6  #: bits of a character of base64
URL_SAFE: Final = str.maketrans("+/", "-_")
_LINE_ENDS: Final = ("\\n", "\\r")  #: as JSON writes them
_DUMP_MARKS: Final = (":", ",", "-", "\\x")
_PREFIX: Final = "0x"  #: of a number; where a digit 0 and an x of something else meet it is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A secret, and whose it is."""

    owner: str  #: the file that holds it, or the key of the configuration
    secret: Secret


class Known:
    """The secrets that must not be in a bundle."""

    def __init__(self, secrets: Iterable[Named]) -> None:
        self._sought: dict[str, list[_Sought]] = {}
        for named in secrets:
            if content := named.secret.reveal():
                self._sought.setdefault(named.owner, []).append(_Sought(content))

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose secrets are looked for."""
        return tuple(sorted(self._sought))

    def found_in(self, text: str) -> tuple[str, ...]:
        """Return whose secrets the text holds."""
        views = _Views(text)
        return tuple(owner for owner in self.owners if any(s.is_in(views) for s in self._sought[owner]))


class Gathered(NamedTuple):
    """What there is to look for, and what cannot be, a line each."""

    known: Known
    unsearched: tuple[str, ...]
    forbidden: bool  #: more privilege would have read more


class _Views:
    """A text, and what it is without that which breaks a long value into parts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.joined = _joined(text)
        digits = _without(self.joined.lower(), _DUMP_MARKS)
        self.digits = (digits, digits.replace(_PREFIX, ""))


class _Sought:
    """The spellings of one secret."""

    def __init__(self, content: bytes) -> None:
        plain = content.decode(errors="replace")
        self._words: re.Pattern[str] | None = None
        if len(content) < LEAST:
            words = [plain, *_escaped(plain), *_short_codes(content)]
            choice = "|".join(sorted(map(re.escape, words)))
            self._words = re.compile(rf"(?<![A-Za-z0-9])(?:{choice})(?![A-Za-z0-9])")
            return
        self._plain = frozenset((plain, *_escaped(plain)))
        self._joined = frozenset(map(_joined, (plain, *_base64(content))))
        self._hexadecimal = content.hex()

    def is_in(self, views: _Views) -> bool:
        if self._words:
            return self._words.search(views.text) is not None
        return (
            any(spelling in views.text for spelling in self._plain)
            or any(spelling in views.joined for spelling in self._joined)
            or any(self._hexadecimal in digits for digits in views.digits)
        )

    def __repr__(self) -> str:
        return "***"


def _joined(text: str) -> str:
    return "".join(_without(text, _LINE_ENDS).split())


def _without(text: str, marks: Iterable[str]) -> str:
    for mark in marks:  # one after the other: on megabytes far faster than a regular expression
        text = text.replace(mark, "")
    return text


def _escaped(plain: str) -> Iterator[str]:
    yield json.dumps(plain)[1:-1]
    yield json.dumps(plain, ensure_ascii=False)[1:-1]
    yield repr(plain)[1:-1]
    yield shlex.quote(plain)
    yield quote(plain)
    yield quote(plain, safe="")
    yield quote_plus(plain)


def _base64(content: bytes) -> Iterator[str]:
    """Yield what base64 makes of it, wherever it stands in what is encoded: what no neighbour decides."""
    for phase in range(BASE64_PHASES):
        encoded = base64.b64encode(bytes(phase) + content).decode("ascii")
        first, last = -(-phase * 8 // SEXTET), (phase + len(content)) * 8 // SEXTET
        yield encoded[first:last]
        yield encoded[first:last].translate(URL_SAFE)


def _short_codes(content: bytes) -> Iterator[str]:
    for prefix in ("", "0x"):
        yield prefix + content.hex()
        yield prefix + content.hex().upper()
    for prefix in ("", "0s"):
        encoded = prefix + base64.b64encode(content).decode("ascii")
        yield encoded
        yield encoded.translate(URL_SAFE)
