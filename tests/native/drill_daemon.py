"""A control daemon with a real prober over the stand-ins of `two_tunnels`, and charon taken as given.

``python -m tests.native.drill_daemon DIRECTORY`` runs those of the daemon's own tasks that a drill meets:
control socket, prober, report. Both CHILD_SAs are installed; nothing observes the kernel.
"""

import asyncio
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from tests.config_examples import make_config, make_tunnel
from tests.native.two_tunnels import INSIDE, SHARED, SOURCE

from vpnagent import log
from vpnagent.config.values import Config, OnPathDown
from vpnagent.daemon import Daemon
from vpnagent.desired import group_ids, nexthop_ids
from vpnagent.ipsec.sa import CharonState
from vpnagent.routing.objects import KernelObjects, KernelState
from vpnagent.selection import Verdict
from vpnagent.standing import Loaded, Standing
from vpnagent.supervisor import Task
from vpnagent.tunnels import ChildStatus, IkeStatus, SaStatus

TASKS = ("prober", "prober-feed", "control", "report")


def drill_config(directory: Path) -> Config:
    """Return a configuration of the stand-ins, with its sockets in a directory."""
    probe = replace(make_tunnel(1).probe, interval=0.05, hold_down=0.5)
    ends = {
        number: {
            "interface": f"t{number}",
            "inside_address": IPv4Interface(f"{IPv4Address(INSIDE[number]) + 1}/30"),
            "probe": replace(probe, targets=(IPv4Address(INSIDE[number]), IPv4Address(SHARED))),
        }
        for number in (0, 1)
    }
    return make_config(
        gateway={"source_address": IPv4Address(SOURCE)},
        agent={
            "control_socket": str(directory / "control.sock"),
            "state_directory": str(directory),
            "vici_socket": str(directory / "no.vici"),
            "metrics_listen": "",
        },
        connection={
            "remote_networks": (IPv4Network("100.64.0.0/10"),),
            "on_path_down": OnPathDown.KEEP,
            "tunnels": (make_tunnel(1, **ends[0]), make_tunnel(2, **ends[1])),
        },
    )


def kernel_commands(config: Config) -> list[str]:
    """Return the `ip` commands that make what the kernel reconciler would have made."""
    nexthops = nexthop_ids(config)
    [group] = group_ids(config).values()
    return [
        *(f"nexthop replace id {id_} dev {interface}" for interface, id_ in nexthops.items()),
        f"nexthop replace id {group} group {nexthops['t0']} proto 86",
        f"route replace 100.64.0.0/10 nhid {group} src {SOURCE}",
    ]


class PartOfDaemon(Daemon):
    """A daemon that knows of charon and the kernel what it is told here."""

    def __init__(self, config: Config) -> None:
        super().__init__("", Loaded(config, b"", None), Standing("", config.agent.state_directory))
        known = self._known
        known.kernel.state = KernelState(
            objects=KernelObjects(), foreign_links=frozenset(), foreign_routes=frozenset(), counters={}
        )
        installed = SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED)
        known.charon.connected = True
        known.charon.state = CharonState(version="", connections=frozenset(), secrets=frozenset(), sas=())
        known.charon.statuses = {t.key: installed for t in config.tunnels()}
        known.charon.verdicts = {t.key: Verdict(child_sa_installed=True) for t in config.tunnels()}
        known.probe_dirty.set()

    def _tasks(self) -> dict[str, Task]:
        return {name: task for name, task in super()._tasks().items() if name in TASKS}


if __name__ == "__main__":
    log.configure(debug=True)
    asyncio.run(PartOfDaemon(drill_config(Path(sys.argv[1]))).run())
