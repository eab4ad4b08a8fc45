"""A room knows of the rooms below it only, and a name of a type has one meaning in the whole house."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "agent" / "vpnagent"
#: From the ground up; what stands on one floor does not know of each other.
FLOORS: Final = (
    ("own_files", "program", "record", "secret"),
    ("errors", "finding"),
    ("config", "control", "netlink"),
    ("ipsec", "pair", "routing"),
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
MOST_FILES: Final = 225  # 205 in November 2026; the pair, incidents, hooks and the guided start came since
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


def types_of(path: Path) -> Iterator[str]:
    """Yield the names of the classes and of the aliases of types that a module defines."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[0].isupper() and not name.isupper():
                yield name


def test_the_name_of_a_type_has_one_meaning() -> None:
    programs = [
        path for name in ("lab", "bench", "tools") for path in (PACKAGE.parents[1] / name).rglob("*.py")
    ]
    homes = Counter(name for path in (*FILES, *programs) for name in set(types_of(path)))
    assert [name for name, count in homes.items() if count > 1] == []


def test_the_house_stays_one_that_a_stranger_can_walk_through() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP
    assert len(FILES) <= MOST_FILES
