"""``vpnagent hooks test`` as a user meets it: what came back, and by the exit status whether all arrived."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.config_examples import EXAMPLE_YAML


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name, content in (("psk/primary", "one"), ("psk/backup", "two")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(content)
    return tmp_path / "vpnagent.yaml"


def hooks_test(file: Path, rows: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    file.write_text(EXAMPLE_YAML + rows)
    command = [sys.executable, "-m", "vpnagent", "hooks", "test", *arguments, "--config", str(file)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


ROWS = """hooks:
  - {name: good, command: [/bin/sh, -c, "grep -q HookTest"]}
  - {name: bad, command: [/bin/sh, -c, "echo pager is off >&2; exit 1"], events: [critical]}
"""


def test_each_hook_says_what_came_back(file: Path) -> None:
    done = hooks_test(file, ROWS)
    assert done.stdout == "good (command): delivered\nbad (command): failed: pager is off\n"
    assert (done.returncode, done.stderr) == (1, "")


def test_one_hook_is_tried_by_its_name(file: Path) -> None:
    done = hooks_test(file, ROWS, "good")
    assert (done.returncode, done.stdout) == (0, "good (command): delivered\n")


@pytest.mark.parametrize(
    ("rows", "name", "said"),
    [(ROWS, "pager", "no hook is named pager: good, bad"), ("", "", "no hook is configured")],
)
def test_a_hook_that_is_not_there_is_told_in_one_line(file: Path, rows: str, name: str, said: str) -> None:
    done = hooks_test(file, rows, *filter(None, [name]))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
