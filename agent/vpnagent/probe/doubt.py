"""What a set of tunnels is in doubt about, when all went silent together and the target may be dead.

    CLEAR -> ASKING (the IKE daemons) -> WATCHING (a tunnel was blamed: do the others come back?) -> CLEAR
                  |                              | nothing improved
                  +-- packets still arrive --> PARDONED (the target is probably dead) -> CLEAR when heard

Blaming on no more than where replies used to arrive is a guess. One that did not help is not repeated
before a time that doubles with each such failure.
"""

import enum
from math import inf

from vpnagent.config.values import TunnelKey
from vpnagent.probe.trial import Question

WATCH = (
    10.0  #: seconds for the cloud to return traffic on another tunnel after a DELETE, and for it to be heard
)
_RECHECK = 5.0  #: seconds between looks whether packets still arrive
_FIRST_BLOCK, _LONGEST_BLOCK = 60.0, 3600.0  #: seconds without another guess after one that did not help


class Stage(enum.Enum):
    """Where the doubt stands."""

    CLEAR = "clear"
    ASKING = "asking"
    WATCHING = "watching"
    PARDONED = "pardoned"


class Doubt:
    """The doubt of one domain."""

    __slots__ = ("_blocked_until", "_failures", "_question", "answered", "asked", "culprit", "stage", "until")

    def __init__(self) -> None:
        self.clear()
        self._failures = 0
        self._blocked_until = -inf

    def clear(self) -> None:
        """Something was heard: all is open again."""
        self.stage = Stage.CLEAR
        self.culprit: TunnelKey | None = None
        self.asked: frozenset[TunnelKey] = frozenset()
        self.answered: set[TunnelKey] = set()
        self._question: Question | None = None
        self.until = inf

    def ask(self, culprit: TunnelKey, suspects: frozenset[TunnelKey], now: float, rtt: float) -> None:
        """The IKE daemons of ``suspects`` are being asked."""
        self.stage = Stage.ASKING
        self.culprit, self.asked = culprit, suspects
        self._question = Question.at(now, rtt)
        self.until = self._question.again

    def repeat(self, now: float) -> frozenset[TunnelKey] | None:
        """Return whom to ask again; None: it has been waited long enough."""
        if self._question is None or now >= self._question.until or self.asked <= self.answered:
            return None
        self.until = self._question.until
        return self.asked - self.answered

    def answer(self, tunnel: TunnelKey, now: float) -> None:
        """A tunnel's IKE daemon answered."""
        if self.stage is Stage.ASKING and tunnel in self.asked:
            self.answered.add(tunnel)
            if self.asked <= self.answered:
                self.until = now

    def may_guess(self, now: float) -> bool:
        """Whether another guess is allowed."""
        return now >= self._blocked_until

    def watch(self, culprit: TunnelKey, now: float) -> None:
        """The culprit is acted upon."""
        self.stage = Stage.WATCHING
        self.culprit = culprit
        self.until = now + WATCH

    def helped(self) -> None:
        """Another tunnel was heard: the guess was right."""
        self._failures = 0
        self.clear()

    def failed(self, now: float) -> None:
        """Nothing improved: the guess was wrong."""
        self._blocked_until = now + min(_FIRST_BLOCK * 2.0 ** min(self._failures, 30), _LONGEST_BLOCK)
        self._failures += 1

    def pardon(self, now: float) -> None:
        """The target is probably dead."""
        self.clear()
        self.stage = Stage.PARDONED
        self.until = now + _RECHECK
