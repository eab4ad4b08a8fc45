"""How soon traffic moves when somebody says so: ``python -m bench.signalled [--trials N]``.

Two signals: the carrier of the interface by which the active tunnel's peer is reached is lost; the control
daemon tells that the active tunnel's CHILD_SA is gone, as it does when charon tells it of a DELETE. From the
signal to the kernel's acknowledgement of the new group. Needs root.
"""

import argparse
import fcntl
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.failover_native import all_up
from bench.figures import at, bench, judged
from lab.namespace import ip
from tests.native.prober_process import ControlDaemon, Group, configure, until
from tests.native.two_tunnels import TwoTunnels, two_tunnels, udp_socket

from vpnagent.probe.protocol import FailedOver

SIOCSIFFLAGS = 0x8914  # netdevice(7)
IFF_UP = 1
TARGET = 0.02  #: seconds


def main() -> None:
    """Measure both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=50)
    trials = arguments.parse_args().trials
    with bench("signalled failures"), two_tunnels() as world, udp_socket(world.mid) as uplink:
        for number in (0, 1):
            ip(f"link add u{number} type veth peer name v{number} netns {world.mid}", namespace=world.gw)
            ip(f"link set u{number} up", namespace=world.gw)
            set_up(uplink, f"v{number}", True)
        measure("carrier lost", lambda _: set_up(uplink, "v0", False), world, trials)
        measure("told by the daemon", lambda daemon: tell(daemon, False), world, trials)


def measure(name: str, signal: Callable[[ControlDaemon], None], world: TwoTunnels, trials: int) -> None:
    """Print a row of trials."""
    group = Group(world.gw)
    took = [trial(signal, world, group) for _ in range(trials)]
    group.close()
    quantiles = ", ".join(f"{label} {at(took, q) * 1000:.2f} ms" for label, q in (("p50", 0.5), ("max", 1.0)))
    print(f"{name}, {trials} trials: {quantiles}")
    judged("p99, ms", at(took, 0.99) * 1000, TARGET * 1000)


def trial(signal: Callable[[ControlDaemon], None], world: TwoTunnels, group: Group) -> float:
    """Signal once to a new prober (an old one would hold the tunnel down for longer each time)."""
    with (
        tempfile.TemporaryDirectory() as directory,
        udp_socket(world.mid) as uplink,
        ControlDaemon(world, Path(directory) / "prober.sock", "--realtime") as daemon,
    ):
        try:
            set_up(uplink, "v0", True)
            tell(daemon, True)
            until(lambda: all_up(daemon), within=20)
            began = time.monotonic()
            signal(daemon)
            until(lambda: group() == ((102, 1),), within=10)
            [event] = until(lambda: daemon.of(FailedOver))
            assert event.netlink_acknowledged is not None
            return event.netlink_acknowledged - began
        finally:
            daemon.quit()
            daemon.end_probers()
            ip("nexthop replace id 900 group 101 proto 86", namespace=world.gw)


def set_up(interfaces: socket.socket, name: str, up: bool) -> None:
    """Set an interface up or down, without starting a process."""
    fcntl.ioctl(interfaces, SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), IFF_UP if up else 0))


def tell(daemon: ControlDaemon, installed: bool) -> None:
    """Tell the prober whether the active tunnel has a CHILD_SA."""
    first = {"outer_interface": "u0", "child_sa_installed": installed}
    daemon.configure(configure(first=first, second={"outer_interface": "u1"}, hold_down=0.2))


if __name__ == "__main__":
    main()
