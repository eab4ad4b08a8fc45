"""``./dev test``: every stage, what failed once more alone, and one line that sums it up.

A test that fails and passes when it runs again alone is flaky: told with its first failure and counted, and
the run is green. One that fails twice is a failure. A stage that left no result, or whose tool failed
without a failed test, has failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tools import affected, results

BUILD = Path("build")
SLOWEST = 10
SLOW = 20.0  # seconds; what takes longer has a reason beside it
AGAIN = 20  # at most so many failed tests run again: more of them are no accident
NATIVE = "tests/native"
LAB = "tests/lab"
ELSEWHERE = (LAB, NATIVE, "tests/packaging/debian", "tests/packaging/lab")  # not the unit tests'


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the run. ``again`` runs its failed tests alone."""

    name: str
    command: tuple[str, ...]
    tests: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    needs_root: bool = False

    @property
    def junit(self) -> Path:
        """Where its results are."""
        return BUILD / f"{self.name}.xml"

    @property
    def cache(self) -> Path:
        """Where pytest keeps what failed."""
        return BUILD / "cache" / self.name


@dataclass(slots=True)
class Account:
    """What became of all tests."""

    passed: list[results.Result] = field(default_factory=list)
    failed: list[results.Result] = field(default_factory=list)
    skipped: list[results.Result] = field(default_factory=list)
    flaky: list[results.Result] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    """Stages that failed as such."""

    def add(self, first: Iterable[results.Result], passed_again: set[tuple[str, str]]) -> None:
        """Sort the results of a stage."""
        for one in first:
            if one.outcome == "failed" and (one.classname, one.name) in passed_again:
                self.flaky.append(one)
            else:
                getattr(self, one.outcome).append(one)

    @property
    def green(self) -> bool:
        """Whether nothing failed. A stage that ran nothing has."""
        return not self.failed and not self.stages

    def text(self) -> str:
        """Return what is told at the end; its last line is the summary."""
        everything = [*self.passed, *self.failed, *self.flaky]
        slowest = sorted(everything, key=lambda one: -one.seconds)[:SLOWEST]
        lines = [f"slowest: {one.seconds:6.1f} s  {one}{one.slow and ': '}{one.slow}" for one in slowest]
        unexplained = [one for one in everything if one.seconds > SLOW and not one.slow]
        lines += [f"slow: {one}: more than {SLOW:g} s, and no reason is given" for one in unexplained]
        lines += [f"failed: {one}: {one.message}" for one in self.failed]
        lines += [f"flaky: {one}: passed when it ran again alone; first: {one.message}" for one in self.flaky]
        lines += [f"failed stage: {name}" for name in self.stages]
        failures = len(self.failed) or len(self.stages)
        summary = f"{len(self.passed) + len(self.flaky)} passed, {failures} failed"
        summary += f", {len(self.skipped)} skipped" if self.skipped else ""
        return "\n".join([*lines, summary + (f", {len(self.flaky)} flaky" if self.flaky else "")])


def stages() -> list[Stage]:
    """Return all of them, in the order in which they tell most the soonest."""
    pytest = (sys.executable, "-m", "pytest", "-q")
    side_by_side = ("-n", str(min(2, os.cpu_count() or 1)))
    lab = (sys.executable, "-m", "lab.guests")
    unit = (*pytest, *side_by_side, "--dist", "worksteal")
    return [
        Stage("check", ("./dev", "check")),
        Stage("unit", (*unit, *(f"--ignore={each}" for each in ELSEWHERE)), ("tests",), pytest),
        # A file in one process: most of them make one world for all their tests.
        Stage("native", (*pytest, *side_by_side, "--dist", "loadfile"), (NATIVE,), pytest, needs_root=True),
        Stage("lab", lab, (LAB,), lab, needs_root=True),
    ]


def run(stage: Stage, account: Account, only: list[str] | None) -> None:
    """Run one stage, with `only` these tests of it, and what failed once more."""
    begin = time.monotonic()
    print(f"\n==> {stage.name}", flush=True)
    if stage.needs_root and os.geteuid():
        print(f"NOT RUN: {stage.name} needs root: sudo ./dev test")
        account.stages.append(f"{stage.name} (needs root)")
        return
    status = execute(stage, stage.command, stage.tests if only is None else only, stage.junit, stage.cache)
    first = results.read(stage.junit) if stage.tests else []
    if stage.tests and not first:
        print(f"{stage.junit}: no test was executed")
    again = run_again(stage) if any(one.outcome == "failed" for one in first) else set()
    account.add(first, again)
    if not sound(stage, status, first):
        account.stages.append(stage.name)
    print(f"--- {stage.name}: {time.monotonic() - begin:.0f} s", flush=True)


def sound(stage: Stage, status: int, first: list[results.Result]) -> bool:
    """Whether the exit status is what the results say: else more went wrong than a test."""
    if not stage.tests:
        return status == 0
    return bool(first) and status == any(one.outcome == "failed" for one in first)


def execute(stage: Stage, command: tuple[str, ...], tests: Iterable[str], junit: Path, cache: Path) -> int:
    """Run a stage's command; its exit status."""
    options = [f"--junit-xml={junit}", "-o", f"cache_dir={cache.absolute()}"] if stage.tests else []
    junit.unlink(missing_ok=True)
    return subprocess.run([*command, *options, *tests], check=False).returncode


def run_again(stage: Stage) -> set[tuple[str, str]]:
    """Run what failed once more, alone; which passed then."""
    nodes = results.failed(stage.cache)
    if not nodes or len(nodes) > AGAIN:
        return set()
    print(f"\n--> {stage.name}: {len(nodes)} failed; once more, alone", flush=True)
    junit, cache = BUILD / f"{stage.name}-again.xml", BUILD / "cache" / f"{stage.name}-again"
    shutil.rmtree(cache, ignore_errors=True)
    execute(stage, stage.again, nodes, junit, cache)
    passed = {(one.classname, one.name) for one in results.read(junit) if one.outcome == "passed"}
    return {results.key(node) for node in nodes} & passed


def chosen(arguments: argparse.Namespace) -> dict[str, list[str] | None]:
    """Return for each stage which tests run: None for all of them; a stage that is not named does not run."""
    if arguments.failed:
        last = {stage.name: results.failed(stage.cache) for stage in stages()}
        return {name: nodes for name, nodes in last.items() if nodes}
    if arguments.since:
        files = affected.touched(affected.changed(arguments.since))
        return {"check": None} | {name: sorted(files) for name, files in by_stage(files).items()}
    return {stage.name: None for stage in stages()}


def by_stage(files: Iterable[str]) -> dict[str, list[str]]:
    """Sort test files into stages; those of the package are `./dev deb-test`'s."""
    found: dict[str, list[str]] = {}
    for file in files:
        home = next((each for each in ELSEWHERE if file.startswith(f"{each}/")), "")
        name = {"": "unit", NATIVE: "native", LAB: "lab"}.get(home)
        if name:
            found.setdefault(name, []).append(file)
    return found


def main() -> int:
    """Run what the command line asks for; the exit status is 0 where all is green."""
    parser = argparse.ArgumentParser(prog="./dev test", description="Run the tests.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--failed", action="store_true", help="only what failed in the last run")
    which.add_argument("--since", metavar="REV", help="only what a change since REV can touch")
    arguments = parser.parse_args()
    wanted = chosen(arguments)
    if not wanted:
        print("nothing failed in the last run")
        return 0
    begin = time.monotonic()
    BUILD.mkdir(exist_ok=True)
    account = Account()
    for stage in stages():
        if stage.name in wanted:
            run(stage, account, wanted[stage.name])
    minutes, seconds = divmod(round(time.monotonic() - begin), 60)
    print(f"\nall of it took {minutes} min {seconds:02d} s")
    print(account.text())
    return 0 if account.green else 1


if __name__ == "__main__":
    sys.exit(main())
