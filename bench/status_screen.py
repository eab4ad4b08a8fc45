"""How soon a person sees the status: ``python -m bench.status_screen [--runs N]``.

``vpnagent status``, from the start of the process to its end, asking a stand-in for the daemon that answers
with a recorded status of two tunnels.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import bench, judged
from tests.listening import listening
from tests.native.prober_process import installed_environment

RECORDED = Path(__file__).parents[1] / "tests" / "data" / "status" / "healthy.json"


async def answer(_request: dict[str, Any]) -> Any:
    """Return the recorded status."""
    return json.loads(RECORDED.read_text())


def seconds(socket_path: Path) -> float:
    """Return how long one status took."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "vpnagent", "status", "--socket", str(socket_path)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=installed_environment(),
    )
    return time.monotonic() - began


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=20)
    runs = arguments.parse_args().runs
    with bench("vpnagent status"), tempfile.TemporaryDirectory() as name:
        path = Path(name) / "control.sock"
        with listening(path, answer):
            seconds(path)  # compiles what was not compiled yet
            took = [1000 * seconds(path) for _ in range(runs)]
        print(f"start to end: min {min(took):.0f} ms, max {max(took):.0f} of {runs}")
        judged("median, ms", statistics.median(took), 250, "{:.0f}")


if __name__ == "__main__":
    main()
