"""What a local user can cost the daemon with all his tricks at once: root and Prometheus notice little.

VPNAGENT_ATTACK_SECONDS says for how long (10 by default); the figures are printed.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.namespace import Namespace
from tests.native.charon_pair import charon_pair
from tests.native.service_user import UID, ServiceUser, python_for_others, service_user

from vpnagent.control.client import ask

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

SECONDS = float(os.environ.get("VPNAGENT_ATTACK_SECONDS", "10"))
READER, NOBODY = 61190, 65534
METRICS = "127.0.0.1:9786"
MOST_LOG = 1 << 20  #: bytes
GET = r'b"GET /metrics HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n"'
PRELUDE = """
import contextlib, os, resource, socket, sys, threading, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
path, metrics = sys.argv[1], ("127.0.0.1", 9786)
def control():
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(5)
    made.connect(path)
    return made
def forever(body):
    while True:
        with contextlib.suppress(OSError): body()
        time.sleep(.001)
held = []
def hold(made):
    held.append(made)
    del held[:-3000]
"""
TRICKS = {
    "idle connections": (READER, "forever(lambda: hold(control()))"),
    "half a request": (
        READER,
        "def half():\n made = control()\n made.send(b'x')\n hold(made)\nforever(half)",
    ),
    "thousands of requests at once, read": (
        READER,
        "def many():\n made = control()\n"
        ' threading.Thread(target=lambda: made.sendall(b\'{"command":"status"}\\n\' * 2000)).start()\n'
        " while made.recv(65536): pass\n"
        "for _ in range(8): threading.Thread(target=forever, args=(many,)).start()",
    ),
    "requests whose answers nobody reads": (
        READER,
        'def deaf():\n made = control()\n made.sendall(b\'{"command":"plan"}\\n\' * 2000)\n hold(made)\n'
        "forever(deaf)",
    ),
    "64 scrapes without end": (
        NOBODY,
        "def get():\n made = socket.create_connection(metrics, 5)\n made.sendall(" + GET + ")\n"
        " while made.recv(65536): pass\n made.close()\n"
        "for _ in range(64): threading.Thread(target=forever, args=(get,)).start()",
    ),
    "silent scrapers": (NOBODY, "forever(lambda: hold(socket.create_connection(metrics, 5)))"),
    "scrapers that do not read": (
        NOBODY,
        "def deaf():\n made = socket.create_connection(metrics, 5)\n made.sendall(" + GET + ")\n hold(made)\n"
        "forever(deaf)",
    ),
}


class Times:
    """How long something takes, again and again, in a thread."""

    def __init__(self, act: Callable[[], object], every: float) -> None:
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._act, self._every = act, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Times":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            began = time.monotonic()
            try:
                self._act()
            except Exception as error:
                self.failures.append(repr(error))
            self.seconds.append(time.monotonic() - began)

    def percentile(self, share: float) -> float:
        """Return the time that so many do not exceed."""
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))]


@pytest.fixture(scope="module")
def user() -> Iterator[ServiceUser]:
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory:
        Path(directory).chmod(0o755)
        with charon_pair(Path(directory)) as (host, _), service_user(host) as user:
            user.open_vici()
            text = user.config.read_text()
            user.config.write_text(text.replace('metrics_listen: ""', f'metrics_listen: "{METRICS}"'))
            with user.daemon("prlimit", "--nofile=1024:20000"):
                yield user


@contextlib.contextmanager
def attacked(user: ServiceUser, control: str) -> Iterator[None]:
    environment, python = python_for_others()
    namespace = user.command("x")[3]
    with contextlib.ExitStack() as stack:
        for uid, body in TRICKS.values():
            group = UID if uid == READER else uid
            # CPUWeight=500 of the unit, beside a user's 100, is five times the share: seven steps of nice(2).
            own = ["nice", "-n", "7", "setpriv", f"--reuid={uid}", f"--regid={group}", "--clear-groups"]
            command = [
                "ip",
                "netns",
                "exec",
                namespace,
                *own,
                "env",
                *environment,
                python,
                "-c",
                PRELUDE + body,
            ]
            process = subprocess.Popen([*command, control], stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def cpu_of(user: ServiceUser) -> float:
    """Return the seconds of a processor that the daemon has had."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(f"{user.directory}/run/control.sock")
        credentials = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid = int.from_bytes(credentials[:4], sys.byteorder)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_root_is_answered_and_prometheus_served(user: ServiceUser) -> None:
    control = f"{user.directory}/run/control.sock"
    here = Namespace(user.command("x")[3])

    def scrape() -> None:
        with here.entered(), urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=10) as answer:
            assert b"vpnagent_build_info" in answer.read()

    scrape()
    began, used = time.monotonic(), cpu_of(user)
    before = len(user.log())
    with (
        attacked(user, control),
        Times(lambda: ask(control, "status", timeout=10), 0.05) as root,
        Times(scrape, 0.5) as prometheus,
    ):
        threading.Event().wait(SECONDS)
    cpu = (cpu_of(user) - used) / (time.monotonic() - began)
    logged = len(user.log()) - before
    print(
        f"\n{SECONDS:g} s of {len(TRICKS)} tricks at once:"
        f" status n={len(root.seconds)} p50={root.percentile(0.5) * 1e3:.0f} ms"
        f" p99={root.percentile(0.99) * 1e3:.0f} ms max={max(root.seconds) * 1e3:.0f} ms"
        f" failed={len(root.failures)}; daemon {cpu:.0%} of a core; scrapes n={len(prometheus.seconds)}"
        f" p50={prometheus.percentile(0.5) * 1e3:.0f} ms max={max(prometheus.seconds) * 1e3:.0f} ms"
        f" failed={len(prometheus.failures)} {prometheus.failures[:2]}; log {logged} bytes"
    )
    assert root.failures == []
    assert len(prometheus.failures) <= 0.01 * len(prometheus.seconds)
    assert logged <= MOST_LOG
    assert "Traceback" not in user.log()
    assert ask(control, "drain", tunnel="hangzhou/primary")["drained"] is True
