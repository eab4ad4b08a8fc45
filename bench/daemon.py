"""What the control daemon needs: memory, its start, a scrape, a status, a repair. Needs root."""

import contextlib
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.figures import at, bench, judged
from lab.namespace import inside, ip
from prometheus_client.parser import text_string_to_metric_families
from pyroute2 import IPRoute
from tests.config_examples import write_example
from tests.listening import listening
from tests.native.charon_pair import Host, charon_pair
from tests.native.prober_process import cpu_seconds, end_prober, installed_environment, resident, until

from vpnagent.routing.objects import GUARD_METRIC

PLAIN: Mapping[str, str] = MappingProxyType({})
LISTEN = "127.0.0.1:9786"
HEAD = """version: 1
gateway: {{name: idc, local_networks: [10.1.0.0/16]}}
agent:
  vici_socket: {host.vici}
  control_socket: {directory}/control.sock
  state_directory: {directory}
  metrics_listen: {listen}
connections:
"""
CONNECTION = """  - name: c{number}
    attachment: transit-router
    remote_networks: [100.64.0.0/10, 172.16.0.0/16]
    tunnels:
      - {{name: one, remote_address: 10.77.1.{first}, {shared}, inside_address: 169.254.{number}.2/30}}
      - {{name: two, remote_address: 10.77.1.{second}, {shared}, inside_address: 169.254.{number}.6/30}}
"""


def many_tunnels(host: Host, directory: Path) -> Path:
    """Write a many_tunnels of 32 tunnels, and their key."""
    key = directory / "key"
    key.write_text("bench-key\n")
    key.chmod(0o600)
    shared = f"local_address: {host.address}, psk_file: {key}"
    connections = (
        CONNECTION.format(number=number, first=2 * number, second=2 * number + 1, shared=shared)
        for number in range(1, 17)
    )
    path = directory / "vpnagent.yaml"
    path.write_text(HEAD.format(host=host, directory=directory, listen=LISTEN) + "".join(connections))
    return path


@contextlib.contextmanager
def daemon() -> Iterator[tuple[Host, int]]:
    """Yield host and process id of a daemon of 32 tunnels that answers scrapes; its peer is silent."""
    with tempfile.TemporaryDirectory() as name, charon_pair(Path(name)) as (host, peer):
        peer.kill()
        with _running(host, many_tunnels(host, Path(name))) as pid:
            yield host, pid


@contextlib.contextmanager
def _running(host: Host, path: Path) -> Iterator[int]:
    command = ["ip", "netns", "exec", host.namespace, sys.executable, "-m", "vpnagent", "run"]
    with open(path.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen([*command, "--config", str(path)], stderr=log, env=installed_environment())
    try:
        until(lambda: answers(host) or process.poll() is not None, within=30, every=0.1)
        assert process.poll() is None, path.with_suffix(".log").read_text()
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)
        end_prober(path.parent)


def scrape(headers: Mapping[str, str] = PLAIN) -> bytes:
    """Return what a scrape brings."""
    connection = http.client.HTTPConnection(LISTEN, timeout=10)
    connection.request("GET", "/metrics", headers=headers)
    body = connection.getresponse().read()
    connection.close()
    return body


def answers(host: Host) -> bool:
    """Whether the daemon answers scrapes."""
    with contextlib.suppress(OSError):
        return bool(inside(host.namespace, scrape))
    return False


def daemon_memory(*, seconds: int = 60) -> None:
    """What the control daemon needs.

    ``vpnagent run`` with 32 tunnels of 16 connections, a real charon that has all of them loaded and
    negotiates with a peer that does not answer, a prober, and a scrape a second.
    """
    with bench("memory of the control daemon, 32 tunnels"):
        with daemon() as (host, pid):
            seen = []
            for _ in range(seconds):
                time.sleep(1)
                body = inside(host.namespace, scrape)
                assert body.count(b"vpnagent_tunnel_up{") == 32
                seen.append(resident(pid) / 1024)
        print(f"resident after start {seen[0]:.1f} MiB, at the end {seen[-1]:.1f} MiB")
        judged("highest, MiB", max(seen), 64, "{:.1f}")


DEADLINE = 30.0  #: seconds for one start
ALONE = """agent:
  vici_socket: {directory}/vici
  control_socket: {directory}/control.sock
  state_directory: {directory}
  metrics_listen: ''
"""


def configuration(directory: Path) -> Path:
    """Write a configuration whose paths are all in the directory, and its keys."""
    return write_example(directory, ALONE.format(directory=directory))


def start(namespace: str, path: Path) -> float:
    """Start the daemon, and end it once it is ready; return the seconds that took."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "vpnagent", "run"]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, "--config", str(path)], stderr=subprocess.PIPE, text=True, env=installed_environment()
    )
    assert process.stderr
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.rstrip().endswith("ready"):
            break
        assert time.monotonic() < began + DEADLINE, "".join(seen)
    else:
        raise AssertionError("".join(seen))
    took = time.monotonic() - began
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    process.stderr.close()  # the prober, which stays, has it too
    return took


def daemon_start(*, starts: int = 10) -> None:
    """How soon the control daemon has adopted what stands.

    ``vpnagent run`` in a namespace of its own, with two tunnels, and without charon: from the start of
    the process to ``ready``, its first whole comparison with the kernel. Each start after the first finds
    what the one before left in place, its prober too.
    """
    namespace = f"vpna-{os.getpid()}-daemon"
    with bench("start of the control daemon"), tempfile.TemporaryDirectory() as name:
        ip(f"netns add {namespace}")
        try:
            ip("link set lo up", "addr add 10.1.0.1/32 dev lo", namespace=namespace)
            path = configuration(Path(name))
            start(namespace, path)  # compiles what was not compiled yet
            took = [1000 * start(namespace, path) for _ in range(starts)]
        finally:
            end_prober(name)
            subprocess.run(["ip", "netns", "delete", namespace], check=False)
        print(f"start to ready: min {min(took):.0f} ms, max {max(took):.0f} of {starts}")
        judged("median, ms", statistics.median(took), 600, "{:.0f}")


OPENMETRICS = "application/openmetrics-text;version=1.0.0"
KINDS = {
    "text": {},
    "OpenMetrics": {"Accept": OPENMETRICS},
    "OpenMetrics, gzip": {"Accept": OPENMETRICS, "Accept-Encoding": "gzip"},
}
QUIET = 10.0  #: seconds without a scrape


def scrapes_timed(host: Host, headers: dict[str, str], count: int) -> list[float]:
    """Return how many milliseconds each of some scrapes took."""

    def run() -> list[float]:
        took = []
        for _ in range(count):
            began = time.perf_counter()
            scrape(headers)
            took.append(1000 * (time.perf_counter() - began))
        return took

    return inside(host.namespace, run)


def lateness(host: Host) -> dict[float, float]:
    """Return the prober's wake-ups so far, by the bound below which they were late."""
    metrics = text_string_to_metric_families(inside(host.namespace, scrape).decode())
    rows = [
        s for metric in metrics for s in metric.samples if s.name == "vpnagent_prober_lateness_seconds_bucket"
    ]
    return {float(row.labels["le"]): row.value for row in rows}


def p99(before: dict[float, float], after: dict[float, float]) -> float:
    """Return the bound in milliseconds below which 99 % of the wake-ups between two readings were late."""
    woken = {bound: after[bound] - before[bound] for bound in after}
    return 1000 * min(bound for bound, count in woken.items() if count >= 0.99 * max(woken.values()))


def measure(host: Host, pid: int, count: int) -> None:
    """Print the figures of a daemon that runs."""
    until(lambda: bool(lateness(host)), within=60, every=0.1)
    begun = lateness(host)
    time.sleep(QUIET)
    quiet = lateness(host)
    for kind, headers in KINDS.items():
        size = len(inside(host.namespace, partial(scrape, headers)))
        began = cpu_seconds(pid)
        took = scrapes_timed(host, headers, count)
        busy = 1000 * (cpu_seconds(pid) - began) / count
        print(f"{kind}: {size / 1024:.0f} KiB, p99 {at(took, 0.99):.1f} ms, max {max(took):.1f} of {count}")
        print(f"  CPU of the daemon, ms each: {busy:.1f}")
        judged("median, ms", statistics.median(took), 20, "{:.1f}")
    alone, scraped = p99(begun, quiet), p99(quiet, lateness(host))
    print(f"prober's lateness p99: <= {alone:g} ms, scraped all the time <= {scraped:g} ms")


def scrapes(*, scrapes: int = 200) -> None:
    """How long a scrape takes, and what it costs the prober.

    The daemon of ``daemon_memory``: 32 tunnels of 16 connections, a real charon, a prober. Scrapes one
    after the other, as text, as OpenMetrics, and as Prometheus asks (OpenMetrics, compressed), from the
    connection to the last byte; then the lateness of the prober's wake-ups while nobody scrapes, and
    while one scrape follows the other.
    """
    with bench("a scrape of 32 tunnels"), daemon() as (host, pid):
        measure(host, pid, scrapes)


RECORDED = Path(__file__).parents[1] / "tests" / "data" / "status" / "healthy.json"


async def answer(_request: dict[str, Any]) -> Any:
    """Return the recorded status."""
    return json.loads(RECORDED.read_text())


def status_seconds(socket_path: Path) -> float:
    """Return how long one status took."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "vpnagent", "status", "--socket", str(socket_path)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=installed_environment(),
    )
    return time.monotonic() - began


def status_screen(*, runs: int = 20) -> None:
    """How soon a person sees the status.

    ``vpnagent status``, from the start of the process to its end, asking a stand-in for the daemon that
    answers with a recorded status of two tunnels.
    """
    with bench("vpnagent status"), tempfile.TemporaryDirectory() as name:
        path = Path(name) / "control.sock"
        with listening(path, answer):
            status_seconds(path)  # compiles what was not compiled yet
            took = [1000 * status_seconds(path) for _ in range(runs)]
        print(f"start to end: min {min(took):.0f} ms, max {max(took):.0f} of {runs}")
        judged("median, ms", statistics.median(took), 250, "{:.0f}")


ROUTE_EVENTS = 0x40  #: RTMGRP_IPV4_ROUTE, rtnetlink(7)
NETWORK = ("100.64.0.0", 10)
PERIOD = 1.0  #: seconds between the daemon's own looks: a trial begins anywhere between two


def removals(trials: int) -> list[float]:
    """Remove the guard so many times; return the seconds until each was back."""
    took = []
    with IPRoute() as hand, IPRoute() as ear:
        until(lambda: list(hand.get_routes(priority=GUARD_METRIC)), within=30)
        ear.bind(groups=ROUTE_EVENTS)
        for _ in range(trials):
            time.sleep(random.random() * PERIOD)
            began = time.monotonic()
            hand.route("del", dst="/".join(map(str, NETWORK)), priority=GUARD_METRIC, type="unreachable")
            while not any(is_back(message) for message in ear.get()):
                pass
            took.append(time.monotonic() - began)
    return took


def is_back(message: dict[str, object]) -> bool:
    """Whether the kernel tells of the guard."""
    attributes = dict(message["attrs"])  # type: ignore[call-overload]
    network = (attributes.get("RTA_DST"), message["dst_len"])
    guard = network == NETWORK and attributes.get("RTA_PRIORITY") == GUARD_METRIC
    return bool(guard and message["event"] == "RTM_NEWROUTE")


def drift(*, trials: int = 50) -> None:
    """How soon drift is repaired.

    ``vpnagent run`` in a namespace of its own. A route of ours, the guard of a remote network, is removed
    by hand; from the removal to the kernel's word that it is back. (This kernel has no XFRM interfaces:
    what stands on them is removed in the lab's scenarios.)
    """
    namespace = f"vpna-{os.getpid()}-drift"
    with bench("drift"), tempfile.TemporaryDirectory() as name:
        ip(f"netns add {namespace}")
        command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "vpnagent", "run"]
        try:
            ip("link set lo up", "addr add 10.1.0.1/32 dev lo", namespace=namespace)
            path = configuration(Path(name))
            with (
                open(f"{name}/log", "wb") as log,
                subprocess.Popen(
                    [*command, "--config", str(path)], stderr=log, env=installed_environment()
                ) as daemon,
            ):
                try:
                    took = inside(namespace, lambda: removals(trials))
                finally:
                    daemon.terminate()
        finally:
            end_prober(name)
            subprocess.run(["ip", "netns", "delete", namespace], check=False)
        p50, most = at(took, 0.5) * 1000, max(took) * 1000
        print(f"guard removed, {trials} trials: p50 {p50:.1f} ms, max {most:.1f} ms")
        judged("p99, ms", at(took, 0.99) * 1000, 50, "{:.1f}")
