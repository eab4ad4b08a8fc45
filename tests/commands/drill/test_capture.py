"""The filter keeps what a drill looks for, judged by running its instructions."""

import struct
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.ipsec import ESP
from scapy.packet import Raw

from vpnagent.commands.drill.capture import MARK, MOST_PEERS, SNAP, CapturedPacket, program
from vpnagent.commands.drill.ledger import MOST_LINES, decoded, timeline
from vpnagent.probe.packets import Echo

PEERS = [IPv4Address("203.0.113.1"), IPv4Address("203.0.113.2")]
MARKED = 0xCAFE0001
IPV4, ARP = 0x0800, 0x0806


def kept(code: bytes, packet: bytes, protocol: int = IPV4) -> int:
    """Run a classic BPF program as the kernel does; return how many octets it keeps."""
    instructions = list(struct.iter_unpack("=HBBI", code))
    accumulator = index = position = 0
    while True:
        opcode, equal, other, operand = instructions[position]
        position += 1
        if opcode == 0x06:
            return int(operand)
        if opcode == 0x15:
            position += equal if accumulator == operand else other
        elif opcode == 0xB1:
            index = 4 * (packet[operand] & 0xF)
        elif operand == 0xFFFFF000:
            accumulator = protocol
        else:
            size = {0x30: 1, 0x28: 2, 0x20: 4, 0x48: 2, 0x40: 4}[opcode]
            offset = operand + (index if opcode in (0x40, 0x48) else 0)
            if offset + size > len(packet):
                return 0
            accumulator = int.from_bytes(packet[offset : offset + size])


def ip(protocol: int, payload: bytes, *, source: str = "10.1.0.1", target: str = "172.16.0.10") -> bytes:
    ends = IPv4Address(source).packed + IPv4Address(target).packed
    return struct.pack("!BBHIBBH", 0x45, 0, 20 + len(payload), 0, 64, protocol, 0) + ends + payload


def echo(mark: int, reply: bool) -> bytes:
    packet = Echo(1, 2).request(mark, 3)
    packet[0] = 0 if reply else 8
    return bytes(packet)


CODE = program(MARKED, PEERS)


def test_only_echoes_with_the_mark_are_kept() -> None:
    for reply in (False, True):
        assert kept(CODE, ip(1, echo(MARKED, reply))) == SNAP
        assert kept(CODE, ip(1, echo(MARKED + 1, reply))) == 0


def test_the_mark_stands_where_the_probe_puts_it() -> None:
    assert int.from_bytes(echo(MARKED, reply=False)[MARK : MARK + 4]) == MARKED


ports = st.sampled_from([4500, 500, 53])
addresses = st.sampled_from(["203.0.113.1", "203.0.113.2", "203.0.113.3", "192.0.2.2"])


@given(st.sampled_from([50, 17, 6]), ports, ports, addresses, addresses, st.sampled_from([IPV4, ARP]))
def test_of_the_rest_the_peers_esp_is_kept(
    protocol: int, source_port: int, target_port: int, source: str, target: str, ethertype: int
) -> None:
    packet = ip(
        protocol, struct.pack("!HH", source_port, target_port) + bytes(40), source=source, target=target
    )
    of_peer = {IPv4Address(source), IPv4Address(target)} & set(PEERS)
    esp = protocol == 50 or (protocol == 17 and 4500 in (source_port, target_port))
    assert (kept(CODE, packet, ethertype) > 0) == (ethertype == IPV4 and esp and bool(of_peer))


def test_many_peers_are_within_the_reach_of_a_jump() -> None:
    many = [IPv4Address(f"203.0.113.{n}") for n in range(100)]
    code = program(MARKED, many)
    assert kept(code, ip(50, bytes(8), source="203.0.113.0")) == SNAP
    assert kept(code, ip(50, bytes(8), target=f"203.0.113.{MOST_PEERS - 1}")) == SNAP
    assert kept(code, ip(50, bytes(8), source=f"203.0.113.{MOST_PEERS}")) == 0


@given(st.binary(max_size=40))
def test_no_packet_leads_the_filter_astray(packet: bytes) -> None:
    assert kept(CODE, packet or b"\0") in (0, SNAP)


# Packets around a switch, as lines: scapy makes them, scapy reads them.

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
