"""What the package vendors is what the project asks for: packaging/lock was run after the last change."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = {
    line.partition("==")[0]: line
    for line in (ROOT / "packaging/requirements.txt").read_text().splitlines()
    if not line.startswith("#")
}


def asked_for() -> list[str]:
    return [
        str(one) for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ]


@pytest.mark.parametrize("wanted", asked_for())
def test_a_dependency_is_vendored_in_a_version_that_fits(wanted: str) -> None:
    found = re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+),<([0-9.]+)", wanted)
    assert found
    name, least, below = found.groups()
    version = re.match(r"[a-z0-9-]+==([0-9.]+) ", LOCKED[name])
    assert version
    assert numbers(least) <= numbers(version[1]) < numbers(below)


def test_every_wheel_is_known_by_its_digest() -> None:
    assert [line for line in LOCKED.values() if not re.search(r"( --hash=sha256:[0-9a-f]{64})+$", line)] == []


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
