"""Whether a path that answers does so well enough: loss and RTT over the window, against two limits each.

The state is entered at one limit and left at a lower one, not before a whole window has passed, and each
further time later (``HoldDown``): a path on the edge changes its state seldom. Before it is called worse,
the interface's counters are looked at twice, so that congestion is told from a bad line.
"""

import enum

from vpnagent.probe.actions import Cause
from vpnagent.probe.detector import Detector
from vpnagent.probe.hold_down import HoldDown
from vpnagent.probe.intent import Limits
from vpnagent.probe.window import Window
from vpnagent.selection import PathState

FEWEST = 10  #: probes that make a loss ratio
_LOOKS = 2  #: readings of the counters that make a rate


class GradeStep(enum.Enum):
    """What follows from the window."""

    LOOK = enum.auto()  #: read the counters first
    WORSE = enum.auto()
    BETTER = enum.auto()


class Grade:
    """The judge of one path's quality."""

    __slots__ = ("_damping", "_limits", "looks")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._damping = HoldDown(limits.window)
        self.looks = 0  #: times that the counters were asked for since the window became bad

    def judge(self, window: Window, detector: Detector, now: float) -> GradeStep | None:
        """Return what is to be done, if anything; ``WORSE`` and ``BETTER`` are taken as done."""
        state = detector.state
        if state is PathState.UP and self._bad(window):
            if self.looks < _LOOKS:
                self.looks += 1
                return GradeStep.LOOK
            self.worse(now)
            return GradeStep.WORSE
        self.looks = 0
        if state is not PathState.DEGRADED or detector.cause not in (Cause.QUALITY, Cause.CONGESTION):
            return None
        if now < (self._damping.ends or now) or not self._good(window):
            return None
        self._damping.up(now)
        return GradeStep.BETTER

    def worse(self, now: float) -> None:
        """The path is now degraded for its quality."""
        self.looks = 0
        self._damping.fell(now)
        self._damping.begin(now)

    def reason(self, window: Window) -> str:
        """Return the figures that speak for the last change."""
        rtt = f", RTT {window.mean_rtt * 1e3:.1f} ms" if window.mean_rtt is not None else ""
        return f"loss {window.loss_ratio:.0%}{rtt}"

    def _bad(self, window: Window) -> bool:
        limits = self._limits
        if window.lost and window.resolved >= FEWEST and window.loss_ratio >= limits.loss_enter > 0:
            return True
        return limits.rtt_enter is not None and (window.mean_rtt or 0.0) >= limits.rtt_enter

    def _good(self, window: Window) -> bool:
        limits = self._limits
        if window.loss_ratio > limits.loss_leave:
            return False
        return limits.rtt_leave is None or (window.mean_rtt or 0.0) <= limits.rtt_leave
