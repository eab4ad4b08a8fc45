"""What else is known of a tunnel: which way its replies come, who else speaks in it, whether IKE lives.

Facts only; what follows from them is decided in ``blame``.
"""

from vpnagent.config.values import TunnelKey
from vpnagent.record import dataclass

_FULL = 0.8  #: of a limit: above this the cloud's policer may drop
_MERELY_LATE = 3  #: packets that may arrive after the first miss without being a sign of life
_SHORTEST = 0.005  #: seconds: over less, a rate means nothing


@dataclass(frozen=True, slots=True)
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
