"""Characters that look like those of YAML, or like nothing: what they are called, and where they stand. Pure.

An input method for Chinese, a word processor or a web page puts them where a colon or a space was meant. In a
comment, or in a value that is as it must be, they are nobody's business; so they are looked for only where
something is wrong already. The names are for people who never heard of Unicode.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple

_NAMES: Final = {
    "\t": ("a tab", " "),
    "\u00a0": ("a no-break space", " "),
    "\u202f": ("a narrow no-break space", " "),
    "\u3000": ("an ideographic space", " "),
    "\u200b": ("a zero-width space", ""),
    "\u200c": ("a zero-width non-joiner", ""),
    "\u200d": ("a zero-width joiner", ""),
    "\u2060": ("a word joiner", ""),
    "\ufeff": ("a byte order mark", ""),
    "\u00ad": ("a soft hyphen", ""),
    "\u3001": ("an ideographic comma", ","),
    "\u3002": ("an ideographic full stop", "."),
    "\u3010": ("a lenticular bracket", "["),
    "\u3011": ("a lenticular bracket", "]"),
    "\uff0c": ("a full-width comma", ","),
    "\uff1a": ("a full-width colon", ":"),
    "\u2212": ("a minus sign", "-"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", ("a dash", "-")),
    **dict.fromkeys("\u201c\u201d\u201e\u201f", ("a curly quotation mark", '"')),
    **dict.fromkeys("\u2018\u2019\u201a\u201b", ("a curly quotation mark", "'")),
    **dict.fromkeys("\u200e\u200f\u202a\u202b\u202c\u202d\u202e", ("a mark of direction", "")),
    **dict.fromkeys("\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a", ("a wide space", " ")),
}
FULL_WIDTH: Final = range(0xFF01, 0xFF5F)  #: the twins of ``!`` to ``~``

_CANDIDATES: Final = re.compile(
    "[\t\u00a0\u00ad\u2000-\u206f\u2212\u3000-\u3002\u3010\u3011\uff01-\uff5e\ufeff]"
)  # all of them, and some others
_MOST: Final = 3  #: characters of a line that are told


class Odd(NamedTuple):
    """A character in a text, outside of comments."""

    line: int  #: 1-based
    character: str
    quoted: bool  #: within quotation marks, where YAML takes it as it is


def told(character: str) -> str | None:
    """Return ``a full-width colon (U+FF1A): write ':'``; None for a character like any other."""
    if character in _NAMES:
        name, meant = _NAMES[character]
    elif ord(character) in FULL_WIDTH:
        meant = unicodedata.normalize("NFKC", character)
        name = f"a full-width {meant}"
    else:
        return None
    if meant == " ":
        remedy = "write spaces" if character == "\t" else "write a space"
    else:
        quote = "'" if meant != "'" else '"'
        remedy = f"write {quote}{meant}{quote}" if meant else "delete it"
    return f"{name} (U+{ord(character):04X}): {remedy}"


def odd_characters(text: str) -> tuple[Odd, ...]:
    """Return every odd character that is not in a comment; of tabs those that indent."""
    if not _CANDIDATES.search(text):
        return ()
    return tuple(
        odd
        for number, line in enumerate(lines_of(text), 1)
        if _CANDIDATES.search(line)
        for odd in _of_line(number, line)
    )


def lines_of(text: str) -> list[str]:
    """Return the lines as YAML 1.1 counts them (libyaml), whose breaks are more than one; without them."""
    return re.split("\r\n|[\n\r\x85\u2028\u2029]", text)


def _of_line(number: int, line: str) -> Iterator[Odd]:
    quote = before = ""
    indents = True
    for character in line:
        if not quote and character == "#" and before in ("", " ", "\t"):
            return
        if character == quote:
            quote = ""
        elif not quote and character in "'\"" and before in ("", *" \t[{,:("):
            quote = character
        elif told(character) and (character != "\t" or indents):
            yield Odd(number, character, bool(quote))
        indents = indents and character in " \t"
        before = character


def sentence(line: tuple[Odd, ...]) -> str:
    """Return what is wrong with a line for its odd characters."""
    characters = dict.fromkeys(odd.character for odd in line)
    begins = "begins with" if line[0].character == "\t" else "holds"
    return f"{begins} {'; '.join(filter(None, map(told, [*characters][:_MOST])))}"
