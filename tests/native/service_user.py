"""The daemon as its unit runs it: a user of its own with two capabilities, in a namespace with a real charon.

No service manager runs here: ``setpriv`` grants what User=, AmbientCapabilities= and NoNewPrivileges= grant,
and what systemd makes (directories, the group of the VICI socket) is made by hand. The user is real to
libc within the namespace: ``ip netns exec`` lays /etc/netns/NAME over /etc.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.native.charon_pair import Host

from vpnagent.probe.namespace_lock import DIRECTORY

UID = 61186
GROUP = "vpnagent"
PSK = "not-a-secret-of-anybody"
CHECKOUT = Path(__file__).parents[2]
LOCKS = "locks"  #: laid over RuntimeDirectory=vpnagent, which the other tests' daemons use as root
AS_ROOT = f'mount --bind "$0" {DIRECTORY} && exec "$@"'  #: in the mount namespace of ``ip netns exec``

CONFIG = """
version: 1
gateway: {{name: idc-hz-1, local_networks: [10.1.0.0/16], source_address: 10.1.0.1}}
agent:
  vici_socket: {vici}
  control_socket: {directory}/run/control.sock
  state_directory: {directory}/state
  metrics_listen: ""
connections:
  - name: hangzhou
    attachment: vpn-gateway
    remote_networks: [100.64.0.0/10]
    probe: {{targets: [172.16.0.10]}}
    tunnels:
      - name: primary
        remote_address: 203.0.113.1
        local_address: 10.77.0.1
        psk_file: psk/primary
        if_id: 7
"""


class ServiceUser:
    """What the unit's user can do in a namespace, with directories as systemd and the package make them."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.directory = directory
        self._host = host
        self._prefix, self._python = python_for_others()
        for name in ("run", "state", LOCKS):
            (directory / name).mkdir(mode=0o755)
            os.chown(directory / name, UID, UID)
        keys = directory / "psk"
        keys.mkdir(mode=0o750)
        (keys / "primary").write_text(PSK)
        (keys / "primary").chmod(0o640)
        (keys / "roots").write_text("somebody else's")
        (keys / "roots").chmod(0o600)
        for path in (keys, keys / "primary"):
            os.chown(path, 0, UID)
        Path(DIRECTORY).mkdir(mode=0o755, exist_ok=True)
        self.config.write_text(CONFIG.format(directory=directory, vici=host.vici))
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(directory / "notify"))
        os.chown(directory / "notify", UID, UID)
        self._notified.settimeout(30)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "vpnagent.yaml"

    def close(self) -> None:
        """Give the socket back."""
        self._notified.close()

    def open_vici(self) -> None:
        """Do what the drop-in for strongswan.service does."""
        os.chown(self._host.vici, -1, UID)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of Python with these arguments as the user."""
        capabilities = "-all,+net_admin,+net_raw"
        return [
            *("ip", "netns", "exec", self._host.namespace),
            *("sh", "-c", AS_ROOT, str(self.directory / LOCKS), "setpriv"),
            *(f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"),
            *(f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"),
            f"--bounding-set={capabilities}",
            *("env", *self._prefix, self._python, "-P", *arguments),
        ]

    def python(self, program: str) -> str:
        """Run Python source; return the last line that it prints, a traceback's included."""
        done = subprocess.run(
            self.command("-c", program), check=False, capture_output=True, text=True, timeout=60
        )
        return (done.stdout + done.stderr).strip().rpartition("\n")[2]

    def vpnagent(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the configuration to its end."""
        command = self.command("-m", "vpnagent", *arguments, "--config", str(self.config))
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    def status(self) -> dict[str, Any]:
        """Return what ``vpnagent status`` tells the user."""
        done = self.vpnagent("status", "--json")
        assert done.returncode in (0, 1), done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @contextlib.contextmanager
    def daemon(self, *prefix: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the daemon, by a command that becomes it, until it is ready; afterwards all of it is gone."""
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.directory / "notify")}
        command = [*prefix, *self.command("-m", "vpnagent", "run", "--config", str(self.config))]
        with open(self.directory / "log", "wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            while b"READY=1" not in self._notified.recv(4096).split(b"\n"):
                pass
            yield process
        finally:
            process.terminate()
            process.wait(20)
            self.vpnagent("down")

    def log(self) -> str:
        """Return the daemon's and the prober's log."""
        return (self.directory / "log").read_text()


@contextlib.contextmanager
def service_user(host: Host) -> Iterator[ServiceUser]:
    """Make the user and its directories for a host's namespace; leave nothing behind."""
    overlay = Path("/etc/netns") / host.namespace
    directory = Path(tempfile.mkdtemp(prefix="vpna-"))
    directory.chmod(0o755)
    try:
        overlay.mkdir(parents=True)
        for name, line in (
            ("passwd", f"{GROUP}:x:{UID}:{UID}::/:/bin/false"),
            ("group", f"{GROUP}:x:{UID}:"),
        ):
            (overlay / name).write_text(Path("/etc", name).read_text() + line + "\n")
        with contextlib.closing(ServiceUser(host, directory)) as user:
            yield user
    finally:
        shutil.rmtree(overlay, ignore_errors=True)
        with contextlib.suppress(OSError):
            overlay.parent.rmdir()
        shutil.rmtree(directory)


def python_for_others() -> tuple[list[str], str]:
    """Return a Python that others than root may run, and the environment in which it finds the project."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    path = f"PYTHONPATH={CHECKOUT / 'agent'}:{packages}"
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        tried = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env", path, python]
        if (
            subprocess.run(
                [*tried, "-c", "import vpnagent, pydantic"], check=False, capture_output=True
            ).returncode
            == 0
        ):
            return [path, "PYTHONDONTWRITEBYTECODE=1"], python
    raise AssertionError("no Python here may be run by others than root: move the checkout out of /root")
