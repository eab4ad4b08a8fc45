"""`vpnagent support-bundle` beside a real charon, a hanging one, and for whom has no privileges."""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest
from tests.commands.support_bundle.test_known_secrets import known
from tests.commands.support_bundle.unpacking import unpacked
from tests.config_examples import BACKUP_PSK, EXAMPLE_YAML, PRIMARY_PSK, write_example
from tests.ipsec.charon_contract import bring_up, load
from tests.native.charon_pair import Host, charon_pair, connection

from vpnagent.ipsec.charon import Charon
from vpnagent.secret import Secret

if os.geteuid() != 0:
    pytest.skip("a real charon needs root: ./dev test runs these", allow_module_level=True)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    with charon_pair(tmp_path_factory.mktemp("charons")) as pair:
        yield pair


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """A configuration with its keys in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        write_example(folder)
        (folder / "out").mkdir()
        (folder / "out").chmod(0o777)
        yield folder


def configure(folder: pathlib.Path, vici: str) -> None:
    sockets = f"control_socket: {folder}/no.sock, vici_socket: {vici}"
    (folder / "vpnagent.yaml").write_text(f"{EXAMPLE_YAML}agent: {{{sockets}, state_directory: {folder}}}\n")


def bundle(folder: pathlib.Path, *before: str) -> tuple[int, dict[str, str], str]:
    """Return the exit status, the files by name, and what was said on standard error."""
    options = ("--config", f"{folder}/vpnagent.yaml", "--output", "-")
    command = (*before, sys.executable, "-m", "vpnagent", "support-bundle", *options)
    done = subprocess.run(command, check=False, capture_output=True, timeout=120, cwd=folder / "out")
    return done.returncode, unpacked(done.stdout), done.stderr.decode()


async def establish(here: Host, there: Host) -> None:
    """Have both ends know the example's key, and an SA between them."""
    ends = [Charon(host.vici, on_event=lambda _event: None) for host in (here, there)]
    key = Secret(PRIMARY_PSK)
    for charon in ends:
        await charon.connect()
    await load(ends[1], connection(there, here, psk=key))
    await bring_up(ends[0], connection(here, there, psk=key))
    for charon in ends:
        charon.close()


def test_charon_tells_all_but_its_secrets(hosts: tuple[Host, Host], folder: pathlib.Path) -> None:
    here, there = hosts
    asyncio.run(establish(here, there))
    configure(folder, here.vici)
    _, files, _ = bundle(folder)
    assert json.loads(files["charon/version.json"])["daemon"] == "charon-systemd"
    assert "vici" in json.loads(files["charon/stats.json"])["plugins"]
    [sas] = json.loads(files["charon/sas.json"])
    [sa] = sas.values()
    assert sa["state"] == "ESTABLISHED"
    assert sa["remote-host"] == there.address
    assert json.loads(files["charon/connections.json"])
    assert json.loads(files["charon/algorithms.json"])["encryption"]
    text = "".join(files.values())
    assert not any(known(psk.decode()).found_in(text) for psk in (PRIMARY_PSK, BACKUP_PSK))


def test_a_charon_that_hangs_does_not_keep_the_bundle(hosts: tuple[Host, Host], folder: pathlib.Path) -> None:
    here, _ = hosts
    configure(folder, here.vici)
    with here.stopped():
        begin = time.monotonic()
        status, files, errors = bundle(folder)
        took = time.monotonic() - begin
    print(f"a bundle beside a hanging charon took {took:.1f} s")
    assert status == 1
    assert "charon/sas.json" not in files
    assert "charon/algorithms.json, charon/certificates.json" in errors
    assert "does not answer" in errors
    assert {"SUMMARY.md", "versions.json", "kernel/links.json", "findings.json"} <= files.keys()


def test_without_privileges_it_says_what_root_would_get(folder: pathlib.Path) -> None:
    configure(folder, f"{folder}/no.vici")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    status, files, errors = bundle(folder, *nobody)
    assert status == 4, errors
    assert f"not searched for: {folder}/psk/primary: Permission denied" in errors
    assert "kernel/nft.txt" not in files
    assert {"SUMMARY.md", "versions.json", "kernel/links.json", "configuration.yaml"} <= files.keys()
