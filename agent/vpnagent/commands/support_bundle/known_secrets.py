"""Read the secrets of this machine, to look for them in a bundle. A shell: opens files; keeps none of them.

What the configuration names, and besides: the credentials of the running services, and what swanctl.conf,
strongswan.conf and ipsec.secrets of the operator hold.
"""

import base64
import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from vpnagent import own_files
from vpnagent.commands.support_bundle.part import LEAST, Gathered, Known, Named
from vpnagent.commands.support_bundle.veil import CREDENTIAL, URL, named_secrets
from vpnagent.secret import Secret

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


class Secrets:
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
