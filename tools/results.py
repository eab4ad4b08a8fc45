"""What a run of pytest left behind: each test's outcome, and the names by which the failed ones run again.

Read from its two own files, junit XML and the cache's list of what failed last (pytest's cacheprovider).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

JunitOutcome = Literal["passed", "failed", "skipped"]
LAST_FAILED = Path("v", "cache", "lastfailed")


@dataclass(frozen=True, slots=True)
class Result:
    """One test, as the junit file names it."""

    classname: str
    name: str
    seconds: float
    outcome: JunitOutcome
    message: str
    """Its failure's first line, or the reason for which it was skipped."""
    slow: str = ""
    """The reason for which it may be slow."""

    def __str__(self) -> str:
        return f"{self.classname}.{self.name}"


def read(junit: Path) -> list[Result]:
    """Return the tests of a junit file; none where the run left no file, or half of one."""
    try:
        cases = ElementTree.parse(junit).getroot().iter("testcase")  # noqa: S314 - pytest wrote it just now
    except (OSError, ElementTree.ParseError):
        return []
    return [_result(case) for case in cases]


def _result(case: ElementTree.Element) -> Result:
    outcome: JunitOutcome = "passed"
    message = ""
    for child in case:
        if child.tag in {"failure", "error", "skipped"}:
            outcome = "skipped" if child.tag == "skipped" else "failed"
            message = (child.get("message") or "").partition("\n")[0]
    slow = next((each.get("value", "") for each in case.iter("property") if each.get("name") == "slow"), "")
    seconds = float(case.get("time", 0))
    return Result(case.get("classname", ""), case.get("name", ""), seconds, outcome, message, slow)


def failed(cache: Path) -> list[str]:
    """Return the node ids that failed in the last run with this cache directory."""
    try:
        return list(json.loads((cache / LAST_FAILED).read_text()))
    except FileNotFoundError:
        return []


def key(node: str) -> tuple[str, str]:
    """Return a node id as junit has it: classname and name.

    >>> key("tests/lab/test_drift.py::test_it[a::b]")
    ('tests.lab.test_drift', 'test_it[a::b]')
    """
    whole, bracket, parameters = node.partition("[")
    path, *names = whole.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    if not names:  # a module that cannot be imported
        return module.rpartition(".")[0], module.rpartition(".")[2]
    return ".".join([module, *names[:-1]]), names[-1] + bracket + parameters
