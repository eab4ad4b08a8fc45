"""`./dev test`: what is told of a run, and what makes it green."""

import subprocess
import sys
from pathlib import Path

import pytest
from tools.results import Result, failed, key, read
from tools.testing import Account, Stage, by_stage, run, sound

TESTS = """
import pathlib, pytest

def test_fine(): pass

def test_flaky():
    mark = pathlib.Path("seen")
    if not mark.exists():
        mark.touch()
        raise RuntimeError("the first time")

@pytest.mark.parametrize("it", ["a::b", "[c]"])
def test_broken(it): assert False, "always"

@pytest.mark.skip(reason="not here")
def test_left_out(): pass
"""
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:randomly")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("build").mkdir()
    Path("tests").mkdir()
    return tmp_path


def account_of(source: str) -> Account:
    Path("tests/test_it.py").write_text(source)
    account = Account()
    run(Stage("unit", PYTEST, ("tests",), PYTEST), account, None)
    return account


def test_what_passes_the_second_time_is_flaky_and_counted_with_its_first_failure() -> None:
    account = account_of(TESTS)

    assert [one.name for one in account.flaky] == ["test_flaky"]
    assert "test_flaky: passed when it ran again alone; first: RuntimeError: the first time" in account.text()
    assert account.text().splitlines()[-1] == "2 passed, 2 failed, 1 skipped, 1 flaky"


def test_what_fails_twice_has_failed() -> None:
    account = account_of(TESTS)

    assert [one.name for one in account.failed] == ["test_broken[a::b]", "test_broken[[c]]"]
    assert not account.green


def test_a_run_with_a_flaky_test_alone_is_green() -> None:
    account = account_of(TESTS.replace("assert False", "assert True"))

    assert (len(account.flaky), account.green) == (1, True)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "nothing was collected"),
        ("import nowhere", "it cannot be imported"),
        ("import os\ndef test_it(): os._exit(0)", "it ended without a word"),
        ("import sys\ndef test_it(): sys.exit(3)\nimport nowhere", "it cannot be imported, after all"),
    ],
)
def test_a_stage_that_left_no_passed_test_has_failed(source: str, why: str) -> None:
    account = account_of(source)

    assert not account.green, why
    assert account.text().splitlines()[-1] == "0 passed, 1 failed"


def test_a_stage_that_ends_badly_has_failed_although_its_flaky_test_passed_again() -> None:
    Path("tests/test_nowhere.py").write_text("import nowhere")

    account = account_of(TESTS.replace("assert False", "assert True"))

    assert not account.green


def test_a_tool_that_fails_without_tests_fails_its_stage() -> None:
    account = Account()

    run(Stage("check", ("false",)), account, None)

    assert (account.stages, account.green) == (["check"], False)


def test_the_slowest_are_told() -> None:
    account = Account()
    account.add([Result("tests.test_it", f"test_{n}", n, "passed", "") for n in range(20)], set())

    slowest = [line for line in account.text().splitlines() if line.startswith("slow")]

    assert len(slowest) == 10
    assert slowest[0] == "slowest:   19.0 s  tests.test_it.test_19"


def test_a_slow_test_without_a_reason_is_told() -> None:
    account = account_of(TESTS)
    slow = [
        Result("it", "test_a", 21, "passed", ""),
        Result("it", "test_b", 21, "passed", "", "it must wait"),
    ]

    account.add(slow, set())

    told = [line for line in account.text().splitlines() if "21.0" in line or line.startswith("slow:")]
    assert told == [
        "slowest:   21.0 s  it.test_a",
        "slowest:   21.0 s  it.test_b: it must wait",
        "slow: it.test_a: more than 20 s, and no reason is given",
    ]


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("tests/test_cli.py", "unit"),
        ("tests/native/test_drill.py", "native"),
        ("tests/lab/test_drill.py", "lab"),
        ("tests/packaging/test_lock.py", "unit"),
    ],
)
def test_a_file_belongs_to_one_stage(file: str, stage: str) -> None:
    assert by_stage([file, "tests/packaging/debian/test_booted.py"]) == {stage: [file]}


def test_a_failed_test_is_found_in_junit_by_its_node_id() -> None:
    Path("tests/test_it.py").write_text(TESTS)
    subprocess.run(
        [*PYTEST, "--junit-xml=it.xml", "-o", "cache_dir=cache", "tests"],
        check=False,
        stdout=subprocess.DEVNULL,
    )

    told = {(one.classname, one.name) for one in read(Path("it.xml")) if one.outcome == "failed"}

    assert {key(node) for node in failed(Path("cache"))} == told


@pytest.mark.parametrize(("status", "sane"), [(0, True), (1, False), (2, False)])
def test_an_exit_status_that_the_results_do_not_explain_is_a_failure(status: int, sane: bool) -> None:
    passed = [Result("it", "test_it", 0.1, "passed", "")]

    assert sound(Stage("unit", (), ("tests",)), status, passed) is sane
