"""`./dev test --since`: nothing that a change can touch is left out."""

from pathlib import Path

import pytest
from tools.affected import is_test, touched

EVERY = {str(path) for path in Path("tests").rglob("*.py") if is_test(str(path))}


@pytest.mark.parametrize(
    ("changed", "test"),
    [
        ("agent/vpnagent/policy/selection.py", "tests/policy/test_selection.py"),
        ("agent/vpnagent/policy/selection.py", "tests/policy/test_desired.py"),  # by what it imports
        ("agent/vpnagent/policy/selection.py", "tests/lab/test_failover.py"),  # by the program that it starts
        ("agent/vpnagent/policy/selection.py", "tests/native/test_prober.py"),
        ("tests/fake_kernel.py", "tests/native/test_kernel_differential.py"),
        ("tests/lab/conftest.py", "tests/lab/test_drift.py"),
        ("lab/run", "tests/lab/test_drift.py"),
        ("docs/runbook.md", "tests/commands/alerts/test_rules.py"),
        ("docs/adr/0001-own-netlink-transport.md", "tests/checks/test_documentation.py"),
        ("systemd/vpnagent.service", "tests/test_units.py"),
    ],
)
def test_what_a_change_can_touch_is_found(changed: str, test: str) -> None:
    assert test in touched([changed])


@pytest.mark.parametrize("changed", ["pyproject.toml", "packaging/requirements.txt", "tests/conftest.py"])
def test_what_all_stand_on_touches_all(changed: str) -> None:
    assert touched([changed]) == EVERY


def test_what_none_reads_touches_none() -> None:
    assert touched(["read-" + "by-none"]) == set()


def test_a_module_of_one_subject_leaves_the_others_alone() -> None:
    assert "tests/probe/test_core.py" not in touched(["agent/vpnagent/commands/alerts/command.py"])
