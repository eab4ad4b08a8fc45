"""How soon the control daemon has adopted what stands: ``python -m bench.daemon_start [--starts N]``.

``vpnagent run`` in a namespace of its own, with two tunnels, and without charon: from the start of the
process to ``ready``, its first whole comparison with the kernel. Each start after the first finds what the
one before left in place, its prober too. Needs root.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import bench, judged
from lab.namespace import ip
from tests.config_examples import write_example
from tests.native.prober_process import end_prober, installed_environment

DEADLINE = 30.0  #: seconds for one start
AGENT = """agent:
  vici_socket: {directory}/vici
  control_socket: {directory}/control.sock
  state_directory: {directory}
  metrics_listen: ''
"""


def configuration(directory: Path) -> Path:
    """Write a configuration whose paths are all in the directory, and its keys."""
    return write_example(directory, AGENT.format(directory=directory))


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


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--starts", type=int, default=10)
    count = arguments.parse_args().starts
    namespace = f"vpna-{os.getpid()}-daemon"
    with bench("start of the control daemon"), tempfile.TemporaryDirectory() as name:
        ip(f"netns add {namespace}")
        try:
            ip("link set lo up", "addr add 10.1.0.1/32 dev lo", namespace=namespace)
            path = configuration(Path(name))
            start(namespace, path)  # compiles what was not compiled yet
            took = [1000 * start(namespace, path) for _ in range(count)]
        finally:
            end_prober(name)
            subprocess.run(["ip", "netns", "delete", namespace], check=False)
        print(f"start to ready: min {min(took):.0f} ms, max {max(took):.0f} of {count}")
        judged("median, ms", statistics.median(took), 600, "{:.0f}")


if __name__ == "__main__":
    main()
