"""A room knows of the rooms below it only: what is above may change without it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).parents[1] / "agent" / "vpnagent"
#: From the ground up; what stands on one floor does not know of each other.
FLOORS: Final = (
    ("own_files", "program", "record", "secret"),
    ("errors", "finding"),
    ("config", "control", "netlink"),
    ("ipsec", "routing"),
    ("policy",),
    ("probe",),
    ("checks",),
    ("witness",),
    ("knowledge",),
    ("status",),
    ("events",),
    ("log", "metrics"),
    ("daemon",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
MOST_AT_THE_TOP: Final = 10
MOST_FILES: Final = 220
FLOOR: Final = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
FILES: Final = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a module by its dotted name; "" is the package itself, its version."""
    return module.removeprefix("vpnagent").removeprefix(".").partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("vpnagent"))
        elif isinstance(node, ast.ImportFrom) and node.module == "vpnagent":
            yield from (f"vpnagent.{alias.name}" for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vpnagent."):
            yield str(node.module)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_from_rooms_below_it_only(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if here == "__init__":
        assert not list(imported(path))
        return
    above = {room_of(m) for m in imported(path) if room_of(m) != here and FLOOR[room_of(m)] >= FLOOR[here]}
    assert not above


def test_the_floors_are_those_of_the_tree() -> None:
    there = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in FILES}
    assert there - {"__init__"} == set(FLOOR)


def test_the_house_stays_one_that_a_stranger_can_walk_through() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP
    assert len(FILES) <= MOST_FILES
