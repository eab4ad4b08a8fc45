"""Loss and round-trip time of the last probes: a view over a ring, as dpinger has it.

Nothing here ever times out: a slot is sent or answered, and whether it counts as lost is a question of how
long ago it was sent. A late reply repairs the history, and the totals with it. A probe that the kernel did
not accept was never sent. Every operation costs the same however long the window is; of a probe that was
answered only its round-trip time is kept.
"""

from array import array
from math import inf, isnan, nan

from vpnagent.probe.intent import ProbeTarget
from vpnagent.probe.meter import RTT_BOUNDS, Histogram

SEQUENCES = 65536  #: of ICMP (RFC 792)
_SMALLEST, _LARGEST = 16, 4096  #: probes in view


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


class Window:
    """The last probes of one tunnel."""

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

    def __init__(self, slots: int, patience: float) -> None:
        """Keep at least ``slots`` probes; ``patience`` is for the first reply, in seconds."""
        self._size = _SMALLEST
        while self._size < min(slots, _LARGEST):
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
        """Return the slot of the next probe; it does not count before it is sent."""
        number = self._next
        if number >= self._size:
            self._forget(number - self._size)
        slot = self._open[number] = ProbeRecord(number, target, spare=spare, marked=marked)
        self._next += 1
        return slot

    def find(self, sequence: int) -> ProbeRecord | None:
        """Return the probe of that sequence, if it is still in view and an answer to it means anything."""
        last = self._next - 1
        return self._open.get(last - (last - sequence) % SEQUENCES)

    def answer(self, slot: ProbeRecord, rtt: float) -> None:
        """Note a reply to a probe that was sent; a second one to the same probe is ignored."""
        if slot.rtt is not None:
            return
        slot.rtt = rtt
        self.rtt.update(rtt)
        self.totals.rtt.observe(rtt)
        if slot.lost:
            slot.lost = False
            self.lost -= 1
            self.totals.lost -= 1
            self._note(slot.number, rtt)
        if slot.number < self._settled:
            self._open.pop(slot.number, None)

    def settle(self, sent_before: float) -> None:
        """Count as lost what was sent before that time and is not answered yet."""
        while self._settled < self._next:
            slot = self._open.get(self._settled)
            if slot is not None:
                if slot.sent_at is None or (slot.rtt is None and slot.sent_at >= sent_before):
                    return
                self._count(slot)
            self._settled += 1

    def void(self, slot: ProbeRecord) -> None:
        """The probe was never sent."""
        self._open.pop(slot.number, None)

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
        for slot in self._open.values():
            slot.spare, slot.lost = True, False
        self._rtts = array("d", [nan]) * self._size
        self._answered = 0
        self._rtt_sum = 0.0
        self.lost = 0

    def forget(self) -> None:
        """What is under way was asked under a former intent: an answer to it is none, and it is not lost."""
        self.clear()
        self._open.clear()
        self._settled = self._next

    def _count(self, slot: ProbeRecord) -> None:
        """A probe's fate is known, for now."""
        if slot.rtt is not None:
            del self._open[slot.number]
            if not slot.spare:
                self._note(slot.number, slot.rtt)
        elif not slot.spare:
            slot.lost = True
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
        slot = self._open.pop(number, None)
        if slot is not None and slot.lost:
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
