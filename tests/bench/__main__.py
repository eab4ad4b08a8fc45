"""``./dev bench [--short]``: every figure that is measured natively, one bench after the other.

Run it on a machine that does nothing else: each bench prints the load average before it. What the figures
mean, and the last ones that were taken, is in docs/benchmarks.md.
"""

import argparse
import subprocess
import sys


def main() -> int:
    """Run all benches; return the worst exit status."""
    arguments = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    arguments.add_argument("--short", action="store_true", help="six minutes instead of forty")
    short = arguments.parse_args().short
    trials, seconds, steady = ("5", "4", "30") if short else ("50", "30", "600")
    benches = (
        ("tests.bench.failover_native", "--trials", trials),
        ("tests.bench.references", "--trials", trials),
        ("tests.bench.two_way", "--trials", trials),
        ("tests.bench.signalled", "--trials", trials),
        ("tests.bench.drift", "--trials", trials),
        ("tests.bench.switch_time",),
        ("tests.bench.prober", "--seconds", seconds),
        ("tests.bench.floods", "--trials", "2" if short else "10", "--seconds", "5" if short else "60"),
        ("tests.bench.daemon_start",),
        ("tests.bench.status_screen",),
        ("tests.bench.daemon_memory", "--seconds", seconds),
        ("tests.bench.scrape",),
        ("tests.bench.witness",),
        ("tests.bench.steadiness", "--seconds", steady),
    )
    worst = 0
    for module, *options in benches:
        print(f"\n==> python -m {module} {' '.join(options)}", flush=True)
        done = subprocess.run([sys.executable, "-m", module, *options], check=False)
        worst = max(worst, abs(done.returncode))
    return worst


if __name__ == "__main__":
    sys.exit(main())
