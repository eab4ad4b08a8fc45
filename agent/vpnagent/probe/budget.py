"""A bounded rate: so many at once, and then one in so many seconds."""


class Budget:
    """A token bucket. ``suppressed`` counts what was refused since the last that was not."""

    __slots__ = ("_burst", "_every", "_full_at", "suppressed")

    def __init__(self, burst: int, every: float) -> None:
        self._burst = burst
        self._every = every
        self._full_at = 0.0  #: when the bucket is full again
        self.suppressed = 0

    def take(self, now: float) -> int | None:
        """Return how many were refused before this one, or None if this one is."""
        if max(self._full_at, now) + self._every > now + self._burst * self._every:
            self.suppressed += 1
            return None
        self._full_at = max(self._full_at, now) + self._every
        suppressed, self.suppressed = self.suppressed, 0
        return suppressed
