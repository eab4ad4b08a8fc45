"""What is asked through what, and which answers to it count: what all probe sockets share.

A slot is one target through one tunnel, with all that a send needs made beforehand. ``Expected`` says who may
answer, ``Outstanding`` which probes still may be answered and what makes an answer believed. The sockets
themselves are in ``sockets``.
"""

import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from vpnagent.config.values import ProbeMethod, TunnelKey
from vpnagent.probe.inbox import IP_PKTINFO, PKTINFO, Allowance, Received
from vpnagent.probe.intent import Configure, Crafted, TunnelIntent
from vpnagent.probe.interfaces import Interfaces
from vpnagent.probe.packets import REJECT, DnsQuery, Syn, assembled, between

LATEST: Final = 2.0  #: seconds after which nothing answers a probe any more
MOST: Final = 4096  #: probes of a method that may await an answer; the oldest are forgotten
STEADY: Final = 20  #: probes: a target that is limited answers some of them

_TOS = struct.Struct("=i")

#: An answer: number of the slot that was asked, sequence, index of the arrival interface, monotonic seconds.
ProbeAnswer = tuple[int, int, int, float]
Asked = tuple[TunnelKey, IPv4Address]
Control = list[tuple[int, int, bytes]]  #: what goes with a packet, for sendmsg(2)
K = TypeVar("K")
V = TypeVar("V")


class Slot(NamedTuple):
    """One target through one tunnel, with all that a send needs made beforehand."""

    number: int
    address: tuple[str, int]
    control: Control
    unmarked: Control  #: the same without a DSCP
    packet: Syn | DnsQuery | None = None  #: what the method patches; None for ICMP
    source: bytes | None = None  #: the address that it is asked from, four octets; None: the kernel's choice

    @property
    def target(self) -> bytes:
        """The address that is asked, four octets."""
        return socket.inet_aton(self.address[0])


class Expected(NamedTuple):
    """Who may answer, whom, and by which interfaces that counts as a tunnel."""

    slots: tuple[Slot, ...]
    tunnels: frozenset[int] = frozenset()  #: indexes of their interfaces

    def ends(self) -> bytes:
        """Return the part of a filter that passes what goes from a target to where it was asked from."""
        if not self.slots:
            return assembled((REJECT,))
        sources = {slot.source for slot in self.slots}
        known = () if None in sources else {source for source in sources if source}
        return between({slot.target for slot in self.slots}, known)

    def ports(self) -> frozenset[int]:
        """Return the targets' ports."""
        return frozenset(slot.address[1] for slot in self.slots)


class ProbeSocket(Protocol):
    """What every method offers."""

    @property
    def overflows(self) -> int:
        """Answers lost to a full buffer of ours."""

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""

    def expect(self, expected: Expected) -> None:
        """Take answers of these slots from now on, and of no others."""

    def renew(self) -> None:
        """Take another secret; answers to the last one count until the next time."""

    def send(self, slot: Slot, sequence: int, *, marked: bool = True) -> None:
        """Send one probe; OSError when it did not leave."""

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[ProbeAnswer]:
        """Return the answers that wait; the two clocks, in ns, were read one right after the other."""

    def close(self) -> None:
        """Give the file descriptors back."""


def egress(interface: int, source: bytes | None, dscp: int = 0) -> Control:
    """Return the control data that sends a packet out of an interface, from a source address, marked."""
    return [
        (socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(interface, source or bytes(4), bytes(4))),
        (socket.IPPROTO_IP, socket.IP_TOS, _TOS.pack(dscp << 2)),
    ]


def source_towards(address: str, interface: str) -> bytes:
    """Return the address that the kernel would send from, out of this interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.connect((address, 9))
        return socket.inet_aton(sock.getsockname()[0])


def is_from(packet: Received, slot: Slot, port: int) -> bool:
    """Whether a packet comes from whom the slot asks, to where it was asked from."""
    _, sender, destination, _, _ = packet
    if (sender[0], port) != slot.address:
        return False
    return slot.source is None or destination == slot.source


class Slots:
    """What is asked through what: every (tunnel, target) with its packet and control data made beforehand.

    Rebuilt with every new intent and whenever an interface came, went or was made anew.
    """

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
                control=egress(index, source, tunnel.dscp),
                unmarked=egress(index, source),
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
                self._sources[index, target] = source_towards(str(target), tunnel.interface)
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


class Unproven(NamedTuple):
    """An answer that is to be believed if another one like it comes."""

    answer: ProbeAnswer
    in_tunnel: bool  #: it came by a tunnel's interface


class OutstandingProbe(NamedTuple, Generic[V]):
    """One that awaits its answer."""

    slot: int
    asks: "int | Unproven"  #: its sequence, or the answer that it is to prove: then nobody else waits for it
    turn: int  #: how many probes of the slot were sent until then
    at: float  #: monotonic seconds, when it was sent
    what: V  #: the caller's


class Outstanding(Generic[K, V]):
    """The probes of one method that may still be answered, by what their answers carry, and what is believed.

    For the methods whose probes carry few secret bits: a SYN has 32, a DNS query 16 and its port. Whoever
    forges answers blindly hits one that is outstanding by luck, and one hit would keep a dead path up. So a
    probe can be answered for ``LATEST`` seconds, once; and the answer to a slot of which none of the last
    ``STEADY`` probes was answered, or that comes by an interface that is no tunnel's where the last one came
    by a tunnel, or the reverse, is ``Unproven``: the slot is asked again at once, and only the answer to that
    settles it. That costs a path that is heard nothing, one that is heard again a round trip, and a forger
    the square of his probability (SECURITY.md).
    """

    def __init__(self) -> None:
        self._probes: dict[K, OutstandingProbe[V]] = {}  #: the oldest first
        self._turns: dict[int, int] = {}  #: by slot: probes that were sent
        self._heard: dict[int, tuple[int, bool]] = {}  #: by slot: turn of the last that was believed, its way

    def sent(self, key: K, slot: int, asks: int | Unproven, what: V, at: float) -> None:
        """A probe left; an older one of the same key can be answered no more."""
        probes = self._probes
        probes.pop(key, None)
        while probes and (len(probes) >= MOST or next(iter(probes.values())).at < at - LATEST):
            del probes[next(iter(probes))]
        turn = self._turns.get(slot, 0)
        if not isinstance(asks, Unproven):
            self._turns[slot] = turn = turn + 1
        probes[key] = OutstandingProbe(slot, asks, turn, at, what)

    def find(self, key: K, at: float) -> OutstandingProbe[V] | None:
        """Return the probe that an answer of this time may answer."""
        probe = self._probes.get(key)
        return probe if probe is not None and at - probe.at <= LATEST else None

    def answered(
        self, key: K, interface: int, at: float, *, in_tunnel: bool
    ) -> ProbeAnswer | Unproven | None:
        """Take the answer to a probe that was found; return what is to be told, or what is yet unproven."""
        slot, asks, turn, _, _ = self._probes.pop(key)
        heard, heard_in_tunnel = self._heard.get(slot, (-STEADY, in_tunnel))
        if isinstance(asks, Unproven):
            if asks.in_tunnel != in_tunnel:
                return None
            answer = asks.answer
        else:
            answer = slot, asks, interface, at
            if turn - heard > STEADY or in_tunnel != heard_in_tunnel:
                return Unproven(answer, in_tunnel)
        self._heard[slot] = max(heard, turn), in_tunnel
        return answer

    def keep(self, slots: frozenset[int]) -> None:
        """Forget what is known of other slots than these, and what they were asked."""
        self._probes = {key: probe for key, probe in self._probes.items() if probe.slot in slots}
        for known in (self._turns, self._heard):
            for slot in known.keys() - slots:
                del known[slot]
