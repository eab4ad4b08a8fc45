"""How long a scrape takes, and what it costs the prober: ``python -m bench.scrape [--scrapes N]``.

The daemon of ``daemon_memory``: 32 tunnels of 16 connections, a real charon, a prober. Scrapes one after the
other, as text, as OpenMetrics, and as Prometheus asks (OpenMetrics, compressed), from the connection to the
last byte; then the lateness of the prober's wake-ups while nobody scrapes, and while one scrape follows the
other. Needs root.
"""

import argparse
import statistics
import time
from functools import partial

from bench.daemon_memory import daemon, scrape
from bench.figures import at, bench, judged
from lab.namespace import inside
from prometheus_client.parser import text_string_to_metric_families
from tests.native.charon_pair import Host
from tests.native.prober_process import cpu_seconds, until

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
KINDS = {
    "text": {},
    "OpenMetrics": {"Accept": OPENMETRICS},
    "OpenMetrics, gzip": {"Accept": OPENMETRICS, "Accept-Encoding": "gzip"},
}
QUIET = 10.0  #: seconds without a scrape


def timed(host: Host, headers: dict[str, str], count: int) -> list[float]:
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
        took = timed(host, headers, count)
        busy = 1000 * (cpu_seconds(pid) - began) / count
        print(f"{kind}: {size / 1024:.0f} KiB, p99 {at(took, 0.99):.1f} ms, max {max(took):.1f} of {count}")
        print(f"  CPU of the daemon, ms each: {busy:.1f}")
        judged("median, ms", statistics.median(took), 20, "{:.1f}")
    alone, scraped = p99(begun, quiet), p99(quiet, lateness(host))
    print(f"prober's lateness p99: <= {alone:g} ms, scraped all the time <= {scraped:g} ms")


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scrapes", type=int, default=200)
    count = arguments.parse_args().scrapes
    with bench("a scrape of 32 tunnels"), daemon() as (host, pid):
        measure(host, pid, count)


if __name__ == "__main__":
    main()
