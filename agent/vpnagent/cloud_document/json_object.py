"""Reading the members of a JSON object, each as the kind that it must have; what is not is a problem.

The API types the same number as a number in one place and as a text in the other (PY-SDK vpc-20160428:
``IkeLifetime`` of a connection and of a tunnel), and writes what is not set as an empty text: all of these
are read. What is wrong with a secret is told without it, and of an object, a list or a text in the wrong
place only the kind is told: a secret may be inside.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, TypeVar

from vpnagent.cloud_document.told import Source
from vpnagent.config.wording import listed, shown
from vpnagent.errors import Problem
from vpnagent.secret import Secret

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
T = TypeVar("T")

MAX_BYTES: Final = 1 << 24  #: a page of DescribeVpnConnections has at most 50 connections of some KiB

_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_KEY: Final = re.compile(r"[\x21-\x7e]+")  #: the cloud's keys; see config.secret_files
_MASKED: Final = re.compile(r"\*+")


class JsonError(Exception):
    """A text that is not JSON, and why; never a part of the text."""


def parse(content: bytes) -> Json:
    """Return what a JSON text holds. Raises JsonError."""
    if len(content) > MAX_BYTES:
        raise JsonError(f"must not be larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")  # editors on Windows begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise JsonError(f"is not UTF-8, from byte {error.start} on") from error
    try:
        value: Json = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise JsonError(f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise JsonError("is nested too deep") from error
    except ValueError as error:  # a number of thousands of digits
        raise JsonError("holds a number that is too long") from error
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError(f"has the key {shown(twice)} twice in one object")
    return members


def _no_constant(name: str) -> Json:
    raise JsonError(f"holds {name}, which is not JSON")


def kind(value: Json) -> str:
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


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object of a document, where it stands, and the list of problems that reading it adds to."""

    where: Source
    members: Mapping[str, Json] = field(repr=False)
    problems: list[Problem] = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self.members)

    def source(self, *keys: str | int) -> Source:
        """Return the place of a member, whether it is there or not."""
        return Source(self.where.document, (*(self.where.path or ()), *keys))

    def absent(self, key: str) -> bool:
        """Whether a member is not there, or not set."""
        value = self.members.get(key)
        return value is None or value == ""

    def object(self, key: str) -> "JsonObject":
        """Return an object; an empty one where there is none."""
        value = {} if self.absent(key) else self.members[key]
        if not isinstance(value, dict):
            self._refuse(key, f"must be an object, not {kind(value)}")
            value = {}
        return JsonObject(self.source(key), value, self.problems)

    def objects(self, key: str, nested: str) -> tuple["JsonObject", ...]:
        """Return a list of objects, which the API wraps in an object with the single member ``nested``."""
        value = None if self.absent(key) else self.members[key]
        source = self.source(key)
        if isinstance(value, dict):
            value, source = value.get(nested), self.source(key, nested)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problems.append(source.problem(f"must be a list, not {kind(value)}"))
            return ()
        holder = JsonObject(source, {}, self.problems)
        return tuple(holder._item(index, item) for index, item in enumerate(value))

    def _item(self, index: int, value: Json) -> "JsonObject":
        where = self.source(index)
        if not isinstance(value, dict):
            self.problems.append(where.problem(f"must be an object, not {kind(value)}"))
            value = {}
        return JsonObject(where, value, self.problems)

    def text(self, key: str) -> str | None:
        """Return a text of visible characters and spaces."""
        if self.absent(key):
            return None
        value = self.members[key]
        if isinstance(value, str) and value.isprintable():
            return value
        wrong = kind(value) if not isinstance(value, str) else "one with control characters"
        self._refuse(key, f"must be a text, not {wrong}")
        return None

    def word(self, key: str, meanings: Mapping[str, T]) -> T | None:
        """Return the meaning of one of the words that are documented for a member."""
        if self.absent(key):
            return None
        value = self.members[key]
        if isinstance(value, str) and value in meanings:
            return meanings[value]
        self._refuse(key, f"unknown value {shown(value)}: documented are {listed(meanings, 'and')}")
        return None

    def integer(self, key: str) -> int | None:
        """Return a number that is a number or a text of digits."""
        if self.absent(key):
            return None
        value = self.members[key]
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            return int(value)
        self._refuse(key, f"must be a whole number, not {shown(value)}")
        return None

    def boolean(self, key: str) -> bool | None:
        """Return a truth value that is one, or the text of one."""
        if self.absent(key):
            return None
        value = self.members[key]
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
        if self.absent(key):
            return None
        value = self.members[key]
        if not isinstance(value, str) or not _KEY.fullmatch(value):
            self._refuse(key, "must be a key of visible ASCII characters, without a space")
            return None
        return None if _MASKED.fullmatch(value) else Secret(value.encode())

    def _refuse(self, key: str, text: str) -> None:
        self.problems.append(self.source(key).problem(text))
