"""What is asked through what: every (tunnel, target) with its packet and control data made beforehand."""

from collections.abc import Callable
from ipaddress import IPv4Address

from vpnagent.config.values import ProbeMethod, TunnelKey
from vpnagent.probe import sockets
from vpnagent.probe.dns import Query
from vpnagent.probe.intent import TunnelIntent
from vpnagent.probe.interfaces import Interfaces
from vpnagent.probe.protocol import Configure, Crafted
from vpnagent.probe.sockets import ProbeSocket, Slot
from vpnagent.probe.tcp_syn import Syn

Asked = tuple[TunnelKey, IPv4Address]


class Slots:
    """Rebuilt with every new intent and whenever an interface came, went or was made anew."""

    def __init__(self, socket_of: Callable[[ProbeMethod], ProbeSocket]) -> None:
        self._socket_of = socket_of
        self._numbers: dict[Asked, int] = {}
        self._next_number = 0
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
        self._keep_numbers(configure)
        for tunnel in configure.intent.tunnels():
            index = interfaces.index(tunnel.interface)
            if index is not None:
                self.tunnels[index] = tunnel.key
                self._build(tunnel, index, configure.crafted)

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
                packet, source = _packet(tunnel, target.address, crafted)
            except OSError:  # the interface went away this moment: its event will be here soon
                continue
            slot = Slot(
                number=self._numbers[asked],
                address=(str(target.address), tunnel.port if tunnel.method is ProbeMethod.DNS else 0),
                control=sockets.egress(index, source, tunnel.dscp),
                unmarked=sockets.egress(index, source),
                packet=packet,
            )
            found = self._slots.setdefault(tunnel.key, [])
            found.append((target.address, self._socket_of(tunnel.method), slot))


def _packet(
    tunnel: TunnelIntent, target: IPv4Address, crafted: Crafted
) -> tuple[Syn | Query | None, bytes | None]:
    """Return what the method patches per send, and the source address."""
    source = tunnel.source.packed if tunnel.source else None
    match tunnel.method:
        case ProbeMethod.ICMP:
            return None, source
        case ProbeMethod.DNS:
            return Query(crafted.dns_query), source
        case ProbeMethod.TCP:
            # The checksum covers the source, so it must be known.
            source = source or sockets.source_towards(str(target), tunnel.interface)
            return Syn(crafted.tcp_syn, source, target.packed, tunnel.port), source
