"""Reading the members of a JSON object, each as the kind that it must have; what is not is a problem.

The API types the same number as a number in one place and as a text in the other (PY-SDK vpc-20160428:
``IkeLifetime`` of a connection and of a tunnel), and writes what is not set as an empty text: all of these
are read. So are keys as SDKs print them (``ikePfs``, ``ike_pfs``), and a list of one where one is wanted,
or the one where a list is, as Terraform and XML have them. What is wrong with a secret is told without it,
and of an object, a list or a text in the wrong place only the kind is told: a secret may be inside.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, NamedTuple, TypeVar

from vpnagent.config.odd_characters import told
from vpnagent.config.wording import KeyPath, key_path, listed, shown
from vpnagent.errors import Problem
from vpnagent.secret import Secret

# What documents tell, and where: values that keep their sources, so that two views can be held together.
# A fact is known by the key that it has in the YAML (``ike.encryption``); the few that have none there,
# such as ``connection_id``, have a name of their own. Values are already in the YAML's words and in this
# gateway's view.

DocumentValue = str | int | tuple[str, ...] | Secret


class Source(NamedTuple):
    """A place in a document, or an option of the command line, which has no path."""

    document: str
    path: KeyPath | None

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

    value: DocumentValue
    sources: tuple[Source, ...]


DocumentFacts = Mapping[str, Told]


def same(one: DocumentValue, other: DocumentValue) -> bool:
    """Whether two values mean the same: networks have no order."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return sorted(one) == sorted(other)
    return one == other


def merged(views: Iterable[DocumentFacts], problems: list[Problem], rule: str = "") -> dict[str, Told]:
    """Return what all views together tell. Where two contradict each other, that is a problem.

    ``rule`` says why they must agree, where that is not plain.
    """
    result: dict[str, Told] = {}
    for facts in views:
        for key, fact in facts.items():
            known = result.get(key)
            if known is None:
                result[key] = fact
            elif same(known.value, fact.value):
                result[key] = Told(known.value, (*known.sources, *fact.sources))
            else:
                problems.append(_contradiction(key, known, fact, rule))
    return result


def _contradiction(key: str, known: Told, told: Told, rule: str) -> Problem:
    here, there = told.sources[0], known.sources[0]
    if isinstance(told.value, Secret):
        return here.problem(f"is another key than {there}")
    text = f"means {key} {written(told.value)}, but {there} means {written(known.value)}"
    return here.problem(f"{text}: {rule}" if rule else text)


def written(value: DocumentValue) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
T = TypeVar("T")

MAX_BYTES: Final = 1 << 24  #: a page of DescribeVpnConnections has at most 50 connections of some KiB

_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_KEY: Final = re.compile(r"[\x21-\x7e]+")  #: the cloud's keys; see config.files
_MASKED: Final = re.compile(r"\*+")


class JsonError(Exception):
    """A text that is not JSON, and why; never a part of the text."""


def parse(content: bytes) -> JsonValue:
    """Return what a JSON text holds. Raises JsonError."""
    if len(content) > MAX_BYTES:
        raise JsonError(f"must not be larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")  # editors on Windows begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise JsonError(f"is not UTF-8, from byte {error.start} on") from error
    try:
        value: JsonValue = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"in line {error.lineno}, column {error.colno}"
        odd = told(text[error.pos : error.pos + 1] or " ")
        there = f", where there is {odd}" if odd else ""
        raise JsonError(f"is not JSON: {error.msg} {where}{there}") from error
    except RecursionError as error:
        raise JsonError("is nested too deep") from error
    except ValueError as error:  # a number of thousands of digits
        raise JsonError("holds a number that is too long") from error
    return value


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError(f"has the key {shown(twice)} twice in one object")
    return members


def _no_constant(name: str) -> JsonValue:
    raise JsonError(f"holds {name}, which is not JSON")


def kind(value: JsonValue) -> str:
    """Return what a value is, and nothing of it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


@dataclass(slots=True)
class DocumentReading:
    """What comes up while documents are read: what is wrong, and which members were asked for."""

    problems: list[Problem] = field(default_factory=list)
    members: dict[Source, Mapping[str, JsonValue]] = field(default_factory=dict, repr=False)
    asked: set[Source] = field(default_factory=set)

    def passed_over(self, known: Collection[str]) -> Iterator[Source]:
        """Yield every member that is set, was not asked for, and is not ``known`` to be of no use."""
        folded = set(map(fold, known))
        for where, members in self.members.items():
            for key, value in members.items():
                place = where.below(key)
                if place not in self.asked and fold(key) not in folded and value not in (None, "", [], {}):
                    yield place


def fold(key: str) -> str:
    """Return a key without what the spellings of SDKs differ in."""
    return key.replace("_", "").casefold()


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object of a document, where it stands, and what reading it adds to."""

    where: Source
    members: Mapping[str, JsonValue] = field(repr=False)  #: as the document spells them
    reading: DocumentReading = field(repr=False)
    _spelt: dict[str, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.where not in self.reading.members:
            self.reading.members[self.where] = self.members
        for key in self.members:
            if (other := self._spelt.setdefault(fold(key), key)) != key:
                self.problems.append(self.where.below(key).problem(f"is the key {other} once more"))

    def __bool__(self) -> bool:
        return bool(self.members)

    @property
    def problems(self) -> list[Problem]:
        """What is wrong, of all documents."""
        return self.reading.problems

    def keys(self, known: Collection[str]) -> set[str]:
        """Return which of the known keys are there, however they are spelt."""
        return {key for key in known if fold(key) in self._spelt}

    def source(self, *keys: str | int) -> Source:
        """Return the place of a member, whether it is there or not."""
        first, *more = keys
        return self.where.below(
            self._spelt.get(fold(first), first) if isinstance(first, str) else first, *more
        )

    def value(self, key: str) -> JsonValue:
        """Return a member as it is; None where it is not there, or not set."""
        self.reading.asked.add(self.source(key))
        value = self.members.get(self._spelt.get(fold(key), key))
        return None if value == "" else value

    def absent(self, key: str) -> bool:
        """Whether a member is not there, or not set."""
        return self.value(key) is None

    def no_use_for(self, *keys: str) -> None:
        """Note that members are of no use here, all of them without ``keys``."""
        self.reading.asked.update(map(self.source, keys or self.members))

    def object(self, key: str) -> "JsonObject":
        """Return an object; an empty one where there is none."""
        value, source = self.value(key), self.source(key)
        if isinstance(value, list) and len(value) == 1:
            value, source = value[0], source.below(0)
        if not isinstance(value, dict | None):
            self._refuse(key, f"must be an object, not {kind(value)}")
            value = {}
        return JsonObject(source, value or {}, self.reading)

    def objects(self, key: str, nested: str) -> tuple["JsonObject", ...]:
        """Return a list of objects, which the API wraps in an object with the single member ``nested``.

        The only one may stand for itself.
        """
        value, source = self.value(key), self.source(key)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            value, source = value[0], source.below(0)
        value, source = _within(value, source, nested, self.reading)
        if value is None or value == {}:
            return ()
        if isinstance(value, dict):
            return (JsonObject(source, value, self.reading),)
        if not isinstance(value, list):
            self.problems.append(source.problem(f"must be a list, not {kind(value)}"))
            return ()
        return tuple(self._item(source.below(index), item) for index, item in enumerate(value))

    def _item(self, where: Source, value: JsonValue) -> "JsonObject":
        if not isinstance(value, dict):
            self.problems.append(where.problem(f"must be an object, not {kind(value)}"))
            value = {}
        return JsonObject(where, value, self.reading)

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of texts, or one text of them with commas between."""
        value = self.value(key)
        if not isinstance(value, list):
            text = self.text(key)
            return None if text is None else tuple(part.strip() for part in text.split(","))
        if not all(isinstance(item, str) and item.isprintable() for item in value):
            self._refuse(key, "must be a list of texts")
            return None
        return tuple(str(item).strip() for item in value) or None

    def text(self, key: str) -> str | None:
        """Return a text of visible characters and spaces."""
        value = self._single(key)
        if value is None:
            return None
        if isinstance(value, str) and value.isprintable():
            return value
        wrong = kind(value) if not isinstance(value, str) else "one with control characters"
        self._refuse(key, f"must be a text, not {wrong}")
        return None

    def word(self, key: str, meanings: Mapping[str, T]) -> T | None:
        """Return the meaning of one of the words that are documented for a member."""
        value = self._single(key)
        if value is None:
            return None
        if isinstance(value, str):
            for word, meaning in meanings.items():
                if word.casefold() == value.casefold():
                    return meaning
        self._refuse(key, f"unknown value {shown(value)}: documented are {listed(meanings, 'and')}")
        return None

    def integer(self, key: str) -> int | None:
        """Return a number that is a number or a text of digits."""
        value = self._single(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            return int(value)
        self._refuse(key, f"must be a whole number, not {shown(value)}")
        return None

    def boolean(self, key: str) -> bool | None:
        """Return a truth value that is one, or the text of one."""
        value = self._single(key)
        return value if isinstance(value, bool) else self.word(key, {"true": True, "false": False})

    def address(self, key: str) -> IPv4Address | None:
        """Return an IPv4 address."""
        text = self.text(key)
        try:
            return IPv4Address(text) if text else None
        except ValueError:
            self._refuse(key, f"must be an IPv4 address, not {shown(text)}")
            return None

    def secret(self, key: str) -> Secret | None:
        """Return a pre-shared key; None too where the document shows asterisks in its place."""
        value = self.value(key)
        if value is None:
            return None
        if not isinstance(value, str) or not _KEY.fullmatch(value):
            self._refuse(key, "must be a key of visible ASCII characters, without a space")
            return None
        return None if _MASKED.fullmatch(value) else Secret(value.encode())

    def _single(self, key: str) -> JsonValue:
        value = self.value(key)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        return None if value == "" else value

    def _refuse(self, key: str, text: str) -> None:
        self.problems.append(self.source(key).problem(text))


def _within(
    value: JsonValue, source: Source, nested: str, reading: DocumentReading
) -> tuple[JsonValue, Source]:
    """Return what is in an object under ``nested``; the object itself if it has no such member."""
    if not isinstance(value, dict):
        return value, source
    holder = JsonObject(source, value, reading)
    if not holder.keys((nested,)):
        return value, source
    return holder.value(nested), holder.source(nested)
