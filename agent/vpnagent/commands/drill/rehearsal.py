"""The drill's drain: asked of the daemon, renewed while it is needed, ended by whatever ends the drill.

A shell.
"""

import contextlib
import os
import secrets
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

from vpnagent.commands.drill.capture import Capture, Captured
from vpnagent.commands.drill.ledger import NOTHING, Ledger
from vpnagent.commands.drill.report import DrilledTunnels, Report, Stream, Switch, moments_since, subject_of
from vpnagent.control.client import ask
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError
from vpnagent.probe.inbox import Allowance
from vpnagent.probe.slots import Expected, Slot, egress
from vpnagent.probe.sockets import EchoSocket

# The drill's own stream: ICMP echo at a steady rate, routed as other traffic is, sent from a thread.
# It is bound to no interface, so that it follows the nexthop group; its answers come back with the
# kernel's receive times and their arrival interface. The daemon and its prober have no part in it.

BURST: Final = 256  #: packets that are taken at once, and as many in ``LATE``
LATE: Final = 0.02  #: seconds; what was to be sent earlier than this is left out


class EchoStream:
    """Sends while it is entered; ``ledger`` has what came of it."""

    def __init__(self, source: IPv4Address | None, target: IPv4Address, interval: float) -> None:
        self.ledger = Ledger()
        self.mark = int.from_bytes(os.urandom(4))  #: in every packet of this stream, for a capture
        self._interval = interval
        self._socket = EchoSocket()
        control = egress(0, source.packed if source else None)
        self._slot = Slot(
            self.mark, (str(target), 0), control, control, source=source.packed if source else None
        )
        self._socket.expect(Expected((self._slot,)))
        self._allowance = Allowance(BURST, BURST / LATE)
        self._sending = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "EchoStream":
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def finish(self, grace: float) -> None:
        """Send no more, and wait so many seconds for what is on its way."""
        self._sending = False
        time.sleep(grace)

    def _run(self) -> None:
        readable = select.poll()
        readable.register(self._socket.fileno(), select.POLLIN)
        due = time.monotonic()
        while not self._ended.is_set():
            now = time.monotonic()
            if now >= due:
                if self._sending:
                    self._send(now)
                due = max(due + self._interval, now - LATE)
            readable.poll(max(0.0, (due - time.monotonic()) * 1000))
            self._drain()

    def _send(self, now: float) -> None:
        number = self.ledger.next
        self.ledger.sent(now)
        with contextlib.suppress(OSError):  # unreachable: as lost as any other
            self._socket.send(self._slot, number)

    def _drain(self) -> None:
        monotonic = time.monotonic_ns()
        self._allowance.renew(monotonic / 1e9)
        for _, number, interface, at in self._socket.drain(monotonic, time.time_ns(), self._allowance):
            self.ledger.answered(number, at, interface)


def interface_names() -> dict[int, str]:
    """Return the interfaces of this network namespace by index."""
    return dict(socket.if_nameindex())


LEASE: Final = 5.0  #: seconds; the drain of a drill that was killed is over after so long
RENEW: Final = 1.0  #: seconds between renewals
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Drain:
    """Of one tunnel. Methods raise ControlError when the daemon refuses or cannot be asked."""

    def __init__(self, socket_path: str, tunnel: str) -> None:
        self._socket_path = socket_path
        self._tunnel = tunnel
        self._holder = secrets.token_hex(8)
        self._held = False
        self._renewed = 0.0

    def look(self) -> dict[str, Any]:
        """Return what can be measured with; refused while another drill is under way."""
        return dict(self._ask(seconds=0))

    def begin(self) -> None:
        """Drain."""
        self._held = True  # before it is known: the answer may be lost
        self._renewed = time.monotonic()
        self._ask(seconds=LEASE)

    def renew(self) -> None:
        """Keep it, if it is held. Call this several times in ``LEASE``."""
        if self._held and time.monotonic() - self._renewed >= RENEW:
            self._renewed = time.monotonic()
            self._ask(seconds=LEASE, renewal=True)

    def end(self) -> None:
        """Undrain, if it is drained; no signal interrupts this."""
        if not self._held:
            return
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
        try:
            self._ask(seconds=0)
            self._held = False
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _ask(self, **arguments: object) -> Any:
        """Ask for no longer than a lease lasts."""
        return ask(
            self._socket_path, "drill", timeout=LEASE, tunnel=self._tunnel, holder=self._holder, **arguments
        )


def end_on_signals() -> None:
    """Have every signal that asks this process to end do what Ctrl-C does."""
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)


# A rehearsed failover, step by step: look, measure, switch, dwell, switch back, measure.
# The daemon drains for as long as the drill renews its lease, so traffic is taken back however this ends.

POLL: Final = 0.05  #: seconds between looks
BASELINE: Final = 1.0  #: seconds of stream before the first switch, and after each one back
MOVED_WITHIN: Final = 10.0  #: seconds in which the daemon has to say that traffic has moved
GRACE: Final = 0.5  #: seconds for the last answers

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOptions:
    """What was asked for."""

    tunnel: str | None
    force: bool
    target: IPv4Address | None
    interval: float  #: seconds between the stream's probes
    dwell: float  #: seconds on the standby
    count: int  #: times there and back
    capture: bool
    longest_gap: float  #: seconds; a longer one is a failure, and ends the drill


class DrillRecording(NamedTuple):
    """The packets around one switch. Monotonic seconds."""

    title: str
    captured: Captured
    moments: dict[str, float]
    begin: float
    until: float


def rehearse(socket_path: str, options: DrillOptions) -> tuple[Report, list[DrillRecording]]:
    """Drill a tunnel. Raises ControlError when the daemon cannot be asked: the drain has been ended then too.

    Raises PermissionError without CAP_NET_RAW.
    """
    subject = subject_of(ask(socket_path, "status"), options.tunnel)
    report = Report(subject=subject, forced=options.force)
    refusal = subject.impossible() or (None if options.force else subject.unwise())
    if refusal is not None:
        report.problems.append(f"refused: {refusal}")
        return report, []
    rehearsal = _Rehearsal(socket_path, subject, options, report)
    rehearsal.run()
    return report, rehearsal.recordings


class _Rehearsal:
    """One drill, which fills the report that it is given."""

    def __init__(
        self, socket_path: str, subject: DrilledTunnels, options: DrillOptions, report: Report
    ) -> None:
        self._socket_path = socket_path
        self._subject = subject
        self._options = options
        self._report = report
        self._drain = Drain(socket_path, str(subject))
        self._switches: list[tuple[float, Switch]] = []  #: with the monotonic time at which it was asked for
        self.recordings: list[DrillRecording] = []

    def run(self) -> None:
        offered = self._drain.look()
        source, target = self._ends(offered)
        interval = self._options.interval
        self._peers = [IPv4Address(peer) for peer in offered["remote_addresses"]]
        self._report.interfaces = interface_names()
        self._report.stream = Stream(
            source=str(source) if source else None, target=str(target), interval=interval
        )
        began = time.monotonic()
        with EchoStream(source, target, interval) as self._stream:
            time.sleep(BASELINE)
            if self._stream.ledger.first_answer(began) is None:
                self._problem(f"refused: {target} does not answer, nothing could be measured: try --target")
            for _ in range(self._options.count):
                if not self._report.problems:
                    self._there_and_back()
            self._stream.finish(GRACE)
        self._measure(began)

    def _ends(self, offered: dict[str, Any]) -> tuple[IPv4Address | None, IPv4Address]:
        """Return the stream's source, None for the kernel's choice, and its target."""
        source = IPv4Address(offered["source"]) if offered["source"] else None
        if self._options.target:
            return source, self._options.target
        if not offered["targets"]:
            text = f"no probe target of {self._subject} is in its remote_networks: say --target ADDRESS"
            raise ControlError(text, USAGE)
        return source, IPv4Address(offered["targets"][0])

    def _there_and_back(self) -> None:
        try:
            self._switch("there", self._drain.begin, away=True)
            if not self._report.problems:
                self._dwell()
            self._switch("back", self._drain.end, away=False)
        finally:
            self._drain.end()
        time.sleep(BASELINE)

    def _switch(self, title: str, act: Callable[[], None], *, away: bool) -> None:
        """Have traffic moved, and wait until an answer comes on the new path."""
        capture = Capture(self._stream.mark, self._peers) if self._options.capture else None
        asked, wall = time.monotonic(), time.time()
        act()
        connection = self._until(lambda: self._moved(away=away), MOVED_WITHIN)
        moved = time.monotonic() - asked
        moments = moments_since(connection["last_failover"], wall) if connection else {}
        since = asked + moments.get("acknowledged", moved)
        ledger = self._stream.ledger
        patience = self._options.longest_gap
        reply = self._until(lambda: ledger.first_answer(since), patience) if connection else None
        switch = Switch(
            title=title,
            asked=wall,
            moved=moved if connection else None,
            old=self._switches[-1][1].new if self._switches else self._subject.active,
            new=tuple(connection["active"]) if connection else (),
            sent=moments.get("sent"),
            acknowledged=moments.get("acknowledged"),
            first_reply=None if reply is None else reply - asked,
            measure=NOTHING,
        )
        self._switches.append((asked, switch))
        if not connection:
            self._problem(f"{title}: the daemon did not move traffic within {MOVED_WITHIN:g} s")
        elif reply is None:
            self._problem(f"{title}: no answer on the new path within {patience:g} s")
        if capture:
            told = {what: asked + at for what, at in switch.moments()}
            self.recordings.append(DrillRecording(title, capture.collect(), told, since, reply or since))

    def _moved(self, *, away: bool) -> dict[str, Any] | None:
        """Return the connection's status once traffic is off the tunnel, or on it again."""
        for connection in ask(self._socket_path, "status")["connections"]:
            if connection["name"] == self._subject.connection:
                carries = self._subject.tunnel in connection["active"]
                return None if carries is away else dict(connection)
        return None

    def _dwell(self) -> None:
        """Stay on the standby while it answers."""
        patience, ledger = self._options.longest_gap, self._stream.ledger

        def silent() -> bool | None:
            return True if ledger.first_answer(time.monotonic() - patience) is None else None

        if self._until(silent, self._options.dwell):
            self._problem(f"there: no answer for {patience:g} s: the drill was ended early")

    def _until(self, found: Callable[[], T | None], within: float) -> T | None:
        """Return what is found in so many seconds, or None; the drain is kept meanwhile."""
        deadline = time.monotonic() + within
        while (result := found()) is None and time.monotonic() < deadline:
            self._drain.renew()
            time.sleep(POLL)
        return result

    def _measure(self, began: float) -> None:
        """Attribute each probe to the switch that came before it."""
        ledger, report = self._stream.ledger, self._report
        begins = [asked for asked, _ in self._switches]
        ends = [*begins, float("inf")]
        report.before = ledger.measure(began, ends[0])
        for (asked, switch), end in zip(self._switches, ends[1:], strict=True):
            measure = ledger.measure(asked, end)
            report.switches.append(replace(switch, measure=measure))
            if measure.longest_gap > self._options.longest_gap:
                self._problem(
                    f"{switch.title}: a gap of {measure.longest_gap:.3f} s, more than "
                    f"{self._options.longest_gap:g} s"
                )

    def _problem(self, text: str) -> None:
        self._report.problems.append(text)
