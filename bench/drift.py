"""How soon drift is repaired: ``python -m bench.drift [--trials N]``.

``vpnagent run`` in a namespace of its own. A route of ours, the guard of a remote network, is removed by
hand; from the removal to the kernel's word that it is back. (This kernel has no XFRM interfaces: what stands
on them is removed in the lab's scenarios.) Needs root.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.daemon_start import configuration
from bench.figures import at, bench, judged
from lab.namespace import inside, ip
from pyroute2 import IPRoute
from tests.native.prober_process import end_prober, installed_environment, until

from vpnagent.routing.objects import GUARD_METRIC

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


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=50)
    trials = arguments.parse_args().trials
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


if __name__ == "__main__":
    main()
