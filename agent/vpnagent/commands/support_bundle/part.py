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
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus

from vpnagent.commands.support_bundle.veil import veiled, veiled_data
from vpnagent.record import dataclass, replace
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


# A file of the bundle, what was cleaned out of it, or why there is none. Pure.

LEFT_OUT: Final = "[left out: it held a secret]"
WHOLE: Final = "left out as a whole"
MOST: Final = 2 << 20  #: bytes kept of a file

Content = str | dict[str, Any] | list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file: text, a JSON value, or a list of JSON values, one a line (``.jsonl``)."""

    name: str
    content: Content | None = None
    why: str = ""  #: there is none, or not all of it
    forbidden: bool = False  #: more privilege would do
    held: tuple[str, ...] = ()  #: whose secrets it held; they are not in it any more

    @property
    def is_whole(self) -> bool:
        """Whether it is all that there was to be had."""
        return not self.why and not self.held

    @property
    def text(self) -> str:
        """What stands in the file."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        if self.name.endswith(".jsonl"):
            return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.content)
        return json.dumps(self.content, indent=2, ensure_ascii=False) + "\n"


def cleaned(part: Part, known: Known) -> Part:
    """Return a part without secrets: by their shape, and line by line, value by value, the known ones."""
    part = replace(part, why=clean_line(veiled(part.why), known))
    if part.content is None:
        return part
    part = replace(part, content=veiled_data(part.content))
    if not (held := known.found_in(part.text)):
        return part
    clean = _lines if isinstance(part.content, str) else _values
    return replace(part, content=clean(part.content, known), held=held)


def clean_line(line: str, known: Known) -> str:
    """Return a line, or that it held a known secret."""
    return LEFT_OUT if known.found_in(line) else line


def proven(part: Part, known: Known) -> Part:
    """Return the part if its text, as it will be written, holds no known secret; else one without content."""
    if not (held := known.found_in(part.text)):
        return part
    return Part(name=part.name, why=WHOLE, held=tuple(sorted({*part.held, *held})))


def cut(text: str, *, keep_end: bool = False, most: int = MOST) -> tuple[str, str]:
    """Return at most so many characters of whole lines, and what to say of the rest, if there is any."""
    if len(text) <= most:
        return text, ""
    lost = len(text) - most
    kept = text[-most:].partition("\n")[2] if keep_end else text[:most].rpartition("\n")[0] + "\n"
    return kept, f"cut: {lost >> 10} KiB of it are not in here"


def _lines(text: Any, known: Known) -> str:
    return "\n".join(clean_line(line, known) for line in text.split("\n"))


def _values(value: Any, known: Known) -> Any:
    if isinstance(value, list):
        return [_values(part, known) for part in value]
    if isinstance(value, dict):
        return {key: _values(part, known) for key, part in value.items() if not known.found_in(key)}
    return LEFT_OUT if known.found_in(str(value)) else value
