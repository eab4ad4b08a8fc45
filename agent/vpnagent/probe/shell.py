"""Does what the core asks, and tells it what came of it: probes, groups, IKE pings, charon, counters.

The sockets are drained before the core decides and written to after it did; what is taken at one wake-up is
bounded, and while most of what comes is no answer (``Noise``) it is not worth a wake-up. A shell.
"""

import errno
import time
from collections.abc import Callable
from math import inf
from typing import Final

from vpnagent.config.values import ProbeMethod, TunnelKey
from vpnagent.errors import NetlinkError
from vpnagent.probe import actions
from vpnagent.probe.actions import FirstReply, PathChanged, ProberAction, SendProbe
from vpnagent.probe.core import Core
from vpnagent.probe.ike_daemons import IkeSockets, OnAnswer, ViciStreams
from vpnagent.probe.inbox import Allowance, Poller, Taps
from vpnagent.probe.intent import Configure, TunnelIntent, ViciRequests
from vpnagent.probe.interfaces import Interfaces
from vpnagent.probe.kernel import GroupWriter, KernelRequests, Written
from vpnagent.probe.protocol import FailedOver
from vpnagent.probe.slots import ProbeSocket, Slots
from vpnagent.probe.sockets import DnsSocket, EchoSocket, SynSocket

ProberEvent = PathChanged | FailedOver | FirstReply

_Told = Callable[..., None]  # Core.terminated or Core.initiated

BURST: Final = 2048  #: packets that are taken at one wake-up; half of it is more than is ever under way
RATE: Final = 50_000.0  #: packets a second: more than all probes together, and what a core can look at

RENEWAL: Final = 3.0  #: seconds in which a secret asks; as long again may be answered, and no longer

_SOCKETS: dict[ProbeMethod, Callable[[], ProbeSocket]] = {
    ProbeMethod.ICMP: EchoSocket,
    ProbeMethod.TCP: SynSocket,
    ProbeMethod.DNS: DnsSocket,
}


class Noise:
    """How much of what passes the filters is no answer: beyond ``QUIET`` it is not worth a wake-up."""

    QUIET: Final = 1000.0  #: packets a second
    LOOK: Final = 0.01  #: seconds between looks

    __slots__ = ("_at", "_level", "over")

    def __init__(self) -> None:
        self._at = self._level = 0.0
        self.over = inf  #: when to look again; infinite: it is quiet

    def take(self, packets: int, now: float) -> None:
        """So many packets were no answers; ``now`` is monotonic seconds."""
        level = max(0.0, self._level - (now - self._at) * self.QUIET) + packets
        self._level = min(level, self.QUIET)
        self._at = now
        self.over = now + self.LOOK if self._level > self.QUIET * self.LOOK else inf

    def heard(self, now: float) -> bool:
        """Whether to look every now and then only."""
        return now < self.over < inf


class Shell:
    """The core's hands and ears. ``tell`` takes the events that the control daemon should know.

    ``announce`` tells the control daemon how things stand, and is called before charon is asked to terminate
    or to initiate an IKE_SA: the daemon hears of the end from charon, too, and would otherwise bring up again
    at once what is to stay down, and an active/standby cloud would stay on the dead tunnel.
    """

    def __init__(
        self,
        poller: Poller,
        kernel: KernelRequests,
        tell: Callable[[ProberEvent], None],
        announce: Callable[[], None],
    ) -> None:
        self._poller = poller
        self._kernel = kernel
        self._tell = tell
        self._announce = announce
        self._sockets: dict[ProbeMethod, ProbeSocket] = {}
        self._listening = True
        self._taps = Taps(poller)
        self._slots = Slots(self._socket_of)
        self._ike = IkeSockets(poller)
        self._charon = ViciStreams(poller)
        self._vici: dict[TunnelKey, ViciRequests] = {}
        self._tunnels: dict[TunnelKey, TunnelIntent] = {}
        self._ike_ping = b""
        self._overflows: dict[ProbeMethod, int] = {}
        self._allowance = Allowance(BURST, RATE)
        self._noise = Noise()
        self._renewed_at = 0.0
        self._interfaces = Interfaces()
        self.groups = GroupWriter(kernel)
        self.send_errors = 0
        self._written: list[Written] = []  #: the last group writes

    @property
    def overflows(self) -> int:
        """Answers lost to full buffers of ours."""
        return sum(self._overflows.values())

    def configure(self, configure: Configure, interfaces: Interfaces) -> None:
        """Make everything beforehand that this configuration may need."""
        tunnels = configure.intent.tunnels()
        self._ike.use(tunnels)
        self._tunnels = {tunnel.key: tunnel for tunnel in tunnels}
        self._vici = {requests.tunnel: requests for requests in configure.vici}
        self._ike_ping = configure.crafted.ike_ping
        self._charon.use(configure.vici_socket)
        self.groups.restorer.use(configure.routes)
        self.rebuild(configure, interfaces)

    def rebuild(self, configure: Configure, interfaces: Interfaces) -> None:
        """Make the slots anew, as interfaces have changed."""
        self._interfaces = interfaces
        self._slots.rebuild(configure, interfaces)
        for sock in self._sockets.values():
            sock.expect(self._slots.expected_of(sock))
        self._follow_with_tap()

    def _follow_with_tap(self) -> None:
        sock = self._sockets.get(ProbeMethod.ICMP)
        if isinstance(sock, EchoSocket):
            self._taps.expect(sock.tap_program)

    def drain(self, core: Core | None, monotonic: int, wall: int) -> None:
        """Tell the core of the answers that wait, as far as is allowed; the rest waits for the next time."""
        now, allowance = monotonic / 1e9, self._allowance
        allowance.renew(now)
        before, told = allowance.left, 0
        asked_by, tunnels = self._slots.asked, self._slots.tunnels
        for sock in self._sockets.values():
            for slot, sequence, interface, at in sock.drain(monotonic, wall, allowance):
                asked = asked_by.get(slot)
                if asked is not None and core is not None:
                    heard_on = tunnels.get(interface)
                    told += core.probe_answered(*asked, sequence, heard_on=heard_on, at=at)
        if core is not None and (self._taps.open or self._ike.open or allowance.overflowed):
            told += self._tell_more(core, monotonic, wall)
        noise = before - allowance.left - told
        if noise or self._noise.over < inf:
            self._noise.take(noise, now)

    def _tell_more(self, core: Core, monotonic: int, wall: int) -> int:
        """Tell the core of what else was received, and return how much, and of what we lost ourselves."""
        told = self._tell_filtered(core, monotonic, wall) if self._taps.open else 0
        for tunnel in self._ike.drain(self._allowance):
            core.ike_ping_answered(tunnel, at=monotonic / 1e9)
            told += 1
        if self._allowance.overflowed:
            self._tell_overflows(core, monotonic / 1e9)
        return told

    def _tell_filtered(self, core: Core, monotonic: int, wall: int) -> int:
        """Tell of replies that arrived at an interface, and how many: those that a socket had, it knows."""
        if self._allowance.overflowed:
            self._taps.forget()
        told = 0
        for slot, sequence, interface, at in self._taps.drain(monotonic, wall, self._allowance):
            asked = self._slots.asked.get(slot)
            if asked is not None:
                index = self._interfaces.index(interface)
                heard_on = self._slots.tunnels.get(index) if index is not None else None
                core.probe_answered(*asked, sequence, heard_on=heard_on, at=at, filtered=True)
                told += 1
        return told

    def tap(self, core: Core, now: float) -> None:
        """Look at the interfaces while the core misses something; to be called before probes are sent."""
        sock = self._sockets.get(ProbeMethod.ICMP)
        make = sock.tap if isinstance(sock, EchoSocket) else None
        self._taps.want(make, wanted=core.suspects_filter(), now=now)

    @property
    def due(self) -> float:
        """When to drain at the latest."""
        return min(self._taps.due, self._noise.over)

    def listen(self, now: float, *, closely: bool) -> None:
        """Wake up for every answer, or take the answers in when something else is due: half the wake-ups.

        While most of what comes is no answer, they are taken in every ``LOOK`` seconds.
        """
        closely = closely and not (self._noise.over < inf and self._noise.heard(now))
        if closely != self._listening:
            self._listening = closely
            for sock in self._sockets.values():
                self._watch(sock)

    def _watch(self, sock: ProbeSocket) -> None:
        if self._listening:
            self._poller.watch(sock.fileno(), lambda: None)  # drained at every wake-up
        else:
            self._poller.forget(sock.fileno())

    def _tell_overflows(self, core: Core, now: float) -> None:
        """Tell of answers that a socket of ours lost: to whoever asks by that one."""
        self._allowance.overflowed = False
        for method, sock in self._sockets.items():
            if sock.overflows != self._overflows.get(method, 0):
                self._overflows[method] = sock.overflows
                core.overflowed([t.key for t in self._tunnels.values() if t.method is method], at=now)

    def perform(self, asked: list[ProberAction], core: Core) -> None:
        """Do what is asked, in order."""
        written: list[Written] = []
        for action in asked:
            match action:
                case SendProbe():
                    self._send_probe(action, core)
                case actions.WriteGroup():
                    written.append(self.groups.write(action.group_id, action.members))
                case actions.DeleteGroup():
                    written.append(self.groups.write(action.group_id, ()))
                case actions.TrafficMoved():
                    # What was moved on suspicion was written then.
                    self._written = written or self._written
                    self._tell(_failed_over(action, [w for w in self._written if w.sent >= action.at]))
                case actions.PathChanged() | actions.FirstReply():
                    self._tell(action)
                case _:
                    self._perform_rare(action, core)
        self._written = written or self._written

    def _perform_rare(
        self,
        action: actions.SendIkePing | actions.ReadTraffic | actions.TerminateTunnel | actions.InitiateTunnel,
        core: Core,
    ) -> None:
        match action:
            case actions.SendIkePing():
                self._send_ike_ping(action.tunnel)
            case actions.ReadTraffic():
                self._read_traffic(action, core)
            case actions.TerminateTunnel():
                self._announce()
                requests = self._vici.get(action.tunnel)
                self._ask_charon(action.tunnel, requests.terminate if requests else (), core.terminated)
            case actions.InitiateTunnel():
                self._announce()
                requests = self._vici.get(action.tunnel)
                packets = () if requests is None else requests.initiate
                if requests and action.force_encapsulation:
                    packets = requests.initiate_encapsulated
                self._ask_charon(action.tunnel, packets, core.initiated)

    def _send_probe(self, action: SendProbe, core: Core) -> None:
        tunnel, sequence = action.tunnel, action.sequence
        at = time.monotonic()
        error = self._error_of_send(action)
        if error:
            self.send_errors += 1
            core.probe_failed(tunnel, sequence, error, at=at)
        else:
            core.probe_sent(tunnel, sequence, at=at)

    def _error_of_send(self, probe: SendProbe) -> int:
        """Send a probe; return 0 or the kernel's errno: ENETDOWN, ENOBUFS, EPERM of a firewall."""
        found = self._slots.find(probe.tunnel, probe.target.address)
        if found is None:
            return errno.ENODEV
        sock, slot = found
        try:
            sock.send(slot, probe.sequence, marked=probe.marked)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _send_ike_ping(self, tunnel: TunnelKey) -> None:
        # One that cannot be sent is one that is not answered: the core needs no other report.
        try:
            self._ike.send(self._tunnels[tunnel], self._ike_ping)
        except (OSError, KeyError, ValueError):
            self.send_errors += 1

    def _read_traffic(self, action: actions.ReadTraffic, core: Core) -> None:
        index = self._interfaces.index(action.interface)
        try:
            counters = self._kernel.counters(index) if index is not None else None
        except NetlinkError:
            counters = None
        if counters is not None:
            core.traffic(
                action.tunnel,
                rx_packets=counters.rx_packets,
                rx_bytes=counters.rx_bytes,
                tx_packets=counters.tx_packets,
                tx_bytes=counters.tx_bytes,
                at=time.monotonic(),
            )

    def _ask_charon(self, tunnel: TunnelKey, packets: tuple[bytes, ...], done: _Told) -> None:
        def told(reason: str | None) -> None:
            done(tunnel, at=time.monotonic(), error=reason)

        if not packets:
            told("the control daemon gave no request for it")
            return
        finish: OnAnswer = told
        self._charon.ask(packets, finish, now=time.monotonic())

    def housekeep(self, core: Core, now: float) -> None:
        """Compare the groups with the kernel's, keep the connections to charon in order, renew secrets."""
        if now >= self._renewed_at + RENEWAL:
            self._renewed_at = now
            for sock in self._sockets.values():
                sock.renew()
            self._follow_with_tap()
        self.groups.verify(core.groups())
        self._charon.tidy(now)

    def _socket_of(self, method: ProbeMethod) -> ProbeSocket:
        if method not in self._sockets:
            self._sockets[method] = _SOCKETS[method]()
            self._watch(self._sockets[method])
        return self._sockets[method]


def _failed_over(action: actions.TrafficMoved, written: list[Written]) -> FailedOver:
    """Return the event with the times of the group writes that came with it."""
    acknowledged = [group.acknowledged for group in written if group.acknowledged is not None]
    return FailedOver(
        connection=action.connection,
        old=action.old,
        new=action.new,
        cause=action.cause,
        tunnel=action.tunnel,
        reason=action.reason,
        last_heard=action.last_heard,
        decided=action.at,
        netlink_sent=written[0].sent if written else None,
        netlink_acknowledged=max(acknowledged) if len(acknowledged) == len(written) and written else None,
        suppressed=action.suppressed,
    )
