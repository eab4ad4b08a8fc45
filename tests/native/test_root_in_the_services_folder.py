"""Root's commands in folders that the service's user owns, who has laid something in every name there.

Whatever lies there, no file of root's is made, changed, given away or read out, and no command hangs.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.namespace import Namespace, namespace
from tests.native.service_user import AS_ROOT, UID

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

SECRET = "root-hash-of-nobody"
COMMANDS = (
    ("down",),
    ("guard",),
    ("status",),
    ("confirm",),
    ("reload",),
    ("drain", "hangzhou/primary"),
    ("events",),
    ("plan",),
    ("check", "--file-only"),
    ("support-bundle", "--output", "{root}/bundle", "--force"),
    ("alerts", "--output", "{run}/alerts.yaml"),
    ("export", "swanctl", "--output", "{run}/swanctl.conf"),
)
IN_RUN = (
    "prober.sock.lock",
    "prober.sock",
    "control.sock",
    "prober.sock.state",
    "alerts.yaml",
    "swanctl.conf",
)
IN_STATE = tuple(
    f"{name}{end}"
    for name in ("standing.yaml", "unconfirmed.json", "drained.json", "events.jsonl", "events.jsonl.1")
    for end in ("", ".new", ".damaged")
)
CONFIG = """
version: 1
gateway: {{name: idc-hz-1, local_networks: [10.1.0.0/16], source_address: 10.1.0.1}}
agent: {{control_socket: {run}/control.sock, vici_socket: {root}/none, state_directory: {state},
  metrics_listen: ''}}
connections:
  - name: hangzhou
    attachment: vpn-gateway
    remote_networks: [100.64.0.0/10]
    probe: {{targets: [172.16.0.10]}}
    tunnels: [{{name: primary, remote_address: 203.0.113.1, local_address: 10.1.0.1, psk_file: key}}]
"""


class Trap:
    """Folders of the service's user beside one of root's; ``arm`` lays something in every name."""

    def __init__(self, root: Path, here: Namespace) -> None:
        self.root, self._here = root, here
        self.run, self.state, self.locks = (root / name for name in ("run", "state", "locks"))
        self.victim = root / "victim"
        for folder in (self.run, self.state, self.locks):
            folder.mkdir()
            os.chown(folder, UID, UID)
        self.victim.mkdir()
        (self.victim / "shadow").write_text(SECRET)
        (self.victim / "shadow").chmod(0o600)
        self.spared = root / "spared"  # a second name of a file of root's that everybody may read
        self.spared.write_text("kept")
        (root / "key").write_text("not-a-secret-of-anybody")
        (root / "key").chmod(0o600)
        self.configure(self.run, self.state)

    def configure(self, run: Path, state: Path) -> None:
        """Write a configuration with these folders."""
        self.used = {"root": str(self.root), "run": str(run), "state": str(state)}
        (self.root / "vpnagent.yaml").write_text(CONFIG.format(**self.used))

    def names(self) -> Iterator[Path]:
        """Yield every name that root opens."""
        yield from (self.run / name for name in IN_RUN)
        yield from (self.state / name for name in IN_STATE)
        inode = os.stat(f"/run/netns/{self._here.name}").st_ino
        yield from (self.locks / f"netns-{inode}.{role}.lock" for role in ("daemon", "prober"))

    def vpnagent(self, *arguments: str) -> str:
        """Run a command as root; return all that it says. Fails when it hangs."""
        given = [word.format(**self.used) for word in arguments]
        done = subprocess.run(self._command(*given), check=False, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def daemon(self) -> str:
        """Run the daemon as root for a while; return what it and its prober say."""
        log = self.root / "log"  # no pipe: the prober goes on, and would hold it
        with log.open("wb") as file:
            process = subprocess.Popen(self._command("run"), stdout=file, stderr=file)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(4)
            process.terminate()
            process.wait(20)
        finally:
            process.kill()
            process.wait()
        return log.read_text()

    def _command(self, *arguments: str) -> list[str]:
        command = [
            sys.executable,
            "-P",
            "-m",
            "vpnagent",
            *arguments,
            "--config",
            f"{self.root}/vpnagent.yaml",
        ]
        return ["ip", "netns", "exec", self._here.name, "sh", "-c", AS_ROOT, str(self.locks), *command]

    def roots(self) -> dict[str, tuple[object, ...]]:
        """Return everything of root's that must stay as it is."""
        found: dict[str, tuple[object, ...]] = {}
        for path in (*self.victim.iterdir(), self.victim, self.spared):
            seen = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[path.name] = (seen.st_uid, seen.st_gid, seen.st_mode, content)
        return found


@pytest.fixture
def trap() -> Iterator[Trap]:
    with namespace("trap") as here, tempfile.TemporaryDirectory(prefix="vpna-") as directory:
        Path(directory).chmod(0o755)
        Path("/run/vpnagent").mkdir(mode=0o755, exist_ok=True)
        yield Trap(Path(directory), here)


def link_to_a_file_of_roots(trap: Trap, name: Path) -> None:
    name.symlink_to(trap.victim / "shadow")


def link_to_a_file_that_root_would_make(trap: Trap, name: Path) -> None:
    name.symlink_to(trap.victim / "ld.so.preload")


def second_name_of_a_file_of_roots(trap: Trap, name: Path) -> None:
    name.hardlink_to(trap.spared)


def pipe(_trap: Trap, name: Path) -> None:
    os.mkfifo(name)


def folder(_trap: Trap, name: Path) -> None:
    name.mkdir()
    (name / "full").touch()


WAYS = (
    link_to_a_file_of_roots,
    link_to_a_file_that_root_would_make,
    second_name_of_a_file_of_roots,
    pipe,
    folder,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
def test_nothing_of_roots_is_touched_by_any_command(trap: Trap, way: object) -> None:
    assert callable(way)
    for name in trap.names():
        way(trap, name)
        if way is not second_name_of_a_file_of_roots:
            os.chown(name, UID, UID, follow_symlinks=False)
    before = trap.roots()
    said = "".join(trap.vpnagent(*command) for command in COMMANDS)
    for name in trap.locks.iterdir():  # with which no daemon starts
        name.rename(trap.locks / f"was-{name.name}")
    log = trap.daemon()
    said += log + trap.vpnagent("down")
    assert " ready\n" in log, log
    assert trap.roots() == before
    assert SECRET not in said
    bundle = trap.root / "bundle"
    if bundle.exists():
        listed = subprocess.run(["tar", "xzOf", bundle], check=True, capture_output=True).stdout
        assert SECRET.encode() not in listed


def test_a_folder_that_was_changed_for_a_link_leads_nowhere(trap: Trap) -> None:
    """The service's user owns what lies below its folder, and changes it for a way into root's."""
    for name in ("run", "state"):
        (trap.run / name).symlink_to(trap.victim)
    trap.configure(trap.run / "run", trap.run / "state")
    before = trap.roots()
    said = "".join(trap.vpnagent(*command) for command in COMMANDS)
    said += trap.daemon() + trap.vpnagent("down")
    assert trap.roots() == before
    assert SECRET not in said


def test_what_root_makes_there_is_the_services(trap: Trap) -> None:
    """So that the service can go on with it; and nothing was given to it."""
    trap.daemon()
    trap.vpnagent("down")
    made = [path for folder in (trap.run, trap.state) for path in folder.iterdir()]
    assert {path.name for path in made} >= {"prober.sock.lock", "standing.yaml", "events.jsonl"}
    assert {path.lstat().st_uid for path in made} == {UID}


def test_root_runs_no_hook_out_of_the_services_folder(trap: Trap) -> None:
    """The last good configuration lies there: whose hooks would be run as root."""
    text = (trap.root / "vpnagent.yaml").read_text()
    hook = f"hooks:\n  - {{name: evil, command: [/bin/touch, {trap.victim}/owned], events: [info]}}\n"
    (trap.state / "standing.yaml").write_text(text + hook)
    os.chown(trap.state / "standing.yaml", UID, UID)
    (trap.root / "vpnagent.yaml").write_text(text.replace("hangzhou", "not a name"))
    said = trap.daemon()
    assert f"it is uid {UID}'s, and root runs nothing of another's" in said
    assert not (trap.victim / "owned").exists()
