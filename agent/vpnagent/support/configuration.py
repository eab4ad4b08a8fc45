"""The configuration as it may be shown, and what in it names a secret. Pure.

Shown is the file itself, so that line numbers mean what they say, without its comments. A value stays where
its key is one that we know and is no place for a secret, and a file's name only where there is such a file:
a key that was written where its file belongs is not shown.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import yaml

from vpnagent.config.yaml_positions import nodes, read
from vpnagent.support.veil import HIDDEN

#: Keys whose value is the name of a file that holds a secret.
SECRET_FILES: Final = ("psk_file", "password_file", "url_file", "token_file", "private_key")
CREDENTIAL: Final = "psk_credential"
URL: Final = "url"
_OTHER_FILES: Final = ("certificate", "ca", "client_ca")
_COMMENT: Final = re.compile(r"#.*")
_NOT_STRUCTURE: Final = re.compile(r"[^][{},:?\s-]")
_LINE: Final = re.compile(
    rf"""(?m)\b({"|".join((*SECRET_FILES, CREDENTIAL, URL))})["']?\s*:\s*["']?([^"',}}\s#]+)"""
)

Path = tuple[str | int, ...]
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


def _scalars(node: yaml.Node, path: Path, seen: set[int]) -> Iterator[tuple[Path, yaml.ScalarNode, bool]]:
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


def _stays(path: Path, value: str, known_keys: frozenset[str], is_there: IsThere, *, is_key: bool) -> bool:
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
