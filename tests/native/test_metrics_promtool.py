"""Prometheus's own promtool has nothing to say about a scrape of a running daemon, but for two units."""

import http.client
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import yaml
from tests.config_examples import write_example
from tests.native.machine import Machine, machine

from vpnagent.metrics.declared import METRICS, Histogram, text

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

VPNAGENT = (sys.executable, "-m", "vpnagent")
LISTEN = ("127.0.0.1", 9786)
PATIENCE = 30.0  #: seconds for a daemon that starts on a busy machine
AGENT = """agent:
  state_directory: {folder}
  control_socket: {folder}/control.sock
  vici_socket: {folder}/charon.vici
  metrics_listen: {listen[0]}:{listen[1]}
"""
#: without charon there is no prober, a tunnel with a key has no certificate, and there are no hooks
ABSENT = {
    "vpnagent_flinches_total",
    "vpnagent_certificate_expiry_timestamp_seconds",
    "vpnagent_hook_failures_total",
    "vpnagent_probe_rtt_seconds",
    "vpnagent_probe_sent_total",
    "vpnagent_probe_lost_total",
    "vpnagent_probe_overflows_total",
    "vpnagent_probe_send_errors_total",
    "vpnagent_standby_proven_seconds",
    "vpnagent_prober_lateness_seconds",
    "vpnagent_events_lost_total",
}


#: The names are the contract's; bandwidth is bought in bits per second, and promtool would have bytes.
UNITS = [
    f'vpnagent_{limited}_bandwidth_limit_bits_per_second use base unit "bytes" instead of "bits"'
    for limited in ("connection", "tunnel")
]


def complaints(metrics: bytes) -> list[str]:
    told = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, check=False)
    assert told.returncode in (0, 3), told  # 3: it has something to say
    return sorted((told.stdout + told.stderr).decode().splitlines())


def configure(folder: pathlib.Path) -> pathlib.Path:
    return write_example(folder, AGENT.format(folder=folder, listen=LISTEN))


def scrape(gateway: Machine) -> bytes:
    """Return the metrics as soon as the witness has looked: then the kernel was read too."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with gateway.gateway.entered():
                connection = http.client.HTTPConnection(*LISTEN, timeout=5)
                connection.request("GET", "/metrics")
            found = connection.getresponse().read()
            connection.close()
            if b"vpnagent_network_carried{" in found:
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline, (gateway.folder / "daemon.log").read_text()
        time.sleep(0.1)


def test_promtool_finds_nothing_in_a_scrape(tmp_path: pathlib.Path) -> None:
    path = configure(tmp_path)
    with machine(tmp_path) as gateway:
        gateway.gateway.ip("link set lo up")
        within = ["ip", "netns", "exec", gateway.gateway.name, *VPNAGENT]
        with open(tmp_path / "daemon.log", "w") as log:
            daemon = subprocess.Popen([*within, "run", "--config", str(path)], stdout=log, stderr=log)
        try:
            scraped = scrape(gateway)
        finally:
            subprocess.run([*within, "down", "--config", str(path)], check=False, capture_output=True)
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()

    names = {line.split("{")[0].split(" ")[0] for line in scraped.decode().splitlines()}
    assert {first_of(name) for name in METRICS.keys() - ABSENT} <= names
    assert complaints(scraped) == UNITS


def first_of(name: str) -> str:
    return f"{name}_bucket" if METRICS[name].kind is Histogram else name


def test_promtool_finds_nothing_in_any_declared_metric() -> None:
    labels = {name: ("x",) * len(declared.labels) for name, declared in METRICS.items()}
    distributed = {name for name, declared in METRICS.items() if declared.kind is Histogram}
    samples = [(name, labels[name], 1) for name in METRICS.keys() - distributed]
    histograms = [(name, labels[name], [("0.5", 1.0), ("+Inf", 2.0)], 1.5) for name in distributed]

    assert complaints(text(samples, histograms, openmetrics=False)) == UNITS


def test_promtool_reads_the_documented_queries(tmp_path: pathlib.Path) -> None:
    manual = (pathlib.Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    queries = manual.partition("```promql\n")[2].partition("```")[0].strip().split("\n\n")
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "documented", "rules": rules}]}))

    told = subprocess.run(
        ["promtool", "check", "rules", path], check=False, capture_output=True, text=True, timeout=60
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert f"SUCCESS: {len(queries)} rules found" in told.stdout
