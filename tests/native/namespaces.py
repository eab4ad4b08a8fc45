"""Network namespaces that a test makes, enters and deletes."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
THREAD_NETNS = "/proc/thread-self/ns/net"

libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace, up to ``ip`` and ``nft`` within it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ip(self, command: str) -> str:
        """Run ``ip``; for example ``ip("route show")``."""
        return run(f"ip -n {self.name} {command}")

    def nft(self, command: str) -> str:
        """Run ``nft``."""
        return self.run(f"nft {command}")

    def run(self, command: str) -> str:
        """Run a command within the namespace."""
        return run(f"ip netns exec {self.name} {command}")

    def ip_batch(self, lines: str) -> None:
        """Have one ``ip`` carry out many commands."""
        subprocess.run(["ip", "-n", self.name, "-batch", "-"], check=True, input=lines, text=True)

    def without_net_admin(self, program: str) -> str:
        """Run Python source as root without CAP_NET_ADMIN; return all that it prints."""
        return self.without("net_admin", program)

    def without(self, capability: str, program: str) -> str:
        """Run Python source as root without a capability; return all that it prints."""
        command = ["setpriv", "--bounding-set", f"-{capability}", sys.executable, "-c", program]
        with self.entered():
            done = subprocess.run(
                command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        return done.stdout

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread be within it: sockets stay there, /proc/sys/net shows it."""
        with open(THREAD_NETNS) as home, open(f"/run/netns/{self.name}") as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())


@contextlib.contextmanager
def namespace(label: str) -> Iterator[Namespace]:
    """Make a namespace, and delete it with all that is in it."""
    made = Namespace(f"vpnagent-{label}-{os.getpid()}")
    run(f"ip netns add {made.name}")
    try:
        made.ip("link set lo up")
        yield made
    finally:
        for pid in run(f"ip netns pids {made.name}").split():  # a prober outlives its daemon
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run(f"ip netns delete {made.name}")


def run(command: str) -> str:
    """Run a command that must succeed."""
    done = subprocess.run(command.split(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _setns(descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
