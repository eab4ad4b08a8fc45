"""The daemon's side of the prober: keep one running, hand it intents, take in what it tells.

While a prober lives it alone writes the nexthop groups. What it tells becomes ``known.probe``; the
reconcilers and the status read it there.
"""

import logging
import os
import sys
import time
from typing import Final

from vpnagent import program
from vpnagent.config.values import ProbeMethod
from vpnagent.daemon.probe_wiring import group_routes, intent, vici_requests, without
from vpnagent.errors import AgentError
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.probe.actions import Cause, FirstReply, PathChanged
from vpnagent.probe.client import ProberClient, Spawner, Supervised, prober_command
from vpnagent.probe.intent import Configure, Crafted
from vpnagent.probe.protocol import (
    Accepted,
    FailedOver,
    ProberReport,
    ProtocolError,
    Refused,
    ToDaemon,
    decode,
)
from vpnagent.probe.server import be_realtime
from vpnagent.record import replace
from vpnagent.status.document import rfc3339

log = logging.getLogger(__name__)

#: seconds; half a second on an idle machine, minutes on a starved one: who ended it there
#: would have the same work done again and again
CRAFT_TIMEOUT: Final = 600.0


class ProberLink:
    """One prober, whatever process it is. ``known.probe`` is its to write.

    ``supervised``: a service manager runs it, and we start none.
    """

    def __init__(self, known: Knowledge, *, supervised: bool = False) -> None:
        self._known = known
        self._supervised = supervised
        path = socket_beside(known.config.agent.control_socket)
        realtime = known.config.agent.realtime
        self._client = ProberClient(
            path,
            start=Supervised(path) if supervised else Spawner(prober_command(path, realtime=realtime)),
            on_message=self._take,
            on_lost=self._lost,
            on_connected=self._connected,
        )
        self._crafted = Crafted(ike_ping=b"", tcp_syn=b"", dns_query=b"")
        self._requests_for = known.config, known.charon.former
        self._requests = vici_requests(*self._requests_for)
        self._routes = group_routes(known.config)
        known.probe.expected = True
        known.probe.lost_at = time.monotonic()  # one may live: what it decided is not undone before it speaks

    async def run(self) -> None:
        """Stay connected to a prober, and start one where none runs, until cancelled or ``quit``."""
        await self._client.run()

    async def feed(self) -> None:
        """Hand over what is to be done whenever something that it is made of changed."""
        while True:
            await self._known.probe_dirty.wait()
            self._known.probe_dirty.clear()
            self._update()

    async def craft(self) -> None:
        """Have the intricate packets made, once.

        Until then no IKE daemon is asked, and no prober configured that would need them: ICMP does not stand
        in, because where somebody chose TCP or DNS a firewall may well drop it.
        """
        self._crafted = await crafted()
        self._known.probe_dirty.set()

    async def quit(self) -> None:
        """End the prober for good; the groups are the daemon's then."""
        self._known.probe.expected = False
        self._known.probe.connected = False
        await self._client.quit()

    def _update(self) -> None:
        known = self._known
        kernel = known.kernel.state
        if kernel is None or known.charon.state is None or self._packets_missing():
            return
        made_of = known.config, known.charon.former
        if self._requests_for != made_of:
            self._requests, self._requests_for = vici_requests(*made_of), made_of
            self._routes = group_routes(known.config)
        known.forget_paths_elsewhere()
        whole = intent(
            known.config,
            verdicts=known.verdicts(),
            statuses=known.charon.statuses,
            kernel=kernel,
            paths=known.probe.paths,
            ike_ping=bool(self._crafted.ike_ping),
        )
        self._client.configure(
            Configure(
                intent=without(whole, known.standby()),
                crafted=self._crafted,
                vici_socket=known.config.agent.vici_socket,
                vici=self._requests,
                routes=self._routes,
            )
        )

    def _packets_missing(self) -> bool:
        methods = {tunnel.probe.method for tunnel in self._known.config.tunnels()}
        return bool(methods - {ProbeMethod.ICMP}) and not self._crafted.tcp_syn

    def _connected(self, pid: int) -> None:
        """Give a prober that others started the priority that it is to have."""
        if not (self._supervised and self._known.config.agent.realtime):
            return
        try:
            be_realtime(pid)
        except OSError as error:
            log.warning("realtime-refused pid=%d error=%r", pid, error.strerror)

    def _lost(self) -> None:
        probe = self._known.probe
        probe.connected = probe.reported = False
        if not probe.expected:
            return
        probe.lost_at = time.monotonic()
        log.warning(
            "prober-lost: %s another; traffic stays where it is",
            "the service manager starts" if self._supervised else "we start",
        )

    def _take(self, message: ToDaemon) -> None:
        match message:
            case ProberReport():
                self._report(message)
            case PathChanged():
                self._path_changed(message)
            case FailedOver():
                self._failed_over(message)
            case FirstReply():
                self._first_reply(message)
            case Accepted():
                self._known.probe.connected = True
                self._known.kernel_dirty.set()
            case Refused():
                log.warning("prober-refused generation=%d reason=%r", message.generation, message.reason)
            case _:
                log.debug("prober-said %s", type(message).__name__)

    def _report(self, report: ProberReport) -> None:
        probe = self._known.probe
        before = (probe.report.groups, probe.report.selected) if probe.report else None
        held = {path.tunnel for path in probe.paths.values() if path.held}
        probe.take(report, self._client.pid)
        self._known.forget_paths_elsewhere()
        if probe.connected:
            self._known.kernel.selected = dict(report.selected)
        if before != (report.groups, report.selected):
            self._known.kernel_dirty.set()
            if self._known.charon.vacating:
                self._known.charon_dirty.set()
        if held != {path.tunnel for path in report.paths if path.held}:
            self._known.charon_dirty.set()

    def _path_changed(self, change: PathChanged) -> None:
        log.warning(
            "path-state tunnel=%s old=%s new=%s cause=%s rtt=%s loss_ratio=%.3f reason=%r suppressed=%d",
            change.tunnel,
            change.old.value,
            change.new.value,
            change.cause.value,
            "-" if change.rtt is None else f"{change.rtt:.6f}",
            change.loss_ratio,
            change.reason,
            change.suppressed,
        )
        path = self._known.probe.paths.get(change.tunnel)
        if path and any(connection.exits for connection in self._known.config.connections):
            # Ours may have to give way to a line. That moves no group, and the next report takes its time.
            paths = {**self._known.probe.paths, change.tunnel: replace(path, state=change.new)}
            self._known.probe.paths = paths
            self._known.kernel_dirty.set()

    def _failed_over(self, message: FailedOver) -> None:
        """Note the failover with its timeline."""
        known = self._known.kernel
        failover = failover_of(message, time.time() - time.monotonic())
        known.selected = {**known.selected, message.connection: message.new}
        self._known.kernel_dirty.set()
        if not is_failover(message):
            return
        known.note(message.connection, failover)
        log.warning(
            "failover connection=%s from=%s to=%s reason=%s detection_seconds=%.6f switch_seconds=%.6f"
            " text=%r suppressed=%d timeline=%r",
            message.connection,
            "+".join(message.old),
            "+".join(message.new) or "none",
            message.cause.value,
            failover.detection_seconds,
            failover.switch_seconds,
            message.reason,
            message.suppressed,
            story(failover),
        )

    def _first_reply(self, message: FirstReply) -> None:
        failovers = self._known.kernel.failovers
        if (failover := failovers.get(message.connection)) is None:
            return
        decided = failover.at - (time.time() - time.monotonic())
        seconds = max(0.0, message.at - decided)
        failovers[message.connection] = failover = failover.with_first_reply(seconds)
        log.info(
            "first-reply connection=%s tunnel=%s seconds=%.6f timeline=%r",
            message.connection,
            message.tunnel,
            seconds,
            story(failover),
        )


def is_failover(message: FailedOver) -> bool:
    """Whether traffic was moved; a tunnel that is heard for the first time takes its place."""
    return bool(message.old) and message.cause is not Cause.START


def failover_of(message: FailedOver, offset: float) -> Failover:
    """Return the failover that the prober tells of; ``offset`` turns its monotonic times into wall time."""
    acknowledged = message.netlink_acknowledged or message.decided
    heard = message.decided if message.last_heard is None else message.last_heard

    def wall(monotonic: float | None) -> float | None:
        return None if monotonic is None else monotonic + offset

    return Failover(
        at=message.decided + offset,
        heard_at=wall(message.last_heard),
        sent_at=wall(message.netlink_sent),
        acknowledged_at=wall(message.netlink_acknowledged),
        old=message.old,
        new=message.new,
        reason=message.cause.value,
        text=message.reason,
        detection_seconds=max(0.0, message.decided - heard),
        switch_seconds=max(0.0, acknowledged - message.decided),
    )


def story(failover: Failover) -> str:
    """Return the timeline for one log line: the verdict as a time, the rest as seconds before and after."""
    return ", ".join(
        f"{moment.what} {rfc3339(moment.at, 'microseconds')}"
        if moment.at == failover.at
        else f"{moment.what} {moment.at - failover.at:+.6f}"
        for moment in failover.timeline()
    )


def socket_beside(control_socket: str) -> str:
    """Return the prober's socket: in the control socket's directory."""
    return os.path.join(os.path.dirname(os.path.abspath(control_socket)), "prober.sock")


async def crafted() -> Crafted:
    """Have scapy make the intricate packets, in a process that ends; raises AgentError."""
    command = (sys.executable, "-P", "-m", "vpnagent.probe.craft")
    try:
        ended = await program.run(command, seconds=CRAFT_TIMEOUT)
    except TimeoutError:
        raise AgentError(f"the probe packets were not made within {CRAFT_TIMEOUT:g} s") from None
    if ended.status:
        last = ended.complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise AgentError(f"the probe packets cannot be made: {' '.join(last)}")
    try:
        return decode(Crafted, ended.output)
    except ProtocolError as error:
        raise AgentError(f"the probe packets cannot be read: {error}") from error
