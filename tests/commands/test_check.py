"""``vpnagent check`` as CI, a laptop and the gateway itself meet it: what is told, and the exit status."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from tests.config_examples import EXAMPLE_YAML, make_config, make_tunnel, write_example

from vpnagent.checks.observation import Observation
from vpnagent.cli import main
from vpnagent.commands import check as command
from vpnagent.commands.check import probe_rate
from vpnagent.config.values import Config
from vpnagent.finding import Severity

NOBODY = 65534
WEAK = "    ike: {encryption: des}\n    remote_networks"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; return exit status, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vpnagent", "check", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        output, errors = capsys.readouterr()
        assert "Hush" not in output + errors
        return int(end.value.code or 0), output, errors

    return call


def written(folder: pathlib.Path, *changes: tuple[str, str], text: str = EXAMPLE_YAML) -> str:
    """Write a configuration without any of its keys; return its name."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "vpnagent.yaml"
    path.write_text(text)
    return str(path)


def found(output: str) -> dict[str, dict[str, Any]]:
    """Return the findings of a JSON output by code and subject."""
    return {f"{f['code']} {f['subject']}": f for f in json.loads(output)["findings"]}


PSK_FILES = [f"NotLookedAt connections[0].tunnels[{number}].psk_file" for number in (0, 1)]


def test_without_the_keys_the_file_alone_is_judged_and_they_are_not_looked_at(
    run: Run, tmp_path: pathlib.Path
) -> None:
    path = written(tmp_path, ("    remote_networks", WEAK))
    status, output, errors = run("--file-only", "--json", "--config", path)
    assert (status, errors) == (1, "")
    assert found(output).keys() >= {"WeakDes connections[0].ike.encryption", *PSK_FILES}
    assert {found(output)[name]["severity"] for name in PSK_FILES} == {"info"}
    status, output, errors = run("--file-only", "--config", path)
    assert (status, errors) == (1, "")
    assert "info: NotLookedAt: connections[0].tunnels[1].psk_file: psk file: could not be looked at" in output
    assert "valid: 1 connections, 2 tunnels" in output


def test_what_could_not_be_looked_at_is_no_reason_to_fail(run: Run, tmp_path: pathlib.Path) -> None:
    path = written(tmp_path)
    assert run("--file-only", "--config", path)[0] == 0
    keys = [f for f in found(run("--file-only", "--json", "--config", path)[1]) if "NotLookedAt" in f]
    assert keys == PSK_FILES


def test_neither_is_a_figure_even_where_infos_are(run: Run, tmp_path: pathlib.Path) -> None:
    strong = "    ike: {integrity: sha256, dh_group: 14}\n    esp: {integrity: sha256, pfs_group: 14}\n"
    path = written(tmp_path, ("    remote_networks", f"{strong}    remote_networks"))
    status, output, _ = run("--file-only", "--fail-on", "info", "--json", "--config", path)
    assert status == 0
    assert {f["code"] for f in found(output).values()} == {"NotLookedAt", "ProbeRate"}


FILES = {
    "agent.metrics_tls.certificate": "agent: {metrics_tls: {certificate: a.pem, private_key: a.key}}\n",
    "agent.metrics_auth.password_file": "agent: {metrics_auth: {username: x, password_file: pass}}\n",
    "hooks[0].url_file": "hooks:\n  - {name: pager, url_file: url}\n",
    "hooks[0].token_file": "hooks:\n  - {name: pager, url: 'https://x.example', token_file: token}\n",
}


@pytest.mark.parametrize("key", FILES)
def test_every_file_that_the_configuration_names_may_be_elsewhere(
    key: str, run: Run, tmp_path: pathlib.Path
) -> None:
    path = written(tmp_path, text=EXAMPLE_YAML + FILES[key])
    status, output, _ = run("--file-only", "--json", "--config", path)
    assert status == 0
    assert f"NotLookedAt {key}" in found(output)


def test_certificates_may_be_elsewhere(run: Run, tmp_path: pathlib.Path) -> None:
    certificate = "certificate: {certificate: a.pem, private_key: a.key, ca: ca.pem}"
    path = written(tmp_path, ("psk_file: psk/primary", certificate))
    status, output, _ = run("--file-only", "--json", "--config", path)
    assert status == 0
    here = "NotLookedAt connections[0].tunnels[0].certificate."
    assert {f"{here}{key}" for key in ("certificate", "private_key", "ca")} <= found(output).keys()


def test_a_key_that_is_there_and_wrong_is_still_refused(run: Run, tmp_path: pathlib.Path) -> None:
    path = write_example(tmp_path)
    (tmp_path / "psk/primary").chmod(0o644)
    status, output, errors = run("--file-only", "--config", str(path))
    assert (status, output) == (2, "")
    assert "connections[0].tunnels[0].psk_file: must have mode 0600" in errors


def test_a_mistake_beside_missing_keys_is_told_alone(run: Run, tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, ("if_id: 2", "if_id: 0"))
    status, output, errors = run("--file-only", "--config", path)
    assert (status, output) == (2, "")
    assert [line.partition(": ")[2].partition(":")[0] for line in errors.splitlines()] == [
        "connections[0].tunnels[1].if_id"
    ]


def test_json_is_json_whatever_is_wrong_with_the_file(run: Run, tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, ("if_id: 2", "if_id: 0"))
    status, output, errors = run("--file-only", "--json", "--config", path)
    assert status == 2
    assert "connections[0].tunnels[1].if_id" in errors
    refused = found(output)["FileRefused connections[0].tunnels[1].if_id"]
    assert (refused["severity"], refused["key"]) == ("critical", "connections[0].tunnels[1].if_id")
    assert refused["text"].startswith("line 29: must be an integer")
    for broken in (":\n\t- [", "gateway: {", ""):
        (tmp_path / "vpnagent.yaml").write_text(broken)
        status, output, _ = run("--json", "--config", path)
        assert status == 2
        assert {f["code"] for f in json.loads(output)["findings"]} == {"FileRefused"}
    status, output, _ = run("--json", "--config", str(tmp_path / "none.yaml"))
    assert (status, json.loads(output)["config"]) == (2, str(tmp_path / "none.yaml"))


def test_a_key_in_the_wrong_place_is_not_in_the_json(tmp_path: pathlib.Path) -> None:
    misplaced = ("role: standby", "role: my-Hush-key"), ("name: idc-hz-1", "name: 'my Hush key'")
    path = written(tmp_path, *misplaced, ("203.0.113.1", "my-Hush-key"))
    command = [sys.executable, "-m", "vpnagent", "check", "--file-only", "--json", "--config", path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Hush" not in done.stdout
    refused = found(done.stdout)
    assert len(refused) == 3
    assert "must be active or standby" in refused["FileRefused connections[0].tunnels[1].role"]["text"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine on which nothing can be seen; the list gets the configurations that it was looked at for."""
    looked: list[str] = []

    async def observe(_config: object, path: str, *, thorough: bool) -> Observation:
        looked.append(path)
        return Observation()

    async def look_once(_config: object, _seen: object) -> list[Any]:
        return []

    monkeypatch.setattr("vpnagent.checks.observe.observe", observe)
    monkeypatch.setattr("vpnagent.daemon.witness.look_once", look_once)
    return looked


CREDENTIALS = (
    ("psk_file: psk/primary", "psk_credential: one"),
    ("psk_file: psk/backup", "psk_credential: two"),
)


def test_outside_the_unit_credentials_are_not_looked_at_and_the_machine_is(
    run: Run, machine: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = written(tmp_path, *CREDENTIALS)
    status, output, errors = run("--json", "--config", path)
    assert (status, errors, machine) == (0, "", [path])
    assert "NotLookedAt connections[0].tunnels[1].psk_credential" in found(output)


def test_inside_the_unit_a_missing_credential_is_refused(
    run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    status, _, errors = run("--config", written(tmp_path, *CREDENTIALS))
    assert status == 2
    assert "tunnels[0].psk_credential: cannot be opened: No such file or directory" in errors


def test_on_the_gateway_a_key_that_is_not_there_is_refused(
    run: Run, machine: list[str], tmp_path: pathlib.Path
) -> None:
    status, output, errors = run("--config", written(tmp_path))
    assert (status, output, machine) == (2, "", [])
    assert "connections[0].tunnels[0].psk_file: cannot be opened: No such file or directory" in errors


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("service", "status"), [(False, 0), (True, 2)])
def test_a_key_that_is_closed_is_a_fault_for_the_service_only(
    service: bool,
    status: int,
    run: Run,
    machine: list[str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_example(tmp_path)
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "psk").chmod(0o755)
    monkeypatch.setattr("vpnagent.config.files.service_group", lambda: os.getegid() if service else None)
    os.seteuid(NOBODY)
    try:
        assert run("--json", "--config", str(path))[0] == status
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("severity", "fails"),
    [
        ("info", {"info", "warning", "critical"}),
        ("warning", {"warning", "critical"}),
        ("critical", {"critical"}),
    ],
)
def test_the_exit_status_is_of_findings_as_bad_as_asked_for(
    severity: str, fails: set[str], run: Run, tmp_path: pathlib.Path
) -> None:
    weak = {
        "info": "    ike: {dh_group: 2}\n    remote_networks",
        "warning": "    ike: {integrity: md5}\n    remote_networks",
        "critical": WEAK,
    }
    for worst, change in weak.items():
        path = written(tmp_path, ("    remote_networks", change))
        status, _, _ = run("--file-only", "--fail-on", severity, "--config", path)
        assert status == (1 if worst in fails else 0), worst


def test_what_is_said_is_in_the_order_of_severity(run: Run, tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, ("    remote_networks", WEAK))
    severities = [
        f["severity"] for f in json.loads(run("--file-only", "--json", "--config", path)[1])["findings"]
    ]
    assert severities == sorted(severities, key=[s.value for s in command.COLOURS].index, reverse=True)


def test_a_region_that_the_table_lacks_is_told_and_the_rest_too(run: Run, tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, ("    remote_networks", WEAK))
    status, output, errors = run(
        "--file-only", "--json", "--region", "cn-beijing-finance-1", "--config", path
    )
    assert (status, errors) == (1, "")
    assert found(output).keys() >= {
        "RegionUnknown cn-beijing-finance-1",
        "WeakDes connections[0].ike.encryption",
    }
    assert "RegionUnknown" not in run("--file-only", "--region", "cn-beijing", "--config", path)[1]


# The probe rate of each target: tunnels add up.

SHARED, OWN = IPv4Address("172.16.0.10"), IPv4Address("172.16.0.11")


def config(interval: float, *targets: IPv4Address) -> Config:
    probe = replace(make_tunnel(1).probe, interval=interval, targets=targets)
    return make_config(primary={"probe": probe}, backup={"probe": replace(probe, targets=(SHARED,))})


def told(made: Config) -> dict[str, tuple[Severity, str]]:
    return {finding.subject: (finding.severity, finding.text) for finding in probe_rate(made)}


def test_a_shared_target_is_probed_by_every_tunnel() -> None:
    found = told(config(0.1, SHARED, OWN))
    assert found.keys() == {str(SHARED), str(OWN)}
    assert "20 probes a second from 2 tunnels" in found[str(SHARED)][1]
    assert "10 probes a second from one tunnel" in found[str(OWN)][1]
    assert {severity for severity, _ in found.values()} == {Severity.INFO}


def test_a_rate_that_a_host_may_not_answer_is_a_warning() -> None:
    assert told(config(0.04, SHARED))[str(SHARED)][0] is Severity.INFO  # 50 a second
    assert told(config(0.039, SHARED))[str(SHARED)][0] is Severity.WARNING
