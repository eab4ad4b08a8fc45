"""What else is known: how replies return, whether others' packets come, whether IKE lives, what a target can.

Facts only; what follows from them for a tunnel is decided in ``situation`` and by those who ask it. All of it
is of one tunnel, but for ``TargetLimit``: that is of one probe target, whoever asks it.
"""

import enum
from collections import deque
from collections.abc import Sequence
from math import inf

from vpnagent.config.values import TunnelKey
from vpnagent.record import record

_FULL = 0.8  #: of a limit: above this the cloud's policer may drop
_MERELY_LATE = 3  #: packets that may arrive after the first miss without being a sign of life
_SHORTEST = 0.005  #: seconds: over less, a rate means nothing

# Of a target's limit
_BUCKET = 0.5  #: seconds
_WINDOW = 8  #: buckets in view
_GLANCE = 4  #: buckets in which a beginning is seen
_FEWEST = 12  #: probes that make a rate
_LOSSY = 0.92  #: of the probes answered: above it is no matter
_STEADY = 2  #: replies by which the seconds of a constant rate may differ, or
_STEADY_SHARE = 0.15  #: that share of them
_SETTLING = 0.5  #: seconds of an experiment that do not count: probes of before
_EXPERIMENT = 3.0  #: seconds
_ALL = 0.95  #: of the probes answered: all
_SAME = 0.8  #: of the replies of before: as many
_SPARE = 0.8  #: of the limit is asked for
SLOWEST = 8  #: times slower than configured
_FIRST_BLOCK, _LONGEST_BLOCK = 60.0, 3600.0  #: seconds without another experiment
_SHORT_BLOCK = 10.0  #: seconds, when nothing was lost in the first place
_FIRST_STAY, _LONGEST_STAY = 600.0, 7200.0  #: seconds before the configured rate is tried again


@record(frozen=True, slots=True)
class CounterReading:
    """The counters of a tunnel's interface."""

    at: float
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int


class TunnelTraffic:
    """What the interface's own counters say about a silence."""

    __slots__ = ("_before", "_begin", "_last", "_probes", "_probes_then", "_replies", "_replies_then")

    def __init__(self) -> None:
        self._probes = self._probes_then = 0  #: likewise, that were sent
        self._replies = self._replies_then = 0  #: to probes: ever, and when the silence began
        self._before: CounterReading | None = None  #: the last but one
        self._last: CounterReading | None = None
        self._begin: CounterReading | None = None  #: the first after the first miss

    def begin(self) -> None:
        """A probe was missed: from the next reading on it is seen whether anything arrives."""
        self._begin = None

    def probe(self) -> None:
        """A probe of ours left through the tunnel."""
        self._probes += 1

    def reply(self) -> None:
        """A reply to some probe arrived through the tunnel: that packet is no other's traffic."""
        self._replies += 1

    def read(self, reading: CounterReading) -> None:
        """Take in the counters; the interface may have been made anew since."""
        if self._last is not None and reading.rx_packets < self._last.rx_packets:
            self._begin = self._before = self._last = None
        self._before, self._last = self._last, reading
        if self._begin is None:
            self._begin, self._replies_then, self._probes_then = reading, self._replies, self._probes

    @property
    def inbound(self) -> bool:
        """Whether packets of others arrived through the tunnel while probes went missing."""
        if self._begin is None or self._last is None:
            return False
        replies = self._replies - self._replies_then
        return self._last.rx_packets - self._begin.rx_packets - replies >= _MERELY_LATE

    @property
    def unanswered(self) -> bool:
        """Whether packets of others left through the tunnel while probes went missing, and none arrived."""
        if self._begin is None or self._last is None or self.inbound:
            return False
        probes = self._probes - self._probes_then
        return self._last.tx_packets - self._begin.tx_packets - probes >= _MERELY_LATE

    def full(self, bandwidth: float, packet_rate: int) -> bool:
        """Whether the tunnel runs near its limits in either direction; False while that cannot be told."""
        new, old = self._last, self._begin if self._begin is not self._last else self._before
        if new is None or old is None or new.at - old.at < _SHORTEST:
            return False
        seconds = new.at - old.at
        bits = 8 * max(new.rx_bytes - old.rx_bytes, new.tx_bytes - old.tx_bytes)
        packets = new.rx_packets - old.rx_packets + new.tx_packets - old.tx_packets
        return bool(
            (bandwidth and bits >= _FULL * bandwidth * seconds)
            or (packet_rate and packets >= _FULL * packet_rate * seconds)
        )


class IkeDaemon:
    """The IKE daemon of a tunnel's peer, as far as asked."""

    __slots__ = ("answered_at", "asked_at", "last_asked", "rtt", "unanswered_at")

    def __init__(self) -> None:
        self.asked_at: float | None = None  #: the last question; None: it was answered
        self.answered_at: float | None = None  #: None: never yet
        self.unanswered_at: float | None = None  #: the first question since the last answer
        self.last_asked: float | None = None
        self.rtt: float | None = None  #: seconds, of the last

    def ask(self, at: float) -> None:
        """A question leaves."""
        self.asked_at = self.last_asked = at
        if self.unanswered_at is None:
            self.unanswered_at = at

    def answer(self, at: float) -> None:
        """A sign of life arrived."""
        self.answered_at = at
        self.unanswered_at = None
        if self.asked_at is not None:
            self.rtt = max(0.0, at - self.asked_at)
            self.asked_at = None

    def silent(self, now: float, length: float) -> bool:
        """Whether a daemon that is known to answer was asked ``length`` seconds ago, and did not."""
        if self.answered_at is None or self.unanswered_at is None:
            return False
        return now >= self.unanswered_at + length

    def answered_since(self, at: float) -> bool:
        """Whether it gave a sign of life since then."""
        return self.answered_at is not None and self.answered_at >= at

    def consulted_since(self, at: float | None) -> bool:
        """Whether it was asked since then, and perhaps answered."""
        last = max(self.asked_at or 0.0, self.answered_at or 0.0)
        return last >= (at or 0.0) and last > 0

    def silent_since(self, at: float | None) -> bool:
        """Whether a daemon that is known to answer was asked since then, and did not."""
        return self.answered_at is not None and self.asked_at is not None and self.asked_at >= (at or 0.0)


class Evidence:
    """All of it, for one tunnel."""

    __slots__ = ("heard_at", "ike", "last_in", "returns_on", "traffic")

    def __init__(self) -> None:
        self.returns_on: TunnelKey | None = None  #: where the last reply to a probe of this tunnel arrived
        self.heard_at: float | None = None  #: the last reply to a probe of this tunnel
        self.last_in: float | None = None  #: the last reply that arrived on this tunnel, whoever asked
        self.traffic = TunnelTraffic()
        self.ike = IkeDaemon()

    @property
    def proven_at(self) -> float | None:
        """When a packet last passed through the tunnel each way, whichever is longer ago; None: never yet."""
        if self.heard_at is None or self.last_in is None:
            return None
        return min(self.heard_at, self.last_in)

    def arrived_since(self, at: float | None) -> bool:
        """Whether a reply, to whomever, arrived on this tunnel after that time."""
        return at is not None and self.last_in is not None and self.last_in > at


class LimitStage(enum.Enum):
    """What is known of the limit."""

    NORMAL = "normal"
    MEASURING = "measuring"
    TESTING = "testing"
    LIMITED = "limited"


_EXPERIMENTS = (LimitStage.MEASURING, LimitStage.TESTING)


class TargetLimit:
    """Whether a probe target answers no more than so many probes a second, whoever asks.

    Such a target (a policer, a resolver's limit) makes tunnels look dead that are not: the replies of all
    tunnels together come at a constant rate, and which tunnel gets them is chance, or the order in which
    probes happen to arrive. It is told from a bad line by an experiment: all tunnels ask at half the rate for
    a while. A limit then answers as much as before, or everything; a line loses its share of what there is.

        NORMAL -> TESTING -+-> LIMITED: probes go slower, at most eight times; after a while NORMAL, to see
           ^    ^          +-> NORMAL: it is the line, and not tested again for a time that doubles
           |    +-- MEASURING, of a path so new that nobody knows what was answered before
           +--- LIMITED, and still something is lost although less is asked than was answered

    Driven by facts: time passes with probes that are sent.

    One target, asked through any number of tunnels.
    """

    __slots__ = (
        "_blocked_until",
        "_bucket_ends",
        "_buckets",
        "_failures",
        "_limits",
        "_until",
        "_was",
        "rate",
        "slower",
        "stage",
    )

    def __init__(self) -> None:
        self._buckets: deque[_Bucket] = deque(maxlen=_WINDOW + 1)  #: the last one is open
        self._bucket_ends = -inf
        self._blocked_until = -inf
        self._failures = self._limits = 0
        self._was = 0.0  #: replies a second when the experiment began
        self._until = inf
        self.rate = 0.0  #: replies a second, of a target that is limited
        self.slower = 1  #: times slower than configured is it to be asked
        self.stage = LimitStage.NORMAL

    def sent(self, at: float) -> bool:
        """A probe left for it; return whether it is to be asked at another rate from now on."""
        changed = self._roll(at) if at >= self._bucket_ends else False
        self._buckets[-1].sent += 1
        return changed

    def answered(self) -> None:
        """A reply of it arrived."""
        if self._buckets:
            self._buckets[-1].answered += 1

    @property
    def undecided(self) -> bool:
        """Whether what is lost may be due to a limit, and will be known in a moment."""
        if self.stage is not LimitStage.NORMAL or self._bucket_ends < self._blocked_until:
            return self.stage in _EXPERIMENTS
        buckets = self._complete()
        begun = len(buckets) < _WINDOW or not _lossy(buckets)
        return _lossy(buckets[-_GLANCE:]) and (begun or self._steady())

    def suspect(self, since: float, now: float, *, new: bool) -> bool:
        """A tunnel is silent ``since`` then: return whether to wait for an experiment.

        Not if nothing was lost before it fell silent: then that is no matter of chance. Of a ``new`` path
        nobody knows.
        """
        if self.stage in _EXPERIMENTS:
            return True
        if self.stage is LimitStage.LIMITED or now < self._blocked_until:
            return False
        before = [b for b in self._buckets if b.began + _BUCKET <= since]
        if not new and not _lossy(before[-_WINDOW:]):
            return False
        if new:
            self.stage = LimitStage.MEASURING
            self._begin(now, max(now, self._bucket_ends))
        else:
            self._test(now)
        return True

    def _roll(self, at: float) -> bool:
        if at >= self._bucket_ends + _WINDOW * _BUCKET:
            self._buckets.clear()
            self._bucket_ends = at
        before = self.slower
        while at >= self._bucket_ends:
            self._buckets.append(_Bucket(self._bucket_ends))
            self._bucket_ends += _BUCKET
        self._judge(at)
        return self.slower != before

    def _judge(self, now: float) -> None:
        match self.stage:
            case LimitStage.NORMAL:
                open_to_test = len(self._buckets) > _WINDOW and now >= self._blocked_until
                if open_to_test and _lossy(self._complete()) and self._steady():
                    self._test(now)
            case LimitStage.MEASURING:
                self._measure(now)
            case LimitStage.TESTING:
                if now >= self._until:
                    self._conclude(now)
            case LimitStage.LIMITED:
                self._review(now)

    def _measure(self, now: float) -> None:
        if len(self._buckets) > _GLANCE:
            self.stage = LimitStage.NORMAL
            if _lossy(self._complete()):
                self._test(now)
            else:
                self._blocked_until = now + _SHORT_BLOCK

    def _review(self, now: float) -> None:
        """See whether the limit is one: a line loses its share of less, too; a dead path all at once."""
        sent, answered = self._rates()
        if now >= self._until:
            self._normal(now)
        elif sent < _SAME * self.rate and answered < _SAME * sent and _lossy(self._complete()):
            self._refute(now)

    def _complete(self) -> "list[_Bucket]":
        return list(self._buckets)[:-1]

    def _rates(self) -> tuple[float, float]:
        """Return probes and replies a second."""
        buckets = self._complete()
        seconds = _BUCKET * len(buckets) or 1.0
        return sum(b.sent for b in buckets) / seconds, sum(b.answered for b in buckets) / seconds

    def _steady(self) -> bool:
        seconds = [answered for _, answered in _seconds(self._complete())]
        return bool(seconds) and max(seconds) - min(seconds) <= max(_STEADY, _STEADY_SHARE * max(seconds))

    def _test(self, now: float) -> None:
        _, self._was = self._rates()
        self.stage, self.slower = LimitStage.TESTING, 2
        self._until = now + _SETTLING + _EXPERIMENT
        self._begin(now, now + _SETTLING)

    def _conclude(self, now: float) -> None:
        # The bucket that was open while the experiment settled does not count.
        if self._buckets:
            self._buckets.popleft()
        sent, answered = self._rates()
        below = sent < _SAME * self._was
        if answered and answered >= (_ALL * sent if below else _SAME * min(sent, self._was)):
            self.stage, self.rate = LimitStage.LIMITED, max(self._was, answered)
            asked = 2 * sent
            while self.slower < SLOWEST and asked / self.slower > _SPARE * self.rate:
                self.slower *= 2
            self._until = now + min(_FIRST_STAY * 2.0**self._limits, _LONGEST_STAY)
            self._limits += 1
            self._begin(now, self._bucket_ends)
        else:
            self._refute(now)

    def _refute(self, now: float) -> None:
        self._blocked_until = now + min(_FIRST_BLOCK * 2.0 ** min(self._failures, 30), _LONGEST_BLOCK)
        self._failures += 1
        self._normal(now)

    def _normal(self, now: float) -> None:
        self.stage, self.slower, self._until = LimitStage.NORMAL, 1, inf
        self._begin(now, self._bucket_ends)

    def _begin(self, now: float, ends: float) -> None:
        """Count anew, from an open bucket on."""
        self._buckets.clear()
        self._buckets.append(_Bucket(now))
        self._bucket_ends = ends


class _Bucket:
    """What was asked and answered in half a second."""

    __slots__ = ("answered", "began", "sent")

    def __init__(self, began: float) -> None:
        self.began = began
        self.sent = self.answered = 0


def _lossy(buckets: Sequence[_Bucket]) -> bool:
    """Whether much is lost, and some in every second: what is lost at once is no limit's doing."""
    sent, answered = sum(b.sent for b in buckets), sum(b.answered for b in buckets)
    spread = all(0 < got < asked for asked, got in _seconds(buckets))
    return sent >= _FEWEST and 0 < answered < _LOSSY * sent and spread


def _seconds(buckets: Sequence[_Bucket]) -> list[tuple[int, int]]:
    """Return what was asked and answered, second by second."""
    pairs = zip(buckets[::2], buckets[1::2], strict=False)
    return [(a.sent + b.sent, a.answered + b.answered) for a, b in pairs]
