"""Rare orders: reloads, packets, links and SAs in any order, with answers to questions of a former intent.

The law: whatever was asked, and whatever was reloaded since, an answer raises nothing, whenever it comes.
Everything that is asked is answered after 1 to 500 ms, or never; the shell is one that forgets nothing, so
that an answer may name a tunnel, a target or a probe that is of no intent any more. And the core comes to an
end: at each moment it asks for a bounded number of things, and every group is of the intent in force.

``VPNAGENT_FUZZ_EXAMPLES`` says how many orders, in place of a few hundred.
"""

import errno
import heapq
import itertools
import os
import random
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.probe.simulation import make_tunnel

from vpnagent.config.values import Forwarding, OnPathDown, ProbeMethod, Role, TunnelKey
from vpnagent.probe import actions
from vpnagent.probe.core import Core
from vpnagent.probe.intent import ConnectionIntent, GroupIntent, Intent, Limits, ProbeTarget, TunnelIntent

EXAMPLES = int(os.environ.get("VPNAGENT_FUZZ_EXAMPLES", "0")) or 300
STEPS = 50  #: happenings of one order
SOONEST, LATEST = 0.001, 0.5  #: seconds after which anything comes
ADDRESSES = [IPv4Address(a) for a in ("169.254.1.1", "169.254.2.1", "172.16.0.10", "172.16.0.11")]
NAMES = ("primary", "backup", "third")


class Order:
    """One core, and everything that may happen to it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 100.0
        self._coming: list[tuple[float, int, Callable[[Core], object]]] = []
        self._count = itertools.count()
        self._generations = itertools.count(1)
        self.intent = self._any_intent()
        self.core = Core(self.intent, now=self.now, random=self.random.random)
        self.loss = self.random.choice([0.0, 0.0, 0.1, 0.5, 1.0])

    # What an operator, or a daemon, may say

    def _any_intent(self) -> Intent:
        draw = self.random
        names = draw.sample(["east", "west", "north"], draw.randint(1, 3))
        connections = tuple(self._any_connection(name) for name in names)
        return Intent(
            generation=next(self._generations), connections=connections, groups=self._any_groups(connections)
        )

    def _any_connection(self, name: str) -> ConnectionIntent:
        draw = self.random
        tunnels = tuple(
            self._any_tunnel(TunnelKey(name, tunnel), number)
            for number, tunnel in enumerate(draw.sample(NAMES, draw.randint(1, 3)), 1)
        )
        return ConnectionIntent(
            name=name,
            forwarding=draw.choice(list(Forwarding)),
            on_path_down=draw.choice(list(OnPathDown)),
            tunnels=tunnels,
        )

    def _any_tunnel(self, key: TunnelKey, number: int) -> TunnelIntent:
        draw = self.random
        interval = draw.choice([0.02, 0.1, 0.1, 1.0])
        return make_tunnel(
            key.tunnel,
            number,
            own=True,
            key=key,
            role=draw.choice(list(Role)),
            nexthop_id=number + 10 * sum(map(ord, key.connection)),
            interface=draw.choice([f"t-{key.connection}-{key.tunnel}", "t-shared"]),
            outer_interface=draw.choice([None, "eth0", "eth1"]),
            targets=tuple(
                ProbeTarget(address=address, inside_peer=draw.random() < 0.5)
                for address in draw.sample(ADDRESSES, draw.randint(1, 3))
            ),
            method=draw.choice(list(ProbeMethod)),
            interval=interval,
            detect_multiplier=draw.randint(1, 5),
            hold_down=draw.choice([0.0, 0.3, 5.0]),
            remote_address=draw.choice([IPv4Address("203.0.113.1"), IPv4Address("203.0.113.2")]),
            limits=draw.choice([Limits(), Limits(window=1.0), Limits(rtt_enter=0.2, rtt_leave=0.1)]),
            ike_ping=draw.random() < 0.7,
            child_sa_installed=draw.random() < 0.8,
            encapsulated=draw.random() < 0.5,
            drained=draw.random() < 0.1,
            dscp=draw.choice([0, 48]),
            failed_trials=draw.choice([None, None, None, 0, 3]),
        )

    def _any_groups(self, connections: tuple[ConnectionIntent, ...]) -> tuple[GroupIntent, ...]:
        draw = self.random
        names = sorted(c.name for c in connections)
        groups = [GroupIntent(id=1000 + n, connections=(name,)) for n, name in enumerate(names)]
        if draw.random() < 0.4:
            groups.append(GroupIntent(id=2000, connections=tuple(names)))
        return tuple(groups[draw.randint(0, 1) :]) if len(groups) > 1 else tuple(groups)

    def _amended(self) -> Intent:
        """Return the intent in force with one thing changed: most reloads are of that kind."""
        draw = self.random
        connections = list(self.intent.connections)
        which = draw.randrange(len(connections))
        tunnels = list(connections[which].tunnels)
        number = draw.randrange(len(tunnels))
        old = tunnels[number]
        other = self._any_tunnel(old.key, number + 1)
        field = draw.choice(
            [
                "targets",
                "targets",
                "child_sa_installed",
                "interval",
                "method",
                "limits",
                "interface",
                "remote_address",
                "drained",
                "hold_down",
                "dscp",
                "detect_multiplier",
                "outer_interface",
            ]
        )
        tunnels[number] = replace(old, **{field: getattr(other, field)})
        if draw.random() < 0.3:
            flipped = tuple(replace(t, inside_peer=not t.inside_peer) for t in old.targets)
            tunnels[number] = replace(old, targets=flipped)
        connections[which] = replace(connections[which], tunnels=tuple(tunnels))
        return replace(self.intent, generation=next(self._generations), connections=tuple(connections))

    # What happens

    def happen(self) -> None:
        """Let one thing happen now."""
        draw = self.random
        tunnel = draw.choice(self.intent.tunnels())
        match draw.choice(
            ["reload", "amend", "amend", "link", "sa", "overflow", "stall", "loss", "counters"]
        ):
            case "reload":
                self._reload(self._any_intent())
            case "amend":
                self._reload(self._amended())
            case "sa":
                changed = replace(tunnel, child_sa_installed=not tunnel.child_sa_installed)
                self._reload(self._with(changed))
            case "link":
                name = draw.choice([tunnel.interface, tunnel.outer_interface or "eth0", "t-shared"])
                usable = draw.random() < 0.5
                self.core.link_changed(name, usable=usable, at=self.now)
            case "overflow":
                self.core.overflowed([t.key for t in self.intent.tunnels()], at=self.now)
            case "stall":
                self.now += draw.choice([0.2, 1.0, 5.0])
            case "loss":
                self.loss = draw.choice([0.0, 0.0, 0.3, 1.0])
            case _:
                self._traffic(tunnel.key)

    def _with(self, tunnel: TunnelIntent) -> Intent:
        connections = tuple(
            replace(c, tunnels=tuple(tunnel if t.key == tunnel.key else t for t in c.tunnels))
            for c in self.intent.connections
        )
        return replace(self.intent, generation=next(self._generations), connections=connections)

    def _reload(self, intent: Intent) -> None:
        self.intent = intent
        self.core.replace_intent(intent, now=self.now)

    def _traffic(self, key: TunnelKey) -> None:
        count = self.random.randrange(1000)
        self.core.traffic(
            key, rx_packets=count, rx_bytes=100 * count, tx_packets=count, tx_bytes=0, at=self.now
        )

    # What comes of what is asked

    def _later(self, fact: Callable[[Core], object]) -> None:
        at = self.now + self.random.uniform(SOONEST, LATEST)
        heapq.heappush(self._coming, (at, next(self._count), fact))

    def _do(self, action: actions.ProberAction) -> None:
        draw = self.random
        match action:
            case actions.SendProbe():
                self._probe(action)
            case actions.SendIkePing():
                if draw.random() > self.loss:
                    tunnel = action.tunnel
                    self._later(lambda core: core.ike_ping_answered(tunnel, at=self.now))
            case actions.ReadTraffic():
                self._traffic(action.tunnel)
            case actions.TerminateTunnel() | actions.InitiateTunnel():
                error = draw.choice([None, None, "not found"])
                key, ends = action.tunnel, isinstance(action, actions.TerminateTunnel)
                self._later(
                    lambda core: (core.terminated if ends else core.initiated)(key, at=self.now, error=error)
                )
            case _:
                pass

    def _probe(self, probe: actions.SendProbe) -> None:
        draw, key, at = self.random, probe.tunnel, self.now
        if draw.random() < 0.02:
            self.core.probe_failed(key, probe.sequence, errno.EPERM, at=at)
            return
        self.core.probe_sent(key, probe.sequence, at=at)
        if draw.random() < self.loss:
            return
        heard_on = draw.choice([key, key, key, None, *(t.key for t in self.intent.tunnels())])
        filtered = draw.random() < 0.05
        for _ in range(draw.choice([1, 1, 1, 2])):
            self._later(
                lambda core: core.probe_answered(
                    key,
                    probe.target.address,
                    probe.sequence,
                    heard_on=heard_on,
                    at=self.now,
                    filtered=filtered,
                )
            )

    def run(self) -> None:
        """Live through it."""
        for _ in range(STEPS):
            self._until(self.now + self.random.choice([0.0, 0.001, 0.02, 0.1, 0.3]))
            self.happen()
            self._settle()
        self._until(self.now + 2.0)

    def _until(self, end: float) -> None:
        while True:
            coming = self._coming[0][0] if self._coming else end
            due = self.core.deadline()
            at = min(coming, end if due is None else due, end)
            if at >= end:
                break
            self.now = max(self.now, at)
            while self._coming and self._coming[0][0] <= self.now:
                heapq.heappop(self._coming)[2](self.core)
            self._settle()
        self.now = max(self.now, end)
        self._settle()

    def _settle(self) -> None:
        """Wake up until nothing is due."""
        for _ in range(100):
            for action in self.core.advance(self.now):
                self._do(action)
            due = self.core.deadline()
            if due is None or due > self.now:
                break
        else:
            raise AssertionError("the core is never done")
        assert set(self.core.groups()) == {group.id for group in self.intent.groups}
        assert [report.tunnel for report in self.core.paths()] == [t.key for t in self.intent.tunnels()]
        self.core.findings()


@given(st.integers(0, 2**63))
@settings(max_examples=EXAMPLES)
def test_no_order_of_events_raises(seed: int) -> None:
    Order(seed).run()


def test_an_answer_to_a_former_intent_is_none_to_this_one() -> None:
    order = Order(1)
    tunnel = replace(
        order.intent.tunnels()[0],
        targets=(ProbeTarget(address=ADDRESSES[0], inside_peer=False),),
        child_sa_installed=True,
        failed_trials=None,
    )
    connection = ConnectionIntent(
        name=tunnel.key.connection,
        forwarding=Forwarding.ACTIVE_STANDBY,
        on_path_down=OnPathDown.KEEP,
        tunnels=(tunnel,),
    )
    before = Intent(generation=1, connections=(connection,), groups=())
    core = Core(before, now=0.0, random=lambda: 0.5)
    sent = [a for a in core.advance(0.0) if isinstance(a, actions.SendProbe)]
    core.probe_sent(tunnel.key, sent[0].sequence, at=0.0)
    now_the_peer = replace(tunnel, targets=(ProbeTarget(address=ADDRESSES[0], inside_peer=True),))
    after = replace(before, generation=2, connections=(replace(connection, tunnels=(now_the_peer,)),))
    core.replace_intent(after, now=0.01)

    core.probe_answered(tunnel.key, ADDRESSES[0], sent[0].sequence, heard_on=tunnel.key, at=0.05)

    assert core.paths()[0].answered == 0
