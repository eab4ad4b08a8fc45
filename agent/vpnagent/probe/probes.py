"""The probes of one tunnel: when the next one leaves, what became of the last ones, and whether that will do.

``Schedule`` says when and whom to ask; ``Window`` holds the probes that left, with their loss and round-trip
times; ``Grade`` holds these against the limits. How long nothing was heard is the business of ``detector``.
"""

import enum
from array import array
from collections.abc import Iterator
from math import inf, isnan, nan

from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import RTT_BOUNDS, Cause, Histogram
from vpnagent.probe.detector import JITTER, Detector, HoldDown
from vpnagent.probe.intent import Limits, ProbeTarget

SPARE_EVERY = 10  #: probes to the usual target for one to another
_DESERTED = 2  #: probes that the usual target misses before another that answers takes its place
_HURRY = 4  #: times as many probes
SEQUENCES = 65536  #: of ICMP (RFC 792)
_SMALLEST, _LARGEST = 16, 4096  #: probes in view
FEWEST = 10  #: probes that make a loss ratio
_MARK_DROPPED = 3  #: replies to unmarked probes only, after which the mark is left out
_LOOKS = 2  #: readings of the counters that make a rate


class Schedule:
    """When the next probe of a tunnel is due and whom it asks.

    Probes lie on a grid of one interval, each moved by a little jitter, and the grids of different tunnels
    are spread over the interval: they never leave in bursts, and never drift into one. A tunnel with several
    targets asks its usual one every time and the others in turn, now and then, so that a dead one is known
    before it is needed; at the first miss all are asked at once, and who answers then becomes the usual one.
    The quorum is one: a path is heard while any of its targets answers.
    """

    __slots__ = ("_grid", "_interval", "_missed", "_sent", "_targets", "_usual", "due", "hurried")

    def __init__(self, interval: float, targets: tuple[ProbeTarget, ...], at: float) -> None:
        self._interval = interval
        self._targets = targets
        self._usual = 0  #: index of the target that is asked every time
        self._missed = 0  #: probes to it since it last answered
        self.hurried = False  #: until the next reply: a path is to be judged that is half alive
        self._sent = 0
        self._grid = self.due = at

    @property
    def usual(self) -> ProbeTarget:
        """The target that is asked every time."""
        return self._targets[self._usual]

    def start(self, at: float) -> None:
        """Let the next probe leave at that time, and the others follow from there."""
        self._grid = self.due = at

    def pace(self, interval: float) -> None:
        """Let this much time pass between probes, from the next one on."""
        self._grid += interval - self._interval
        self._interval = interval

    def take(self, now: float, random: float) -> list[tuple[ProbeTarget, bool]]:
        """Return whom to ask now, and whether that is a spare one; the next probe is one interval later."""
        if now - self._grid > self._interval / 2:
            self._grid = now
        self._grid += self._interval / _HURRY if self.hurried else self._interval
        self.due = self._grid + (2 * random - 1) * JITTER * self._interval
        self._sent += 1
        self._missed += 1
        asked = [(self._targets[self._usual], False)]
        if self._sent % SPARE_EVERY == 0 and len(self._targets) > 1:
            others = len(self._targets) - 1
            turn = 1 + self._sent // SPARE_EVERY % others
            asked.append((self._targets[(self._usual + turn) % len(self._targets)], True))
        return asked

    def everyone(self) -> Iterator[tuple[ProbeTarget, bool]]:
        """Return whom to ask at the first miss: the usual target again, and all others."""
        for target in self._targets:
            yield target, target is not self.usual

    def hurry(self, now: float) -> None:
        """Ask more often until something is heard."""
        self.hurried = True
        self.start(now)

    def answered(self, target: ProbeTarget) -> None:
        """Note who answered, and choose the usual target anew."""
        self.hurried = False
        if target is self._targets[self._usual]:
            self._missed = 0
        elif (index := self._targets.index(target)) < self._usual or self._missed >= _DESERTED:
            self._usual, self._missed = index, 0


class ProbeRecord:
    """One probe. ``number`` counts all probes of the tunnel and never wraps."""

    __slots__ = ("lost", "marked", "number", "rtt", "sent_at", "spare", "target")

    def __init__(self, number: int, target: ProbeTarget, *, spare: bool, marked: bool) -> None:
        self.number = number
        self.target = target
        self.spare = spare  #: to a target that is not the usual one: its silence proves nothing
        self.marked = marked  #: with the tunnel's DSCP
        self.sent_at: float | None = None
        self.rtt: float | None = None  #: seconds; None: not answered
        self.lost = False


class MarkedReplies:
    """Whether probes with a DSCP are answered, as those without are."""

    __slots__ = ("_unmarked_only",)

    def __init__(self) -> None:
        self._unmarked_only = 0  #: replies to unmarked probes since one to a marked one

    @property
    def passes(self) -> bool:
        """Whether the mark need not be left out."""
        return self._unmarked_only < _MARK_DROPPED

    def answered(self, probe: ProbeRecord, *, matters: bool) -> None:
        """A reply arrived; it does not ``matter`` while the target answers some probes only."""
        if probe.marked:
            self._unmarked_only = 0
        elif matters:
            self._unmarked_only += 1


class Window:
    """Loss and round-trip time of the last probes: a view over a ring, as dpinger has it.

    Nothing here ever times out: a probe is sent or answered, and whether it counts as lost is a question of
    how long ago it was sent. A late reply repairs the history, and the totals with it. A probe that the
    kernel did not accept was never sent. Every operation costs the same however long the window is; of a
    probe that was answered only its round-trip time is kept.
    """

    __slots__ = (
        "_answered",
        "_next",
        "_open",
        "_rtt_sum",
        "_rtts",
        "_settled",
        "_size",
        "lost",
        "rtt",
        "totals",
    )

    def __init__(self, size: int, patience: float) -> None:
        """Keep at least ``size`` probes; ``patience`` is for the first reply, in seconds."""
        self._size = _SMALLEST
        while self._size < min(size, _LARGEST):
            self._size *= 2
        self._open: dict[int, ProbeRecord] = {}  #: in view and not answered, or not settled, by number
        self._rtts = array("d", [nan]) * self._size  #: of those that count as answered; a ring
        self._next = 0  #: number of the next probe
        self._settled = 0  #: every earlier one is known to be answered or lost
        self._answered = 0  #: in view
        self._rtt_sum = 0.0  #: seconds, of those
        self.lost = 0  #: in view
        self.rtt = RoundTrip(patience)
        self.totals = Totals()

    def open(self, target: ProbeTarget, *, spare: bool, marked: bool = True) -> ProbeRecord:
        """Return the next probe; it does not count before it is sent."""
        number = self._next
        if number >= self._size:
            self._forget(number - self._size)
        probe = self._open[number] = ProbeRecord(number, target, spare=spare, marked=marked)
        self._next += 1
        return probe

    def find(self, sequence: int) -> ProbeRecord | None:
        """Return the probe of that sequence, if it is still in view and an answer to it means anything."""
        last = self._next - 1
        return self._open.get(last - (last - sequence) % SEQUENCES)

    def answer(self, probe: ProbeRecord, rtt: float) -> None:
        """Note a reply to a probe that was sent; a second one to the same probe is ignored."""
        if probe.rtt is not None:
            return
        probe.rtt = rtt
        self.rtt.update(rtt)
        self.totals.rtt.observe(rtt)
        if probe.lost:
            probe.lost = False
            self.lost -= 1
            self.totals.lost -= 1
            self._note(probe.number, rtt)
        if probe.number < self._settled:
            self._open.pop(probe.number, None)

    def settle(self, sent_before: float) -> None:
        """Count as lost what was sent before that time and is not answered yet."""
        while self._settled < self._next:
            probe = self._open.get(self._settled)
            if probe is not None:
                if probe.sent_at is None or (probe.rtt is None and probe.sent_at >= sent_before):
                    return
                self._count(probe)
            self._settled += 1

    def void(self, probe: ProbeRecord) -> None:
        """The probe was never sent."""
        self._open.pop(probe.number, None)

    @property
    def resolved(self) -> int:
        """How many probes in view are known to be answered or lost."""
        return self._answered + self.lost

    @property
    def loss_ratio(self) -> float:
        """Lost probes over resolved ones; 0 before the first."""
        return self.lost / self.resolved if self.lost else 0.0

    @property
    def mean_rtt(self) -> float | None:
        """Seconds; None: nothing answered in view."""
        return self._rtt_sum / self._answered if self._answered else None

    def clear(self) -> None:
        """Begin a new view; totals, RTT estimate and what is still under way stay."""
        for probe in self._open.values():
            probe.spare, probe.lost = True, False
        self._rtts = array("d", [nan]) * self._size
        self._answered = 0
        self._rtt_sum = 0.0
        self.lost = 0

    def forget(self) -> None:
        """What is under way was asked under a former intent: an answer to it is none, and it is not lost."""
        self.clear()
        self._open.clear()
        self._settled = self._next

    def _count(self, probe: ProbeRecord) -> None:
        """A probe's fate is known, for now."""
        if probe.rtt is not None:
            del self._open[probe.number]
            if not probe.spare:
                self._note(probe.number, probe.rtt)
        elif not probe.spare:
            probe.lost = True
            self.lost += 1
            self.totals.lost += 1

    def _note(self, number: int, rtt: float) -> None:
        """A probe counts as answered."""
        self._rtts[number % self._size] = rtt
        self._answered += 1
        self._rtt_sum += rtt

    def _forget(self, number: int) -> None:
        """A probe leaves the view."""
        if number >= self._settled:
            self.settle(inf)
            self._settled = max(self._settled, number + 1)
        probe = self._open.pop(number, None)
        if probe is not None and probe.lost:
            self.lost -= 1
        rtt = self._rtts[number % self._size]
        if not isnan(rtt):
            self._rtts[number % self._size] = nan
            self._answered -= 1
            self._rtt_sum -= rtt


class Totals:
    """Counters that last as long as the tunnel."""

    __slots__ = ("lost", "rtt", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.lost = 0
        self.rtt = Histogram(RTT_BOUNDS)  #: of the answered ones

    @property
    def answered(self) -> int:
        """How many were answered; of several answers the first counts."""
        return sum(self.rtt.counts)


class RoundTrip:
    """How long a reply may take (RFC 6298 §2; a floor under the variation stands for the clock's grain)."""

    __slots__ = ("_most", "patience", "srtt", "var")

    FLOOR = 0.01  #: seconds: scheduling noise of both ends

    def __init__(self, most: float) -> None:
        self._most = most  #: seconds that may be added for variation
        self.srtt: float | None = None
        self.var = 0.0
        self.patience = most  #: seconds after which a reply is missed

    def update(self, rtt: float) -> None:
        """Take in one measurement."""
        if self.srtt is None:
            self.srtt, self.var = rtt, rtt / 2
        else:
            error = rtt - self.srtt
            self.var += (abs(error) - self.var) / 4
            self.srtt += error / 8
        self.patience = self.srtt + min(max(4 * self.var, self.FLOOR), self._most)


class GradeStep(enum.Enum):
    """What follows from the window."""

    LOOK = enum.auto()  #: read the counters first
    WORSE = enum.auto()
    BETTER = enum.auto()


class Grade:
    """Whether a path that answers does so well enough: loss and RTT over the window, against two limits each.

    The state is entered at one limit and left at a lower one, not before a whole window has passed, and each
    further time later (``HoldDown``): a path on the edge changes its state seldom. Before it is called worse,
    the interface's counters are looked at twice, so that congestion is told from a bad line.
    """

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
