"""Where packets went: the kernel's own counters of what it dropped, and why, in every namespace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from lab.namespace import Namespace

PROC = Path("/proc/thread-self/net")
QUIET = ("Octets", "InReceives", "OutRequests", "InDelivers", "ForwDatagrams", "InDatagrams", "OutDatagrams")
EXTENDED = ("InNoRoutes", "IPReversePathFilter")  # of netstat, the counters beyond the MIBs


def dropped(namespace: Namespace) -> Counter[str]:
    """Everything that counts a packet that did not go the usual way (proc_net_snmp, xfrm_proc, netdevice)."""
    with namespace.entered():
        return Counter(dict([*_snmp(), *_xfrm(), *_devices()]))


def _snmp() -> Iterator[tuple[str, int]]:
    for file in ("snmp", "netstat"):
        lines = (PROC / file).read_text().splitlines()
        for names, values in list(pairwise(lines))[::2]:
            group, *keys = names.split()
            for key, value in zip(keys, values.split()[1:], strict=True):
                if (group in ("Ip:", "Udp:") and not key.endswith(QUIET)) or key in EXTENDED:
                    yield f"{group[:-1]}{key}", int(value)


def _xfrm() -> Iterator[tuple[str, int]]:
    for line in (PROC / "xfrm_stat").read_text().splitlines():
        name, value = line.split()
        yield name, int(value)


def packets(namespace: Namespace, interface: str) -> tuple[int, int]:
    """How many packets an interface has received and sent."""
    with namespace.entered():
        figures = dict(_figures())[interface]
    return figures[1], figures[9]


def _devices() -> Iterator[tuple[str, int]]:
    for name, figures in _figures():
        yield f"{name} receive", sum(figures[2:4])
        yield f"{name} transmit", sum(figures[10:12])


def _figures() -> Iterator[tuple[str, list[int]]]:
    """Bytes, packets, errors, drops and four more that were received; the same that were sent."""
    for line in (PROC / "dev").read_text().splitlines()[2:]:
        name, _, figures = line.partition(":")
        yield name.strip(), [int(figure) for figure in figures.split()]
