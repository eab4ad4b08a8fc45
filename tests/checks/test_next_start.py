"""A start that would fail is told ahead."""

import pathlib

import pytest
from tests.config_examples import BACKUP_PSK, EXAMPLE_YAML, make_config, write_example

from vpnagent.daemon.look import next_start
from vpnagent.daemon.memory import STANDING
from vpnagent.finding import Finding, Severity


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_example(tmp_path)


def told(file: pathlib.Path) -> list[Finding]:
    return list(next_start(make_config(agent={"state_directory": str(file.parent)}), str(file)))


def test_nothing_is_told_of_a_start_that_would_succeed(file: pathlib.Path) -> None:
    assert told(file) == []


def test_a_key_that_went_is_told_with_its_line_and_not_the_other_key(file: pathlib.Path) -> None:
    (file.parent / STANDING).write_text(EXAMPLE_YAML)
    (file.parent / "psk" / "primary").unlink()

    [found] = told(file)

    assert (found.code, found.severity) == ("StartRefused", Severity.CRITICAL)
    assert f"{file}:17: connections[0].tunnels[0].psk_file: cannot be opened: No such file" in found.text
    assert BACKUP_PSK.decode() not in found.text


def test_a_file_that_cannot_be_used_is_told_only_where_no_last_good_one_is(file: pathlib.Path) -> None:
    file.write_text("connections: [")
    assert [found.code for found in told(file)] == ["StartRefused"]

    (file.parent / STANDING).write_text(EXAMPLE_YAML)
    assert told(file) == []
