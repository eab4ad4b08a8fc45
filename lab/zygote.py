"""An interpreter that has imported the agent and forks it, so that a start takes a second, not thirty.

What runs is the same program: `vpnagent.cli.main` with its own arguments, process, session, signals and
output, in the namespace it was started in. Without emulation, and in the demo, it is the real command.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.namespace import Namespace

MODULES = (
    "vpnagent.cli",
    "vpnagent.commands.daemon",
    "vpnagent.commands.drill",
    "vpnagent.commands.plan",
    "vpnagent.commands.status",
    "vpnagent.daemon.daemon",
    "vpnagent.commands.drill.rehearsal",
    "vpnagent.daemon.planning",
    "vpnagent.commands.status.overview",
    "vpnagent.commands.status.terminal",
)


class Zygote:
    """The test's end."""

    def __init__(self, namespace: Namespace, python: str, log: Path) -> None:
        self._near, far = socket.socketpair()
        with far, log.open("ab") as output, namespace.entered():
            self._process = subprocess.Popen(
                [python, "-m", "lab.zygote", str(far.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[far.fileno()],
                start_new_session=True,
            )
        self._answers = self._near.makefile("r")

    def start(self, *arguments: str, log: Path) -> Forked:
        """Start `vpnagent ARGUMENTS`, its output appended to `log`."""
        return Forked(self, self.ask(arguments=arguments, log=str(log)))

    def ask(self, **request: object) -> int:
        """One request, one number."""
        self._near.sendall(json.dumps(request).encode() + b"\n")
        answer = self._answers.readline()
        assert answer, "the zygote has died: see its log"
        return int(answer)

    def close(self) -> None:
        """End it; what it started goes on."""
        self._near.sendall(b"{}\n")
        self._answers.close()
        self._near.close()
        self._process.wait(10)


class Forked:
    """A process of the zygote's, with the part of `subprocess.Popen` that `Gateway` needs."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        if self.returncode is None and select.select([self._pidfd], [], [], 0)[0]:
            self._reap()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit status, within `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self._pidfd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("vpnagent", timeout)
            self._reap()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def _reap(self) -> None:
        self.returncode = self._zygote.ask(reap=self.pid)
        os.close(self._pidfd)


def serve(requests: socket.socket) -> None:
    """Answer until the test says that it is over."""
    for name in MODULES:
        importlib.import_module(name)
    with requests.makefile("r") as lines:
        for line in lines:
            request = json.loads(line)
            if not request:
                return
            if "reap" in request:
                answer = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
            else:
                answer = os.fork()
                if not answer:
                    become(request, requests.fileno())
            requests.sendall(f"{answer}\n".encode())


def become(request: dict[str, Any], requests: int) -> None:
    """Be the program."""
    os.close(requests)
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["vpnagent", *request["arguments"]]
    status: object = 1
    try:
        sys.modules["vpnagent.cli"].main()
    except SystemExit as end:
        status = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
