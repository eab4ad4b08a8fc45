"""The man pages: everything that --help and docs/configuration.md say is in them, once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vpnagent.cli import MODULES

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    command = [sys.executable, str(ROOT / "packaging/manual.py"), name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def commands() -> str:
    return page("vpnagent.8")


@pytest.fixture(scope="module")
def keys() -> str:
    return page("vpnagent.yaml.5")


def test_every_command_has_a_section(commands: str) -> None:
    sections = [line.removeprefix("## ") for line in commands.splitlines() if line.startswith("## ")]
    assert sections == sorted(MODULES)


def test_an_example_is_shown_as_it_is_typed(commands: str) -> None:
    assert "\n    vpnagent status --json | jq .state\n" in commands
    assert "\b" not in commands


def test_a_document_is_named_where_the_package_has_it(commands: str) -> None:
    named = set(re.findall(r"\S*/([\w-]+\.md)", commands))
    assert "runbook.md" in named
    assert "check.md" in named
    assert named <= {path.name for path in (ROOT / "docs").glob("*.md")}
    assert " docs/" not in commands


def test_every_key_is_a_term_with_its_default(keys: str) -> None:
    rows = (ROOT / "docs/configuration.md").read_text().splitlines()
    terms = [row.split("|")[1].strip() for row in rows if row.startswith("| `")]
    assert terms
    assert not [term for term in terms if f"\n{term}\n: " not in keys]
    assert "\n`vici_socket`\n: *path*, default `/var/run/charon.vici`. charon's VICI socket.\n" in keys


def test_no_table_and_no_link_is_left(keys: str) -> None:
    assert "|---" not in keys
    assert "](" not in keys
