"""What became of a drill's probes: when each was sent, when and where its answer came. Pure.

All times are seconds on one monotonic clock. One thread may write while another asks for ``first_answer``;
``measure`` is for afterwards.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.ipsec import ESP

from vpnagent.commands.drill.capture import CapturedPacket


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What became of the probes that were sent in a span of time."""

    sent: int
    lost: int
    longest_gap: float  #: seconds in which nothing that was sent was answered, by the times of sending
    longest_pause: float  #: seconds between two probes: how late this machine made the stream itself
    replies_on: Mapping[int, int] = field(default_factory=dict)  #: replies by index of the arrival interface


NOTHING = Measure(sent=0, lost=0, longest_gap=0.0, longest_pause=0.0)


class Ledger:
    """The probes of one stream, numbered from 0."""

    def __init__(self) -> None:
        self._sent: list[float] = []
        self._heard: dict[int, tuple[float, int]] = {}

    @property
    def next(self) -> int:
        """The number of the next probe."""
        return len(self._sent)

    def sent(self, at: float) -> None:
        """The next probe was sent, or refused by the kernel: then it is as lost as any other."""
        self._sent.append(at)

    def answered(self, number: int, at: float, interface: int) -> None:
        """The answer to a probe came in through an interface; a second one is ignored."""
        if 0 <= number < len(self._sent):
            self._heard.setdefault(number, (at, interface))

    def first_answer(self, since: float) -> float | None:
        """Return when the first answer came to a probe sent at ``since`` or later."""
        answers = (
            heard[0]
            for number in self._numbers(since, float("inf"))
            if (heard := self._heard.get(number)) is not None
        )
        return min(answers, default=None)

    def measure(self, begin: float, end: float) -> Measure:
        """Return what became of the probes sent from ``begin`` until before ``end``."""
        numbers = self._numbers(begin, end)
        heard = [self._heard.get(number) for number in numbers]
        sent = self._sent
        pauses = (sent[n] - sent[n - 1] for n in numbers if n > 0)
        return Measure(
            sent=len(numbers),
            lost=heard.count(None),
            longest_gap=self._longest_gap(numbers),
            longest_pause=max(pauses, default=0.0),
            replies_on=Counter(answer[1] for answer in heard if answer is not None),
        )

    def _longest_gap(self, numbers: range) -> float:
        """Return the longest time between two answered probes with lost ones between them."""
        sent, end = self._sent, len(self._sent)
        heard = [number for number in sorted(self._heard) if number < numbers.stop]
        after = next((n for n in range(numbers.stop, end) if n in self._heard), end)
        gaps = (
            sent[min(b, end - 1)] - sent[max(a, 0)]
            for a, b in pairwise([-1, *heard, after])
            if max(a + 1, numbers.start) < min(b, numbers.stop)  # some of those between are in the span
        )
        return max(gaps, default=0.0)

    def _numbers(self, begin: float, end: float) -> range:
        """Return the numbers of the probes sent from ``begin`` until before ``end``."""
        sent = self._sent[:]
        return range(bisect_left(sent, begin), bisect_left(sent, end))


# Captured packets as lines of text, around the moment of a switch. Pure; scapy decodes.
# Takes a second to import: only once the drill is over.

MOST_LINES: Final = 60
MARGIN: Final = 0.01  #: seconds that are shown before the switch and after the first reply


def timeline(
    packets: Iterable[CapturedPacket], moments: Mapping[str, float], *, begin: float, until: float
) -> Iterator[str]:
    """Yield the packets and moments from before ``begin`` until after ``until``, at most ``MOST_LINES``.

    All times are monotonic seconds; what is told is milliseconds from ``begin``.
    """
    rows = [(at, f"--- {what}") for what, at in moments.items()]
    rows += [
        (packet.at, told)
        for packet in packets
        if begin - MARGIN <= packet.at <= until + MARGIN and (told := _told(packet))
    ]
    rows.sort()
    for at, text in rows[:MOST_LINES]:
        yield f"{(at - begin) * 1000:+9.2f}ms  {text}"
    if len(rows) > MOST_LINES:
        yield f"… {len(rows) - MOST_LINES} more"


def _told(packet: CapturedPacket) -> str:
    what = decoded(packet.data)
    arrow = "out" if packet.outgoing else "in "
    return f"{packet.interface:<15} {arrow} {what}" if what else ""


def decoded(data: bytes) -> str:
    """Return what a packet is, in a few words; empty for IKE and keep-alives."""
    ip: Any = IP(data)
    ends = f"{ip.src} > {ip.dst}"
    if ICMP in ip:
        kind = {0: "reply", 8: "request"}.get(ip[ICMP].type, f"type {ip[ICMP].type}")
        return f"ICMP echo {kind} {ends} seq {ip[ICMP].seq}"
    if ESP in ip and ip[ESP].spi:  # 0: the non-ESP marker before an IKE message, RFC 3948 section 2.2
        outer = " in UDP" if UDP in ip else ""
        return f"ESP{outer} {ends} spi {ip[ESP].spi:08x} seq {ip[ESP].seq}"
    return ""
