"""What the control daemon needs: ``python -m bench.daemon_memory [--seconds N]``.

``vpnagent run`` with 32 tunnels of 16 connections, a real charon that has all of them loaded and negotiates
with a peer that does not answer, a prober, and a scrape a second. Needs root.
"""

import argparse
import contextlib
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from bench.figures import bench, judged
from lab.namespace import inside
from tests.native.charon_pair import Host, charon_pair
from tests.native.prober_process import end_prober, installed_environment, resident, until

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


def configuration(host: Host, directory: Path) -> Path:
    """Write a configuration of 32 tunnels, and their key."""
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
        with _running(host, configuration(host, Path(name))) as pid:
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


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=int, default=60)
    seconds = arguments.parse_args().seconds
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


if __name__ == "__main__":
    main()
