"""A file of the bundle, what was cleaned out of it, or why there is none. Pure."""

import json
from typing import Any, Final

from vpnagent.record import dataclass, replace
from vpnagent.support.known import Known
from vpnagent.support.veil import veiled, veiled_data

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
