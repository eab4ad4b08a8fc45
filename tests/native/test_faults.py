"""What hangs or is full around a running daemon: it goes on, says so once, and is well when that is over."""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.native.charon_pair import Host, charon_pair
from tests.native.prober_process import until
from tests.native.service_user import UID, ServiceUser, service_user

if os.geteuid() != 0:
    pytest.skip("another user's daemon needs root: ./dev test runs this", allow_module_level=True)

PATIENCE = 60.0  #: seconds
HANGS_FOR = 15.0  #: seconds: a command's deadline, and that of an attempt to connect again
SCRAPES = 5.0  #: seconds: of many scrapes, those of one second get the same exposition
RETRIES = 12.0  #: seconds in which the disk is tried again twice
METRICS = "http://127.0.0.1:9786/metrics"

#: becomes the command that follows, in a mount namespace where a directory is a file system of 16 pages
SMALL_DISK = f'mount -t tmpfs -o size=64k,mode=700,uid={UID},gid={UID} vpna-full "$0" && exec "$@"'
NO_ROOM = "No space left on device"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A namespace with a real charon."""
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory:
        Path(directory).chmod(0o755)
        with charon_pair(Path(directory)) as (here, _):
            yield here


@pytest.fixture
def user(host: Host) -> Iterator[ServiceUser]:
    with service_user(host) as made:
        made.open_vici()
        yield made


def warnings(user: ServiceUser) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the warnings of status by code and subject."""
    return {(warning["code"], warning["subject"]): warning for warning in user.status()["warnings"]}


def began(user: ServiceUser, code: str, subject: str) -> bool:
    """Return whether the log has the beginning of a warning; it follows the status by moments."""
    lines = user.log().splitlines()
    return any("WarningBegan" in line and f"'{code}'" in line and subject in line for line in lines)


def metric(user: ServiceUser, name: str) -> str:
    """Return the value of a metric, as a scrape has it."""
    said = user.python(
        f"import urllib.request; t = urllib.request.urlopen('{METRICS}', timeout=5).read().decode();"
        f"print([l.split()[1] for l in t.splitlines() if l.startswith('{name} ')])"
    )
    return said.strip("[]'")


@pytest.mark.slow("each question that a hanging charon is asked has its time-out")
def test_a_charon_that_hangs_is_one_line_and_a_warning_and_needs_no_restart(
    host: Host, user: ServiceUser
) -> None:
    config = user.config.read_text()
    user.config.write_text(config.replace('metrics_listen: ""', "metrics_listen: 127.0.0.1:9786"))
    gone = ("CharonUnreachable", "")
    with user.daemon() as daemon:
        until(lambda: metric(user, "vpnagent_charon_up") == "1.0", within=PATIENCE, every=0.2)
        with host.stopped():
            begun = time.monotonic()
            first = until(lambda: warnings(user).get(gone), within=PATIENCE, every=0.2)
            assert first["text"].endswith("charon hangs: it does not answer")
            until(lambda: metric(user, "vpnagent_charon_up") == "0.0", within=SCRAPES, every=0.2)
            while time.monotonic() < begun + HANGS_FOR:
                assert warnings(user)[gone] == first, "since when, is told"
                assert metric(user, "vpnagent_charon_up") == "0.0"
        until(lambda: gone not in warnings(user), within=PATIENCE, every=0.2)
        until(lambda: metric(user, "vpnagent_charon_up") == "1.0", within=SCRAPES, every=0.2)
        assert daemon.poll() is None
    assert user.log().count("charon-unreachable") == 1


@pytest.mark.slow("what was not kept is tried again at growing intervals")
def test_a_full_disk_is_told_once_and_what_was_to_be_kept_is_kept_when_there_is_room(
    user: ServiceUser,
) -> None:
    state = user.directory / "state"
    prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", SMALL_DISK, str(state))
    expected = {("StateNotKept", "configuration"), ("StateNotKept", "drains"), ("EventsNotKept", "")}
    with user.daemon(*prefix) as daemon:
        seen = Path(f"/proc/{daemon.pid}/root{state}")
        until(lambda: (seen / "standing.yaml").exists() and (seen / "events.jsonl").exists(), within=PATIENCE)
        fill(seen / "ballast", bytes(4096))
        fill(seen / "events.jsonl", b"\n")  # to the end of its last page
        user.config.write_text(user.config.read_text().replace("idc-hz-1", "idc-hz-2"))
        for command in ("drain hangzhou/primary", "reload"):
            done = user.vpnagent(*command.split())
            assert done.returncode == 0
            assert NO_ROOM in done.stderr
        until(lambda: expected <= warnings(user).keys(), within=PATIENCE, every=0.2)
        until(lambda: all(began(user, *warning) for warning in expected), within=PATIENCE, every=0.2)
        told, begun = user.log().count(NO_ROOM), time.monotonic()
        while time.monotonic() < begun + RETRIES:
            assert user.status()["gateway"] == "idc-hz-2"
        assert user.log().count(NO_ROOM) == told <= 2 * len(expected)

        (seen / "ballast").unlink()
        until(lambda: not expected & warnings(user).keys(), within=PATIENCE, every=0.2)
        assert "idc-hz-2" in (seen / "standing.yaml").read_text()
        assert json.loads((seen / "drained.json").read_text()) == [["hangzhou", "primary"]]
        lines = [json.loads(line) for line in (seen / "events.jsonl").read_text().splitlines() if line]
        assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
        assert daemon.poll() is None


def fill(path: Path, piece: bytes) -> None:
    """Append to a file until the disk takes no more of it."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(piece)
