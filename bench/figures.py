"""What every bench prints beside its figures: the machine, its load, the target, and whether it is met."""

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def bench(title: str) -> Iterator[None]:
    """Print the machine and its load before and after."""
    began = time.monotonic()
    print(f"{title}\n{machine()}; load average before: {_load()}", flush=True)
    try:
        yield
    finally:
        print(f"load average after: {_load()}; took {time.monotonic() - began:.0f} s", flush=True)


def machine() -> str:
    """Return one line."""
    python = platform.python_version()
    return f"{os.cpu_count()} processors, {_model()}, Linux {platform.release()}, Python {python}"


def judged(name: str, value: float, target: float, show: str = "{:.2f}") -> None:
    """Print a figure, the most that it may be, and whether that holds."""
    verdict = "met" if value <= target else "MISSED"
    print(f"  {name}: {show.format(value)}, target <= {show.format(target)}: {verdict}", flush=True)


def at(values: Sequence[float], share: float) -> float:
    """Return a quantile of what was measured; of few values the highest ones are all the maximum."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep the cores busy."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _model() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "?")
