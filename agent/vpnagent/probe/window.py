"""Loss and round-trip time of the last probes: a view over a ring, as dpinger has it.

Nothing here ever times out: a slot is sent or answered, and whether it counts as lost is a question of how
long ago it was sent. A late reply repairs the history, and the totals with it. A probe that the kernel did
not accept was never sent. Every operation costs the same however long the window is.
"""

from vpnagent.probe.intent import Target

SEQUENCES = 65536  #: of ICMP (RFC 792); rings divide it
_SMALLEST, _LARGEST = 16, 4096  #: slots


class Slot:
    """One probe. ``number`` counts all probes of the tunnel and never wraps."""

    __slots__ = ("lost", "number", "rtt", "sent_at", "spare", "target")

    def __init__(self, number: int, target: Target, *, spare: bool) -> None:
        self.number = number
        self.target = target
        self.spare = spare  #: to a target that is not the usual one: its silence proves nothing
        self.sent_at: float | None = None
        self.rtt: float | None = None  #: seconds; None: not answered
        self.lost = False


class Window:
    """The last probes of one tunnel."""

    __slots__ = ("_answered", "_next", "_ring", "_rtt_sum", "_settled", "lost", "rtt", "totals")

    def __init__(self, slots: int, patience: float) -> None:
        """Keep at least ``slots`` probes; ``patience`` is for the first reply, in seconds."""
        size = _SMALLEST
        while size < min(slots, _LARGEST):
            size *= 2
        self._ring: list[Slot | None] = [None] * size
        self._next = 0  #: number of the next probe
        self._settled = 0  #: every earlier one is known to be answered or lost
        self._answered = 0  #: in view
        self._rtt_sum = 0.0  #: seconds, of those
        self.lost = 0  #: in view
        self.rtt = RoundTrip(patience)
        self.totals = Totals()

    def open(self, target: Target, *, spare: bool) -> Slot:
        """Return the slot of the next probe; it does not count before it is sent."""
        slot = Slot(self._next, target, spare=spare)
        index = self._next % len(self._ring)
        if (old := self._ring[index]) is not None:
            self._forget(old)
        self._ring[index] = slot
        self._next += 1
        return slot

    def find(self, sequence: int) -> Slot | None:
        """Return the probe of that sequence, if it is still in view."""
        slot = self._ring[sequence % len(self._ring)]
        return slot if slot is not None and slot.number % SEQUENCES == sequence else None

    def answer(self, slot: Slot, rtt: float) -> None:
        """Note a reply to a probe that was sent; a second one to the same probe is ignored."""
        if slot.rtt is not None:
            return
        slot.rtt = rtt
        self.rtt.update(rtt)
        self.totals.answered += 1
        if slot.lost:
            slot.lost = False
            self.lost -= 1
            self.totals.lost -= 1
            self._answered += 1
            self._rtt_sum += rtt

    def settle(self, sent_before: float) -> None:
        """Count as lost what was sent before that time and is not answered yet."""
        while self._settled < self._next:
            slot = self._ring[self._settled % len(self._ring)]
            if slot is not None and slot.number == self._settled:
                if slot.sent_at is None or (slot.rtt is None and slot.sent_at >= sent_before):
                    return
                self._count(slot)
            self._settled += 1

    def void(self, slot: Slot) -> None:
        """The probe was never sent."""
        self._ring[slot.number % len(self._ring)] = None

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
        for slot in self._ring:
            if slot is not None:
                slot.spare, slot.lost = True, False
        self._answered = 0
        self._rtt_sum = 0.0
        self.lost = 0

    def _count(self, slot: Slot) -> None:
        """A probe's fate is known, for now."""
        if slot.spare:
            return
        if slot.rtt is None:
            slot.lost = True
            self.lost += 1
            self.totals.lost += 1
        else:
            self._answered += 1
            self._rtt_sum += slot.rtt

    def _forget(self, slot: Slot) -> None:
        """A probe leaves the view."""
        if slot.number >= self._settled:
            self.settle(float("inf"))
            self._settled = max(self._settled, slot.number + 1)
        if slot.spare or slot.sent_at is None:
            return
        if slot.lost:
            self.lost -= 1
        elif slot.rtt is not None:
            self._answered -= 1
            self._rtt_sum -= slot.rtt


class Totals:
    """Counters that last as long as the tunnel."""

    __slots__ = ("answered", "lost", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.answered = 0
        self.lost = 0


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
