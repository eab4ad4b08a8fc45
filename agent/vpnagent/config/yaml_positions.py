"""YAML text -> plain data, and the line on which each key and value stands.

Scalars are resolved by the core schema of YAML 1.2, which holds fewer surprises for an operator than
PyYAML's 1.1: ``no`` and ``on`` are texts, ``1:30`` and ``2026-01-01`` too, and ``0x10`` is sixteen. What
the versions of YAML read differently as a number (``012``, ``1_000``) is refused, as are tags, merge keys and
duplicate keys. Anchors and aliases are allowed within bounds on depth and size, so that neither a
self-containing list nor a billion laughs does harm. Never raises: what is wrong is a list of faults.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from vpnagent.config.odd_characters import Odd, lines_of, odd_characters, sentence, told
from vpnagent.config.wording import KeyPath

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 20  #: the contract needs 6
MAX_VALUES: Final = 100_000  #: after aliases are expanded; 1,000 tunnels take a fifth of it

YamlValue = str | int | float | bool | None | list["YamlValue"] | dict[str, "YamlValue"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What cannot be read: the line (1-based, 0 for the file as a whole), the path, and the reason."""

    line: int
    path: KeyPath
    text: str


@dataclass(slots=True)
class Document:
    """What a file holds. Where a value could not be read there is None in its place, and a fault."""

    data: dict[str, YamlValue] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)  #: of a key where there is one, else of the value
    faults: list[Fault] = field(default_factory=list)
    odd: tuple[Odd, ...] = ()  #: characters that look like others, outside of comments

    def line(self, path: KeyPath) -> int:
        """Return the line of the path, or of the nearest part around it that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(content: bytes) -> Document:
    """Return what the text holds; ``content`` may be anything."""
    document = Document()
    try:
        text = _text(content)
        document.odd = odd_characters(text)
        document.data = _Walk(document).mapping(_compose(text), ())
    except _Unreadable as error:
        document.faults = [Fault(error.line, (), error.text)]
    return document


def nodes(content: bytes) -> yaml.MappingNode:
    """Return the file as nodes, which know where they stand. Raises ValueError, which quotes nothing."""
    try:
        return _compose(_text(content))
    except _Unreadable as error:
        where = f", line {error.line}" if error.line else ""
        raise ValueError(f"it cannot be read as YAML{where}") from None


class _Unreadable(Exception):  # noqa: N818 - it never leaves this module
    """Nothing of the file can be used."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


# What YAML 1.2 §5.1 calls printable, without the byte order mark.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def _text(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _Unreadable(0, f"must not be larger than {MAX_BYTES} bytes")
    if content.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        raise _Unreadable(1, "must be UTF-8 without a byte order mark (BOM)")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Unreadable(line, f"must be UTF-8: byte 0x{content[error.start]:02x} is not") from error
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        what = told(found[0]) or f"the control character U+{ord(found[0]):04X}"
        raise _Unreadable(line, f"must not contain {what}")
    return text


def _compose(text: str) -> yaml.MappingNode:
    try:
        loader = _Loader(text)
        try:
            root: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        _refuse_depth(text)
        raise _in_words(error, text) from error
    except yaml.YAMLError as error:  # pragma: no cover
        # libyaml's own reader: of all that _text lets pass it refuses nothing today.
        raise _Unreadable(0, "is not YAML: it contains a character that is not allowed") from error
    if root is None:
        raise _Unreadable(0, "is empty")
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        for odd in odd_characters(text):
            if odd.line == _line(root):
                raise _Unreadable(odd.line, f"is not YAML: {sentence((odd,))}")
        raise _Unreadable(_line(root), f"the top level must be a mapping (key: value), not {kind}")
    return root


def _refuse_depth(text: str) -> None:
    """Raise _Unreadable where the text is nested too deep.

    libyaml may have a bound of its own, and words for it; it reads up to 1,024 characters ahead, so it gets
    there before `_Loader` has counted. PyYAML's scanner in Python has no such bound; it is slow, and asked
    only of what cannot be used anyway.
    """
    depth = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > MAX_DEPTH:
                raise _Unreadable(token.start_mark.line + 1, _TOO_DEEP)
    except yaml.YAMLError:
        return


_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_TOO_DEEP: Final = f"is nested deeper than {MAX_DEPTH} levels"


def _in_words(error: yaml.MarkedYAMLError, text: str) -> _Unreadable:
    """Return what is wrong, in words where it is a character: a parser speaks of tokens, and a line late."""
    mark, lines = error.problem_mark, lines_of(text)
    if mark is None:
        return _Unreadable(0, f"is not YAML: {_problem(error)}")
    first = mark.line
    while first > 1 and lines[first - 1].partition("#")[0].strip() == "":
        first -= 1  # over comments and empty lines, to what came before
    if error.context_mark and str(error.context).startswith(("while scanning", "while parsing a flow")):
        first = min(first, error.context_mark.line)  # of a block that would be the whole of it
    suspects = [odd for odd in odd_characters(text) if not odd.quoted and first <= odd.line <= mark.line + 1]
    if suspects:
        last = tuple(odd for odd in suspects if odd.line == suspects[-1].line)
        return _Unreadable(last[0].line, f"is not YAML: {sentence(last)}")
    character = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
    if character in ("@", "`", "%") and "cannot start any token" in str(error.problem):
        rule = f"a value must not begin with '{character}' (U+{ord(character):04X}): put it in quotes"
        return _Unreadable(mark.line + 1, f"is not YAML: {rule}")
    if "alias" in f"{error.problem} {error.context}":
        rule = (
            "'*' (U+002A) at the beginning of a value names an anchor ('&'), and there is none of this name"
        )
        return _Unreadable(mark.line + 1, f"is not YAML: {rule}: put the value in quotes")
    return _Unreadable(mark.line + 1, f"is not YAML: {_problem(error)}")


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return PyYAML's words, which come in two orders: "but found ..." and "while scanning ..."."""
    if not error.context:
        return str(error.problem)
    if str(error.problem).startswith("but "):
        return f"{error.context} {error.problem}"
    since = f" from line {error.context_mark.line + 1} on" if error.context_mark else ""
    return f"{error.problem} {error.context}{since}"


PLAIN: Final = "plain"
QUOTED: Final = "quoted"
COLLECTION: Final = "collection"


class _Loader(yaml.CSafeLoader):
    """Composes nodes whose tag says how they are written; any other tag stands in the file itself."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def resolve(self, kind: type[yaml.Node], value: object, implicit: tuple[bool, bool]) -> str:
        if kind is not yaml.ScalarNode:
            return COLLECTION
        return PLAIN if implicit[0] else QUOTED

    # libyaml's composer recurses on the C stack, where no RecursionError stops it: these two hooks do.
    def descend_resolver(self, parent: yaml.Node, index: object) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Unreadable(_line(parent), _TOO_DEEP)

    def ascend_resolver(self) -> None:
        self._depth -= 1


class _Walk:
    """One pass over the nodes. An alias is walked again at every place where it stands."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, YamlValue]:
        data: dict[str, YamlValue] = {}
        for key, value in self._items(node, path):
            here = (*path, key.value)
            if key.value in data:
                first = self._document.lines[here]
                self._fault(key, here, f"the key is already on line {first}: a key must not be repeated")
                continue
            self._document.lines[here] = _line(key)
            data[key.value] = self._value(value, here)
        return data

    def _items(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or _CONTROL.search(key.value):
                self._fault(key, path, "a key must be a text of one line")
            elif key.tag not in (PLAIN, QUOTED):
                self._fault(key, path, "a tag is not allowed")
            elif key.value == "<<" and key.tag == PLAIN:
                text = "merge keys (<<) are not supported: alias the whole section instead"
                self._fault(key, path, text)
            else:
                yield key, value

    def _value(self, node: yaml.Node, path: KeyPath) -> YamlValue:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _Unreadable(_line(node), f"its aliases expand to more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            raise _Unreadable(_line(node), f"is nested deeper than {MAX_DEPTH} levels by its aliases")
        self._document.lines.setdefault(path, _line(node))
        if node.tag not in (PLAIN, QUOTED, COLLECTION):
            self._fault(node, path, "a tag is not allowed")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> YamlValue:
        try:
            return scalar(node.value, plain=node.tag == PLAIN)
        except ValueError as error:
            self._fault(node, path, str(error))
            return None

    def _fault(self, node: yaml.Node, path: KeyPath, text: str) -> None:
        self._document.faults.append(Fault(_line(node), path, text))


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_AMBIGUOUS = re.compile(r"[-+]?(0[0-9]+|[0-9]+(_[0-9]+)+|0b[01_]+)")
_NUMBERS: Final[tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...]] = (
    (re.compile(r"[-+]?[0-9]{1,20}"), int),
    (re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,20}"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)
_WORDS: Final[dict[str, YamlValue]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def scalar(text: str, *, plain: bool) -> YamlValue:
    """Return the value of a scalar (YAML 1.2.2 §10.3.2). Raises ValueError, and never shows the text.

    Quoted ones are texts. An integer of more than 20 digits becomes a float: no bound of ours is near.
    """
    if _CONTROL.search(text):
        raise ValueError("must be one line without control characters")
    if not plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _AMBIGUOUS.fullmatch(text):
        raise ValueError(
            "has different values for different readers of YAML: write a plain decimal number, or quote it"
        )
    return next((number(text) for pattern, number in _NUMBERS if pattern.fullmatch(text)), text)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
