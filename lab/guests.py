"""Runs scenarios: each module in a guest of its own, as many guests side by side as there are processors.

Where a scenario runs is its own to say: in simulated time, unless it is marked ``smp`` (load, more than one
processor): those have the machine for themselves. A guest that hangs, or does not come up, is ended, its logs
are kept, and its scenarios run once more in a new one, which is told. Results are left in build/lab: a folder
for each guest, and for all of them one junit file and one list of what failed; those of the run before in
build/lab.before.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from xml.etree import ElementTree

from tools import results

ROOT = Path(__file__).parents[1]
RUN = ROOT / "lab" / "run"
BUILD = Path("build/lab")
BEFORE = Path("build/lab.before")
DEADLINE = int(os.environ.get("VPNAGENT_LAB_DEADLINE", "900"))  # seconds, for one guest
EMULATED_DEADLINE = 3000
NOTHING_COLLECTED = 5
JUDGED = {0, 1, NOTHING_COLLECTED}  # pytest came to its end: what failed is in its junit file
HUNG = {124, 125}  # what `run` says of a guest that did not end by itself, or ended before its tests did
OWN_DEADLINE = "mark.deadline("
SMP = re.compile(r"\bmark\.smp\b")
ALL_OF_IT = re.compile(r"^pytestmark = .*\bmark\.smp\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Guest:
    """What runs in one guest."""

    name: str
    kind: str
    """time-travel | smp | native | machine."""
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestOutcome:
    """What became of it."""

    guest: Guest
    status: int
    seconds: float


def kinds() -> tuple[str, ...]:
    """Return what there is to run in here: two kinds of User-mode Linux, or one place for everything."""
    said = subprocess.run([RUN, "--where"], stdout=subprocess.PIPE, text=True, check=True)
    return tuple(said.stdout.split())


def divide(paths: list[str], there: tuple[str, ...]) -> list[Guest]:
    """Sort the scenarios into guests: those with a deadline of their own first, then the largest modules.

    A long one must not begin last.
    """
    if there == ("machine",):  # half a minute's boot: all in one
        return [Guest("machine", "machine", tuple(paths))]
    modules: dict[str, list[str]] = {}
    for path in paths:
        for module in sorted(map(str, Path(path).rglob("test_*.py"))) if Path(path).is_dir() else [path]:
            modules.setdefault(module.partition("::")[0], []).append(module)
    ordered = sorted(modules, key=_haste)
    return [guest for module in ordered for guest in _guests(module, tuple(modules[module]), there)]


def _haste(module: str) -> tuple[bool, int]:
    text = Path(module).read_text()
    return OWN_DEADLINE not in text, -len(text)


def _guests(module: str, tests: tuple[str, ...], there: tuple[str, ...]) -> Iterator[Guest]:
    name = Path(module).stem.removeprefix("test_")
    text = Path(module).read_text()
    if len(there) == 1:
        yield Guest(name, there[0], tests)
    elif ALL_OF_IT.search(text):
        yield Guest(name, "smp", tests)
    elif SMP.search(text):
        yield Guest(f"{name}-smp", "smp", tests, ("-m", "smp"))
        yield Guest(name, "time-travel", tests, ("-m", "not smp"))
    else:
        yield Guest(name, "time-travel", tests)


class Runner:
    """Runs guests and keeps what they leave."""

    def __init__(self, options: list[str]) -> None:
        self._options = options
        self._output = Lock()

    def all(self, guests: list[Guest]) -> list[GuestOutcome]:
        """Run them; what became of each. Those with several processors go last, each by itself."""
        alone = [guest for guest in guests if guest.kind == "smp"]
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as side_by_side:
            outcomes = list(side_by_side.map(self.one, (g for g in guests if g not in alone)))
        return outcomes + [self.one(guest) for guest in alone]

    def one(self, guest: Guest) -> GuestOutcome:
        """Run one guest, and if it hangs another in its place."""
        outcome = self._boot(guest)
        if outcome.status in HUNG:
            kept = BUILD / f"{guest.name}.hung"
            shutil.rmtree(kept, ignore_errors=True)
            (BUILD / guest.name).rename(kept)
            self._say(f"lab: {guest.name}: THE GUEST HUNG, its logs are in {kept}; once more in a new one")
            outcome = self._boot(guest)
        return outcome

    def _boot(self, guest: Guest) -> GuestOutcome:
        folder = BUILD / guest.name
        folder.mkdir(parents=True)
        begin = time.monotonic()
        command = [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-v",
                "--color=no",
                "--tb=short",
                "-o",
                f"cache_dir={folder}/cache",
            ),
            f"--junit-xml={folder}/junit.xml",
        ]
        deadline = str(EMULATED_DEADLINE if guest.kind == "machine" else DEADLINE)
        with (folder / "output").open("w") as output:
            status = subprocess.run(
                [
                    RUN,
                    "--guest",
                    guest.name,
                    deadline,
                    *command,
                    *guest.options,
                    *self._options,
                    *guest.tests,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "VPNAGENT_LAB": guest.kind},
                check=False,
            ).returncode
        seconds = time.monotonic() - begin
        self._tell(guest, folder, status, seconds)
        return GuestOutcome(guest, status, seconds)

    def _tell(self, guest: Guest, folder: Path, status: int, seconds: float) -> None:
        tests = results.read(folder / "junit.xml")
        bad = sum(one.outcome == "failed" for one in tests)
        said = f"lab: {guest.name} ({guest.kind}): {len(tests) - bad} fine, {bad} failed, {seconds:.0f} s"
        if status and status != NOTHING_COLLECTED:
            said += f", status {status}\n{(folder / 'output').read_text(errors='replace')}"
        self._say(said)

    def _say(self, text: str) -> None:
        with self._output:
            print(text, flush=True)


def merge(outcomes: list[GuestOutcome], junit: Path, cache: Path) -> None:
    """Make one junit file and one list of what failed; a guest that did not come to its end has failed."""
    whole = ElementTree.Element("testsuites")
    last_failed: dict[str, bool] = {}
    for outcome in outcomes:
        folder = BUILD / outcome.guest.name
        with contextlib.suppress(OSError, ElementTree.ParseError):
            whole.extend(ElementTree.parse(folder / "junit.xml").getroot())  # noqa: S314 - pytest's own
        if outcome.status not in JUDGED:
            suite = ElementTree.SubElement(whole, "testsuite")
            case = ElementTree.SubElement(suite, "testcase", classname="lab.guest", name=outcome.guest.name)
            message = f"it ended with status {outcome.status}, see {folder}/output"
            ElementTree.SubElement(case, "failure", message=message)
        last_failed |= dict.fromkeys(results.failed(folder / "cache"), True)
    ElementTree.ElementTree(whole).write(junit)
    (cache / results.LAST_FAILED).parent.mkdir(parents=True, exist_ok=True)
    (cache / results.LAST_FAILED).write_text(json.dumps(last_failed))


def main() -> int:
    """Run what the arguments name, all by default; 1 where a scenario failed or a guest never ended well."""
    parser = argparse.ArgumentParser(prog="./dev scenarios", description="Run scenarios of the kernel lab.")
    parser.add_argument("tests", nargs="*", default=["tests/lab"], help="files, or names of tests in them")
    parser.add_argument("-k", dest="expression", default="", help="as pytest's")
    parser.add_argument("--junit-xml", type=Path, default=BUILD / "junit.xml")
    parser.add_argument("-o", dest="cache", default=f"cache_dir={BUILD}/cache", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cache = Path(arguments.cache.removeprefix("cache_dir="))
    options = ["-k", arguments.expression] if arguments.expression else []
    os.chdir(ROOT)
    Path("build").mkdir(exist_ok=True)
    with open("build/lab.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(BEFORE, ignore_errors=True)
        if BUILD.exists():
            BUILD.rename(BEFORE)  # what failed is run once more, and the first logs say why
        BUILD.mkdir(parents=True)
        subprocess.run([ROOT / "lab" / "libreswan"], check=True)  # a guest has no network to get it by
        guests = divide(arguments.tests, kinds())
        outcomes = Runner(options).all(guests)
        merge(outcomes, arguments.junit_xml, cache)
    statuses = {outcome.status for outcome in outcomes}
    if statuses == {NOTHING_COLLECTED}:
        print("lab: no scenario is of that name")
        return NOTHING_COLLECTED
    return int(bool(statuses - {0, NOTHING_COLLECTED}))


if __name__ == "__main__":
    sys.exit(main())
