"""The lock: what is installed here and what the package ships are what it says, by version and digest."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SHIPPED, TOOLS = (
    [line for line in part.splitlines() if line and not line.startswith("#")]
    for part in (ROOT / "packaging/requirements.txt")
    .read_text()
    .split("# What develops and tests it, besides:")
)
LOCKED = [*SHIPPED, *TOOLS]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNLOCKED = {"pip", "setuptools", "vpnagent"}  # what `python -m venv` brings with it, and the project itself
EXTRAS = [one for extra in PROJECT["optional-dependencies"].values() for one in extra]


def requirement(line: str) -> Requirement:
    return Requirement(line.partition(" --hash")[0])


def versions(name: str, lines: list[str]) -> list[str]:
    """Return the locked versions: of a tool there may be one for some Pythons and one for others."""
    wanted = canonicalize_name(name)
    return [version(line) for line in lines if canonicalize_name(requirement(line).name) == wanted]


def version(line: str) -> str:
    return str(requirement(line).specifier).removeprefix("==")


@pytest.mark.parametrize("wanted", PROJECT["dependencies"])
def test_a_dependency_is_shipped_in_a_version_that_fits(wanted: str) -> None:
    asked = Requirement(wanted)

    assert list(map(asked.specifier.contains, versions(asked.name, SHIPPED))) == [True]


@pytest.mark.parametrize("wanted", EXTRAS)
def test_a_tool_is_locked_in_a_version_that_fits(wanted: str) -> None:
    asked = Requirement(wanted)

    assert any(map(asked.specifier.contains, versions(asked.name, LOCKED)))


def test_every_file_is_known_by_its_digest() -> None:
    assert [line for line in LOCKED if not re.search(r"( --hash=sha256:[0-9a-f]{64})+$", line)] == []


def test_what_is_installed_is_what_is_locked() -> None:
    installed = {
        canonicalize_name(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()
    }
    locked = {
        canonicalize_name(requirement(line).name): version(line)
        for line in LOCKED
        if (marker := requirement(line).marker) is None or marker.evaluate()
    }

    assert {name: found for name, found in installed.items() if name not in UNLOCKED} == locked


def test_what_is_shipped_is_the_same_for_every_python() -> None:
    """`pip download` for another Python judges markers by the Python that runs it."""
    assert [line for line in SHIPPED if "python" in str(requirement(line).marker)] == []
