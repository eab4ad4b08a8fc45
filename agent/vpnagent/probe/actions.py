"""What the core gives out: actions, in the order in which they are to be done, and reports. Values only.

Nothing here is a result: what came of an action is told to the core by the method named in its docstring.
Every ``at`` is seconds on the monotonic clock.
"""

import enum
from bisect import bisect_left
from ipaddress import IPv4Address
from typing import Final

from vpnagent.config.values import TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.intent import Member, ProbeTarget
from vpnagent.record import record

LATENESS_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
#: seconds by which a wake-up came after its time
RTT_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
#: seconds from the send of a probe to the kernel's receipt of its answer


class Cause(enum.Enum):
    """Why traffic moved or a path changed: a label of bounded variety, for metrics; the text is beside it."""

    START = "start"
    CHILD_SA = "child-sa"  #: the CHILD_SA went away or came
    LINK = "link"  #: an interface went away or came
    SILENT = "silent"  #: nothing heard for the detection time
    UNDERLAY = "underlay"  #: the path is silent and so is the peer's IKE daemon
    UNSENT = "unsent"  #: probes could not be sent for the detection time
    ELSEWHERE = "elsewhere"  #: replies come by an interface of others
    FILTERED = "filtered"  #: replies arrive, and something on this machine drops them
    SUSPECTED = "suspected"  #: probes in a row are unanswered, for less than the detection time
    RETURN = "return"  #: the replies of several tunnels used to arrive on this one, and all went silent
    QUALITY = "quality"  #: loss or RTT
    CONGESTION = "congestion"
    TARGET = "target"  #: the tunnels work, the probe targets do not answer
    RECOVERED = "recovered"
    DRAIN = "drain"
    CONFIG = "config"  #: a new intent
    RESET = "reset"  #: we took it down ourselves


BLAMELESS = (Cause.CONGESTION, Cause.TARGET, Cause.FILTERED)  #: degraded so, a path is as good as any other


@record(frozen=True, slots=True, kw_only=True)
class WriteGroup:
    """Replace (or create) a nexthop group: one message. First in every list that holds one."""

    group_id: int
    members: tuple[Member, ...]  #: sorted by nexthop id, never empty
    cause: Cause
    tunnel: TunnelKey | None  #: what caused it, where one did
    reason: str


@record(frozen=True, slots=True, kw_only=True)
class DeleteGroup:
    """Delete a nexthop group, and with it its routes: the guard below answers with unreachable."""

    group_id: int
    cause: Cause
    tunnel: TunnelKey | None
    reason: str


@record(frozen=True, slots=True)
class SendProbe:
    """Send one probe; report ``Core.probe_sent`` or ``Core.probe_failed``."""

    tunnel: TunnelKey
    target: ProbeTarget
    sequence: int  #: 0 to 65535, of this tunnel, over all its targets; wraps
    marked: bool = True  #: with the tunnel's DSCP


@record(frozen=True, slots=True, kw_only=True)
class SendIkePing:
    """Ask the IKE daemon of the tunnel's peer for a sign of life; report ``Core.ike_ping_answered``."""

    tunnel: TunnelKey


@record(frozen=True, slots=True, kw_only=True)
class ReadTraffic:
    """Read the interface's counters *now*; report ``Core.traffic`` before the next ``Core.advance``.

    An interface that cannot be read is simply not reported.
    """

    tunnel: TunnelKey
    interface: str


@record(frozen=True, slots=True, kw_only=True)
class TerminateTunnel:
    """Terminate the tunnel's IKE_SA(s), so that the peer is told; report ``Core.terminated``.

    From here on nobody but the core brings the tunnel up again (``PathReport.held``).
    """

    tunnel: TunnelKey
    reason: str


@record(frozen=True, slots=True, kw_only=True)
class InitiateTunnel:
    """Bring the tunnel up; report ``Core.initiated`` when its CHILD_SA is installed or the attempt failed."""

    tunnel: TunnelKey
    force_encapsulation: bool  #: ESP in UDP, whatever the configuration says


@record(frozen=True, slots=True, kw_only=True)
class PathChanged:
    """A path's state changed. For the log and for events."""

    tunnel: TunnelKey
    old: PathState
    new: PathState
    cause: Cause
    reason: str
    rtt: float | None  #: seconds, mean over the window
    loss_ratio: float
    last_heard: float | None
    at: float
    suppressed: int = 0  #: changes of this tunnel that were not reported since the last one that was


@record(frozen=True, slots=True, kw_only=True)
class TrafficMoved:
    """A connection's traffic was moved: the group writes for it come earlier in the same list."""

    connection: str
    old: tuple[str, ...]  #: names of tunnels
    new: tuple[str, ...]
    cause: Cause
    tunnel: TunnelKey | None
    reason: str
    last_heard: float | None  #: of the tunnel that caused it; None for signals
    at: float  #: the decision; last_heard to at is the detection, the shell adds sent and acknowledged
    suppressed: int = 0


@record(frozen=True, slots=True, kw_only=True)
class FirstReply:
    """The first reply through the path to which a connection's traffic was moved: the failover is over."""

    connection: str
    tunnel: TunnelKey
    at: float


GroupAction = WriteGroup | DeleteGroup
CoreEvent = PathChanged | TrafficMoved | FirstReply
ProberAction = (
    GroupAction | SendProbe | SendIkePing | ReadTraffic | TerminateTunnel | InitiateTunnel | CoreEvent
)


@record(frozen=True, slots=True, kw_only=True)
class PathReport:
    """One tunnel's path as it is now: for status, metrics and the control daemon."""

    tunnel: TunnelKey
    state: PathState
    cause: Cause
    reason: str
    rtt: float | None  #: seconds, mean over the window; None: nothing answered in it
    loss_ratio: float  #: over the window
    target: IPv4Address  #: the one that is asked now
    sent: int  #: probes since the core began; these three only grow (a late reply reduces ``lost``)
    answered: int
    lost: int
    held: bool  #: left down by us: nobody else is to initiate it
    trial: bool  #: such a tunnel is being tried now
    failed_trials: int | None  #: to be handed to the next prober; see TunnelIntent
    proven: float | None = None  #: when a packet had last passed each way; None: not yet
    waiting_for_peer: bool  #: the underlay is dead; "return path: waiting for the cloud"
    suspected: bool = False  #: its confirmation is unanswered, while another tunnel is heard
    flinches: int = 0  #: times that traffic left it on suspicion, and came back; only grows


class Histogram:
    """Counts by bucket; the last bucket holds what exceeds every bound.

    Cheap to observe and to send; cumulative only at the exporter.
    """

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0  #: sum of all observed values

    def observe(self, value: float) -> None:
        """Count one value; one that equals a bound belongs below it, as in Prometheus."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value
