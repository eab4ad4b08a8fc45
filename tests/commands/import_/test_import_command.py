"""``vpnagent import`` as a user meets it: files, modes, streams and exit statuses."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.commands.import_.importing import DATA, document

from vpnagent.cli import main
from vpnagent.config.load import load

NETWORKS = ["--local-network", "10.1.0.0/16", "--remote-network", "172.16.0.0/16"]
KEYS = {"tun-aaa1": b"first-Hush-2a01", "tun-aaa2": b"second-Hush-2a02"}


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in the folder; return exit status, standard output, standard error."""
    monkeypatch.chdir(folder)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vpnagent", "import", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        output, errors = capsys.readouterr()
        assert "Hush" not in output + errors
        return int(end.value.code or 0), output, errors

    return call


def write(path: Path, tree: Any) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(tree))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in DATA.glob("*.json"):
        write(tmp_path / file.name, document(file.name))
    return tmp_path


BOTH = ["download-dual-bgp.json", "describe-dual-bgp.json"]
INTO_FILES = [*NETWORKS, "--output", "site/vpnagent.yaml", "--psk-directory", "site/psk"]


@pytest.fixture
def imported(run: Run, folder: Path) -> Path:
    (folder / "site").mkdir()
    status, output, _ = run(*BOTH, *INTO_FILES)
    assert (status, output) == (0, "")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_loads_as_it_is(imported: Path) -> None:
    config = load(imported / "site/vpnagent.yaml")
    keys = {tunnel.name: tunnel.psk for tunnel in config.tunnels()}
    assert {name: psk.reveal() for name, psk in keys.items() if psk} == KEYS


def test_keys_are_files_of_their_owner_alone_named_from_where_the_yaml_is(imported: Path) -> None:
    names = [f"hang-zhou-prod.{tunnel}.psk" for tunnel in KEYS]
    assert sorted(os.listdir(imported / "site/psk")) == names
    assert {stat.S_IMODE((imported / "site/psk" / name).stat().st_mode) for name in names} == {0o600}
    assert stat.S_IMODE((imported / "site/psk").stat().st_mode) == 0o700
    text = (imported / "site/vpnagent.yaml").read_text()
    assert "Hush" not in text
    assert f"psk_file: psk/{names[0]} " in text


def test_keys_elsewhere_are_named_absolutely(run: Run, folder: Path) -> None:
    status, output, _ = run(*BOTH, *NETWORKS, "--psk-directory", "keys")
    assert status == 0
    first = yaml.safe_load(output)["connections"][0]["tunnels"][0]
    assert first["psk_file"] == f"{folder}/keys/hang-zhou-prod.tun-aaa1.psk"


def test_without_a_directory_no_key_is_written_and_each_is_asked_for(run: Run, folder: Path) -> None:
    before = contents(folder)
    status, output, errors = run("download-single.json")
    assert status == 0
    assert contents(folder) == before
    assert "# psk_file: psk/download-single.tunnel.psk" in output
    assert (
        "to fill in: the YAML:38: connections[0].tunnels[0].psk_file: where is the pre-shared key?" in errors
    )


def test_what_is_to_be_filled_in_is_listed_with_the_line_of_its_comment(run: Run, folder: Path) -> None:
    status, _, errors = run("download-dual-bgp.json", "--output", "new.yaml")
    assert status == 0
    lines = (folder / "new.yaml").read_text().splitlines()
    asked = [line.split(":")[2:4] for line in errors.splitlines() if line.startswith("to fill in: new.yaml:")]
    assert len(asked) == sum("TO FILL IN" in line for line in lines) == 10
    for number, key in asked:
        assert lines[int(number) - 1].strip().startswith(f"# {key.rpartition('.')[2].strip()}:")


def test_the_same_again_changes_nothing_and_says_nothing(run: Run, imported: Path) -> None:
    before = contents(imported)
    status, _, errors = run(*BOTH, *INTO_FILES)
    assert status == 0
    assert contents(imported) == before
    assert "written" not in errors


@pytest.mark.parametrize("victim", ["psk/hang-zhou-prod.tun-aaa2.psk", "vpnagent.yaml"])
def test_a_file_that_holds_something_else_is_kept(run: Run, imported: Path, victim: str) -> None:
    path = imported / "site" / victim
    path.write_text("another-Hush")
    (imported / "site/psk/hang-zhou-prod.tun-aaa1.psk").unlink()
    before = contents(imported)
    status, output, errors = run(*BOTH, *INTO_FILES)
    assert (status, output) == (2, "")
    assert errors == f"site/{victim}: holds something else already; --force replaces it\n"
    assert contents(imported) == before


def test_force_replaces_it_and_says_so(run: Run, imported: Path) -> None:
    path = imported / "site/psk/hang-zhou-prod.tun-aaa2.psk"
    path.write_text("another-Hush")
    status, _, errors = run(*BOTH, *INTO_FILES, "--force")
    assert status == 0
    assert "site/psk/hang-zhou-prod.tun-aaa2.psk: replaced: it held something else\n" in errors
    assert path.read_bytes() == KEYS["tun-aaa2"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_with_an_editors_newline_is_the_same_key_and_is_closed_to_others(
    run: Run, imported: Path
) -> None:
    path = imported / "site/psk/hang-zhou-prod.tun-aaa1.psk"
    path.write_bytes(KEYS["tun-aaa1"] + b"\n")
    path.chmod(0o644)
    assert run(*BOTH, *INTO_FILES)[0] == 0
    assert path.read_bytes() == KEYS["tun-aaa1"] + b"\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_place_that_is_no_file_is_refused(run: Run, folder: Path) -> None:
    (folder / "keys").mkdir()
    os.mkfifo(folder / "keys/vco-single.tunnel.psk")
    status, _, errors = run("describe-single.json", "--psk-directory", "keys")
    assert (status, errors) == (2, "keys/vco-single.tunnel.psk: must be a regular file\n")


def test_a_folder_that_is_not_there_is_an_error(run: Run, folder: Path) -> None:
    expected = "new/vpnagent.yaml: cannot be written: No such file or directory\n"
    assert run(BOTH[1], "--output", "new/vpnagent.yaml") == (2, "", expected)
    assert not (folder / "new").exists()


def test_a_document_may_come_from_standard_input(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    with (folder / "describe-single.json").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        status, output, errors = run("-", "--psk-directory", "keys")
    assert status == 0
    assert "attachment: transit-router              # - $.AttachType" in output
    assert "note: the YAML:" in errors


def test_documents_of_one_name_are_told_apart_by_their_folders(run: Run, folder: Path) -> None:
    for name, source in (("a", BOTH[0]), ("b", BOTH[1])):
        (folder / name).mkdir()
        write(folder / name / "tunnels.json", document(source))
    status, output, _ = run("a/tunnels.json", "b/tunnels.json")
    assert status == 0
    assert "# b/tunnels.json $.AttachType" in output


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("missing.json", None, "missing.json: cannot be read: No such file or directory"),
        (
            "bad.json",
            b'{"Psk": "some-Hush"',
            "bad.json: is not JSON: Expecting ',' delimiter in line 1, column 20",
        ),
        ("bad.json", b'"x"', "bad.json: $: must be an object, not a text"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    run: Run, folder: Path, name: str, content: bytes | None, error: str
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    assert run(name) == (2, "", f"{error}\n")


def test_a_document_that_others_may_read_is_noted(run: Run, folder: Path) -> None:
    (folder / "download-single.json").chmod(0o644)
    errors = run("download-single.json")[2]
    assert errors.startswith("note: download-single.json: others may read it")


def test_diff_writes_nothing_and_tells_whether_there_is_drift(run: Run, imported: Path) -> None:
    before = contents(imported)
    diff = ["--diff", "site/vpnagent.yaml", "--output", "other.yaml", "--psk-directory", "other"]
    assert run(BOTH[1], *diff) == (0, "site/vpnagent.yaml: as in the documents\n", "")
    status, output, _ = run("describe-dual-defaults.json", *diff)
    assert status == 1
    lines = output.splitlines()
    place = "describe-dual-defaults.json $.TunnelOptionsSpecification.TunnelOptions[0].TunnelIkeConfig"
    here = "site/vpnagent.yaml"
    assert f"{here}:18: connections[0].ike.encryption: aes256, but aes128 in {place}.IkeEncAlg" in lines
    assert f"{here}:35: connections[0].tunnels[0].psk_file: is another key than {place}.Psk" in lines
    assert contents(imported) == before


def test_diff_goes_without_the_keys_and_says_so(run: Run, imported: Path) -> None:
    (imported / "site/psk/hang-zhou-prod.tun-aaa1.psk").unlink()
    status, _, errors = run(BOTH[0], "--diff", "site/vpnagent.yaml")
    assert status == 0
    assert errors == "note: site/vpnagent.yaml: its pre-shared keys cannot be read, and are not compared\n"


def test_diff_against_a_configuration_that_cannot_be_used_is_an_error(run: Run, imported: Path) -> None:
    (imported / "site/vpnagent.yaml").write_text("version: 2\n")
    status, output, errors = run(BOTH[0], "--diff", "site/vpnagent.yaml")
    assert (status, output) == (2, "")
    assert errors.startswith("site/vpnagent.yaml:1: version: must be 1")


def test_it_needs_neither_root_nor_a_daemon(folder: Path) -> None:
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]  # root without one capability
    command = [sys.executable, "-m", "vpnagent", "import", *BOTH, *NETWORKS, "--psk-directory", "keys"]
    prefix = powerless if os.geteuid() == 0 else []
    done = subprocess.run([*prefix, *command], check=False, cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0


def test_what_is_passed_over_is_told_of_imports_and_of_comparisons(run: Run, imported: Path) -> None:
    tree = document("describe-dual-bgp.json") | {"IkeKeyShare": "kyber"}
    write(imported / "listed.json", {"TotalCount": 2, "VpnConnections": {"VpnConnection": [tree]}})
    notes = [
        "listed.json $.TotalCount: 2 connections, and 1 are here.",
        "listed.json $.VpnConnections.VpnConnection[0].IkeKeyShare is passed over",
    ]
    _, _, errors = run("listed.json", *NETWORKS)
    for note in notes:
        assert re.search(f"^note: the YAML:[2-9]: {re.escape(note)}", errors, re.MULTILINE)
    status, _, errors = run("listed.json", "--diff", "site/vpnagent.yaml")
    assert status == 0
    assert all(f"note: {note}" in errors for note in notes)


def test_what_means_something_else_on_the_wire_is_told_of_imports_and_of_comparisons(
    run: Run, imported: Path
) -> None:
    tree = document("describe-dual-bgp.json")
    [one, other] = tree["TunnelOptionsSpecification"]["TunnelOptions"]
    one["TunnelIkeConfig"] |= {"RemoteId": "@office", "Psk": "0x6d794875736800"}
    other["TunnelBgpConfig"] |= {
        "LocalBgpIp": "10.9.9.1",
        "PeerBgpIp": "10.9.9.2",
        "TunnelCidr": "10.9.9.0/30",
    }
    write(imported / "odd.json", tree)
    here = "note: odd.json $.TunnelOptionsSpecification.TunnelOptions"
    for options in (NETWORKS, ["--diff", "site/vpnagent.yaml"]):
        _, _, errors = run("odd.json", *options)
        for note in (
            f"{here}[0].TunnelIkeConfig.RemoteId: IdentityNotation: is sent as a name, without the '@'",
            f"{here}[0].TunnelIkeConfig.Psk: KeyNotation: the pre-shared key begins with 0x",
            f"{here}[1].TunnelBgpConfig.PeerBgpIp: InsideAddressForbidden: 10.9.9.0/30",
        ):
            assert note in errors
        assert "6d7948" not in errors
