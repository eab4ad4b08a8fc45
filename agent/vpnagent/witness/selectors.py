"""Whether negotiated traffic selectors cover a network (RFC 7296 §2.9), as charon writes them. Pure.

A selector is a network, a range, or ``dynamic``, and may have ``[protocol/port]`` behind it: one that is
only for a protocol or a port covers no network.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from vpnagent.tunnels import Selectors

Range = tuple[int, int]


def covers(selectors: Selectors, local: IPv4Network, remote: IPv4Network) -> bool:
    """Return whether some CHILD_SA takes every packet between two networks."""
    return any(_covered(local, locals_) and _covered(remote, remotes) for locals_, remotes in selectors)


def text(selectors: Selectors) -> str:
    """Return the selectors of all CHILD_SAs as people write them."""
    return ", ".join(f"{' '.join(locals_)} === {' '.join(remotes)}" for locals_, remotes in selectors)


def _covered(network: IPv4Network, selectors: Iterable[str]) -> bool:
    """Return whether the selectors together have every address of a network."""
    first, last = int(network[0]), int(network[-1])
    for low, high in sorted(filter(None, map(range_of, selectors))):
        if low > first:
            return False
        first = max(first, high + 1)
        if first > last:
            return True
    return False


@lru_cache(maxsize=4096)
def range_of(selector: str) -> Range | None:
    """Return the first and the last address of a selector; None where it is not for every packet."""
    address, bracket, _ = selector.partition("[")
    if bracket:
        return None
    try:
        if ".." in address:
            low, _, high = address.partition("..")
            return int(IPv4Address(low)), int(IPv4Address(high))
        network = IPv4Network(address)
    except ValueError:
        return None
    return int(network[0]), int(network[-1])
