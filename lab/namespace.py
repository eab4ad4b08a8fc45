"""Network namespaces: made, configured, entered, and processes started in them.

A namespace is entered by the calling thread only, so whatever is opened or forked inside `entered()`
(a socket, a libnftables context, a process) belongs to it, and the caller comes back unharmed.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
PARENT = Path("/proc/thread-self/ns/net")
_libc = ctypes.CDLL(None, use_errno=True)


def set_namespace(path: Path) -> None:
    """Move the calling thread into the namespace at `path`."""
    with path.open() as namespace:
        if _libc.setns(namespace.fileno(), CLONE_NEWNET):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(path))


def run(*argv: str, stdin: str = "", check: bool = True) -> str:
    """Run a short command, its words or one line of them; its output, or an error that quotes it."""
    words = argv if len(argv) > 1 else shlex.split(argv[0])
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}\n{stdin}"
    return done.stdout


def ip(*lines: str, namespace: str = "") -> str:
    """Apply lines of `ip` commands with one process, here or in a namespace; what it printed."""
    if namespace:
        return inside(namespace, lambda: ip(*lines))
    return run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


def inside(namespace: str, action: Callable[[], T]) -> T:
    """Run something in a namespace; sockets and files that it opens stay there."""
    with Namespace(namespace).entered():
        return action()


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace under /run/netns, as `ip netns` knows it."""

    name: str

    @property
    def path(self) -> Path:
        return Path("/run/netns", self.name)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run the body in this namespace."""
        home = os.open(PARENT, os.O_RDONLY | os.O_CLOEXEC)
        try:
            set_namespace(self.path)
            try:
                yield
            finally:
                set_namespace(Path(f"/proc/self/fd/{home}"))
        finally:
            os.close(home)

    def ip(self, *lines: str) -> str:
        """Apply lines of `ip` commands with one process; what it printed, or an error that quotes it."""
        return ip(*lines, namespace=self.name)

    def links(self, kind: str) -> list[str]:
        """Names of the interfaces of a kind: xfrm, veth."""
        lines = self.run("ip", "-brief", "link", "show", "type", kind).splitlines()
        return [line.split()[0].partition("@")[0] for line in lines]

    def nft(self, ruleset: str) -> str:
        """Apply an nftables ruleset; what a `list` in it printed."""
        return self.run("nft", "--file", "-", stdin=ruleset)

    def sysctl(self, **values: int) -> None:
        """Set net.ipv4 sysctls; a dot in a name is written as two underscores."""
        with self.entered():
            for name, value in values.items():
                Path("/proc/sys/net/ipv4", name.replace("__", "/")).write_text(str(value))

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """Run a short command here; its output, or an error that quotes it."""
        with self.entered():
            return run(*argv, stdin=stdin, check=check)

    def without(self, capability: str, program: str) -> str:
        """Run Python source here as root without a capability; all that it prints."""
        command = ["setpriv", "--bounding-set", f"-{capability}", sys.executable, "-c", program]
        with self.entered():
            done = subprocess.run(
                command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        return done.stdout

    def start(
        self, *argv: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a long-lived program here, its output appended to `log`."""
        with log.open("ab") as output, self.entered():
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def fork(self, main: Callable[[Connection], None]) -> tuple[ForkProcess, Connection]:
        """Run `main` in a forked process here (no interpreter start); the pipe's far end is its argument."""
        near, far = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        process = context.Process(target=main, args=(far,), daemon=True)
        with self.entered():
            process.start()
        far.close()
        return process, near


@contextmanager
def namespace(label: str) -> Iterator[Namespace]:
    """Make a namespace, and delete it with all that is in it."""
    made = Namespace(f"vpnagent-{label}-{os.getpid()}")
    ip(f"netns add {made.name}")
    try:
        made.ip("link set lo up")
        yield made
    finally:
        for pid in run(f"ip netns pids {made.name}").split():  # a prober outlives its daemon
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ip(f"netns delete {made.name}")
