"""What is asked through what: every (tunnel, target) with its packet and control data made beforehand."""

from collections.abc import Callable
from ipaddress import IPv4Address

from vpnagent.config.values import ProbeMethod, TunnelKey
from vpnagent.probe import sockets
from vpnagent.probe.dns import DnsQuery
from vpnagent.probe.intent import Configure, Crafted, TunnelIntent
from vpnagent.probe.interfaces import Interfaces
from vpnagent.probe.sockets import Expected, ProbeSocket, Slot
from vpnagent.probe.tcp_syn import Syn

Asked = tuple[TunnelKey, IPv4Address]


class Slots:
    """Rebuilt with every new intent and whenever an interface came, went or was made anew."""

    def __init__(self, socket_of: Callable[[ProbeMethod], ProbeSocket]) -> None:
        self._socket_of = socket_of
        self._numbers: dict[Asked, int] = {}
        self._next_number = 0
        self._sources: dict[tuple[int, IPv4Address], bytes] = {}  #: the kernel's choice
        self._addresses: frozenset[tuple[int, bytes]] = frozenset()  #: that it had when it chose
        self._slots: dict[TunnelKey, list[tuple[IPv4Address, ProbeSocket, Slot]]] = {}
        self.asked: dict[int, Asked] = {}  #: by number of the slot
        self.tunnels: dict[int, TunnelKey] = {}  #: by index of the tunnel's interface

    def find(self, tunnel: TunnelKey, target: IPv4Address) -> tuple[ProbeSocket, Slot] | None:
        """Return what asks a target through a tunnel; None while the tunnel's interface is not there."""
        for address, sock, slot in self._slots.get(tunnel, ()):
            if address is target or address == target:  # in most cases it is, and comparing costs more
                return sock, slot
        return None

    def rebuild(self, configure: Configure, interfaces: Interfaces) -> None:
        """Make all slots anew, with the numbers they had; one whose interface is not there is left out."""
        self._slots = {}
        self.tunnels = {}
        if interfaces.addresses != self._addresses:
            self._addresses = interfaces.addresses
            self._sources.clear()
        self._keep_numbers(configure)
        for tunnel in configure.intent.tunnels():
            index = interfaces.index(tunnel.interface)
            if index is not None:
                self.tunnels[index] = tunnel.key
                self._build(tunnel, index, configure.crafted)

    def expected_of(self, sock: ProbeSocket) -> Expected:
        """Return what a socket may take answers from."""
        slots = (slot for found in self._slots.values() for _, asks, slot in found if asks is sock)
        return Expected(tuple(slots), frozenset(self.tunnels))

    def _keep_numbers(self, configure: Configure) -> None:
        """Give every slot a number of its own: a late answer is never taken for that of another."""
        asked = [(t.key, target.address) for t in configure.intent.tunnels() for target in t.targets]
        wanted = set(asked)
        self._numbers = {key: number for key, number in self._numbers.items() if key in wanted}
        for key in asked:
            if key not in self._numbers:
                self._numbers[key] = self._next_number
                self._next_number += 1
        self.asked = {number: key for key, number in self._numbers.items()}

    def _build(self, tunnel: TunnelIntent, index: int, crafted: Crafted) -> None:
        for target in tunnel.targets:
            asked = tunnel.key, target.address
            try:
                source = self._source(tunnel, index, target.address)
            except OSError:  # the interface went away this moment: its event will be here soon
                continue
            slot = Slot(
                number=self._numbers[asked],
                address=(str(target.address), 0 if tunnel.method is ProbeMethod.ICMP else tunnel.port),
                control=sockets.egress(index, source, tunnel.dscp),
                unmarked=sockets.egress(index, source),
                packet=_packet(tunnel, target.address, source, crafted),
                source=source if any(source) else None,
            )
            found = self._slots.setdefault(tunnel.key, [])
            found.append((target.address, self._socket_of(tunnel.method), slot))

    def _source(self, tunnel: TunnelIntent, index: int, target: IPv4Address) -> bytes:
        """Return the address to ask from, to which answers must come; zeros: the kernel's, at each send.

        Raises OSError where it must be known, as a checksum covers it.
        """
        if tunnel.source:
            return tunnel.source.packed
        if (index, target) not in self._sources:
            try:
                self._sources[index, target] = sockets.source_towards(str(target), tunnel.interface)
            except OSError:
                if tunnel.method is ProbeMethod.TCP:
                    raise
                return bytes(4)
        return self._sources[index, target]


def _packet(
    tunnel: TunnelIntent, target: IPv4Address, source: bytes, crafted: Crafted
) -> Syn | DnsQuery | None:
    """Return what the method patches per send."""
    match tunnel.method:
        case ProbeMethod.ICMP:
            return None
        case ProbeMethod.DNS:
            return DnsQuery(crafted.dns_query)
        case ProbeMethod.TCP:
            return Syn(crafted.tcp_syn, source, target.packed, tunnel.port)
