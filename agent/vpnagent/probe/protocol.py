"""What the control daemon and the prober say to each other: messages, and datagrams that carry them. Pure.

One unix SEQPACKET connection, both ways. A message is a kind and a JSON body (``codec``); it travels in
datagrams of at most ``FRAGMENT`` octets, each with a header, as an intent of 256 tunnels exceeds what a
socket buffer takes at once. ``Assembler`` puts them together and raises ``ProtocolError`` for anything
else, whatever the bytes.

``VERSION`` is that of everything but the header, ``Hello`` and ``Quit``, which never change: two versions
that meet can say so to each other, and the older prober can be asked to go (ADR 0002).

    daemon                    prober
      |  <------- Hello ------- |   first, from both ends: version, pid, generation in force
      |  -------- Hello ------> |
      |  ------ Configure ----> |   the whole intent, a new generation
      |  <- Accepted | Refused  |
      |  ------- Change ------> |   flags of some tunnels, a new generation
      |  <------ Report ------- |   every second; left out when the daemon does not read
      |  <- PathChanged, FailedOver, FirstReply: kept until the daemon reads
      |  -------- Quit -------> |
"""

import struct
from ipaddress import IPv4Address
from typing import Final

from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding
from vpnagent.probe import actions
from vpnagent.probe.codec import ProtocolError, decode, encode
from vpnagent.probe.core import PathReport
from vpnagent.probe.intent import Intent
from vpnagent.record import dataclass

__all__ = ["Assembler", "ProtocolError", "datagrams"]

VERSION: Final = 4
FRAGMENT: Final = 32 * 1024  #: octets of body in one datagram
MAXIMUM: Final = 4 * 1024 * 1024  #: octets of body in one message; 256 tunnels need less than a tenth
DATAGRAM: Final = 64 * 1024  #: octets to offer for one datagram

_MAGIC = b"vpnp"
_HEADER = struct.Struct("!4sBBHH")  # magic, header version, kind, fragment, number of fragments
_HEADER_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who speaks, and from a prober that has nothing to report: that it lives. Never changes."""

    version: int
    pid: int
    generation: int  #: of the intent in force; 0: none. Told by the prober


@dataclass(frozen=True, slots=True, kw_only=True)
class Quit:
    """The prober is to end, leaving the kernel as it is. Never changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViciRequests:
    """Packets for charon, made by the control daemon; each row is sent one after the other."""

    tunnel: TunnelKey
    terminate: tuple[bytes, ...]
    initiate: tuple[bytes, ...]
    initiate_encapsulated: tuple[bytes, ...]  #: the same with ESP in UDP forced


@dataclass(frozen=True, slots=True, kw_only=True)
class Crafted:
    """Packets that ``probe.craft`` made; the prober patches them."""

    ike_ping: bytes  #: an IKE_SA_INIT without its SPI
    tcp_syn: bytes  #: a TCP header without ports, sequence number and checksum
    dns_query: bytes  #: a DNS message without its id


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRoutes:
    """The routes through a nexthop group: they go with it, and are put back when it is made again."""

    group: int
    prefixes: str  #: as ``10.0.0.0/8``, a space between two: ten thousand of them are a value of one object
    source: IPv4Address | None
    metric: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Everything that the prober needs to work on its own."""

    intent: Intent
    crafted: Crafted
    vici_socket: str
    vici: tuple[ViciRequests, ...]
    routes: tuple[GroupRoutes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelFlags:
    """What may change of a tunnel without a new configuration."""

    tunnel: TunnelKey
    child_sa_installed: bool
    encapsulated: bool
    drained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentUpdate:
    """The intent in force with other flags: small, as signalled failures must be acted on in milliseconds."""

    generation: int
    base: int  #: the generation that it changes; refused where another one is in force
    tunnels: tuple[TunnelFlags, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The generation is in force."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The generation is not taken; the one in force stays."""

    generation: int
    in_force: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """A nexthop group as the prober last wrote it."""

    id: int
    members: tuple[tuple[int, int], ...]  #: empty: deleted
    error: str  #: why the kernel does not hold what was decided; empty: it does


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelMeter:
    """The round trips of one tunnel's probes, since the prober began."""

    tunnel: TunnelKey
    counts: tuple[int, ...]  #: by bucket of meter.RTT_BOUNDS, not cumulative
    total: float  #: seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ProberReport:
    """Everything that is known, now."""

    at: float  #: monotonic seconds, the same clock in both processes
    generation: int
    paths: tuple[PathReport, ...]
    selected: tuple[tuple[str, tuple[str, ...]], ...]  #: connection, names of its tunnels
    groups: tuple[GroupReport, ...]
    findings: tuple[Finding, ...]
    rtt: tuple[TunnelMeter, ...]
    lateness: tuple[int, ...]  #: wake-ups by bucket of meter.LATENESS_BOUNDS, not cumulative
    lateness_total: float  #: seconds
    overflows: int  #: answers that we lost ourselves, to a full socket buffer
    send_errors: int  #: probes that could not be sent
    groups_repaired: int  #: nexthop groups that others changed or removed, and that were put right
    events_lost: int  #: events dropped as the daemon did not read for long


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedOver:
    """A connection's traffic was moved, with the times of it. All times are monotonic seconds."""

    connection: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    cause: actions.Cause
    tunnel: TunnelKey | None
    reason: str
    last_heard: float | None
    decided: float
    netlink_sent: float | None  #: None: no group had to be written
    netlink_acknowledged: float | None  #: None: refused, see GroupReport.error
    suppressed: int


PathChanged = actions.PathChanged
FirstReply = actions.FirstReply

ToProber = Hello | Quit | Configure | IntentUpdate
ToDaemon = Hello | Accepted | Refused | ProberReport | PathChanged | FailedOver | FirstReply
Message = ToProber | ToDaemon

KINDS: Final[dict[int, type[Message]]] = {
    1: Hello,
    2: Quit,
    3: Configure,
    4: IntentUpdate,
    5: Accepted,
    6: Refused,
    7: ProberReport,
    8: PathChanged,
    9: FailedOver,
    10: FirstReply,
}
_NUMBERS = {kind: number for number, kind in KINDS.items()}


def datagrams(message: Message) -> list[bytes]:
    """Return the datagrams that carry a message, in their order."""
    body = encode(message)
    if len(body) > MAXIMUM:
        raise ProtocolError(f"a {type(message).__name__} of {len(body)} octets is too long to be sent")
    parts = [body[at : at + FRAGMENT] for at in range(0, len(body), FRAGMENT)]
    kind = _NUMBERS[type(message)]
    return [
        _HEADER.pack(_MAGIC, _HEADER_VERSION, kind, position, len(parts)) + part
        for position, part in enumerate(parts)
    ]


class Assembler:
    """Puts the datagrams of one connection together; they come in order or not at all."""

    def __init__(self) -> None:
        self._kind = 0
        self._count = 0
        self._parts: list[bytes] = []

    def feed(self, datagram: bytes) -> Message | None:
        """Return the message that a datagram completes; ProtocolError ends the connection."""
        if len(datagram) < _HEADER.size:
            raise ProtocolError(f"a datagram of {len(datagram)} octets")
        magic, version, kind, position, count = _HEADER.unpack_from(datagram)
        if (magic, version) != (_MAGIC, _HEADER_VERSION):
            raise ProtocolError("this is not the prober's protocol")
        if not 0 < count <= MAXIMUM // FRAGMENT or len(datagram) > _HEADER.size + FRAGMENT:
            raise ProtocolError(f"a message of {count} fragments is too long")
        if position == 0:
            self._kind, self._count, self._parts = kind, count, []
        if (kind, count, position) != (self._kind, self._count, len(self._parts)):
            raise ProtocolError(f"fragment {position} of {count} is out of order")
        self._parts.append(datagram[_HEADER.size :])
        if len(self._parts) < count:
            return None
        body, self._parts, self._count = b"".join(self._parts), [], 0
        return _message(kind, body)


def _message(kind: int, body: bytes) -> Message:
    if kind not in KINDS:
        raise ProtocolError(f"unknown kind of message {kind}")
    return decode(KINDS[kind], body)
