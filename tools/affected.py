"""Which test files a change can touch: those that import what changed, however far, or name the file.

What starts the program as a process imports nothing of it, so a change of the program touches every native
and every lab test. Said too often rather than too seldom: it is for people at work, and CI runs everything.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

PROGRAM = "agent/vpnagent/"
ROOTS = ("agent", "lab", "bench", "tools", "tests")
PROCESSES = ("tests/native/", "tests/lab/")
EVERYTHING = {"pyproject.toml", "packaging/requirements.txt", "tests/conftest.py"}


def changed(since: str) -> list[str]:
    """Return what differs from a revision, what git does not know yet included. Raises SystemExit."""
    commands = (["diff", "--name-only", since, "--"], ["ls-files", "--others", "--exclude-standard"])
    lines: list[str] = []
    for command in commands:
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.strip())
        lines += done.stdout.splitlines()
    return lines


def touched(paths: Collection[str]) -> set[str]:
    """Return the test files that a change of these paths can touch."""
    sources = {str(path) for root in ROOTS for path in Path(root).rglob("*.py")}
    reach = _reach(sources)
    every = [path for path in sources if is_test(path)]
    return {test for test in every if any(_touches(path, test, reach) for path in paths)}


def is_test(path: str) -> bool:
    """Whether pytest collects the file."""
    return path.startswith("tests/") and Path(path).name.startswith("test_")


def _touches(path: str, test: str, reach: Callable[[str], frozenset[str]]) -> bool:
    if path in EVERYTHING or path in reach(test):
        return True
    if path.endswith(".py") and path.startswith(PROGRAM):
        return test.startswith(PROCESSES)
    if path.startswith("lab/") and not path.endswith(".py"):
        return test.startswith("tests/lab/")  # what boots the guests
    return not path.endswith(".py") and names(_text(test), path)


def names(text: str, path: str) -> bool:
    """Whether a test's text speaks of a file that is no module, or of a folder that it lies in.

    >>> names('(ROOT / "docs" / "alerts.md").read_text()', "docs/alerts.md")
    True
    >>> names('(ROOT / "docs").rglob("*.md")', "docs/adr/0001.md"), names('"docs"', "dev")
    (True, False)
    """
    folders = "|".join(re.escape(part) for part in Path(path).parts[:-1])
    return Path(path).name in text or bool(folders and re.search(rf"""["'/]({folders})["'/]""", text))


def _reach(sources: set[str]) -> Callable[[str], frozenset[str]]:
    """Return what gives all files that a file imports, directly or not, itself included."""
    homes = {_module(path): path for path in sources}

    @cache
    def direct(path: str) -> frozenset[str]:
        found = {homes[name] for name in _imported(path) if name in homes}
        folder = Path(path).parent
        fixtures = {str(each / "conftest.py") for each in (folder, *folder.parents)} & sources
        return frozenset(found | (fixtures if is_test(path) else set()))

    @cache
    def whole(path: str) -> frozenset[str]:
        seen, waiting = {path}, [path]
        while waiting:
            fresh = direct(waiting.pop()) - seen
            seen |= fresh
            waiting += fresh
        return frozenset(seen)

    return whole


def _module(path: str) -> str:
    """Return the name by which a file is imported."""
    name = path.removeprefix("agent/").removesuffix(".py").removesuffix("/__init__")
    return name.replace("/", ".")


@cache
def _text(path: str) -> str:
    return Path(path).read_text()


@cache
def _imported(path: str) -> frozenset[str]:
    """Return every name that a file's imports may mean, packages on the way to it included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_text(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    packages = {name.rpartition(".")[0] for name in found}
    return frozenset(found | packages)
