"""The prober's hands on real sockets."""

import os
import socket
import time
from pathlib import Path

import pytest
from tests.native.prober_process import configure, tunnel_intent

from vpnagent.probe.actions import TerminateTunnel
from vpnagent.probe.core import Core
from vpnagent.probe.inbox import Poller
from vpnagent.probe.intent import ViciRequests
from vpnagent.probe.interfaces import Interfaces
from vpnagent.probe.kernel import KernelRequests
from vpnagent.probe.shell import Shell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: raw sockets")


def test_the_daemon_is_told_before_charon_is_asked_to_terminate(tmp_path: Path) -> None:
    path = tmp_path / "charon.vici"
    tunnel = tunnel_intent(0).key
    request = ViciRequests(tunnel=tunnel, terminate=(b"end",), initiate=(), initiate_encapsulated=())
    wanted = configure(vici_socket=str(path), vici=(request,))
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        kernel, core = KernelRequests(), Core(wanted.intent, now=0.0, random=lambda: 0.5)
        poller = Poller()
        shell = Shell(poller, kernel, lambda _: None, lambda: heard.append(pending(charon)))
        shell.configure(wanted, Interfaces())
        charon, _ = listener.accept()  # opened in advance

        shell.perform([TerminateTunnel(tunnel=tunnel, reason="it is dead")], core)

        with charon:
            assert pending(charon).endswith(b"end")
        for descriptor in poller.wait(time.monotonic() + 5):  # it ends the connection, too
            poller.call(descriptor)
        kernel.close()
    assert heard == [b""]


def pending(connection: socket.socket) -> bytes:
    """What has arrived until now."""
    connection.setblocking(False)
    try:
        return connection.recv(100)
    except BlockingIOError:
        return b""
