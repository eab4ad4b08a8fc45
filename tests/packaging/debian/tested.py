"""The package that ``./dev deb-test`` has made, and what the Debian that it is for is like."""

import os
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]


class Release(NamedTuple):
    """A release of Debian."""

    name: str
    python: tuple[int, int]
    charon: str  #: the version as ``vpnagent status`` shows it
    units: str  #: where debhelper puts units


RELEASES = {
    "12": Release("bookworm", (3, 11), "5.9.8", "/lib/systemd"),
    "13": Release("trixie", (3, 13), "6.0.1", "/usr/lib/systemd"),
}


def package() -> Path:
    """Return the package."""
    return ROOT / os.environ["VPNAGENT_DEB_TESTED"]


def release() -> Release:
    """Return the release that it is for."""
    number = re.search(r"\+deb(\d+)_", package().name)
    assert number, f"{package().name} does not tell its release"
    return RELEASES[number[1]]
