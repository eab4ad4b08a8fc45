"""Kernel receive stamps on the monotonic scale. Pure: both clocks are arguments, in nanoseconds.

SO_TIMESTAMPNS tells wall time. What was received before a step of the wall clock would come out wrong by
the step, so a drain in which the two clocks parted falls back to its own time, and no stamp may lie
outside the time since the socket was last seen empty.
"""

STEP = 1_000_000  #: ns by which the clocks may part between two drains of the socket
SLEW = 1_000  #: 1/SLEW: the rate at which adjtime(3) may move them, twice over


class ReceiveTime:
    """Bracket every drain of a socket with ``begin()`` and ``end()``."""

    def __init__(self, monotonic: int, wall: int) -> None:
        self._offset = wall - monotonic
        self._emptied = monotonic
        self._now = monotonic
        self._stepped = False

    def begin(self, monotonic: int, wall: int) -> None:
        """Note the clocks, read one right after the other, before the first packet is taken."""
        offset = wall - monotonic
        tolerance = STEP + (monotonic - self._now) // SLEW
        self._stepped = abs(offset - self._offset) > tolerance
        self._offset = offset
        self._now = monotonic

    def of(self, stamp: int | None) -> int:
        """Return when a packet with this stamp was received; None: the kernel gave no stamp."""
        if stamp is None or self._stepped:
            return self._now
        return max(self._emptied, min(stamp - self._offset, self._now))

    def end(self) -> None:
        """Note that the socket is empty: what comes now came after ``begin()``."""
        self._emptied = self._now
