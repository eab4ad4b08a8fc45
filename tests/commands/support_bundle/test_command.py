"""`vpnagent support-bundle` as a user meets it."""

import pathlib
import stat
import subprocess
import sys
import tarfile

import pytest
from tests.commands.support_bundle.unpacking import unpacked
from tests.config_examples import write_example

from vpnagent.commands.support_bundle import SupportBundle, exit_status

MISSING = ("status.json: the daemon does not run",)


def vpnagent(*arguments: str, folder: pathlib.Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vpnagent", "support-bundle", "--config", f"{folder}/vpnagent.yaml"]
    return subprocess.run([*command, *arguments], check=False, capture_output=True, timeout=120, cwd=folder)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A machine on which no daemon runs."""
    sockets = f"control_socket: {tmp_path}/no.sock, vici_socket: {tmp_path}/no.vici"
    agent = f"agent: {{{sockets}, state_directory: {tmp_path}}}\n"
    write_example(tmp_path, agent)
    return tmp_path


def test_it_is_written_where_one_is_for_its_owner_alone_and_its_name_is_told(folder: pathlib.Path) -> None:
    done = vpnagent(folder=folder)
    [path] = folder.glob("vpnagent-support-idc-hz-1-*Z.tar.gz")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert done.returncode in (1, 4)  # no daemon; and perhaps not root
    errors = done.stderr.decode()
    assert f"{path.name}: written\n" in errors
    assert "vpnagent: status.json: the daemon does not run: nothing listens on" in errors
    assert "SUMMARY.md" in done.stdout.decode()
    assert "Traceback" not in errors


def test_to_standard_output_goes_the_archive_and_nothing_else(folder: pathlib.Path) -> None:
    done = vpnagent("--output", "-", folder=folder)
    assert next(iter(unpacked(done.stdout))) == "SUMMARY.md"
    assert not list(folder.glob("*.gz"))
    assert b"SUMMARY.md" in done.stderr


def test_what_is_there_is_not_overwritten_unasked(folder: pathlib.Path) -> None:
    (folder / "there").write_text("mine")
    done = vpnagent("--output", "there", folder=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"there: holds something else already; --force replaces it\n"
    assert (folder / "there").read_text() == "mine"
    vpnagent("--output", "there", "--force", folder=folder)
    assert tarfile.is_tarfile(folder / "there")


def test_a_configuration_that_cannot_be_used_costs_only_itself(folder: pathlib.Path) -> None:
    (folder / "vpnagent.yaml").write_text("version: [1\n")
    done = vpnagent("--output", "b.tar.gz", folder=folder)
    names = unpacked((folder / "b.tar.gz").read_bytes())
    assert {"SUMMARY.md", "versions.json", "kernel/links.json"} <= names.keys()
    assert (
        b"vpnagent: configuration.yaml, standing.yaml: " in done.stderr
        or b"configuration.yaml: " in done.stderr
    )


@pytest.mark.parametrize(
    ("complaints", "held", "forbidden", "status"),
    [((), False, False, 0), (MISSING, False, False, 1), (MISSING, False, True, 4), (MISSING, True, True, 1)],
)
def test_the_exit_status(complaints: tuple[str, ...], held: bool, forbidden: bool, status: int) -> None:
    made = SupportBundle(name="", at=0, files={}, complaints=complaints, held=held, forbidden=forbidden)
    assert exit_status(made) == status
