"""Bits per second from counters read now and then: the mean over the last seconds.

Pure: ``now`` is monotonic seconds. A counter that went back (the interface was made anew) starts again.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from vpnagent.netlink.rtnetlink import LinkCounters

WINDOW = 5.0  #: seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Traffic inside one tunnel, this gateway's view."""

    rx_bits_per_second: float
    tx_bits_per_second: float


class Rates:
    """Rates by interface name. Drive it with ``update()``."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, LinkCounters]]] = deque()

    def update(self, now: float, counters: Mapping[str, LinkCounters]) -> None:
        """Take in one reading; keep just enough to span the window."""
        self._samples.append((now, counters))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:  # noqa: PLR2004 - first and last
            self._samples.popleft()

    def rate(self, interface: str) -> Rate:
        """Return the mean rate over the window; zero while there is nothing to compare."""
        if not self._samples:
            return Rate(rx_bits_per_second=0.0, tx_bits_per_second=0.0)
        then, old = self._samples[0]
        now, new = self._samples[-1]
        before, after = old.get(interface), new.get(interface)
        if before is None or after is None or now <= then:
            return Rate(rx_bits_per_second=0.0, tx_bits_per_second=0.0)
        seconds = now - then
        return Rate(
            rx_bits_per_second=max(0, after.rx_bytes - before.rx_bytes) * 8 / seconds,
            tx_bits_per_second=max(0, after.tx_bytes - before.tx_bytes) * 8 / seconds,
        )
