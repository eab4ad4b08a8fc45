"""Hide what looks like a secret, whoever's it is: by its shape alone. Pure.

This is for secrets that nobody names to us: keys of SAs, what charon dumps at high log levels, passwords in
addresses and headers. What is known is found by `known`, whatever its shape.
"""

import re
from typing import Any, Final

HIDDEN: Final = "***"
#: Names whose value is nobody's business. ``psk_file=`` and ``secrets:`` are other names.
_NAMES: Final = (
    r"psk|secret|passw(?:or)?d|passphrase|pin|token|bearer|api[_-]?key|access[_-]?key(?:[_-]?secret)?|"
    r"private[_-]?key|client[_-]?secret|credentials?|cookie"
)
_TELLING: Final = re.compile(rf"(?:.*[_-])?(?:{_NAMES})", re.IGNORECASE)
_VALUE: Final = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"',;&}\]]+)"""

SHAPES: Final = (
    # PEM (RFC 7468), also where it was cut off, and OpenSSH's own.
    (re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]*-----|\Z)"), HIDDEN),
    # The arguments of a hook, in the line that tells every effective parameter.
    (re.compile(r"""(\bhooks\.[\w-]+\.command=[^\s,'"]+)(?:'[^']*'|"[^"]*"|[^\s'"])*"""), rf"\1,{HIDDEN}"),
    # Authorization: Basic …; the scheme is kept.
    (
        re.compile(r"(?i)\b((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?\w+[ \t]+)[^\s'\",]+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)([ \t]+)[A-Za-z0-9+/._~=-]{8,}"), rf"\1\2{HIDDEN}"),
    # Addresses: user and password, and what is asked.
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@'\"]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(https?://[^\s?'\"]+\?)[^\s'\"]+"), rf"\1{HIDDEN}"),
    # token=…, "password": "…", --secret …
    (re.compile(rf"(?i)(?<![A-Za-z0-9])({_NAMES})(['\"]?[ \t]*[=:](?!>)[ \t]*){_VALUE}"), rf"\1\2{HIDDEN}"),
    (re.compile(rf"(?i)(--(?:{_NAMES})[ \t]+){_VALUE}"), rf"\1{HIDDEN}"),
    # Hashes of passwords (crypt(5)).
    (re.compile(r"\$(?:[0-9a-z]{1,3}|apr1|argon2\w*|gy|sha1)\$[^\s'\":,]+"), HIDDEN),
    # 64 bits and more in hexadecimal: the keys of `ip xfrm state`, of DES at the least. SPIs have 32.
    (re.compile(r"\b0x[0-9A-Fa-f]{16,}"), HIDDEN),
    # What charon dumps: "   16: 3A 5B …  :[".
    (re.compile(r"(?m)(^|[ \t])(\d+:)(?: [0-9A-Fa-f]{2}){2,16}(?:[ \t].*)?$"), rf"\1\2 {HIDDEN}"),
    # PSKs as swanctl writes them.
    (re.compile(r"\b0s[A-Za-z0-9+/]{8,}={0,2}"), HIDDEN),
)


def veiled(text: str) -> str:
    """Return the text with ``***`` for what looks like a secret."""
    for shape, instead in SHAPES:
        text = shape.sub(instead, text)
    return text


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
