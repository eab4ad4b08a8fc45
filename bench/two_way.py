"""Failovers that somebody is told of: both directions with IKE alive, and what is signalled. Needs root."""

import contextlib
import fcntl
import random
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.failover import Rhythm, show
from bench.figures import at, bench, judged
from lab.namespace import inside, ip
from lab.stream import StreamResult
from tests.native.prober_process import (
    KEYS,
    ControlDaemon,
    Group,
    all_up,
    configure,
    control_daemon,
    shared_targets,
    until,
)
from tests.native.two_tunnels import TwoTunnels, two_tunnels, udp_socket

from vpnagent.config.values import OnPathDown
from vpnagent.probe.ike_daemons import Frames, framed
from vpnagent.probe.intent import Configure, ViciRequests
from vpnagent.probe.protocol import FailedOver

RHYTHM = Rhythm(0.1, 3)
BLACKOUTS = ((False, "tunnel targets", 1.15, 1.4), (True, "shared targets", 1.3, 1.8))  #: shared, p50, p99
ROUND_TRIP = 0.005  #: seconds from charon's DELETE to the cloud's switch
PEERS = ("203.0.113.1", "203.0.113.2")
_SUCCESS = b"\x01\x03\x07success\x00\x03yes"
_IKE_PORT = 500


class CharonStandIn:
    """Takes the prober's requests, and has the cloud follow a terminated tunnel."""

    def __init__(self, path: Path, follow: Callable[[], None]) -> None:
        self.asked: list[bytes] = []
        self._follow = follow
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; what is connected ends with its peer."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        frames = Frames()
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(4096):
                for packet in frames.feed(data):
                    self.asked.append(packet)
                    if packet == b"terminate 0":
                        time.sleep(ROUND_TRIP)
                        self._follow()
                    connection.sendall(framed(_SUCCESS))


@contextlib.contextmanager
def ike_daemons(world: TwoTunnels) -> Iterator[None]:
    """Answer IKE pings for both peers."""
    ip(*(f"addr add {peer}/32 dev lo" for peer in PEERS), namespace=world.gw)
    ended = threading.Event()

    def serve(peer: str) -> None:
        sock = inside(world.gw, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((peer, _IKE_PORT))
        sock.settimeout(0.1)
        with sock:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    request, client = sock.recvfrom(4096)
                    answer = bytearray(request)
                    answer[19] |= 0x20  # the response flag (RFC 7296 section 3.1)
                    sock.sendto(answer, client)

    threads = [threading.Thread(target=serve, args=(peer,)) for peer in PEERS]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def wanted(vici_socket: Path, *, shared: bool) -> Configure:
    """Return a connection that resets a tunnel whose path is dead."""
    vici = tuple(
        ViciRequests(
            tunnel=key,
            terminate=(f"terminate {n}".encode(),),
            initiate=(f"initiate {n}".encode(),),
            initiate_encapsulated=(f"initiate {n}".encode(),),
        )
        for n, key in enumerate(KEYS)
    )
    targets = {"targets": shared_targets()} if shared else {}
    first, second = ({"remote_address": IPv4Address(peer)} for peer in PEERS)
    return configure(
        vici_socket=str(vici_socket),
        vici=vici,
        on_path_down=OnPathDown.RESET,
        first=first,
        second=second,
        interval=RHYTHM.interval,
        detect_multiplier=RHYTHM.multiplier,
        hold_down=0.5,
        confirm_count=3,
        confirm_interval=RHYTHM.interval / 5,
        ike_ping=True,
        **targets,
    )


@dataclass(frozen=True)
class TwoWayTrial:
    """One failover."""

    lost_at: float
    over_at: float
    right: bool  #: the tunnel that was lost was reset, and no other


def two_way_trial(world: TwoTunnels, *, shared: bool) -> TwoWayTrial:
    """Lose the active tunnel both ways, and put everything back."""
    with contextlib.ExitStack() as stack:
        vici = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "vici"
        ours, theirs, cloud = (
            stack.enter_context(contextlib.closing(Group(there)))
            for there in (world.gw, world.far, world.far)
        )
        stack.callback(theirs.write, ((101, 1),))
        stack.enter_context(world.restored())
        charon = stack.enter_context(
            contextlib.closing(CharonStandIn(vici, lambda: cloud.write(((102, 1),))))
        )
        daemon = stack.enter_context(control_daemon(world, "--realtime", wanted=wanted(vici, shared=shared)))
        until(lambda: all_up(daemon), within=20)
        time.sleep(0.3 + random.random() * RHYTHM.interval)
        lost_at = time.monotonic()
        world.lose("m0", "n0")
        until(lambda: ours() == theirs() == ((102, 1),), within=5)
        over_at = time.monotonic() + 0.1
        time.sleep(0.1)
        resets = {packet for packet in charon.asked if packet.startswith(b"terminate")}
        return TwoWayTrial(lost_at, over_at, resets == {b"terminate 0"})


def longest(result: StreamResult, done: TwoWayTrial) -> float:
    """Return the longest gap in either direction."""
    ways = (result.outbound, result.inbound)
    return max(way.longest_gap(after=done.lost_at, before=done.over_at) for way in ways)


def two_way(*, trials: int = 50) -> None:
    """Both directions of a failover.

    Everything on the active tunnel is lost, both ways, while IKE lives. Our direction the prober moves
    itself; the other moves when the peer is told, by the DELETE of the IKE_SA that the prober has charon
    terminate. charon is a stand-in here, and so is the cloud: the stand-in takes the prober's VICI
    requests and moves the far end's group one round trip of 5 ms later, as an active/standby gateway
    follows a DELETE. With tunnel targets every tunnel is judged by itself; with shared targets only, all
    probes go silent together, the IKE daemons of both peers are asked (and answer), and the return tunnel
    must be found.
    """
    with bench("two-way blackout, IKE alive"), two_tunnels() as world, ike_daemons(world):
        for shared, name, p50, p99 in BLACKOUTS:
            stream = world.stream(back=True)
            done = [two_way_trial(world, shared=shared) for _ in range(trials)]
            result = stream.stop()
            gaps = [longest(result, one) for one in done]
            show(name, RHYTHM, gaps)
            judged("p50, x detection time", at(gaps, 0.5) / RHYTHM.detection, p50)
            judged("p99, x detection time", at(gaps, 0.99) / RHYTHM.detection, p99)
            judged(
                "trials in which another tunnel was reset", sum(not one.right for one in done), 0, "{:.0f}"
            )


SIOCSIFFLAGS = 0x8914  # netdevice(7)
IFF_UP = 1
SIGNALLED = 0.02  #: seconds


def signalled(*, trials: int = 50) -> None:
    """How soon traffic moves when somebody says so.

    Two signals: the carrier of the interface by which the active tunnel's peer is reached is lost; the
    control daemon tells that the active tunnel's CHILD_SA is gone, as it does when charon tells it of a
    DELETE. From the signal to the kernel's acknowledgement of the new group.
    """
    with bench("signalled failures"), two_tunnels() as world, udp_socket(world.mid) as uplink:
        for number in (0, 1):
            ip(f"link add u{number} type veth peer name v{number} netns {world.mid}", namespace=world.gw)
            ip(f"link set u{number} up", namespace=world.gw)
            set_up(uplink, f"v{number}", True)
        measure("carrier lost", lambda _: set_up(uplink, "v0", False), world, trials)
        measure("told by the daemon", lambda daemon: tell(daemon, False), world, trials)


def measure(name: str, signal: Callable[[ControlDaemon], None], world: TwoTunnels, trials: int) -> None:
    """Print a row of trials."""
    group = Group(world.gw)
    took = [signalled_trial(signal, world, group) for _ in range(trials)]
    group.close()
    quantiles = ", ".join(f"{label} {at(took, q) * 1000:.2f} ms" for label, q in (("p50", 0.5), ("max", 1.0)))
    print(f"{name}, {trials} trials: {quantiles}")
    judged("p99, ms", at(took, 0.99) * 1000, SIGNALLED * 1000)


def signalled_trial(signal: Callable[[ControlDaemon], None], world: TwoTunnels, group: Group) -> float:
    """Signal once to a new prober (an old one would hold the tunnel down for longer each time)."""
    with (
        world.restored(),
        udp_socket(world.mid) as uplink,
        control_daemon(world, "--realtime") as daemon,
    ):
        set_up(uplink, "v0", True)
        tell(daemon, True)
        until(lambda: all_up(daemon), within=20)
        began = time.monotonic()
        signal(daemon)
        until(lambda: group() == ((102, 1),), within=10)
        [event] = until(lambda: daemon.of(FailedOver))
        assert event.netlink_acknowledged is not None
        return event.netlink_acknowledged - began


def set_up(interfaces: socket.socket, name: str, up: bool) -> None:
    """Set an interface up or down, without starting a process."""
    fcntl.ioctl(interfaces, SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), IFF_UP if up else 0))


def tell(daemon: ControlDaemon, installed: bool) -> None:
    """Tell the prober whether the active tunnel has a CHILD_SA."""
    first = {"outer_interface": "u0", "child_sa_installed": installed}
    daemon.configure(configure(first=first, second={"outer_interface": "u1"}, hold_down=0.2))
