"""Read the secrets of this machine, to look for them in a bundle. A shell: opens files; keeps none of them.

What the configuration names, and besides: the credentials of the running services, and what swanctl.conf,
strongswan.conf and ipsec.secrets of the operator hold.
"""

import base64
import glob
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from vpnagent import own_files
from vpnagent.commands.support_bundle.veil import CREDENTIAL, URL, named_secrets, veiled, veiled_data
from vpnagent.record import record, replace
from vpnagent.secret import Secret

# Whether a text holds a secret that is known, in whatever spelling. Pure.
# A secret is looked for as it is, escaped as JSON, Python, a shell or a URL does it, in base64 (as part
# of more, too) and in hexadecimal, across line breaks and the colons of dumps. One that is shorter than
# ``LEAST`` would be found everywhere by chance: of it only whole words count.

LEAST: Final = 8  #: bytes
BASE64_PHASES: Final = 3  #: three bytes make four characters
SEXTET: Final = 6  #: bits of a character of base64
URL_SAFE: Final = str.maketrans("+/", "-_")
_LINE_ENDS: Final = ("\\n", "\\r")  #: as JSON writes them
_DUMP_MARKS: Final = (":", ",", "-", "\\x")
_PREFIX: Final = "0x"  #: of a number; where a digit 0 and an x of something else meet it is none


@record(frozen=True, slots=True, kw_only=True)
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
MOST_KEPT: Final = 2 << 20  #: bytes kept of a file

Content = str | dict[str, Any] | list[Any]


@record(frozen=True, slots=True, kw_only=True)
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


def cut(text: str, *, keep_end: bool = False, most: int = MOST_KEPT) -> tuple[str, str]:
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


MOST: Final = 1 << 20  #: bytes of a file
RANDOM: Final = 16  #: characters: a part of a URL's path that is as long is no word
PEM_LINE: Final = 64  #: characters (RFC 7468 §2)
PEM: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(.*?)-----END", re.DOTALL)
CREDENTIALS: Final = ("run/credentials/vpnagent*.service",)
STRONGSWAN: Final = ("etc/swanctl/**/*.conf", "etc/strongswan.conf", "etc/strongswan.d/**/*.conf")
SETTING: Final = re.compile(r"""(?m)\b(?:secret|password|pin)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s#}]+))""")
IPSEC_SECRETS: Final = ("etc/ipsec.secrets", "var/lib/strongswan/ipsec.secrets.inc")
QUOTED: Final = re.compile(r'"([^"\n]+)"|\b(0[sx][A-Za-z0-9+/=]+)')
PRIVATE_KEYS: Final = (
    "etc/swanctl/private/*",
    "etc/swanctl/rsa/*",
    "etc/swanctl/ecdsa/*",
    "etc/swanctl/pkcs8/*",
)


class BundleSecrets:
    """Gathers secrets.

    ``folder`` is what names in the configuration are relative to; ``root`` is another place to find ``/etc``
    and ``/run`` in, for tests.
    """

    def __init__(self, folder: str, root: str = "/") -> None:
        self._folder = folder
        self._root = Path(root)
        self._found: list[Named] = []
        self._unsearched: dict[str, None] = {}
        self._forbidden = False

    def gathered(self) -> Gathered:
        """Return all of them."""
        return Gathered(Known(self._found), tuple(self._unsearched), self._forbidden)

    def add_configuration(self, path: str) -> None:
        """Add what a configuration names."""
        self._add_named(self._text(path))

    def add_standing(self, path: str) -> None:
        """Add what the last good configuration names, which the service's user wrote."""
        try:
            self._add_named(own_files.read(path).decode(errors="replace"))
        except FileNotFoundError:
            return
        except OSError as error:
            self._refused(path, error)

    def _add_named(self, text: str) -> None:
        for key, value in named_secrets(text):
            if key == URL:
                self._add("a webhook's url", *_of_url(value))
            elif key == CREDENTIAL:
                if not self.is_there(key, value):
                    self._unsearched[f"credential {value}: no running service has it"] = None
            else:
                self._add_file(os.path.join(self._folder, value), is_url=key == "url_file")

    def add_services(self) -> None:
        """Add every credential that systemd has handed to our services, or to us."""
        for folder in self._credential_folders():
            try:
                names = sorted(os.listdir(folder))
            except OSError as error:
                self._refused(folder, error)
                continue
            for name in names:
                self._add_file(os.path.join(folder, name))

    def add_strongswan(self) -> None:
        """Add what the operator's own files for charon hold."""
        for path in self._glob(STRONGSWAN):
            for quoted, bare in SETTING.findall(self._text(path)):
                self._add(path, *_as_written(re.sub(r"\\(.)", r"\1", quoted) or bare))
        for path in self._glob(IPSEC_SECRETS):
            for quoted, code in QUOTED.findall(self._text(path)):
                self._add(path, *_as_written(quoted or code))
        for path in self._glob(PRIVATE_KEYS):
            self._add_file(path)

    def is_there(self, key: str, value: str) -> bool:
        """Whether there is a file, or for the key of a credential a credential, of this name."""
        if key == CREDENTIAL:
            return any(os.path.lexists(os.path.join(place, value)) for place in self._credential_folders())
        return os.path.isfile(os.path.join(self._folder, value))

    def _credential_folders(self) -> list[str]:
        own = os.environ.get("CREDENTIALS_DIRECTORY")
        return [*([own] if own else []), *self._glob(CREDENTIALS)]

    def _glob(self, patterns: Iterable[str]) -> list[str]:
        return sorted(p for pattern in patterns for p in glob.glob(str(self._root / pattern), recursive=True))

    def _add_file(self, path: str, *, is_url: bool = False) -> None:
        content = self._content(path).strip(b"\r\n")
        if is_url:
            self._add(path, *_of_url(content.decode(errors="replace")))
        elif keys := PEM.findall(content):
            self._add(path, *(line for key in keys for line in key.split() if len(line) >= RANDOM))
        elif content.startswith(b"0\x82"):  # DER; base64 of it is PEM's
            encoded = base64.b64encode(content)
            self._add(path, *(encoded[at : at + PEM_LINE] for at in range(0, len(encoded), PEM_LINE)))
        else:
            lines = [line for line in content.splitlines() if len(line) >= LEAST]
            self._add(path, content, *lines)

    def _add(self, owner: str, *contents: bytes) -> None:
        self._found += [Named(owner=owner, secret=Secret(content)) for content in contents if content]

    def _text(self, path: str) -> str:
        return self._content(path).decode(errors="replace")

    def _content(self, path: str) -> bytes:
        try:
            return own_files.of_operator(path, MOST)
        except (OSError, ValueError) as error:
            self._refused(path, error)
            return b""

    def _refused(self, path: str, error: OSError | ValueError) -> None:
        reason = error.strerror if isinstance(error, OSError) else "no regular file"
        self._unsearched[f"{path}: {reason}"] = None
        self._forbidden |= isinstance(error, PermissionError)


def _of_url(url: str) -> Iterator[bytes]:
    """Yield what of a webhook's address gives access to it: all of it, and what in it looks like a key."""
    yield url.encode()
    try:
        parts = urlsplit(url)
        password = parts.password or ""
    except ValueError:
        return
    if parts.path.strip("/"):
        yield f"{parts.netloc.rpartition('@')[2]}{parts.path}".encode()
    asked = [value for _, value in parse_qsl(parts.query)]
    segments = [segment for segment in parts.path.split("/") if len(segment) >= RANDOM]
    for part in (password, unquote(password), *segments, *asked):
        if len(part) >= LEAST or part == password:
            yield part.encode()


def _as_written(value: str) -> Iterator[bytes]:
    """Yield a value of swanctl.conf as it is, and decoded: ``0x`` is hexadecimal, ``0s`` base64."""
    yield value.encode()
    try:
        if value[:2].lower() == "0x":
            yield bytes.fromhex(value[2:])
        elif value[:2].lower() == "0s":
            yield base64.b64decode(value[2:], validate=True)
    except ValueError:
        return
