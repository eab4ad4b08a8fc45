"""Hide what looks like a secret, whoever's it is: by its shape alone. Pure.

This is for secrets that nobody names to us: keys of SAs, what charon dumps at high log levels, passwords in
addresses and headers. What is known is found by `known`, whatever its shape.
"""

import re
from typing import Any, Final, NamedTuple

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
