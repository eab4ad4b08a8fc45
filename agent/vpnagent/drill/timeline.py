"""Captured packets as lines of text, around the moment of a switch. Pure; scapy decodes.

Takes a second to import: only once the drill is over.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.ipsec import ESP

from vpnagent.drill.capture_filter import Packet

MOST_LINES: Final = 60
MARGIN: Final = 0.01  #: seconds that are shown before the switch and after the first reply


def timeline(
    packets: Iterable[Packet], moments: Mapping[str, float], *, begin: float, until: float
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


def _told(packet: Packet) -> str:
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
