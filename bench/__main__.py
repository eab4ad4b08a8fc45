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
        ("bench.failover_native", "--trials", trials),
        ("bench.references", "--trials", trials),
        ("bench.two_way", "--trials", trials),
        ("bench.signalled", "--trials", trials),
        ("bench.drift", "--trials", trials),
        ("bench.switch_time",),
        ("bench.prober", "--seconds", seconds),
        ("bench.floods", "--trials", "2" if short else "10", "--seconds", "5" if short else "60"),
        ("bench.daemon_start",),
        ("bench.status_screen",),
        ("bench.daemon_memory", "--seconds", seconds),
        ("bench.scrape",),
        ("bench.witness",),
        ("bench.steadiness", "--seconds", steady),
    )
    worst = 0
    for module, *options in benches:
        print(f"\n==> python -m {module} {' '.join(options)}", flush=True)
        done = subprocess.run([sys.executable, "-m", module, *options], check=False)
        worst = max(worst, abs(done.returncode))
    return worst


if __name__ == "__main__":
    sys.exit(main())
