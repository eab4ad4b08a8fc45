"""``vpnagent plan`` as a user meets it: the selection in words, then the changes."""

import json
import pathlib
import re

import pytest
from tests.config_examples import EXAMPLE_YAML
from tests.listening import listening
from tests.test_cli import config, vpnagent

__all__ = ["config"]


def test_the_selection_stands_before_the_changes(config: str) -> None:
    code, out, _ = vpnagent("plan", "--config", config, "--verdict", "primary=silent")
    assert code == 1
    assert out.splitlines()[:3] == [
        "connection hangzhou: traffic on backup",
        "    primary: path silent; backup is better: path up",
        "  * backup: path up, role standby",
    ]


def test_json_has_the_selection_and_the_changes(config: str) -> None:
    words = ("--verdict", "primary=silent", "--verdict", "backup=silent")
    _, out, _ = vpnagent("plan", "--config", config, "--json", *words)
    document = json.loads(out)
    assert document["changes"]
    [choice] = document["selection"]
    assert (choice["mode"], choice["carries"]) == ("fail-static", ["primary"])
    assert [t["carries"] for t in choice["tunnels"]] == [True, False]


def two_files(folder: pathlib.Path, *changes: tuple[str, str]) -> tuple[str, str]:
    """Write the example without keys, and with changes; return the names of the old file and the new."""
    new = EXAMPLE_YAML
    for old, other in changes:
        assert old in new
        new = new.replace(old, other)
    (folder / "old.yaml").write_text(EXAMPLE_YAML)
    (folder / "new.yaml").write_text(new)
    return str(folder / "old.yaml"), str(folder / "new.yaml")


def test_two_files_are_compared_without_a_daemon_a_kernel_and_keys(tmp_path: pathlib.Path) -> None:
    old, new = two_files(tmp_path, ("bandwidth: 200Mbps", "bandwidth: 500Mbps"), ("if_id: 2", "if_id: 3"))
    code, out, err = vpnagent("plan", "--from", old, "--config", new)
    lines = out.splitlines()
    assert (code, err) == (1, "")
    assert "connections.hangzhou.bandwidth: 2e+08 -> 5e+08" in lines
    assert "connections.hangzhou.tunnels.backup.if_id: 2 -> 3" in lines
    assert any(re.match("hangzhou/backup is taken down and negotiated again", line) for line in lines)
    assert any("type xfrm if_id 0x3" in line for line in lines)
    assert not [line for line in lines if "hangzhou/primary" in line]


def test_of_equal_files_there_is_nothing_to_say(tmp_path: pathlib.Path) -> None:
    old, new = two_files(tmp_path)
    code, out, _ = vpnagent("plan", "--from", old, "--config", new)
    assert (code, out) == (0, "nothing would change\n")


def test_another_key_file_is_another_key(tmp_path: pathlib.Path) -> None:
    old, new = two_files(tmp_path, ("psk/backup", "psk/backup-2"))
    code, out, _ = vpnagent("plan", "--from", old, "--config", new, "--json")
    assert code == 1
    document = json.loads(out)
    assert [str(line).partition(" is ")[0] for line in document["reload"]["tunnels"]] == ["hangzhou/backup"]
    assert document["differences"] == ["connections.hangzhou.tunnels.backup.psk: *** -> another"]
    assert "psk/backup-2" not in out


SEVERE = {
    "info": [("bandwidth: 200Mbps", "bandwidth: 500Mbps")],
    "warning": [("if_id: 2", "if_id: 3")],
    "critical": [("hangzhou", "elsewhere"), ("vpn-hz-", "vpn-x-"), ("if_id: ", "if_id: 1")],
}


@pytest.mark.parametrize("least", SEVERE)
def test_the_exit_status_is_of_changes_as_grave_as_asked_for(least: str, tmp_path: pathlib.Path) -> None:
    for severity, changes in SEVERE.items():
        old, new = two_files(tmp_path, *changes)
        code, _, _ = vpnagent("plan", "--from", old, "--config", new, "--fail-on", least)
        assert code == (1 if list(SEVERE).index(severity) >= list(SEVERE).index(least) else 0), severity


def test_what_is_only_in_one_file_is_one_line(tmp_path: pathlib.Path) -> None:
    old, new = two_files(tmp_path, *SEVERE["critical"])
    _, out, _ = vpnagent("plan", "--from", old, "--config", new)
    assert [line for line in out.splitlines() if line.startswith("connections.")] == [
        "connections.hangzhou: is removed",
        "connections.elsewhere: is added",
    ]


def test_json_is_json_whatever_is_wrong_with_the_file(config: str) -> None:
    path = pathlib.Path(config)
    path.write_text(path.read_text().replace("if_id: 2", "if_id: 0"))
    code, out, err = vpnagent("plan", "--config", config, "--json")
    assert code == 2
    assert "connections[0].tunnels[1].if_id" in err
    assert [f["code"] for f in json.loads(out)["findings"]] == ["FileRefused"]


def test_a_reload_that_the_daemon_would_refuse_is_told(config: str) -> None:
    async def answer(_request: object) -> object:
        return {"reload": {"refused": f"{config}:9: connections[0]: no", "tunnels": []}}

    with listening(pathlib.Path(config).parent / "control.sock", answer):
        code, out, _ = vpnagent("plan", "--config", config, "--fail-on", "critical")
    assert code == 1
    assert f"the daemon would refuse the file: {config}:9: connections[0]: no" in out.splitlines()
