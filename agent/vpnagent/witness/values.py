"""What the witness asks, hears and says. Values only."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import NamedTuple

from vpnagent.checks.firewall import UNTOUCHED, Marking
from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding
from vpnagent.ipsec.sa import Selectors
from vpnagent.routing.fib import FibRule
from vpnagent.routing.ways import PLAIN, Flow


class Pair(NamedTuple):
    """A local and a remote network of a connection."""

    connection: str
    local: IPv4Network
    remote: IPv4Network

    def __str__(self) -> str:
        return f"{self.connection} {self.local} -> {self.remote}"


class Question(NamedTuple):
    """The way of one packet. ``incoming``: the interface by which it comes; empty: it is our own."""

    destination: IPv4Address
    source: IPv4Address | None = None
    incoming: str = ""
    flow: Flow = PLAIN
    entry: bool = False  #: the entry of the table is asked for, not the way itself


class Answer(NamedTuple):
    """What the kernel says. Without an errno there is a way."""

    errno: int = 0
    interface: str = ""  #: empty: several, or none
    table: int = 0
    length: int = 0  #: of the entry's prefix, where that was asked for
    local: bool = False  #: it is an address of this machine


KernelAnswers = Mapping[Question, Answer]


class Link(enum.Enum):
    """A link of the chain from a host to the cloud and back, in the order in which they are judged."""

    TUNNEL = "tunnel"
    ROUTE = "route"
    SOURCE_NETWORK = "way to the LAN"
    FORWARDING = "forwarding"
    PACKET_FILTER = "packet filter"
    WAY_OUT = "way out"
    WAY_BACK = "way back"
    SELECTORS = "selectors"


@dataclass(frozen=True, slots=True)
class NetworkVerdict:
    """Whether the network is carried, and else which link is broken."""

    pair: Pair
    link: Link | None = None  #: None: it is carried
    reason: str = ""  #: why it is not; where it is carried, which packets surely are not
    hint: str = ""
    by: str = ""  #: the exit that carries it instead of a tunnel

    @property
    def carried(self) -> bool:
        """Whether a host's packet goes into a tunnel of ours, and its answer back; or by an exit."""
        return self.link is None

    @property
    def in_part(self) -> bool:
        """Whether it is carried, but surely not all of it."""
        return self.carried and bool(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtering:
    """What the packet filter does to the packets of a pair, as far as it could be read."""

    marking: Marking = UNTOUCHED
    dropped: str = ""  #: by which rule; empty: not surely


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known before the kernel is asked for ways."""

    forwarding: Mapping[str, bool]  #: by interface: conf.IF.forwarding
    addresses: tuple[tuple[str, IPv4Interface], ...]
    rules: tuple[FibRule, ...] = ()
    selected: Mapping[str, tuple[str, ...]] | None = None  #: tunnels by connection; None: not known
    missing: frozenset[IPv4Network] = frozenset()  #: whose route is desired and not there
    selectors: Mapping[TunnelKey, Selectors] = field(default_factory=dict)  #: of tunnels with a CHILD_SA
    filtering: Mapping[tuple[IPv4Network, IPv4Network], Filtering] = field(default_factory=dict)
    hosts: Mapping[IPv4Network, tuple[IPv4Address, ...]] = field(default_factory=dict)  #: behind other routes
    #: where the leak guard lets what comes out of the tunnels go, beside tunnels; None: anywhere
    let_in: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The outcome of one look."""

    verdicts: tuple[NetworkVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()


# Whether negotiated traffic selectors cover a network (RFC 7296 §2.9), as charon writes them. Pure.
# A selector is a network, a range, or ``dynamic``, and may have ``[protocol/port]`` behind it: one that
# is only for a protocol or a port covers no network.

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
