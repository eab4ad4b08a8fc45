"""`vpnagent dashboard`: the committed dashboard, fitted to a Grafana."""

import json
import pathlib
import subprocess
import sys

import pytest
from tools.dashboard.board import board

from vpnagent.commands.dashboard import fitted

RUNBOOK = "https://wiki.example.com/runbook"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    asked = [sys.executable, "-m", "vpnagent", "dashboard", *arguments]
    return subprocess.run(asked, check=False, capture_output=True, text=True, timeout=60)


def test_without_a_data_source_its_user_chooses() -> None:
    found = fitted(board(), runbook_url=RUNBOOK, datasource=None)
    assert found["panels"] == board()["panels"]
    assert "datasource" in [variable["name"] for variable in found["templating"]["list"]]


def test_with_a_data_source_nothing_refers_to_a_choice() -> None:
    found = fitted(board(), runbook_url=RUNBOOK, datasource="prometheus-1")
    assert "${datasource}" not in json.dumps(found)
    panels = [panel for panel in found["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"prometheus-1"}
    assert "datasource" not in [variable["name"] for variable in found["templating"]["list"]]


@pytest.mark.parametrize("datasource", [None, "prometheus-1"])
def test_links_lead_to_the_runbook(datasource: str | None) -> None:
    found = fitted(board(), runbook_url=RUNBOOK, datasource=datasource)
    [runbook] = [variable for variable in found["templating"]["list"] if variable["name"] == "runbook"]
    assert runbook["query"] == runbook["current"]["value"] == RUNBOOK
    links = [link["url"] for panel in found["panels"] for link in panel.get("links", [])]
    assert links
    assert all(link.startswith("${runbook}#") for link in links)


def test_the_command_prints_what_is_committed() -> None:
    done = command()
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == board()


def test_the_command_writes_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "vpnagent.json"
    done = command("--output", str(path), "--datasource", "prometheus-1", "--runbook-url", RUNBOOK)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(path.read_text()) == fitted(board(), runbook_url=RUNBOOK, datasource="prometheus-1")


@pytest.mark.parametrize("uid", ["", "${datasource}", "a" * 41])
def test_what_no_uid_can_be_is_a_usage_error(uid: str) -> None:
    done = command("--datasource", uid)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'--datasource': must be 1 to 40 letters, digits, - and _, not {uid!r}" in done.stderr


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: pathlib.Path) -> None:
    done = command("--output", str(tmp_path / "none" / "vpnagent.json"))
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
