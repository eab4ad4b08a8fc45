"""What the control daemon hands to the prober: the tunnels, how to probe them, and what they are for.

Frozen values; ``protocol`` carries them over the socket. An intent is always whole; its generation grows, so
that a stale one can be refused. A value out of range is a ``ValueError`` that names the rule.
Durations are seconds, ratios 0 to 1. With it come the packets that the prober cannot make itself.

Where only flags of tunnels differ from what is in force, an ``IntentUpdate`` is enough: the functions at the
end tell what it is between two intents, and apply it.
"""

from collections.abc import Callable
from ipaddress import IPv4Address

from vpnagent.config.values import Forwarding, OnPathDown, ProbeMethod, Role, TunnelKey
from vpnagent.record import record, replace

Member = tuple[int, int]  #: nexthop id and weight


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{rule}: {value}")


@record(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """An address that is asked through the tunnel."""

    address: IPv4Address
    inside_peer: (
        bool  #: the cloud's end of this tunnel's /30: it answers through the tunnel it was asked through
    )


@record(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a path that answers is nevertheless degraded: one limit to enter the state, one to leave it."""

    window: float = 10.0  #: seconds over which loss and RTT are seen
    loss_enter: float = 0.2  #: loss ratio at which the path becomes degraded
    loss_leave: float = 0.1  #: loss ratio at which it is no longer
    rtt_enter: float | None = None  #: seconds, mean over the window; None: no limit
    rtt_leave: float | None = None  #: seconds; None with ``rtt_enter`` only

    def __post_init__(self) -> None:
        _require(self.window > 0, "window must be positive", self.window)
        _require(0 <= self.loss_leave <= self.loss_enter <= 1, "0 <= loss_leave <= loss_enter <= 1", self)
        _require((self.rtt_enter is None) == (self.rtt_leave is None), "both RTT limits or none", self)
        if self.rtt_enter is not None and self.rtt_leave is not None:
            _require(0 < self.rtt_leave <= self.rtt_enter, "0 < rtt_leave <= rtt_enter", self)


@record(frozen=True, slots=True, kw_only=True)
class TunnelIntent:
    """One tunnel: how it is probed, and what the control daemon knows of it."""

    key: TunnelKey
    role: Role
    weight: int  #: 1 to 255
    nexthop_id: int
    interface: str  #: XFRM interface: probes leave by it
    outer_interface: str | None  #: what its ESP leaves by, if known: its loss is the tunnel's
    source: IPv4Address | None  #: of the probes; None: the kernel picks
    targets: tuple[ProbeTarget, ...]  #: never empty; the first is the usual one
    method: ProbeMethod
    port: int  #: tcp and dns only
    interval: float  #: seconds between probes
    detect_multiplier: int  #: silent intervals before the path is down
    hold_down: float  #: seconds for which a recovered path must be heard
    remote_address: IPv4Address  #: of the peer's IKE daemon
    local_address: IPv4Address | None
    limits: Limits = Limits()
    bandwidth: float = 0.0  #: bits per second in each direction, as purchased; 0: unknown
    packet_rate: int = 0  #: packets per second, in + out, as purchased; 0: unknown
    ike_ping: bool = True  #: False: this peer cannot be asked, so silence of its IKE daemon means nothing
    child_sa_installed: bool = False  #: through a rekey as well
    encapsulated: bool = False  #: ESP of that CHILD_SA travels in UDP
    drained: bool = False
    dscp: int = 48  #: of the probes; 0: unmarked
    confirm_count: int = 0  #: probes by which a missed one is confirmed; 0: it is not
    confirm_interval: float = 0.0  #: seconds between those
    failed_trials: int | None = None
    #: None: not left down for its path. Else the prober's own last report, handed back so that a new
    #: prober goes on where a dead one was; a living one ignores it.

    def __post_init__(self) -> None:
        _require(bool(self.targets), "targets must not be empty", self.key)
        _require(0.001 <= self.interval <= 60, "0.001 <= interval <= 60", self.interval)  # noqa: PLR2004 - the rule itself
        _require(1 <= self.detect_multiplier <= 255, "detect_multiplier is 1 to 255", self.detect_multiplier)  # noqa: PLR2004
        _require(self.hold_down >= 0, "hold_down must not be negative", self.hold_down)
        _require(1 <= self.weight <= 255, "weight is 1 to 255", self.weight)  # noqa: PLR2004
        _require(self.bandwidth >= 0 and self.packet_rate >= 0, "limits must not be negative", self.key)
        _require(0 <= self.port <= 65535, "port is 0 to 65535", self.port)  # noqa: PLR2004
        _require(0 <= self.dscp <= 63, "dscp is 0 to 63", self.dscp)  # noqa: PLR2004
        _require(0 <= self.confirm_count <= 10, "confirm_count is 0 to 10", self.confirm_count)  # noqa: PLR2004
        _require(
            0 <= self.confirm_interval <= self.interval,
            "0 <= confirm_interval <= interval",
            self.confirm_interval,
        )
        _require(0 < self.nexthop_id < 2**32, "nexthop_id is 1 to 2**32 - 1", self.nexthop_id)
        _require(self.failed_trials is None or self.failed_trials >= 0, "failed_trials >= 0", self.key)

    @property
    def detection_time(self) -> float:
        """Seconds of silence that mean down."""
        return self.interval * self.detect_multiplier


@record(frozen=True, slots=True, kw_only=True)
class ConnectionIntent:
    """One connection and its tunnels, in the order of the file."""

    name: str
    forwarding: Forwarding
    on_path_down: OnPathDown
    tunnels: tuple[TunnelIntent, ...]
    priority: int = 0  #: among connections of a group; the lowest goes first

    def __post_init__(self) -> None:
        for tunnel in self.tunnels:
            _require(tunnel.key.connection == self.name, f"tunnel {tunnel.key} is not of", self.name)


@record(frozen=True, slots=True, kw_only=True)
class GroupIntent:
    """A nexthop group: the union of what these connections select."""

    id: int
    connections: tuple[str, ...]  #: names, sorted
    members: tuple[Member, ...] = ()
    #: what the kernel has in the group now, if it is there: what a new prober starts from, so that
    #: it neither moves nor drops anything before it knows better; a living one ignores it

    def __post_init__(self) -> None:
        _require(0 < self.id < 2**32, "group id is 1 to 2**32 - 1", self.id)


@record(frozen=True, slots=True, kw_only=True)
class Intent:
    """Everything that the prober is to do."""

    generation: int  #: grows with every intent of a control daemon and of its successors
    connections: tuple[ConnectionIntent, ...]
    groups: tuple[GroupIntent, ...]

    def __post_init__(self) -> None:
        names = [c.name for c in self.connections]
        keys = [t.key for c in self.connections for t in c.tunnels]
        ids = [t.nexthop_id for c in self.connections for t in c.tunnels] + [g.id for g in self.groups]
        for what, values in (("connection", names), ("tunnel", keys), ("nexthop id", ids)):
            _require(len(set(values)) == len(values), f"{what} given twice", values)
        for group in self.groups:
            _require(set(group.connections) <= set(names), "group of unknown connections", group.connections)

    def tunnels(self) -> tuple[TunnelIntent, ...]:
        """All tunnels of all connections, in the order of the file."""
        return tuple(tunnel for connection in self.connections for tunnel in connection.tunnels)


@record(frozen=True, slots=True, kw_only=True)
class ViciRequests:
    """Packets for charon, made by the control daemon; each row is sent one after the other."""

    tunnel: TunnelKey
    terminate: tuple[bytes, ...]
    initiate: tuple[bytes, ...]
    initiate_encapsulated: tuple[bytes, ...]  #: the same with ESP in UDP forced


@record(frozen=True, slots=True, kw_only=True)
class Crafted:
    """Packets that ``probe.craft`` made; the prober patches them."""

    ike_ping: bytes  #: an IKE_SA_INIT without its SPI
    tcp_syn: bytes  #: a TCP header without ports, sequence number and checksum
    dns_query: bytes  #: a DNS message without its id


@record(frozen=True, slots=True, kw_only=True)
class GroupRoutes:
    """The routes through a nexthop group: they go with it, and are put back when it is made again."""

    group: int
    prefixes: str  #: as ``10.0.0.0/8``, a space between two: ten thousand of them are a value of one object
    source: IPv4Address | None
    metric: int = 0


@record(frozen=True, slots=True, kw_only=True)
class Configure:
    """Everything that the prober needs to work on its own."""

    intent: Intent
    crafted: Crafted
    vici_socket: str
    vici: tuple[ViciRequests, ...]
    routes: tuple[GroupRoutes, ...] = ()


@record(frozen=True, slots=True, kw_only=True)
class TunnelFlags:
    """What may change of a tunnel without a new configuration."""

    tunnel: TunnelKey
    child_sa_installed: bool
    encapsulated: bool
    drained: bool


@record(frozen=True, slots=True, kw_only=True)
class IntentUpdate:
    """The intent in force with other flags: small, as signalled failures must be acted on in milliseconds."""

    generation: int
    base: int  #: the generation that it changes; refused where another one is in force
    tunnels: tuple[TunnelFlags, ...]


def outer_name(tunnel: TunnelIntent) -> str:
    """Return what the core knows a tunnel's outer interface by.

    Losing the address that ESP is sent from is losing the interface, for the tunnels of that address.
    """
    return f"{tunnel.outer_interface} {tunnel.local_address or ''}".rstrip()


def with_addresses(intent: Intent) -> Intent:
    """Return the intent with the outer interfaces named as ``outer_name`` does."""
    return _map_tunnels(
        intent, lambda t: replace(t, outer_interface=outer_name(t)) if t.outer_interface else t
    )


def with_flags(intent: Intent, change: IntentUpdate) -> Intent:
    """Return the intent of the change's generation."""
    flags = {flags.tunnel: flags for flags in change.tunnels}

    def changed(tunnel: TunnelIntent) -> TunnelIntent:
        new = flags.get(tunnel.key)
        if new is None:
            return tunnel
        return replace(
            tunnel,
            child_sa_installed=new.child_sa_installed,
            encapsulated=new.encapsulated,
            drained=new.drained,
        )

    return replace(_map_tunnels(intent, changed), generation=change.generation)


def _map_tunnels(intent: Intent, amend: Callable[[TunnelIntent], TunnelIntent]) -> Intent:
    connections = []
    for connection in intent.connections:
        tunnels = tuple(amend(tunnel) for tunnel in connection.tunnels)
        same = all(new is old for new, old in zip(tunnels, connection.tunnels, strict=True))
        connections.append(connection if same else replace(connection, tunnels=tunnels))
    return replace(intent, connections=tuple(connections))


def change_between(old: Intent, new: Intent) -> tuple[TunnelFlags, ...] | None:
    """Return the flags that turn one intent into another; None when more than flags differ.

    What a living prober ignores anyway does not count as a difference.
    """
    before = {tunnel.key: flags_of(tunnel) for tunnel in old.tunnels()}
    changed = tuple(
        flags_of(tunnel) for tunnel in new.tunnels() if before.get(tunnel.key) != flags_of(tunnel)
    )
    change = IntentUpdate(generation=new.generation, base=old.generation, tunnels=changed)
    return changed if _bare(with_flags(old, change)) == _bare(new) else None


def flags_of(tunnel: TunnelIntent) -> TunnelFlags:
    """Return a tunnel's flags."""
    return TunnelFlags(
        tunnel=tunnel.key,
        child_sa_installed=tunnel.child_sa_installed,
        encapsulated=tunnel.encapsulated,
        drained=tunnel.drained,
    )


def _bare(intent: Intent) -> Intent:
    """Return the intent without what only a new prober reads."""
    bare = _map_tunnels(intent, lambda t: t if t.failed_trials is None else replace(t, failed_trials=None))
    return replace(bare, groups=tuple(replace(group, members=()) for group in bare.groups))
