"""The lab's guests: what runs where, and what their results come to."""

from pathlib import Path

import pytest
from lab.guests import Guest, GuestOutcome, divide, merge
from tools.results import failed, read

from lab import guests

BOTH = ("time-travel", "smp")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tests/lab").mkdir(parents=True)
    Path("tests/lab/test_calm.py").write_text("def test_it(): pass\n" * 9)
    Path("tests/lab/test_mixed.py").write_text("@pytest.mark.smp\ndef test_it(): pass\n")
    Path("tests/lab/test_busy.py").write_text("pytestmark = pytest.mark.smp\n")
    return tmp_path


def test_each_module_has_a_guest_of_its_own_and_load_the_one_with_two_processors() -> None:
    found = {guest.name: (guest.kind, guest.options) for guest in divide(["tests/lab"], BOTH)}

    assert found == {
        "calm": ("time-travel", ()),
        "mixed": ("time-travel", ("-m", "not smp")),
        "mixed-smp": ("smp", ("-m", "smp")),
        "busy": ("smp", ()),
    }


def test_the_longest_begins_first() -> None:
    assert divide(["tests/lab"], BOTH)[0].name == "calm"


@pytest.mark.parametrize("kind", ["native", "smp"])
def test_with_one_place_for_all_a_module_is_not_divided(kind: str) -> None:
    assert {guest.name for guest in divide(["tests/lab"], (kind,))} == {"calm", "mixed", "busy"}


def test_an_emulated_machine_boots_once() -> None:
    [guest] = divide(["tests/lab/test_calm.py", "tests/lab/test_busy.py"], ("machine",))

    assert guest.tests == ("tests/lab/test_calm.py", "tests/lab/test_busy.py")


def test_tests_of_one_module_share_its_guest() -> None:
    nodes = ["tests/lab/test_calm.py::test_it[a]", "tests/lab/test_calm.py::test_it[b]"]

    assert [guest.tests for guest in divide(nodes, BOTH)] == [tuple(nodes)]


@pytest.mark.parametrize("status", [4, 124, 125, 137])
def test_a_guest_that_did_not_come_to_its_end_has_failed(status: int) -> None:
    guest = Guest("calm", "time-travel", ("tests/lab/test_calm.py",))
    (guests.BUILD / "calm").mkdir(parents=True)

    merge([GuestOutcome(guest, status, 1.0)], Path("all.xml"), Path("cache"))

    assert [(one.name, one.outcome) for one in read(Path("all.xml"))] == [("calm", "failed")]
    assert failed(Path("cache")) == []
