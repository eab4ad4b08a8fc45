"""Hide what looks like a secret, whoever's it is: by its shape alone. Pure.

This is for secrets that nobody names to us: keys of SAs, what charon dumps at high log levels, passwords in
addresses and headers. What is known is found by `known`, whatever its shape.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import yaml

from vpnagent.config.wording import KeyPath
from vpnagent.config.yaml_positions import nodes, read

HIDDEN: Final = "***"
#: Names whose value is nobody's business. ``psk_file=`` and ``secrets:`` are other names.
_NAMES: Final = (
    r"psk|secret|passw(?:or)?d|passphrase|pin|token|bearer|api[_-]?key|access[_-]?key(?:[_-]?secret)?|"
    r"private[_-]?key|client[_-]?secret|credentials?|cookie"
)
NAME_MARKS: Final = (
    "psk",
    "secret",
    "passw",
    "passph",
    "pin",
    "token",
    "bearer",
    "key",
    "credential",
    "cookie",
)
_TELLING: Final = re.compile(rf"(?:.*[_-])?(?:{_NAMES})", re.IGNORECASE)
_VALUE: Final = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"',;&}\]]+)"""


class Shape(NamedTuple):
    """What a secret looks like within a line. Lines without any of the marks, in lower case, are let be."""

    marks: tuple[str, ...]
    pattern: re.Pattern[str]
    instead: str


#: PEM (RFC 7468), also where it was cut off, and OpenSSH's own.
PEM_MARK: Final = "PRIVATE KEY-----"
PEM: Final = re.compile(rf"-----BEGIN [A-Z0-9 ]*{PEM_MARK}(?s:.*?)(?:-----END [A-Z0-9 ]*-----|\Z)")
SHAPES: Final = (
    # The arguments of a hook, in the line that tells every effective parameter.
    Shape(
        (".command=",),
        re.compile(r"""(\bhooks\.[\w-]+\.command=[^\s,'"]+)(?:'[^']*'|"[^"]*"|[^\s'"])*"""),
        rf"\1,{HIDDEN}",
    ),
    # Authorization: Basic …; the scheme is kept.
    Shape(
        ("authorization",),
        re.compile(r"(?i)\b((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?\w+[ \t]+)[^\s'\",]+"),
        rf"\1{HIDDEN}",
    ),
    Shape(
        ("bearer", "basic"),
        re.compile(r"(?i)\b(bearer|basic)([ \t]+)[A-Za-z0-9+/._~=-]{8,}"),
        rf"\1\2{HIDDEN}",
    ),
    # Addresses: user and password, and what is asked. Bounded, or a line of slashes takes for ever.
    Shape(("@",), re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s/@'\"]{1,500}@"), rf"\1{HIDDEN}@"),
    Shape(("?",), re.compile(r"\b(https?://[^\s?'\"]{1,500}\?)[^\s'\"]+"), rf"\1{HIDDEN}"),
    # token=…, "password": "…", --secret …
    Shape(
        NAME_MARKS,
        re.compile(rf"(?i)(?<![A-Za-z0-9])({_NAMES})(['\"]?[ \t]*[=:](?!>)[ \t]*){_VALUE}"),
        rf"\1\2{HIDDEN}",
    ),
    Shape(("--",), re.compile(rf"(?i)(--(?:{_NAMES})[ \t]+){_VALUE}"), rf"\1{HIDDEN}"),
    # Hashes of passwords (crypt(5)).
    Shape(("$",), re.compile(r"\$(?:[0-9a-z]{1,3}|apr1|argon2\w*|gy|sha1)\$[^\s'\":,]+"), HIDDEN),
    # 64 bits and more in hexadecimal: the keys of `ip xfrm state`, of DES at the least. SPIs have 32.
    Shape(("0x",), re.compile(r"\b0x[0-9A-Fa-f]{16,}"), HIDDEN),
    # What charon dumps: "   16: 3A 5B …  :[".
    Shape((": ",), re.compile(r"(^|[ \t])(\d+:)(?: [0-9A-Fa-f]{2}){2,16}(?:[ \t].*)?$"), rf"\1\2 {HIDDEN}"),
    # Keys as swanctl.conf has them.
    Shape(("0s",), re.compile(r"\b0s[A-Za-z0-9+/]{8,}={0,2}"), HIDDEN),
)


def veiled(text: str) -> str:
    """Return the text with ``***`` for what looks like a secret."""
    if PEM_MARK in text:
        text = PEM.sub(HIDDEN, text)
    return "\n".join(map(_veiled_line, text.split("\n")))


def _veiled_line(line: str) -> str:
    lower = line.lower()
    for marks, pattern, instead in SHAPES:
        if any(mark in lower for mark in marks):
            line = pattern.sub(instead, line)
    return line


def is_telling(name: str) -> bool:
    """Whether what has this name is a secret."""
    return _TELLING.fullmatch(name) is not None


def veiled_data(value: Any) -> Any:
    """Return a JSON value with ``***`` for what looks like a secret."""
    if isinstance(value, str):
        return veiled(value)
    if isinstance(value, list):
        return [veiled_data(part) for part in value]
    if isinstance(value, dict):
        return {
            veiled(key): HIDDEN if is_telling(key) and isinstance(part, str) else veiled_data(part)
            for key, part in value.items()
        }
    return value


# The configuration as it may be shown, and what in it names a secret. Pure.
# Shown is the file itself, so that line numbers mean what they say, without its comments. A value stays
# where its key is one that we know and is no place for a secret, and a file's name only where there is
# such a file: a key that was written where its file belongs is not shown.

#: Keys whose value is the name of a file that holds a secret.
SECRET_FILES: Final = ("psk_file", "password_file", "url_file", "token_file", "secret_file", "private_key")
CREDENTIAL: Final = "psk_credential"
URL: Final = "url"
_OTHER_FILES: Final = ("certificate", "ca", "client_ca")
_COMMENT: Final = re.compile(r"#.*")
_NOT_STRUCTURE: Final = re.compile(r"[^][{},:?\s-]")
_LINE: Final = re.compile(
    rf"""(?m)\b({"|".join((*SECRET_FILES, CREDENTIAL, URL))})["']?\s*:\s*["']?([^"',}}\s#]+)"""
)

IsThere = Callable[[str, str], bool]  #: key and value: whether there is a file, or a credential, of that name


def named_secrets(text: str) -> Iterator[tuple[str, str]]:
    """Yield key and value wherever a file names a secret; where it is not sound, wherever it seems to."""
    document = read(text.encode())
    found = list(_pairs(document.data))
    if document.faults:
        found += _LINE.findall(_COMMENT.sub("", text))
    yield from dict.fromkeys(found)


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in (*SECRET_FILES, CREDENTIAL, URL) and isinstance(inner, str | int):
                yield str(key), str(inner)
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)


def shown(text: str, known_keys: frozenset[str], is_there: IsThere) -> str:
    """Return the file as it may be shown. Raises ValueError, without a word of it, where it is not YAML."""
    parts, end = [], 0
    for path, node, is_key in _scalars(nodes(text.encode()), (), set()):
        start, stop = node.start_mark.index, node.end_mark.index
        written = text[start:stop]
        plain = written in (node.value, f"'{node.value}'", f'"{node.value}"')  # and no anchor, no tag
        stays = plain and _stays(path, node.value, known_keys, is_there, is_key=is_key)
        parts += [_structure(text[end:start]), written if stays else HIDDEN + "\n" * written.count("\n")]
        end = stop
    return "".join([*parts, _structure(text[end:])])


def _structure(text: str) -> str:
    """Return what is between values: indentation, commas, brackets; not comments, anchors and tags."""
    return _NOT_STRUCTURE.sub("", _COMMENT.sub("", text))


def _scalars(
    node: yaml.Node, path: KeyPath, seen: set[int]
) -> Iterator[tuple[KeyPath, yaml.ScalarNode, bool]]:
    """Yield every scalar with its path, and whether it is a key, in the order of the file.

    What an alias stands for is told once, where it is written.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield path, node, False
    elif isinstance(node, yaml.SequenceNode):
        for index, inner in enumerate(node.value):
            yield from _scalars(inner, (*path, index), seen)
    elif isinstance(node, yaml.MappingNode):
        for key, inner in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name and id(key) not in seen:
                seen.add(id(key))
                yield (*path, name), key, True
            yield from _scalars(inner, (*path, name), seen)


def _stays(path: KeyPath, value: str, known_keys: frozenset[str], is_there: IsThere, *, is_key: bool) -> bool:
    names = [name for name in path if isinstance(name, str)]
    if not set(names) <= known_keys or not names:
        return False
    name = names[-1]
    if is_key:
        return True
    if name in (*SECRET_FILES, CREDENTIAL, *_OTHER_FILES):
        return is_there(name, value)
    if name == "command":
        return path[-1] == 0
    return name != URL
