"""Packets around a switch, as lines: scapy makes them, scapy reads them."""

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.ipsec import ESP
from scapy.packet import Raw

from vpnagent.commands.drill.capture import SNAP, CapturedPacket
from vpnagent.commands.drill.ledger import MOST_LINES, decoded, timeline

ENDS: dict[str, Any] = {"src": "192.0.2.2", "dst": "203.0.113.1"}
REQUEST = bytes(IP(src="10.1.0.1", dst="172.16.0.10") / ICMP(type=8, seq=7) / Raw(bytes(16)))


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (IP(REQUEST), "ICMP echo request 10.1.0.1 > 172.16.0.10 seq 7"),
        (IP(**ENDS) / ICMP(type=0, seq=7), "ICMP echo reply 192.0.2.2 > 203.0.113.1 seq 7"),
        (
            IP(**ENDS) / ESP(spi=0xC0FFEE, seq=3, data=bytes(200)),
            "ESP 192.0.2.2 > 203.0.113.1 spi 00c0ffee seq 3",
        ),
        (
            IP(**ENDS) / UDP(sport=4500, dport=4500) / ESP(spi=0xC0FFEE, seq=3, data=bytes(200)),
            "ESP in UDP 192.0.2.2 > 203.0.113.1 spi 00c0ffee seq 3",
        ),
        (IP(**ENDS) / UDP(sport=4500, dport=4500) / Raw(bytes(40)), ""),  # IKE
        (IP(**ENDS) / UDP(sport=4500, dport=4500) / Raw(b"\xff"), ""),  # keep-alive
    ],
)
def test_a_packet_is_told_in_a_few_words_however_short_it_was_cut(packet: IP, told: str) -> None:
    assert decoded(bytes(packet)[:SNAP]) == told


def test_packets_and_moments_stand_in_order_with_times_from_the_switch() -> None:
    packets = [
        CapturedPacket(100.002, "vpn-2", True, REQUEST),
        CapturedPacket(99.999, "vpn-1", True, REQUEST),
    ]
    lines = list(timeline(packets, {"nexthop group replaced": 100.0}, begin=100.0, until=100.01))
    assert [line.split()[:3] for line in lines] == [
        ["-1.00ms", "vpn-1", "out"],
        ["+0.00ms", "---", "nexthop"],
        ["+2.00ms", "vpn-2", "out"],
    ]


def test_what_is_far_from_the_switch_is_left_out_and_the_rest_is_bounded() -> None:
    packets = [CapturedPacket(90.0, "far", True, REQUEST)]
    packets += [CapturedPacket(100.0 + n / 10000, "vpn-1", True, REQUEST) for n in range(99)]
    lines = list(timeline(packets, {}, begin=100.0, until=100.01))
    assert not any("far" in line for line in lines)
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == f"… {99 - MOST_LINES} more"
