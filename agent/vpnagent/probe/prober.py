"""The prober's loop: drain, decide, do, sleep. It does nothing but probe and switch. A shell.

All that is decided is decided by ``core``; all that waits is drained before anything is decided, so that a
stall of this process is not taken for a silent path. Nothing in the loop waits for anybody. ``Links``
follows the interfaces; ``say`` logs events while there is no control daemon to do it.
"""

import _random
import contextlib
import os
import time
from collections.abc import Iterable
from math import inf

from vpnagent.errors import NetlinkError
from vpnagent.netlink.rtnetlink import RTM_DELNEXTHOP, RTM_NEWNEXTHOP
from vpnagent.probe.actions import LATENESS_BOUNDS, FirstReply, Histogram, PathChanged
from vpnagent.probe.core import Core
from vpnagent.probe.inbox import Poller
from vpnagent.probe.intent import Configure, Intent, IntentUpdate, outer_name, with_addresses, with_flags
from vpnagent.probe.interfaces import Interfaces
from vpnagent.probe.kernel import KernelEvents, KernelRequests
from vpnagent.probe.protocol import (
    VERSION,
    Accepted,
    FailedOver,
    GroupReport,
    Hello,
    Message,
    ProberReport,
    Quit,
    Refused,
    TunnelMeter,
)
from vpnagent.probe.server import Server, StateFile, line
from vpnagent.probe.shell import ProberEvent, Shell
from vpnagent.record import replace

SLACK = 0.06  #: of the shortest interval, by which a probe may be late to save wake-ups: what COVER leaves
HOUSEKEEPING = 1.0  #: seconds between comparisons with the kernel, and between reports
REPAIR = 0.02  #: seconds from an event that concerns a group to the comparison: others' writes are not raced


class Prober:
    """Runs until told to quit."""

    def __init__(self, socket_path: str, state: StateFile) -> None:
        self._poller = Poller()
        self._lateness = Histogram(LATENESS_BOUNDS)
        self._kernel = KernelRequests()
        self._links = Links(self._kernel, self._poller)
        self._shell = Shell(self._poller, self._kernel, self._tell, self._announce)
        self._state = state
        self._server = Server(socket_path, self._poller, hello=self._hello, on_message=self._on_message)
        # What ``random`` is made of, without its import of hashlib and OpenSSL: 4 MiB.
        self._random = _random.Random(int.from_bytes(os.urandom(8))).random
        self._core: Core | None = None
        self._configure: Configure | None = None
        self._now = time.monotonic()  #: of this wake-up
        self._due = inf  #: when the next one is due
        self._housekeeping = 0.0  #: when it is next due
        self._slack = 0.0  #: seconds that a wake-up may wait for the next
        self._quit = False

    def restore(self, messages: Iterable[Configure | IntentUpdate]) -> None:
        """Go on with what a predecessor was told, and note it for a successor."""
        for message in messages:
            self._on_message(message)

    def run(self) -> None:
        """Probe and switch."""
        self.step([])
        while not self._quit:
            self.step(self._poller.wait(self._due))
        self._server.close()

    def step(self, ready: list[int]) -> None:
        """Deal with one wake-up."""
        monotonic = time.monotonic_ns()
        wall = time.time_ns()
        now = self._now = monotonic / 1e9
        if self._due <= now:
            self._lateness.observe(now - self._due)
        self._shell.drain(self._core, monotonic, wall)
        for fd in ready:
            self._poller.call(fd)
        if self._links.changed:
            self._follow_links(now)
        if self._links.nexthops_changed:
            self._links.nexthops_changed = False
            self._housekeeping = min(self._housekeeping, now + REPAIR)
        self._advance()
        if now >= self._housekeeping:
            self._housekeep(now)
        self._shell.groups.restorer.advance()
        self._due = now if self._shell.groups.restorer.more else self._next_wake_up(now)

    def _next_wake_up(self, now: float) -> float:
        if self._core is None:
            return self._housekeeping
        closely = self._core.awaits_replies()
        self._shell.listen(now, closely=closely)
        deadline = self._core.deadline()
        if deadline is None:
            return self._housekeeping
        if deadline > now and not closely:
            deadline += self._slack  # nothing but probes is due, and perhaps two or three by then
        return min(deadline, self._housekeeping, self._shell.due)

    def _housekeep(self, now: float) -> None:
        self._housekeeping = now + HOUSEKEEPING
        if self._core is not None:
            self._shell.housekeep(self._core, now)
        self._announce()

    def _announce(self) -> None:
        """Tell the control daemon how things stand."""
        if self._server.controlled:
            self._server.report(self._report(self._core, self._now) if self._core else self._hello())

    def _follow_links(self, now: float) -> None:
        """Tell the core which interfaces can be used no longer, or again, and repair the groups."""
        self._links.changed = False
        if self._core is None or self._configure is None:
            return
        self._shell.rebuild(self._configure, self._links.interfaces)
        self._links.tell(self._core, self._configure.intent, now)
        # After the core has decided: the kernel took legs out of groups, and puts none back.
        self._housekeeping = min(self._housekeeping, now + REPAIR)

    def _hello(self) -> Hello:
        return Hello(version=VERSION, pid=os.getpid(), generation=self._generation)

    @property
    def _generation(self) -> int:
        return self._configure.intent.generation if self._configure else 0

    def _on_message(self, message: Message) -> Message | None:
        answer: Accepted | Refused | None = None
        if isinstance(message, Configure):
            answer = self._take_configure(message)
        elif isinstance(message, IntentUpdate):
            answer = self._take_change(message)
        elif isinstance(message, Quit):
            self._quit = True
            self._state.remove()
        if isinstance(message, Configure | IntentUpdate) and isinstance(answer, Accepted):
            self._advance()  # whoever waits for the answer finds it done
            self._note(message)
        return answer

    def _advance(self) -> None:
        # All that was received before ``now`` was told to the core already.
        if self._core is not None:
            asked = self._core.advance(self._now)
            self._shell.tap(self._core, self._now)
            self._shell.perform(asked, self._core)

    def _note(self, message: Configure | IntentUpdate) -> None:
        with contextlib.suppress(OSError):  # without it a successor waits for the daemon: no harm now
            if isinstance(message, Configure):
                self._state.replace(message)
            else:
                self._state.append(message)

    def _take_configure(self, configure: Configure) -> Accepted | Refused:
        now = self._now
        generation = configure.intent.generation
        if generation <= self._generation:
            return self._refused(generation, "stale")
        try:
            intent = with_addresses(configure.intent)
            if self._core is None:
                self._core = Core(self._with_members(intent), now=now, random=self._random)
            else:
                self._core.replace_intent(intent, now=now)
        except (ValueError, NetlinkError) as error:
            return self._refused(generation, str(error))
        self._configure = configure
        self._slack = SLACK * min((t.interval for t in intent.tunnels()), default=0.0)
        self._shell.configure(configure, self._links.interfaces)
        self._links.tell(self._core, configure.intent, now)
        return Accepted(generation=generation)

    def _take_change(self, change: IntentUpdate) -> Accepted | Refused:
        if self._core is None or self._configure is None:
            return self._refused(change.generation, "nothing to change")
        if change.generation <= self._generation or change.base != self._generation:
            return self._refused(change.generation, "stale")
        try:
            intent = with_flags(self._configure.intent, change)
            self._core.replace_intent(with_addresses(intent), now=self._now)
        except ValueError as error:
            return self._refused(change.generation, str(error))
        self._configure = replace(self._configure, intent=intent)
        return Accepted(generation=change.generation)

    def _refused(self, generation: int, reason: str) -> Refused:
        return Refused(generation=generation, in_force=self._generation, reason=reason)

    def _with_members(self, intent: Intent) -> Intent:
        """Tell a new core what the kernel has in the groups now: nobody knows better."""
        groups = tuple(
            replace(g, members=tuple(sorted(self._shell.groups.read(g.id)))) for g in intent.groups
        )
        return replace(intent, groups=groups)

    def _tell(self, event: ProberEvent) -> None:
        if not self._server.controlled:  # else the control daemon logs it
            say(event)
        self._server.tell(event)

    def _report(self, core: Core, now: float) -> ProberReport:
        shell = self._shell
        return ProberReport(
            at=now,
            generation=self._generation,
            paths=core.paths(),
            selected=tuple(core.selected().items()),
            groups=tuple(
                GroupReport(id=id_, members=group.members, error=group.error)
                for id_, group in shell.groups.written.items()
            ),
            findings=(*core.findings(), *shell.groups.findings()),
            rtt=tuple(
                TunnelMeter(tunnel=key, counts=tuple(rtt.counts), total=rtt.total)
                for key, rtt in core.round_trips()
            ),
            lateness=tuple(self._lateness.counts),
            lateness_total=self._lateness.total,
            overflows=shell.overflows,
            send_errors=shell.send_errors,
            groups_repaired=self._shell.groups.repaired,
            events_lost=self._server.events_lost,
        )


class Links:
    """The interfaces as of the last event; tells a core when one that matters to it changed."""

    def __init__(self, kernel: KernelRequests, poller: Poller) -> None:
        self._kernel = kernel
        self._events = KernelEvents()
        self.interfaces = Interfaces(kernel.interfaces())
        self.changed = False  #: reset by who acts on it
        self.nexthops_changed = False
        self._told: dict[str, bool] = {}
        poller.watch(self._events.fileno(), self._drain)

    def _drain(self) -> None:
        try:
            for message in self._events.drain():
                if message.type in (RTM_NEWNEXTHOP, RTM_DELNEXTHOP):
                    self.nexthops_changed = True
                else:
                    self.changed = True
                    self.interfaces.take((message,))
        except NetlinkError:  # events were lost: look at all anew
            self.changed = self.nexthops_changed = True
            self.interfaces = Interfaces(self._kernel.interfaces())

    def tell(self, core: Core, intent: Intent, now: float) -> None:
        """Tell the core what changed since it was last told; a new core takes all to be usable."""
        usable: dict[str, bool] = {}
        for tunnel in intent.tunnels():
            usable[tunnel.interface] = self.interfaces.usable(tunnel.interface)
            if tunnel.outer_interface:
                local = tunnel.local_address.packed if tunnel.local_address else None
                usable[outer_name(tunnel)] = self.interfaces.usable(tunnel.outer_interface, local)
        for name, now_usable in usable.items():
            if self._told.get(name, True) != now_usable:
                core.link_changed(name, usable=now_usable, at=now)
        self._told = usable


def say(event: PathChanged | FailedOver | FirstReply) -> None:
    """Log an event of the core."""
    match event:
        case PathChanged():
            line(
                f"path-changed tunnel={event.tunnel} old={event.old.value} new={event.new.value} "
                f"cause={event.cause.value} reason={event.reason!r} loss={event.loss_ratio:.3f}"
            )
        case FailedOver():
            line(
                f"failed-over connection={event.connection} old={','.join(event.old)} "
                f"new={','.join(event.new)} cause={event.cause.value} reason={event.reason!r} "
                f"{_timeline(event)}"
            )
        case FirstReply():
            line(f"first-reply connection={event.connection} tunnel={event.tunnel} at={_epoch(event.at)}")


def _timeline(event: FailedOver) -> str:
    """Return when the verdict fell, in seconds since the epoch, and the rest in seconds before and after."""
    moments = {
        "last_heard": event.last_heard,
        "netlink_sent": event.netlink_sent,
        "netlink_acknowledged": event.netlink_acknowledged,
    }
    told = [f"{name}={at - event.decided:+.6f}" for name, at in moments.items() if at is not None]
    return " ".join([f"verdict={_epoch(event.decided)}", *told])


def _epoch(monotonic: float) -> str:
    return f"{monotonic - time.monotonic() + time.time():.6f}"
