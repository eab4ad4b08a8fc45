"""The prober without its sockets: everything that is decided, and nothing that is done.

No I/O and no clock. The shell owns one timer and does, on every wake-up, in this order:

1. read the clock: ``now``;
2. drain every socket, telling the core of each reply with the kernel's own receive time;
3. ``for action in core.advance(now)``: do it, in this order, and tell what came of it;
4. set the timer to ``core.deadline()`` (at once, if that has passed).

All times are seconds on one monotonic clock. How late a wake-up was the core sees by itself: ``now`` less
the deadline it had asked for. Methods other than ``advance`` never return actions: they only note a fact,
and ``deadline`` is then due at once if something follows from it. A fact about a tunnel that the intent does
not hold, or about a probe that was not sent, is ignored: it may be a late one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding
from vpnagent.probe.actions import Action, Cause
from vpnagent.probe.intent import Intent, Member
from vpnagent.selection import PathState


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReport:
    """One tunnel's path as it is now: for status, metrics and the control daemon."""

    tunnel: TunnelKey
    state: PathState
    cause: Cause
    reason: str
    since: float
    congested: bool
    rtt: float | None  #: seconds, mean over the window; None: nothing answered in it
    loss_ratio: float  #: over the window
    last_heard: float | None
    target: IPv4Address  #: the one that is asked now
    sent: int  #: probes since the core began; these three only grow (a late reply reduces ``lost``)
    answered: int
    lost: int
    hold_down_ends: float | None  #: in hold-down: when it will be up, if nothing is missed
    held: bool  #: left down by us: nobody else is to initiate it
    trial: bool  #: such a tunnel is being tried now
    failed_trials: int | None  #: to be handed to the next prober; see TunnelIntent
    next_trial: float | None
    waiting_for_peer: bool  #: the underlay is dead; "return path: waiting for the cloud"


class Core:
    """Drive it as the module says."""

    def __init__(self, intent: Intent, *, now: float, random: Callable[[], float]) -> None:
        """Begin with ``intent``; ``random`` returns floats in [0, 1). Nothing is moved before it is known why.

        The first ``advance`` writes every group once (the same as the kernel has, if the intent told it).
        """

    def replace_intent(self, intent: Intent, *, now: float) -> None:
        """Take a newer intent; a stale generation is a ``ValueError`` and changes nothing.

        Tunnels that stay keep their history, also when their probing changed. A group that is gone from
        the intent is left alone: its routes must be moved first, so removing it is the control daemon's.
        """

    def probe_sent(self, tunnel: TunnelKey, sequence: int, *, at: float) -> None:
        """The kernel accepted the probe at ``at``."""

    def probe_failed(self, tunnel: TunnelKey, sequence: int, errno: int, *, at: float) -> None:
        """The probe could not be sent: it counts neither as sent nor as lost."""

    def probe_answered(
        self, tunnel: TunnelKey, target: IPv4Address, sequence: int, *, heard_on: TunnelKey | None, at: float
    ) -> None:
        """A reply from ``target`` to the probe ``sequence`` of ``tunnel`` was received by the kernel at ``at``.

        ``heard_on`` is the tunnel whose interface it arrived on; None if it is not known, or not ours.
        The shell has already checked identifier, nonce and checksum.
        """

    def ike_ping_answered(self, tunnel: TunnelKey, *, at: float) -> None:
        """The peer's IKE daemon gave a sign of life. Silence needs no report."""

    def link_changed(self, interface: str, *, usable: bool, at: float) -> None:
        """An XFRM or outer interface went away, down or lost its carrier or address; or is back."""

    def traffic(
        self, tunnel: TunnelKey, *, rx_packets: int, rx_bytes: int, tx_packets: int, tx_bytes: int, at: float
    ) -> None:
        """The counters of the tunnel's interface, as asked for by ``ReadTraffic`` (more often does no harm)."""

    def overflowed(self, *, at: float) -> None:
        """A receive queue of ours dropped packets: what was not heard until now was perhaps our own fault."""

    def terminated(self, tunnel: TunnelKey, *, at: float, error: str | None = None) -> None:
        """``Terminate`` was done (charon acknowledged), or failed."""

    def initiated(self, tunnel: TunnelKey, *, at: float, error: str | None = None) -> None:
        """``Initiate`` was done (a CHILD_SA is installed), or failed."""

    def advance(self, now: float) -> list[Action]:
        """Apply what follows from the facts and from the passage of time; return what is to be done."""
        return []

    def deadline(self) -> float | None:
        """When ``advance`` is next due; None: only a fact can change anything."""
        return None

    def groups(self) -> Mapping[int, tuple[Member, ...]]:
        """What each group of the intent should hold now; empty: the group should not exist."""
        return {}

    def selected(self) -> Mapping[str, tuple[str, ...]]:
        """By connection, the names of the tunnels that carry its traffic."""
        return {}

    def paths(self) -> tuple[PathReport, ...]:
        """Every tunnel's path, in the order of the intent."""
        return ()

    def findings(self) -> tuple[Finding, ...]:
        """What an operator should know now."""
        return ()
