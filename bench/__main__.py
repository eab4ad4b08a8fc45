"""``./dev bench [--short]``: every figure that is measured natively, one bench after the other.

``python -m bench NAME`` takes one, with its own options (``--help``). Run it on a machine that does nothing
else: each bench prints the load average before it. What the figures mean, and the last ones that were taken,
is in docs/benchmarks.md.
"""

import argparse
import importlib
import inspect
import subprocess
import sys

BENCHES = {  #: by name: the module, and the options of the whole run, short and long
    "failover_native": ("failover", {"trials": ("5", "50")}),
    "references": ("failover", {"trials": ("5", "50")}),
    "two_way": ("two_way", {"trials": ("5", "50")}),
    "signalled": ("two_way", {"trials": ("5", "50")}),
    "drift": ("daemon", {"trials": ("5", "50")}),
    "switch_time": ("kernel", {}),
    "prober": ("prober", {"seconds": ("4", "30")}),
    "floods": ("floods", {"trials": ("2", "10"), "seconds": ("5", "60")}),
    "daemon_start": ("daemon", {}),
    "status_screen": ("daemon", {}),
    "daemon_memory": ("daemon", {"seconds": ("4", "30")}),
    "scrapes": ("daemon", {}),
    "witness": ("kernel", {}),
    "steadiness": ("prober", {"seconds": ("30", "600")}),
}


def main() -> int:
    """Run all benches, or the one that is named; return the worst exit status."""
    if sys.argv[1:2] and sys.argv[1] in BENCHES:
        one(sys.argv[1], sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="six minutes instead of forty")
    short = parser.parse_args().short
    return max(_run(name, short) for name in BENCHES)


def one(name: str, options: list[str]) -> None:
    """Run a bench in this process; its options are its function's arguments."""
    bench = getattr(importlib.import_module(f"bench.{BENCHES[name][0]}"), name)
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=inspect.getdoc(bench))
    for each in inspect.signature(bench).parameters.values():
        parser.add_argument(f"--{each.name}", type=type(each.default), default=each.default)
    bench(**vars(parser.parse_args(options)))


def _run(name: str, short: bool) -> int:
    words = [name]
    for option, (few, many) in BENCHES[name][1].items():
        words += [f"--{option}", few if short else many]
    print(f"\n==> python -m bench {' '.join(words)}", flush=True)
    return abs(subprocess.run([sys.executable, "-m", "bench", *words], check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
