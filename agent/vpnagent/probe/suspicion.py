"""What is suspected when all tunnels of a domain went silent together: one of them, or the target.

    CLEAR -> FOREWARNED -> ASKING -> CLEAR, and a tunnel is blamed: ``recovery`` begins
      |                                | nothing improved
      +-- packets still arrive ---> TARGET -> CLEAR, when something is heard or missed

FOREWARNED: the IKE daemons are asked ahead of the verdict. ASKING: they are asked. TARGET: the target is
probably dead.

Blaming on no more than where replies used to arrive is a guess. One that did not help is not repeated
before a time that doubles with each such failure.
"""

import enum
from math import inf

from vpnagent.config.values import TunnelKey
from vpnagent.probe.remedy import IkeQuestion

_FRESH = 1.0  #: seconds
_RECHECK = 2.0  #: seconds between looks whether packets still arrive
_FIRST_BLOCK, _LONGEST_BLOCK = 60.0, 3600.0  #: seconds without another guess after one that did not help


class SuspicionStage(enum.Enum):
    """Where the suspicion stands."""

    CLEAR = "clear"
    FOREWARNED = "forewarned"
    ASKING = "asking"
    TARGET = "target"


class Suspicion:
    """The suspicion of one domain."""

    __slots__ = ("_blocked_until", "_failures", "_question", "answered", "asked", "culprit", "stage", "until")

    def __init__(self) -> None:
        self.clear()
        self._failures = 0
        self._blocked_until = -inf

    def clear(self) -> None:
        """Something was heard: all is open again."""
        self.stage = SuspicionStage.CLEAR
        self.culprit: TunnelKey | None = None
        self.asked: frozenset[TunnelKey] = frozenset()
        self.answered: set[TunnelKey] = set()
        self._question: IkeQuestion | None = None
        self.until = inf

    def ask(self, culprit: TunnelKey | None, suspects: frozenset[TunnelKey], now: float, rtt: float) -> None:
        """The IKE daemons of ``suspects`` are being asked; without a culprit, ahead of a verdict."""
        self.stage = SuspicionStage.FOREWARNED if culprit is None else SuspicionStage.ASKING
        self.culprit, self.asked, self.answered = culprit, suspects, set()
        self._question = IkeQuestion.at(now, rtt)
        self.until = self._question.again

    def accuse(self, culprit: TunnelKey, now: float) -> None:
        """The verdict is due of which this was the warning: what was asked need not be asked again."""
        self.stage = SuspicionStage.ASKING
        self.culprit = culprit
        if self.until == inf or self.asked <= self.answered:
            self.until = now

    def stale(self, now: float) -> bool:
        """Whether the question was asked too long ago to be of use."""
        return self._question is None or now > self._question.until + _FRESH

    def repeat(self, now: float) -> frozenset[TunnelKey]:
        """Return whom to ask again; nobody: it has been waited long enough."""
        question = self._question
        if question is None or now >= question.until or self.asked <= self.answered:
            self.until = inf
            return frozenset()
        self.until = question.until
        return self.asked - self.answered

    def answer(self, tunnel: TunnelKey, now: float) -> None:
        """A tunnel's IKE daemon answered."""
        if self.stage in (SuspicionStage.ASKING, SuspicionStage.FOREWARNED) and tunnel in self.asked:
            self.answered.add(tunnel)
            if self.asked <= self.answered:
                self.until = now

    def may_guess(self, now: float) -> bool:
        """Whether another guess is allowed."""
        return now >= self._blocked_until

    def helped(self) -> None:
        """A tunnel was heard: the guess was right."""
        self._failures = 0
        self.clear()

    def failed(self, now: float) -> None:
        """Nothing improved: the guess was wrong."""
        self._blocked_until = now + min(_FIRST_BLOCK * 2.0 ** min(self._failures, 30), _LONGEST_BLOCK)
        self._failures += 1

    def suspect_target(self, now: float) -> None:
        """The target is probably dead."""
        self.clear()
        self.stage = SuspicionStage.TARGET
        self.until = now + _RECHECK
