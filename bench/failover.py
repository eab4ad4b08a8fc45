"""Outbound blackouts at a silent tunnel: ours, and what others reach beside us. Needs root."""

import contextlib
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import at, bench, judged
from lab.namespace import Namespace, ip
from tests.native.prober_process import Group, all_up, configure, control_daemon, until
from tests.native.two_tunnels import SHARED, SOURCE, TwoTunnels, two_tunnels

from vpnagent.probe.protocol import FailedOver


@dataclass(frozen=True)
class Rhythm:
    """How often is probed, and what follows from it."""

    interval: float  #: seconds
    multiplier: int

    @property
    def detection(self) -> float:
        """The detection time in seconds."""
        return self.interval * self.multiplier

    def __str__(self) -> str:
        return f"{self.multiplier} x {self.interval * 1000:.0f} ms"


#: with the most that p50 and p99 may be, in seconds
TARGETS = {Rhythm(0.1, 3): (0.15, 0.225), Rhythm(0.05, 3): (0.075, 0.1125), Rhythm(0.02, 3): (0.066, 0.1)}
NEW = 10  #: probes until a path is old enough to be suspected


@dataclass(frozen=True)
class FailoverTrial:
    """One failover."""

    lost_at: float
    moved_at: float  #: monotonic seconds, when the kernel acknowledged
    switch: float  #: seconds from the decision to the acknowledgement


def trial(world: TwoTunnels, group: Group, rhythm: Rhythm, *options: str) -> FailoverTrial:
    """Lose the active tunnel once, and put everything back."""
    wanted = configure(
        interval=rhythm.interval,
        detect_multiplier=rhythm.multiplier,
        hold_down=0.2,
        confirm_count=3,
        confirm_interval=rhythm.interval / 5,
    )
    with world.restored(), control_daemon(world, *options, wanted=wanted) as daemon:
        until(lambda: all_up(daemon), within=20)
        time.sleep((NEW + random.random()) * rhythm.interval)
        lost_at = time.monotonic()
        world.lose("m0")
        until(lambda: group() == ((102, 1),), within=10)
        event = until(lambda: daemon.of(FailedOver))[0]
        time.sleep(0.05)
        assert event.netlink_acknowledged is not None
        moved = event.netlink_acknowledged
        return FailoverTrial(lost_at, moved, moved - event.decided)


def blackouts(
    world: TwoTunnels, group: Group, rhythm: Rhythm, trials: int, *options: str
) -> tuple[list[float], list[float]]:
    """Return the gaps, and the times from decision to acknowledgement, in seconds."""
    stream = world.stream()
    done = [trial(world, group, rhythm, *options) for _ in range(trials)]
    arrivals = stream.stop().outbound
    gaps = [arrivals.longest_gap(after=t.lost_at, before=t.moved_at + 0.05) for t in done]
    return gaps, [t.switch for t in done]


def show(name: str, rhythm: Rhythm, gaps: list[float]) -> None:
    """Print a row: quantiles as multiples of the detection time."""
    quantiles = [
        f"{label} {at(gaps, q) / rhythm.detection:5.2f} x ({at(gaps, q) * 1000:5.0f} ms)"
        for label, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    ]
    print(f"{rhythm!s:11} {name:24} {len(gaps):3} trials: {', '.join(quantiles)}", flush=True)


def failover_native(*, trials: int = 50) -> None:
    """How long traffic stands still when a tunnel goes silent.

    Each trial takes a new prober and a healthy pair of stand-ins, lets go of the active one's outward
    direction at a random moment, and measures the gap in a 1 kHz stream at the far end (the outbound
    blackout). Nothing is spawned between the loss and the end of the gap.
    """
    with bench("outbound blackout"), two_tunnels() as world:
        group = Group(world.gw)
        for options, rhythms in ((("--realtime",), tuple(TARGETS)), ((), tuple(TARGETS)[:1])):
            for rhythm in rhythms:
                p50, p99 = TARGETS[rhythm]
                gaps, switches = blackouts(world, group, rhythm, trials, *options)
                show("vpnagent " + " ".join(options), rhythm, gaps)
                judged("p50, ms", at(gaps, 0.5) * 1000, p50 * 1000, "{:.0f}")
                judged("p99, ms", at(gaps, 0.99) * 1000, p99 * 1000, "{:.0f}")
                print(
                    f"  decision to acknowledgement: p50 {at(switches, 0.5) * 1000:.2f} ms, "
                    f"max {max(switches) * 1000:.2f} ms",
                    flush=True,
                )
        group.close()


RHYTHMS = (Rhythm(0.1, 3), Rhythm(0.02, 3))
NETWORK = "100.64.0.0/10"
SETTLE = 1.5  #: seconds: keepalived's session comes up at its idle rhythm of a second
# Between the ends stands a router, and BFD over one hop insists on a TTL of 255 (RFC 5881 section 5).
KEEP_TTL = """table ip bench {
    chain leave { type filter hook postrouting priority 0; ip ttl set 255
    }
}
"""
TIMERS = "min rx interval {0:.0f} ms; min tx interval {0:.0f} ms; idle tx interval 100 ms; multiplier {1};"
FAR_BIRD = """router id 10.0.0.2;
protocol device {{}}
protocol bfd {{
    interface "f*" {{ {timers} }};
    neighbor 169.254.10.2 dev "f0" local 169.254.10.1;
    neighbor 169.254.20.2 dev "f1" local 169.254.20.1;
}}
"""
BIRD = """router id 10.0.0.1;
protocol device {{}}
protocol kernel {{ ipv4 {{ export all; import none; }}; }}
protocol bfd {{ interface "t*" {{ {timers} }}; }}
protocol static via_t0 {{ ipv4 {{ preference 210; }}; route {network} via 169.254.10.1 bfd; }}
protocol static via_t1 {{ ipv4 {{ preference 200; }}; route {network} via 169.254.20.1 bfd; }}
"""
KEEPALIVED = """global_defs {{
    vrrp_priority 0
    bfd_priority 0
}}
bfd_instance first {{
    neighbor_ip 169.254.10.1
    source_ip 169.254.10.2
    min_rx {interval:.0f}
    min_tx {interval:.0f}
    idle_tx 1000
    multiplier {multiplier}
}}
vrrp_instance first {{
    interface t0
    state MASTER
    virtual_router_id 51
    priority 200
    advert_int 0.1
    version 3
    unicast_src_ip 169.254.10.2
    unicast_peer {{
        169.254.10.1
    }}
    track_bfd {{
        first
    }}
    virtual_ipaddress {{
        10.99.0.1/32 dev lo
    }}
    virtual_routes {{
        {network} via 169.254.10.1 dev t0 metric 10
    }}
}}
"""
PING_LOOP = f"""while :; do
    if ping -q -n -c 2 -W 1 -I t0 169.254.10.1 >/dev/null; then leg=t0; else leg=t1; fi
    ip route replace {NETWORK} dev $leg metric 10
    sleep 1
done
"""


@dataclass(frozen=True)
class Reference:
    """Where a reference runs."""

    world: TwoTunnels
    directory: Path
    rhythm: Rhythm

    def write(self, name: str, template: str) -> str:
        """Write a configuration, and return its path."""
        rhythm = self.rhythm
        timers = TIMERS.format(rhythm.interval * 1000, rhythm.multiplier)
        path = self.directory / name
        path.write_text(
            template.format(
                timers=timers,
                interval=rhythm.interval * 1000,
                multiplier=rhythm.multiplier,
                network=NETWORK,
            )
        )
        return str(path)

    @contextlib.contextmanager
    def running(self, namespace: str, *command: str) -> Iterator[None]:
        """Run a program, and end it."""
        with open(self.directory / f"{Path(command[0]).name}.log", "wb") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command], stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)

    def _bird(self, namespace: str, name: str, template: str) -> contextlib.AbstractContextManager[None]:
        conf, control = self.write(f"{name}.conf", template), str(self.directory / f"{name}.ctl")
        pid = str(self.directory / f"{name}.pid")
        return self.running(namespace, "bird", "-f", "-c", conf, "-s", control, "-P", pid)

    def bird(self) -> contextlib.AbstractContextManager[None]:
        """BIRD, as the router."""
        return self._bird(self.world.gw, "gateway", BIRD)

    def speaker(self) -> contextlib.AbstractContextManager[None]:
        """BIRD, as the BFD speaker at the far end."""
        return self._bird(self.world.far, "far", FAR_BIRD)

    def keepalived(self) -> contextlib.AbstractContextManager[None]:
        """Start keepalived over a standing route through the standby."""
        files = [f"{option}{self.directory}/ka{option}.pid" for option in ("-p", "-r", "-b", "-c")]
        conf = self.write("keepalived.conf", KEEPALIVED)
        return self.running(self.world.gw, "keepalived", "-n", "-l", "-f", conf, *files)

    def ping_loop(self) -> contextlib.AbstractContextManager[None]:
        """Start the loop."""
        return self.running(self.world.gw, "sh", "-c", PING_LOOP)

    def leg(self) -> str:
        """Return the interface that the stream leaves by."""
        command = ["ip", "-n", self.world.gw, "route", "get", SHARED]
        words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        return words[words.index("dev") + 1] if "dev" in words else ""


def prepared(world: TwoTunnels) -> None:
    """Give the tunnels addresses, as BFD needs them, and leave the route to the reference."""
    numbers = (10, 20)
    ip(
        f"route del {NETWORK} nhid 900",
        *(f"addr add 169.254.{n}.2/30 dev t{i}" for i, n in enumerate(numbers)),
        f"route add {NETWORK} via 169.254.20.1 dev t1 src {SOURCE} metric 1000",
        namespace=world.gw,
    )
    ip(*(f"addr add 169.254.{n}.1/30 dev f{i}" for i, n in enumerate(numbers)), namespace=world.far)
    Namespace(world.mid).nft(KEEP_TTL)


def losses(place: Reference, count: int, *, longest: float) -> list[float]:
    """Lose the active tunnel so many times; return the gaps in seconds."""
    world = place.world
    until(lambda: place.leg() == "t0", within=30, every=0.05)
    spans = []
    stream = world.stream()
    try:
        for _ in range(count):
            until(lambda: place.leg() == "t0", within=30, every=0.05)
            time.sleep(SETTLE + random.random() * place.rhythm.interval)
            lost_at = time.monotonic()
            world.lose("m0")
            time.sleep(longest)
            assert place.leg() == "t1", "it did not move"
            spans.append((lost_at, time.monotonic()))
            world.heal()
    finally:
        arrivals = stream.stop().outbound
    return [arrivals.longest_gap(after=after, before=before) for after, before in spans]


def references(*, trials: int = 50) -> None:
    """What others reach beside us.

    The same stand-ins, the same 1 kHz stream, the same loss of the active tunnel's outward direction, at
    the same interval and multiplier: BIRD 2 (static routes with ``bfd``) and keepalived (a VRRP instance
    that follows its BFD and holds the route), both with BIRD's BFD speaking at the far end, which
    Alibaba's end does not do; and a ping loop with ``ip route replace`` as VyOS 1.5's failover routes
    have it (ping -c 2 -W 1, then a pause; its shortest is 1 s). Needs bird2 and keepalived.
    """
    with bench("outbound blackout beside the references"):
        for rhythm in RHYTHMS:
            with two_tunnels() as world:
                group = Group(world.gw)
                gaps, _ = blackouts(world, group, rhythm, trials, "--realtime")
                group.close()
                show("vpnagent --realtime", rhythm, gaps)
            with two_tunnels() as world, tempfile.TemporaryDirectory() as directory:
                prepared(world)
                place = Reference(world, Path(directory), rhythm)
                longest = 5 * rhythm.detection + 0.2
                with place.speaker():
                    with place.bird():
                        show("BIRD 2 static + bfd", rhythm, losses(place, trials, longest=longest))
                    with place.keepalived():
                        show("keepalived BFD", rhythm, losses(place, trials, longest=longest))
                if rhythm is RHYTHMS[0]:
                    with place.ping_loop():
                        show("ping loop, as VyOS", rhythm, losses(place, max(5, trials // 3), longest=5.0))
