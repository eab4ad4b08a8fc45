"""Messages that kernels sent, recorded by tests/native/record_netlink.py."""

import pathlib
from collections.abc import Iterator

from vpnagent.netlink.rtnetlink import LinkRow, link_row

DATA = pathlib.Path(__file__).parent.parent / "data" / "netlink"
KERNELS = ("debian-6.1", "linux-6.18")


def recorded(kernel: str, dump: str) -> list[bytes]:
    """Return the messages of one dump."""
    return list(_split((DATA / kernel / f"{dump}.bin").read_bytes()))


def _split(data: bytes) -> Iterator[bytes]:
    while data:
        end = 4 + int.from_bytes(data[:4], "little")
        yield data[4:end]
        data = data[end:]


def links(kernel: str) -> dict[str, LinkRow]:
    """Return the interfaces of that machine by name."""
    return {row.name: row for row in map(link_row, recorded(kernel, "links"))}
