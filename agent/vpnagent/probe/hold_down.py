"""How long a recovered path must prove itself: damping of flaps.

The first recovery takes ``hold_down``. Each further fall doubles it, up to a cap; each spell of being up for
four times the present one takes one doubling back. A path that falls more often than that is left alone
more and more: whatever the rhythm of its falls, it comes up less than once per cap in the long run.
"""

CAP = 300.0  #: seconds; a longer ``hold_down`` is its own cap
_DOUBLED_FROM = 1.0  #: seconds: the least that is ever doubled, lest 0 stay 0
_DECAY = 4  #: times the hold-down: how long the path must be up for one fall to be forgotten


class HoldDown:
    """The damping of one path. ``ends`` is None while the path is not in hold-down."""

    __slots__ = ("_changed", "base", "ends", "falls")

    def __init__(self, base: float) -> None:
        self.base = base  #: seconds
        self._changed = 0.0  #: when the path came up, or the last doubling was taken back
        self.ends: float | None = None
        self.falls = 0  #: that are remembered

    @property
    def length(self) -> float:
        """Seconds, for the present number of falls."""
        if self.falls <= 1:
            return self.base
        doubled = max(self.base, _DOUBLED_FROM) * 2.0 ** min(self.falls - 1, 30)
        return max(self.base, min(doubled, CAP))

    def begin(self, at: float) -> None:
        """The path is heard again; or it missed a probe while it had to prove itself."""
        self.ends = at + self.length

    def postpone(self, seconds: float) -> None:
        """Leave out a time in which nothing could be heard through no fault of the path."""
        if self.ends is not None:
            self.ends += seconds

    def up(self, at: float) -> None:
        """The path has proved itself."""
        self.ends = None
        self._changed = at

    def fell(self, at: float) -> None:
        """The path went down."""
        if self.ends is None:
            self._decay(at)
        self.falls += 1
        self.ends = None

    def take_back(self) -> None:
        """The last fall was none."""
        self.falls = max(0, self.falls - 1)

    def _decay(self, at: float) -> None:
        """Take one fall back for each spell of being up."""
        while self.falls and at - self._changed >= _DECAY * self.length:
            self._changed += _DECAY * self.length
            self.falls -= 1
