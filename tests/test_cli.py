"""The command line as a user meets it: exit statuses, one line an error, never a traceback."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest
from tests.config_examples import BACKUP_PSK, PRIMARY_PSK, make_config, write_example
from tests.listening import listening

from vpnagent.cli import MODULES, PURPOSES, commands
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.status.document import status


def vpnagent(*arguments: str) -> tuple[int, str, str]:
    """Run the command in a process of its own; return exit status, standard output, standard error."""
    command = [sys.executable, "-m", "vpnagent", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def config(tmp_path: pathlib.Path) -> str:
    agent = f"agent: {{control_socket: {tmp_path}/control.sock, state_directory: {tmp_path}}}\n"
    return str(write_example(tmp_path, agent))


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[str]:
    """A control socket that answers what a daemon with everything down would."""
    path = tmp_path / "control.sock"

    async def answer(request: dict[str, Any]) -> Any:
        if request["command"] == "status":
            return status(Knowledge(config=make_config(), loaded_at=0.0))
        return {"tunnel": request.get("tunnel"), "drained": True, "warning": None, "changed": False}

    with listening(path, answer):
        yield str(path)


def test_a_valid_configuration_is_fine(config: str) -> None:
    code, out, err = vpnagent("check", "--file-only", "--config", config)
    assert (code, err) == (0, "")
    assert "valid: 1 connections, 2 tunnels" in out


def test_a_weak_choice_is_not_fine(config: str) -> None:
    text = (
        pathlib.Path(config)
        .read_text()
        .replace("remote_networks", "esp: {integrity: md5}\n    remote_networks")
    )
    pathlib.Path(config).write_text(text)
    code, out, _ = vpnagent("check", "--file-only", "--config", config, "--json")
    assert code == 1
    assert "WeakMd5" in {finding["code"] for finding in json.loads(out)["findings"]}


def test_every_problem_is_one_line_with_file_line_and_key(config: str) -> None:
    text = pathlib.Path(config).read_text().replace("if_id: 2", "if_id: 0").replace("203.0.113.2", "::1")
    pathlib.Path(config).write_text(text)
    code, out, err = vpnagent("check", "--config", config)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{config}:") for line in lines)
    assert "connections[0].tunnels[1].remote_address:" in err


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_a_missing_file_is_one_line(command: str, tmp_path: pathlib.Path) -> None:
    code, _, err = vpnagent(command, "--config", str(tmp_path / "none.yaml"))
    assert code == 2
    assert len(err.splitlines()) == 1


STRANGERS = {
    "shadow": "root:$y$j9T$Zq7MisplacedKey93fTr:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
    "environment": "PASSWORD=correct-horse\nTOKEN=battery-staple\n",
    "yaml": "password: correct horse\ntoken: {battery: staple}\n",
    "key": "-----BEGIN PRIVATE KEY-----\ncorrecthorse+batterystaple\n-----END PRIVATE KEY-----\n",
    "list": "- correct horse\n- &battery staple\n- *battery\n- !horse x\n",
}


@pytest.mark.parametrize("command", ["check", "plan", "run", "guard", "alerts", "export swanctl"])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_no_line_of_a_file_that_is_no_configuration_is_printed(
    command: str, stranger: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "other").write_text(STRANGERS[stranger])
    code, out, err = vpnagent(*command.split(), "--config", str(tmp_path / "other"))
    assert code == 2
    assert f"{tmp_path}/other" in err
    for word in ("Zq7", "correct", "horse", "battery", "staple", "daemon:", "password", "PASSWORD", "token"):
        assert word not in out + err.replace(str(tmp_path), "")


@pytest.mark.parametrize("command", ["check", "plan", "run", "guard", "alerts"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/dev/tty", "/"])
def test_what_is_no_regular_file_is_one_line_at_once(command: str, kind: str, tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, _, err = vpnagent(command, "--config", str(tmp_path / kind))
    assert code == 2
    assert len(err.splitlines()) in (1, 4)  # of click's own, for a folder


def test_an_unknown_option_is_a_usage_error() -> None:
    assert vpnagent("status", "--colour")[0] == 2


@pytest.mark.parametrize("command", ["status", "reload", "drain x", "undrain x"])
def test_without_the_daemon_the_exit_status_is_3(command: str, tmp_path: pathlib.Path) -> None:
    code, _, err = vpnagent(*command.split(), "--socket", str(tmp_path / "none.sock"))
    assert code == 3
    assert err.startswith("vpnagent: the daemon does not run")
    assert len(err.splitlines()) == 1


def test_status_of_what_is_not_up_is_1_and_json_holds_the_contract(daemon: str) -> None:
    code, out, _ = vpnagent("status", "--socket", daemon, "--json")
    assert code == 1
    answer = json.loads(out)
    assert {"gateway", "state", "config", "charon", "connections", "routes", "warnings"} <= answer.keys()
    tunnel = answer["connections"][0]["tunnels"][0]
    contract = """name role state reason since forwarding interface ike_sa child_sa path rx_bytes tx_bytes
        rx_bits_per_second tx_bits_per_second utilisation_ratio"""
    assert set(contract.split()) <= tunnel.keys()


def test_status_has_no_colour_where_there_is_no_terminal(daemon: str) -> None:
    _, out, _ = vpnagent("status", "--socket", daemon)
    assert out.splitlines()[0].startswith("idc-hz-1: down")
    assert "\x1b" not in out


def test_piped_output_has_one_line_for_each_thing_and_every_column(daemon: str) -> None:
    _, out, _ = vpnagent("status", "--socket", daemon)
    [title] = [line for line in out.splitlines() if line.startswith("TUNNEL")]
    assert title.split()[-3:] == ["INTERFACE", "REMOTE", "REASON"]
    [primary] = [line for line in out.splitlines() if "hangzhou/primary" in line and "vpn-hz-1" in line]
    assert len(primary) > 80
    assert out == "".join(f"{line.rstrip()}\n" for line in out.splitlines())


def test_a_status_of_another_version_is_told_in_one_line(tmp_path: pathlib.Path) -> None:
    async def answer(_request: dict[str, Any]) -> Any:
        return {"state": "up", "gateway": "idc-hz-1"}

    with listening(tmp_path / "control.sock", answer):
        code, out, err = vpnagent("status", "--socket", str(tmp_path / "control.sock"))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "another version" in err


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("--watch", "--watch draws on a terminal"),
        ("--watch --json", "--watch draws on a terminal"),
        ("--interval 1s", "--interval goes with --watch"),
    ],
)
def test_what_cannot_be_watched_is_refused(daemon: str, options: str, rule: str) -> None:
    code, out, err = vpnagent("status", "--socket", daemon, *options.split())
    assert (code, out) == (2, "")
    assert rule in err


def test_the_socket_is_found_in_the_configuration(config: str, daemon: str) -> None:
    assert vpnagent("status", "--config", config)[0] == 1
    assert vpnagent("reload", "--config", config)[:2] == (0, "nothing changed\n")


def test_plan_says_what_it_would_do_and_changes_nothing(config: str) -> None:
    code, out, _ = vpnagent("plan", "--config", config)
    assert code == 1
    lines = out.splitlines()
    assert "ip route add unreachable 100.64.0.0/10 metric 4278198272 protocol 86" in lines
    assert any(line.startswith("ip route add 100.64.0.0/10 nhid ") for line in lines)
    assert vpnagent("plan", "--config", config)[1] == out


def test_plan_answers_what_if(config: str) -> None:
    _, out, _ = vpnagent("plan", "--config", config, "--verdict", "primary=down", "--verdict", "backup=down")
    assert "unreachable 100.64.0.0/10" in out
    assert "nhid" not in out


@pytest.mark.parametrize("verdict", ["primary=dead", "nobody=down", "primary"])
def test_plan_refuses_a_verdict_that_means_nothing(config: str, verdict: str) -> None:
    code, _, err = vpnagent("plan", "--config", config, "--verdict", verdict)
    assert code == 2
    assert len(err.splitlines()) == 1


def test_no_secret_reaches_any_output(config: str) -> None:
    outputs = [vpnagent(command, "--config", config) for command in ("check", "plan")]
    assert not [
        o for o in outputs if PRIMARY_PSK.decode() in o[1] + o[2] or BACKUP_PSK.decode() in o[1] + o[2]
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell: str) -> None:
    code, out, _ = vpnagent("completion", shell)
    assert code == 0
    assert "_VPNAGENT_COMPLETE" in out


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_command_has_a_help_with_an_example(name: str) -> None:
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    text = command.get_help(click.Context(command, info_name=name))
    assert "  Example:\n" in text
    assert f"vpnagent {name}" in text


def test_a_misspelt_command_is_answered_with_the_one_that_was_meant() -> None:
    code, out, err = vpnagent("statsu")
    assert (code, out) == (2, "")
    assert "there is no command 'statsu': did you mean status?" in err


def test_every_command_has_one_purpose() -> None:
    assert sorted(name for names in PURPOSES.values() for name in names) == sorted(MODULES)


def test_help_has_the_commands_by_purpose() -> None:
    _, out, _ = vpnagent("--help")
    assert [line.rstrip(":") for line in out.splitlines() if line.rstrip(":") in PURPOSES] == list(PURPOSES)
