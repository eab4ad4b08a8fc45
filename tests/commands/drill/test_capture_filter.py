"""The filter keeps what a drill looks for, judged by running its instructions."""

import struct
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.drill.capture import MARK, MOST_PEERS, SNAP, program
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
