"""Both directions of a failover: ``python -m bench.two_way [--trials N]``.

Everything on the active tunnel is lost, both ways, while IKE lives. Our direction the prober moves itself;
the other moves when the peer is told, by the DELETE of the IKE_SA that the prober has charon terminate.
charon is a stand-in here, and so is the cloud: the stand-in takes the prober's VICI requests and moves the
far end's group one round trip of 5 ms later, as an active/standby gateway follows a DELETE. With tunnel
targets every tunnel is judged by itself; with shared targets only, all probes go silent together, the IKE
daemons of both peers are asked (and answer), and the return tunnel must be found. Needs root.
"""

import argparse
import contextlib
import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.failover_native import Rhythm, all_up, show
from bench.figures import at, bench, judged
from lab.namespace import inside, ip
from tests.native.prober_process import KEYS, ControlDaemon, Group, configure, shared_targets, until
from tests.native.stream import Arrivals, Stream
from tests.native.two_tunnels import SHARED, SOURCE, TwoTunnels, two_tunnels

from vpnagent.config.values import OnPathDown
from vpnagent.probe.ike_daemons import Frames, framed
from vpnagent.probe.intent import Configure, ViciRequests

RHYTHM = Rhythm(0.1, 3)
TARGETS = ((False, "tunnel targets", 1.15, 1.4), (True, "shared targets", 1.3, 1.8))  #: shared, p50, p99
ROUND_TRIP = 0.005  #: seconds from charon's DELETE to the cloud's switch
PEERS = ("203.0.113.1", "203.0.113.2")
_SUCCESS = b"\x01\x03\x07success\x00\x03yes"
_IKE_PORT = 500


class Charon:
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
        ike_ping=True,
        **targets,
    )


@dataclass(frozen=True)
class Trial:
    """One failover."""

    lost_at: float
    over_at: float
    right: bool  #: the tunnel that was lost was reset, and no other


def trial(world: TwoTunnels, *, shared: bool) -> Trial:
    """Lose the active tunnel both ways, and put everything back."""
    ours, theirs, cloud = Group(world.gw), Group(world.far), Group(world.far)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        charon = Charon(directory / "vici", lambda: cloud.write(((102, 1),)))
        with ControlDaemon(world, directory / "prober.sock", "--realtime") as daemon:
            try:
                daemon.configure(wanted(directory / "vici", shared=shared))
                until(lambda: all_up(daemon), within=20)
                time.sleep(0.3 + random.random() * RHYTHM.interval)
                lost_at = time.monotonic()
                world.lose("m0", "n0")
                until(lambda: ours() == theirs() == ((102, 1),), within=5)
                over_at = time.monotonic() + 0.1
                time.sleep(0.1)
                resets = {packet for packet in charon.asked if packet.startswith(b"terminate")}
                return Trial(lost_at, over_at, resets == {b"terminate 0"})
            finally:
                daemon.quit()
                daemon.end_probers()
                charon.close()
                world.heal()
                ip("nexthop replace id 900 group 101 proto 86", namespace=world.gw)
                theirs.write(((101, 1),))
                for group in (ours, theirs, cloud):
                    group.close()


def longest(streams: list[Arrivals], done: Trial) -> float:
    """Return the longest gap in either direction."""
    return max(s.longest_gap(after=done.lost_at, before=done.over_at) for s in streams)


def main() -> None:
    """Measure with tunnel targets and with shared ones."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=50)
    count = arguments.parse_args().trials
    with bench("two-way blackout, IKE alive"), two_tunnels() as world, ike_daemons(world):
        for shared, name, p50, p99 in (
            (False, "tunnel targets", 1.15, 1.4),
            (True, "shared targets", 1.3, 1.8),
        ):
            out = Stream(world.gw, world.far, SOURCE, SHARED)
            back = Stream(world.far, world.gw, SHARED, SOURCE)
            done = [trial(world, shared=shared) for _ in range(count)]
            streams = [out.stop(), back.stop()]
            gaps = [longest(streams, one) for one in done]
            show(name, RHYTHM, gaps)
            judged("p50, x detection time", at(gaps, 0.5) / RHYTHM.detection, p50)
            judged("p99, x detection time", at(gaps, 0.99) / RHYTHM.detection, p99)
            judged(
                "trials in which another tunnel was reset", sum(not one.right for one in done), 0, "{:.0f}"
            )


if __name__ == "__main__":
    main()
