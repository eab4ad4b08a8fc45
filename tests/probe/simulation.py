"""A small world for the core: tunnels with faults, a cloud with its habits, traffic, and a clock of events.

It mirrors what the lab showed of the real thing. A VPN gateway returns everything on the first of its
tunnels whose negotiation is up, moves at once on a DELETE, and otherwise only when its own DPD gives up; a
transit router hashes. A DELETE that is lost leaves the cloud sending into its half of the SA; charon repeats
it as it repeats everything, which is later than anybody waits. To bring a tunnel up takes two round trips;
what charon is told to forget meanwhile it forgets, and says so to whoever asked for it. ``Shell`` does what
the prober's real shell does, and can be stopped for a while: replies then wait with their time stamps.
"""

import errno
import functools
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from math import inf

from vpnagent.config.values import Forwarding, OnPathDown, ProbeMethod, Role, TunnelKey
from vpnagent.probe import actions
from vpnagent.probe.core import Core
from vpnagent.probe.inbox import GRACE
from vpnagent.probe.intent import ConnectionIntent, GroupIntent, Intent, Limits, ProbeTarget, TunnelIntent
from vpnagent.probe.prober import SLACK
from vpnagent.probe.remedy import Phase

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")
SHARED = IPv4Address("172.16.0.10")
SECOND = IPv4Address("172.16.0.11")
GROUP = 0x56580000
ALL = frozenset({"esp-out", "esp-in", "ike-out", "ike-in"})
ESP = frozenset({"esp-out", "esp-in"})
IKE = frozenset({"ike-out", "ike-in"})
RETRANSMISSIONS = (
    0.0,
    4.0,
    11.2,
)  #: seconds after which charon sends a request, and repeats it (strongswan.conf)
GIVE_UP = 20.0  #: seconds that the prober gives charon for an ``initiate``

Event = tuple[float, int, Callable[[], None]]


class Clock:
    """Events in the order of time."""

    def __init__(self) -> None:
        self.now = 100.0
        self._events: list[Event] = []
        self._count = itertools.count()

    def at(self, time: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time, self.now), next(self._count), do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(self.now + seconds, do)

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = until


@dataclass
class Wire:
    """One tunnel: the underlay, and both halves of its SAs."""

    key: TunnelKey
    delay: float = 0.005  #: seconds, one way
    faults: frozenset[str] = frozenset()
    loss: float = 0.0  #: of ESP packets, each way
    here: bool = True  #: our CHILD_SA
    there: bool = True  #: the cloud's
    rx_packets: int = 0
    tx_packets: int = 0
    ike_dead_since: float | None = None
    stream: list[float] = field(default_factory=list)  #: arrivals of user packets here
    ike_answers: bool = True  #: the peer answers an IKE ping at all
    serial: int = 0  #: of the SA: a DELETE that comes late is one of an SA of before
    negotiation: int = 0  #: the one under way; 0: none
    waiting: list[Callable[[str | None], None]] = field(default_factory=list)  #: for what comes of it


@dataclass
class Cloud:
    """The far end."""

    ecmp: bool = False
    dpd: float = 12.0  #: seconds of silence after which an IKE_SA is given up
    dead_targets: set[IPv4Address] = field(default_factory=set)
    limit: float | None = None  #: probes that all targets answer in a second; None: all of them
    tokens: float = 0.0
    refilled_at: float = 0.0

    def answers(self, target: IPv4Address, now: float) -> bool:
        """Whether a target answers now: it lives, and its limit is not reached."""
        if target in self.dead_targets:
            return False
        if self.limit is None:
            return True
        grown = self.tokens + (now - self.refilled_at) * self.limit
        self.tokens, self.refilled_at = min(max(self.limit / 2, 1.0), grown), now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class World:
    """Two or more tunnels of one or more connections, and their prober."""

    def __init__(self, intent: Intent, *, seed: int = 1, ecmp: bool = False) -> None:
        self.clock = Clock()
        self.random = random.Random(seed)
        self.cloud = Cloud(ecmp=ecmp)
        self.wires = {t.key: Wire(t.key) for t in intent.tunnels()}
        for tunnel in intent.tunnels():
            self.wires[tunnel.key].here = self.wires[tunnel.key].there = tunnel.child_sa_installed
        self.intent = intent
        self.unsendable: set[TunnelKey] = set()  #: tunnels into which no probe of ours may be sent (EPERM)
        self.drops_marks = False  #: somebody on the way drops packets with a DSCP
        self.elsewhere = False  #: everything returns by a line that is none of ours
        self.filtered: set[TunnelKey] = set()  #: interfaces of tunnels behind which replies are dropped here
        self.initiates = True  #: the control daemon brings up what is down and not held
        self.far: list[float] = []  #: sending times of user packets that the far host received
        self.near: list[float] = []  #: sending times of those whose echo came back
        self.far_rate = 0.0  #: packets a second that a far host sends of itself
        self.bandwidth_drop = 0.0  #: of the policer, on the tunnel that is full
        self.full: TunnelKey | None = None
        self.negotiation = 0.02  #: seconds that charon takes, apart from the round trips
        self.disorder = 0.0  #: seconds by which answers of IKE daemons and charon may come late, and overtake
        self._negotiations = itertools.count(1)
        self.shell = Shell(self)
        self.clock.after(0.1, self._control)

    # Faults and wishes

    def fault(self, name: str, faults: frozenset[str]) -> None:
        wire = self.wire(name)
        wire.faults = faults
        blocked = bool(faults & {"ike-out", "ike-in"})
        if not blocked:
            wire.ike_dead_since = None
        elif wire.ike_dead_since is None:
            wire.ike_dead_since = self.clock.now
            self.clock.after(self.cloud.dpd, lambda: self._dpd(wire))

    def wire(self, name: str) -> Wire:
        return next(w for k, w in self.wires.items() if k.tunnel == name or str(k) == name)

    def run(self, seconds: float) -> None:
        self.clock.run(self.clock.now + seconds)

    def change(self, key: TunnelKey, **changes: object) -> None:
        """Let the control daemon send a new intent."""
        connections = tuple(
            replace(
                c,
                tunnels=tuple(replace(t, **changes) if t.key == key else t for t in c.tunnels),  # type: ignore[arg-type]
            )
            for c in self.intent.connections
        )
        self.intent = replace(self.intent, generation=self.intent.generation + 1, connections=connections)
        intent = self.intent
        self.shell.tell(lambda core: core.replace_intent(intent, now=self.clock.now))

    def peer_deletes(self, name: str) -> None:
        wire = self.wire(name)
        wire.there = False
        if "ike-in" not in wire.faults:
            self.clock.after(wire.delay, lambda: self._child_sa(wire, installed=False))

    def stream(self, seconds: float, *, rate: float = 1000.0) -> None:
        """Echoed user traffic from now on."""
        end = self.clock.now + seconds

        def send() -> None:
            self._user_packet()
            if self.clock.now < end:
                self.clock.after(1 / rate, send)

        send()

    def far_stream(self, seconds: float, *, rate: float) -> None:
        """Packets that a far host sends of itself, from now on: they come whether or not ours arrive."""
        end = self.clock.now + seconds
        self.far_rate = rate

        def arrive(back: Wire) -> None:
            self.arrives(back)

        def send() -> None:
            back = self.return_wire(self.random.randrange(1 << 16))
            if back is not None:
                self.clock.after(back.delay, lambda: arrive(back))
            if self.clock.now < end:
                self.clock.after(1 / rate, send)

        send()

    # The cloud's habits

    def active(self) -> list[Wire]:
        """The wires on which the cloud returns traffic."""
        up = [w for w in self.wires.values() if w.there]
        return up if self.cloud.ecmp else up[:1]

    def return_wire(self, flow: int) -> Wire | None:
        wires = self.active()
        return wires[flow % len(wires)] if wires else None

    def _dpd(self, wire: Wire) -> None:
        if wire.ike_dead_since is not None and self.clock.now - wire.ike_dead_since >= self.cloud.dpd - 1e-6:
            wire.there = False

    # Packets

    def leaves(self, wire: Wire) -> bool:
        """Whether an ESP packet of ours arrives at the cloud."""
        wire.tx_packets += 1
        if not (wire.here and wire.there) or "esp-out" in wire.faults or self._policed(wire):
            return False
        return self.random.random() >= wire.loss

    def arrives(self, wire: Wire) -> bool:
        """Whether an ESP packet of the cloud's arrives here."""
        if not (wire.here and wire.there) or "esp-in" in wire.faults:
            return False
        if self.random.random() < wire.loss:
            return False
        wire.rx_packets += 1
        return True

    def _policed(self, wire: Wire) -> bool:
        return self.full == wire.key and self.random.random() < self.bandwidth_drop

    def probe(self, key: TunnelKey, target: ProbeTarget, sequence: int) -> None:
        """A probe of ours leaves now."""
        wire = self.wires[key]
        if not self.leaves(wire):
            return

        def at_target() -> None:
            if not self.cloud.answers(target.address, self.clock.now):
                return
            back = wire if target.inside_peer else self.return_wire(int(target.address))
            if back is not None:
                self.clock.after(back.delay, lambda: at_home(back))

        def at_home(back: Wire) -> None:
            if self.elsewhere or self.arrives(back):
                at, heard_on = self.clock.now, None if self.elsewhere else back.key
                if back.key in self.filtered:
                    self.shell.tapped(key, target.address, sequence, back.key)
                    return
                self.shell.answer(
                    lambda core: core.probe_answered(key, target.address, sequence, heard_on=heard_on, at=at)
                )

        self.clock.after(wire.delay, at_target)

    def _user_packet(self) -> None:
        members = self.shell.group()
        if not members:
            return
        sent_at = self.clock.now
        flow = self.random.randrange(1 << 16)
        wire = self.wires[members[flow % len(members)]]
        if not self.leaves(wire):
            return

        def at_far_host() -> None:
            self.far.append(sent_at)
            back = self.return_wire(flow)
            if back is not None:
                self.clock.after(
                    back.delay, lambda: self.near.append(sent_at) if self.arrives(back) else None
                )

        self.clock.after(wire.delay, at_far_host)

    # IKE

    def _late(self) -> float:
        return self.random.uniform(0.0, self.disorder) if self.disorder else 0.0

    def ike_ping(self, key: TunnelKey) -> None:
        wire = self.wires[key]
        if wire.ike_answers and not wire.faults & IKE:
            self.clock.after(
                2 * wire.delay + 0.001 + self._late(),
                lambda: self.shell.tell(lambda core: core.ike_ping_answered(key, at=self.clock.now)),
            )

    def terminate(self, key: TunnelKey) -> None:
        wire = self.wires[key]
        self._tell_all(wire, "establishing the connection failed")
        serial = wire.serial

        def delete() -> None:
            if wire.serial == serial and "ike-out" not in wire.faults:
                wire.there = False

        for seconds in RETRANSMISSIONS if wire.here else ():
            self.clock.after(seconds + wire.delay, delete)

        def done() -> None:
            if wire.serial == serial:
                wire.here = False
            self.shell.tell(lambda core: core.terminated(key, at=self.clock.now))
            self.clock.after(0.002, lambda: self.change(key, child_sa_installed=wire.here))

        self.clock.after(0.001 + self._late(), done)

    def initiate(self, key: TunnelKey, *, force_encapsulation: bool = False) -> None:
        """Have charon bring the tunnel up, for the prober: it is told what comes of it."""

        def told(error: str | None) -> None:
            self.clock.after(
                self._late(),
                lambda: self.shell.tell(lambda core: core.initiated(key, at=self.clock.now, error=error)),
            )

        self._negotiate(self.wires[key], told, force_encapsulation=force_encapsulation)

    def _negotiate(
        self, wire: Wire, told: Callable[[str | None], None], *, force_encapsulation: bool = False
    ) -> None:
        """Repeat until the peer answers; whoever asks while that runs joins it."""
        wire.waiting.append(told)
        self.clock.after(GIVE_UP, lambda: self._tell_one(wire, told))
        if wire.negotiation:
            return
        number = wire.negotiation = next(self._negotiations)

        def settle() -> None:
            if wire.negotiation == number and not wire.faults & IKE:
                self._install(wire, force_encapsulation=force_encapsulation)

        for seconds in RETRANSMISSIONS:
            self.clock.after(seconds + 4 * wire.delay + self.negotiation, settle)

    @staticmethod
    def _tell_one(wire: Wire, told: Callable[[str | None], None]) -> None:
        if told in wire.waiting:
            wire.waiting.remove(told)
            told("peer not responding")

    def _tell_all(self, wire: Wire, error: str | None) -> None:
        waiting, wire.waiting, wire.negotiation = wire.waiting, [], 0
        for told in waiting:
            told(error)

    def _install(self, wire: Wire, *, force_encapsulation: bool) -> None:
        wire.here = wire.there = True
        wire.serial += 1
        self._tell_all(wire, None)
        self.clock.after(0.002, lambda: self.change(wire.key, child_sa_installed=wire.here))
        if force_encapsulation and wire.faults == ESP:
            wire.faults = frozenset()  # IKE and ESP share one fate now, and IKE lives

    def peer_restarts(self, name: str) -> None:
        """The peer forgets the SA, and tells nobody."""
        self.wire(name).there = False

    def _child_sa(self, wire: Wire, *, installed: bool) -> None:
        wire.here = installed
        self.change(wire.key, child_sa_installed=installed)

    def _control(self) -> None:
        """What the control daemon does all the time: bring up what is down, unless the prober holds it."""
        self.clock.after(0.5, self._control)
        if not self.initiates:
            return
        held = {p.tunnel for p in self.shell.core.paths() if p.held}
        for key, wire in self.wires.items():
            if not wire.here and key not in held and not wire.negotiation:
                self._negotiate(wire, lambda _: None)


class Shell:
    """The prober's shell: one timer, sockets that wait, actions done as they are asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        clock = world.clock
        self.core = Core(world.intent, now=clock.now, random=world.random.random)
        self.groups: dict[int, tuple[tuple[int, int], ...]] = {}
        self.log: list[tuple[float, actions.ProberAction]] = []
        self.watch: Callable[[actions.ProberAction], None] = (
            lambda _: None
        )  #: sees every action before it is done
        self.tap = False  #: it looks at what arrives at the interfaces
        self._waiting: list[Callable[[Core], object]] = []
        self._stopped_until = 0.0
        self._armed: float | None = None
        self._keys = {t.nexthop_id: t.key for t in world.intent.tunnels()}
        clock.at(clock.now, self.wake)

    def group(self, id_: int = GROUP) -> list[TunnelKey]:
        return [self._keys[member] for member, _ in self.groups.get(id_, ())]

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self._stopped_until = self.world.clock.now + seconds
        self.world.clock.after(seconds, self.wake)

    def tell(self, fact: Callable[[Core], object]) -> None:
        """Something arrived at a socket of ours."""
        self._waiting.append(fact)
        self.wake()

    def answer(self, fact: Callable[[Core], object]) -> None:
        """A probe was answered: if nothing waits for that, it is taken in at the next wake-up."""
        self._waiting.append(fact)
        if self.core.awaits_replies():
            self.wake()

    def tapped(self, key: TunnelKey, target: IPv4Address, sequence: int, heard_on: TunnelKey) -> None:
        """A reply arrived that something here drops: it is seen if the tap is open, a moment later."""
        at = self.world.clock.now
        if self.tap:
            fact = functools.partial(_tapped, key, target, sequence, heard_on, at)
            self.world.clock.after(GRACE, lambda: self.tell(fact))

    def wake(self) -> None:
        now = self.world.clock.now
        if now < self._stopped_until:
            return
        waiting, self._waiting = self._waiting, []
        for fact in waiting:
            fact(self.core)
        deadline: float | None = None
        for _ in range(100):
            asked = self.core.advance(now)
            self.tap = self.core.suspects_filter()
            for action in asked:
                self._do(action, now)
            deadline = self.core.deadline()
            if deadline is None or deadline > now:
                break
        else:
            raise AssertionError("the core is never done")
        if deadline is not None and deadline > now and not self.core.awaits_replies():
            deadline += SLACK * min(t.interval for t in self.world.intent.tunnels())
        if deadline is not None and deadline != self._armed:
            self._armed = deadline
            self.world.clock.at(deadline, lambda: self._on_timer(deadline))

    def _on_timer(self, deadline: float) -> None:
        if self._armed == deadline:
            self._armed = None
            self.wake()

    def _do(self, action: actions.ProberAction, now: float) -> None:
        if not isinstance(action, actions.SendProbe | actions.ReadTraffic):
            self.log.append((now, action))
        self.watch(action)
        match action:
            case actions.SendProbe():
                self._send_probe(action, now)
            case actions.ReadTraffic():
                self._read_traffic(action.tunnel, now)
            case actions.WriteGroup():
                self.groups[action.group_id] = action.members
            case actions.DeleteGroup():
                self.groups.pop(action.group_id, None)
            case actions.SendIkePing() | actions.TerminateTunnel() | actions.InitiateTunnel():
                self._speak_ike(action)
            case _:
                pass

    def _send_probe(self, probe: actions.SendProbe, now: float) -> None:
        if probe.tunnel in self.world.unsendable:
            self.core.probe_failed(probe.tunnel, probe.sequence, errno.EPERM, at=now)
        elif self.world.wires[probe.tunnel].here:
            self.core.probe_sent(probe.tunnel, probe.sequence, at=now)
            if probe.marked and self.world.drops_marks:
                self.world.leaves(self.world.wires[probe.tunnel])
            else:
                self.world.probe(probe.tunnel, probe.target, probe.sequence)
        else:
            self.core.probe_failed(probe.tunnel, probe.sequence, errno.ENETUNREACH, at=now)

    def _read_traffic(self, tunnel: TunnelKey, now: float) -> None:
        wire = self.world.wires[tunnel]
        self.core.traffic(
            tunnel,
            rx_packets=wire.rx_packets,
            rx_bytes=1000 * wire.rx_packets,
            tx_packets=wire.tx_packets,
            tx_bytes=1000 * wire.tx_packets,
            at=now,
        )

    def _speak_ike(
        self, action: actions.SendIkePing | actions.TerminateTunnel | actions.InitiateTunnel
    ) -> None:
        match action:
            case actions.SendIkePing():
                self.world.ike_ping(action.tunnel)
            case actions.TerminateTunnel():
                self.world.terminate(action.tunnel)
            case actions.InitiateTunnel():
                self.world.initiate(action.tunnel, force_encapsulation=action.force_encapsulation)


def _tapped(
    key: TunnelKey, target: IPv4Address, sequence: int, heard_on: TunnelKey, at: float, core: Core
) -> None:
    core.probe_answered(key, target, sequence, heard_on=heard_on, at=at, filtered=True)


def make_tunnel(name: str, number: int, *, own: bool, **changes: object) -> TunnelIntent:
    """Return a tunnel with a target of its own, or with the shared one."""
    inside = ProbeTarget(address=IPv4Address(f"169.254.{number}.1"), inside_peer=True)
    tunnel = TunnelIntent(
        key=TunnelKey("hangzhou", name),
        role=Role.ACTIVE if number == 1 else Role.STANDBY,
        weight=1,
        nexthop_id=0x56500000 + number,
        interface=f"vpn-{number}",
        outer_interface="eth0",
        source=None,
        targets=(inside,) if own else (ProbeTarget(address=SHARED, inside_peer=False),),
        method=ProbeMethod.ICMP,
        port=0,
        interval=0.1,
        detect_multiplier=3,
        hold_down=5.0,
        remote_address=IPv4Address(f"203.0.113.{number}"),
        local_address=None,
        limits=Limits(),
        child_sa_installed=True,
        encapsulated=True,
    )
    return replace(tunnel, **changes)  # type: ignore[arg-type]


def make_intent(
    *,
    own: bool = True,
    forwarding: Forwarding = Forwarding.ACTIVE_STANDBY,
    policy: OnPathDown = OnPathDown.RESET,
    count: int = 2,
    **changes: object,
) -> Intent:
    """Return one connection of tunnels ``primary``, ``backup``, ``t3`` and so on."""
    names = ["primary", "backup", *(f"t{n}" for n in range(3, count + 1))][:count]
    tunnels = tuple(make_tunnel(name, n, own=own, **changes) for n, name in enumerate(names, 1))
    connection = ConnectionIntent(
        name="hangzhou", forwarding=forwarding, on_path_down=policy, tunnels=tunnels
    )
    return Intent(
        generation=1, connections=(connection,), groups=(GroupIntent(id=GROUP, connections=("hangzhou",)),)
    )


def confirmed(intent: Intent) -> Intent:
    """Return the intent with three probes for one that is missed, a fifth of the interval apart."""
    connections = tuple(
        replace(c, tunnels=tuple(replace(t, confirm_count=3, confirm_interval=0.02) for t in c.tunnels))
        for c in intent.connections
    )
    return replace(intent, connections=connections)


def make_connections(count: int, *, own: bool = False) -> Intent:
    """Return connections of one tunnel each that share a network, as a transit router's do."""
    connections = []
    for number in range(1, count + 1):
        name = f"c{number}"
        tunnel = make_tunnel("only", number, own=own, key=TunnelKey(name, "only"), role=Role.ACTIVE)
        connections.append(
            ConnectionIntent(
                name=name, forwarding=Forwarding.ECMP, on_path_down=OnPathDown.RESET, tunnels=(tunnel,)
            )
        )
    names = tuple(sorted(c.name for c in connections))
    return Intent(
        generation=1, connections=tuple(connections), groups=(GroupIntent(id=GROUP, connections=names),)
    )


def longest_gap(sent: list[float], start: float, end: float) -> float:
    """Return the longest time within which no packet that was sent came through."""
    times = [start, *(t for t in sent if start <= t <= end), end]
    return max(b - a for a, b in itertools.pairwise(times))


def next_trial(core: Core, tunnel: TunnelKey) -> float | None:
    """When a tunnel that was left down is tried again; None: it does not rest."""
    remedy = core._scheduler.remedy_of(tunnel)
    resting = remedy.phase in (Phase.RESTING, Phase.DISPLACED)
    return remedy.until if resting and remedy.until < inf else None


def last_heard(core: Core, tunnel: TunnelKey) -> float | None:
    """When a tunnel was heard last; None: never yet."""
    return core._scheduler.paths[tunnel].detector.last_heard
