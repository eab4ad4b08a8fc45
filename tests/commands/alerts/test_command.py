"""`vpnagent alerts` as a user meets it: it needs nothing but the YAML, and leaves no half of a file."""

import pathlib
import subprocess
import sys

import pytest
import yaml
from tests.config_examples import EXAMPLE_YAML


def alerts(config: pathlib.Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command in a process of its own; return exit status, standard output, standard error."""
    command = [sys.executable, "-m", "vpnagent", "alerts", "--config", str(config), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    """The example's YAML without the files that it names: they are not there to be opened."""
    path = tmp_path / "vpnagent.yaml"
    path.write_text(EXAMPLE_YAML)
    return path


def test_the_rules_go_to_standard_output(config: pathlib.Path) -> None:
    code, out, err = alerts(config)
    assert (code, err) == (0, "")
    assert [group["name"] for group in yaml.safe_load(out)["groups"]] == [
        "vpnagent-idc-hz-1-traffic",
        "vpnagent-idc-hz-1-health",
    ]


def test_the_options_are_heard(config: pathlib.Path) -> None:
    wiki = "https://wiki.example.com/vpn"
    _, out, _ = alerts(config, "--job", "j", "--instance", "i:1", "--runbook-url", wiki)
    assert 'up{job="j",instance="i:1"}' in out
    assert f"runbook_url: {wiki}#vpnagentdown" in out


def test_a_file_gets_what_standard_output_would(config: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("old")
    assert alerts(config, "--output", str(file)) == (0, "", "")
    assert file.read_text() == alerts(config)[1]


def test_a_bad_configuration_leaves_the_file_as_it_was(config: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("old")
    config.write_text("nonsense: true\n")
    code, out, err = alerts(config, "--output", str(file))
    assert (code, out) == (2, "")
    assert all(line.startswith(f"{config}:") for line in err.splitlines())
    assert file.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rules.yaml", "vpnagent.yaml"]


def test_a_file_that_cannot_be_written_is_one_line(config: pathlib.Path, tmp_path: pathlib.Path) -> None:
    code, out, err = alerts(config, "--output", str(tmp_path / "missing" / "rules.yaml"))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "missing/rules.yaml" in err


def test_a_gateway_without_a_listener_is_told_of(config: pathlib.Path) -> None:
    config.write_text(f"{EXAMPLE_YAML}agent: {{metrics_listen: ''}}\n")
    code, out, err = alerts(config)
    assert code == 0
    assert "groups:" in out
    assert err == f"note: {config}: agent.metrics_listen is empty: nothing can be scraped\n"
