"""The packets of all methods, with scapy as the oracle; and filters, judged by running their instructions."""

import itertools
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.ikev2 import IKEv2, IKEv2_SA
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP

from vpnagent.probe import craft, ike_daemons, packets
from vpnagent.probe.packets import (
    DNS_HEADER,
    DNS_IDS,
    MOST_RANGES,
    NETWORK,
    SYN_PORTS,
    DnsQuery,
    Echo,
    Syn,
    between,
    checksum,
    dns_answers,
    dns_id,
    filter_program,
    initial_number,
    syn_answered,
    syn_filter,
    words,
)

slots = st.integers(0, 2**32 - 1)
sequences = st.integers(0, 2**32 - 1)
ECHO = Echo(0xBEEF, 0x0123456789ABCDEF)


def ip_header(options: int = 0) -> bytes:
    return bytes([0x45 + options]) + bytes(19 + 4 * options)


def reply_to(request: bytes | bytearray) -> bytes:
    return ip_header() + b"\0" + bytes(request[1:])


@given(slots, sequences)
def test_the_checksum_of_every_request_is_right(slot: int, sequence: int) -> None:
    assert checksum(words(bytes(ECHO.request(slot, sequence)))) == 0


@given(slots, sequences)
def test_scapy_reads_what_we_send(slot: int, sequence: int) -> None:
    inet = pytest.importorskip("scapy.layers.inet")
    request = bytes(ECHO.request(slot, sequence))
    packet = inet.ICMP(request)
    assert (packet.type, packet.code, packet.id, packet.seq) == (8, 0, 0xBEEF, sequence & 0xFFFF)
    del packet.chksum
    assert bytes(packet) == request


@given(slots, sequences, st.integers(0, 10))
def test_a_reply_names_the_probe_that_it_answers(slot: int, sequence: int, options: int) -> None:
    packet = ip_header(options) + b"\0" + bytes(ECHO.request(slot, sequence)[1:])
    assert ECHO.reply(packet) == (slot, sequence)


@pytest.mark.parametrize("position", [0, 1, 4, 5, 7, *range(8, 16)])
def test_a_reply_that_differs_in_what_names_us_does_not_count(position: int) -> None:
    packet = bytearray(reply_to(ECHO.request(3, 4)))
    packet[20 + position] ^= 0x01
    assert ECHO.reply(bytes(packet)) is None


def test_a_reply_counts_until_the_nonce_was_renewed_twice() -> None:
    reply = reply_to(ECHO.request(3, 4))
    once = ECHO.renewed(0xCAFE)
    twice = once.renewed(0xBABE)
    assert [echo.reply(reply) for echo in (once, twice)] == [(3, 4), None]
    assert [bool(run_filter(echo.filter(), reply)) for echo in (once, twice)] == [True, False]
    assert once.reply(reply_to(once.request(5, 6))) == (5, 6)


def test_our_own_request_is_no_reply() -> None:
    assert ECHO.reply(ip_header() + bytes(ECHO.request(3, 4))) is None


def test_a_predecessors_reply_does_not_count() -> None:
    assert ECHO.reply(reply_to(Echo(0xBEEF, 1).request(3, 4))) is None


@given(st.binary(max_size=100))
def test_any_bytes_are_no_reply(data: bytes) -> None:
    assert ECHO.reply(data) is None


def run_filter(program: bytes, packet: bytes, header: bytes = b"") -> int:
    """Interpret the few classic BPF instructions that are used; ``header``: of a packet that lacks it."""
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = x = a = 0
    while True:
        opcode, true, false, k = code[at]
        at += 1
        width = {0x50: 1, 0x48: 2, 0x40: 4, 0x30: 1, 0x20: 4}.get(opcode)
        if opcode == 0x06:
            return int(k)
        if opcode == 0xB1:
            x = 4 * (packet[k] & 0xF)
        elif opcode == 0x05:
            at += k
        elif width:
            data, offset = (header or packet, k - NETWORK) if k >= NETWORK else (packet, k)
            offset += x if opcode in (0x50, 0x48, 0x40) else 0
            if len(data) < offset + width:
                return 0
            a = int.from_bytes(data[offset : offset + width])
        else:
            holds = {0x15: a == k, 0x35: a >= k, 0x45: bool(a & k)}[opcode]
            at += true if holds else false


@given(slots, sequences)
def test_the_filter_passes_replies_to_us(slot: int, sequence: int) -> None:
    assert run_filter(ECHO.filter(), reply_to(ECHO.request(slot, sequence)))


@pytest.mark.parametrize("position", [0, 4, 5, *range(8, 16)])
def test_the_filter_drops_what_is_not_ours(position: int) -> None:
    packet = bytearray(reply_to(ECHO.request(3, 4)))
    packet[20 + position] ^= 0x01
    assert not run_filter(ECHO.filter(), bytes(packet))


addresses = st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4))
HERE = bytes([10, 1, 0, 1])


def packet(source: bytes, destination: bytes = HERE, protocol: int = 1) -> bytes:
    return bytes([0x45, *bytes(8), protocol, *bytes(2)]) + source + destination + bytes(8)


@given(st.sets(addresses, min_size=1, max_size=MOST_RANGES), st.lists(addresses, max_size=20))
def test_a_filter_passes_what_is_from_a_target_and_nothing_else(
    targets: set[bytes], others: list[bytes]
) -> None:
    program = filter_program((), between(targets, {HERE}))
    neighbours = [(int.from_bytes(t) + step).to_bytes(4) for t in targets for step in (1,) if t < b"\xff" * 4]
    for source in (*targets, *others, *neighbours):
        assert bool(run_filter(program, packet(source))) == (source in targets)
    assert not run_filter(program, packet(min(targets), bytes([10, 1, 0, 2])))


@given(st.sets(addresses, min_size=MOST_RANGES + 1, max_size=4 * MOST_RANGES))
def test_of_more_targets_than_fit_every_one_passes_and_the_program_stays_small(targets: set[bytes]) -> None:
    program = filter_program((), between(targets, {HERE}))
    assert all(run_filter(program, packet(source)) for source in targets)
    assert len(program) // 8 < 600
    far = max(int.from_bytes(b) - int.from_bytes(a) for a, b in _pairs(targets))
    gap = next(a for a, b in _pairs(targets) if int.from_bytes(b) - int.from_bytes(a) == far)
    assert far == 1 or not run_filter(program, packet((int.from_bytes(gap) + 1).to_bytes(4)))


def _pairs(targets: set[bytes]) -> list[tuple[bytes, bytes]]:
    return list(itertools.pairwise(sorted(targets)))


@pytest.mark.parametrize("protocol", [1, 6, 17])
def test_a_packet_sockets_filter_looks_at_the_protocol(protocol: int) -> None:
    program = filter_program((), protocol=1)
    assert bool(run_filter(program, packet(HERE, protocol=protocol))) == (protocol == 1)


def test_a_test_may_be_what_is_not_wanted() -> None:
    program = filter_program((packets.Test(0x50, 0, 0, wanted=False),))
    assert not run_filter(program, packet(HERE))


SOURCE, TARGET = bytes([10, 1, 0, 1]), bytes([100, 100, 2, 136])
CRAFTED = craft.crafted()
QUESTION = CRAFTED.dns_query[DNS_HEADER:]
numbers = st.integers(0, 2**32 - 1)
ports = st.integers(1, 65535)


@given(ports, numbers)
def test_a_syn_is_one_that_scapy_would_make(port: int, number: int) -> None:
    request = bytes(Syn(CRAFTED.tcp_syn, SOURCE, TARGET, 443).request(port, number))
    packet = IP(src="10.1.0.1", dst="100.100.2.136") / TCP(request)
    assert (packet.sport, packet.dport, packet.seq, str(packet[TCP].flags)) == (port, 443, number, "S")
    del packet[TCP].chksum
    assert bytes(packet[TCP]) == request


def answer(port: int, number: int, flags: str) -> bytes:
    packet = IP(src="100.100.2.136", dst="10.1.0.1") / TCP(sport=443, dport=port, ack=number, flags=flags)
    return bytes(packet)


@pytest.mark.parametrize("flags", ["SA", "RA"])
@given(port=ports, number=numbers)
def test_a_syn_ack_or_a_reset_acknowledges_the_probe(flags: str, port: int, number: int) -> None:
    assert syn_answered(answer(port, (number + 1) % 2**32, flags)) == (port, number)


@pytest.mark.parametrize("flags", ["S", "R", "A", "PA", "FA", ""])
def test_nothing_else_does(flags: str) -> None:
    assert syn_answered(answer(20000, 5, flags)) is None


@pytest.mark.parametrize(
    ("port", "flags", "passes"),
    [
        (20000, "SA", True),
        (20000, "RA", True),
        (20000 + SYN_PORTS - 1, "SA", True),
        (20000 + SYN_PORTS, "SA", False),
        (19999, "SA", False),
        (20000, "A", False),
        (20000, "R", False),
        (20000, "S", False),
    ],
)
def test_the_filter_passes_answers_to_our_ports(port: int, flags: str, passes: bool) -> None:
    assert bool(run_filter(syn_filter(20000, 0xAB), answer(port, 0xAB000005, flags))) == passes


@given(nonce=st.integers(0, 255), random=numbers)
def test_the_filter_passes_what_acknowledges_our_numbers_and_one_guess_in_256(
    nonce: int, random: int
) -> None:
    number = initial_number(nonce, random)
    program = syn_filter(20000, nonce)
    assert run_filter(program, answer(20001, (number + 1) % 2**32, "SA"))
    assert not run_filter(program, answer(20001, (number + 1 + 2**24) % 2**32, "SA"))
    renewed = syn_filter(20000, (nonce + 1) % 256, former=nonce)
    assert run_filter(renewed, answer(20001, (number + 1) % 2**32, "SA"))


@given(st.binary(max_size=100))
def test_any_bytes_are_read_by_all(data: bytes) -> None:
    syn_answered(data)
    dns_id(data)
    dns_answers(data, QUESTION)
    ike_daemons.ike_answered(data)


def response(**changes: object) -> bytes:
    message = DNS(bytes(DnsQuery(CRAFTED.dns_query).request(0x1234)))
    for name, value in {"qr": 1, **changes}.items():
        setattr(message, name, value)
    return bytes(message)


def test_any_response_code_answers_a_query() -> None:
    for rcode in (0, 2, 3, 5):
        assert dns_id(response(rcode=rcode)) == 0x1234
        assert dns_answers(response(rcode=rcode), QUESTION)


def test_a_response_may_leave_the_question_out() -> None:
    assert dns_answers(struct.pack("!HHHHHH", 1, 0x8005, 0, 0, 0, 0), QUESTION)


def test_a_query_or_the_answer_to_another_question_is_no_answer() -> None:
    assert not dns_answers(response(qr=0), QUESTION)
    other = response().replace(b"\x00\x00\x02\x00\x01", b"\x00\x00\x01\x00\x01")
    assert not dns_answers(other, QUESTION)


def test_the_case_of_every_letter_of_a_name_is_random_and_must_be_repeated() -> None:
    query = DnsQuery(bytes(DNS(id=0, rd=1, qd=DNSQR(qname="ns1.example.", qtype="A"))))
    asked = {bytes(query.request(7))[DNS_HEADER:] for _ in range(200)}
    assert len(asked) > 100
    assert {question.lower() for question in asked} == {b"\x03ns1\x07example\0\0\x01\0\x01"}
    one, other = sorted(asked)[:2]
    message = struct.pack("!HHHHHH", 7, 0x8180, 1, 0, 0, 0) + one
    assert dns_answers(message, one)
    assert not dns_answers(message, other)


@pytest.mark.parametrize(
    ("source", "id_", "flags", "passes"),
    [
        (53, 640, 0x81, True),
        (53, 640 + DNS_IDS - 1, 0x81, True),
        (53, 640 + DNS_IDS, 0x81, False),
        (53, 639, 0x81, False),
        (54, 640, 0x81, False),
        (53, 640, 0x01, False),
    ],
)
def test_the_filter_of_a_udp_port_passes_responses_to_its_ids(
    source: int, id_: int, flags: int, passes: bool
) -> None:
    program = packets.dns_filter({53}, 640, between({TARGET}, {SOURCE}))
    message = struct.pack("!HHHH", source, 33333, 20, 0) + struct.pack("!HBB", id_, flags, 0x80) + bytes(8)
    header = bytes(12) + TARGET + SOURCE
    assert bool(run_filter(program, message, header)) == passes
    assert not run_filter(program, message, bytes(12) + SOURCE + SOURCE)
    assert not run_filter(program, message, bytes(12) + TARGET + TARGET)


def test_the_filter_of_the_ike_ping_passes_what_carries_our_spi() -> None:
    program = ike_daemons.ike_filter(b"nonc", between({TARGET}, ()))
    header = bytes(12) + TARGET + SOURCE
    assert run_filter(program, bytes(8) + b"nonc1234" + bytes(20), header)
    assert not run_filter(program, bytes(8) + b"nonC1234" + bytes(20), header)
    assert not run_filter(program, bytes(8) + b"nonc1234" + bytes(20), bytes(12) + SOURCE + SOURCE)


def test_the_ike_ping_offers_nothing_that_exists() -> None:
    ping = IKEv2(ike_daemons.ike_request(CRAFTED.ike_ping, b"\x11" * 8))
    assert ping.init_SPI == b"\x11" * 8
    assert ping.exch_type == 34
    transform = ping[IKEv2_SA].prop.trans
    offered = []
    while transform:
        offered.append((transform.transform_type, transform.transform_id))
        transform = transform.payload
    assert offered == [(kind, craft.PRIVATE_USE) for kind in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("version", "flags", "counts"), [(0x20, 0x20, True), (0x20, 0x08, False), (0x10, 0x00, True)]
)
def test_an_ike_response_carries_our_spi(version: int, flags: int, counts: bool) -> None:
    spi = os.urandom(8)
    message = spi + bytes(8) + bytes([41, version, 34, flags]) + struct.pack("!II", 0, 36) + bytes(8)
    assert ike_daemons.ike_answered(message) == (spi if counts else None)


def test_a_template_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="TCP header"):
        Syn(bytes(19), SOURCE, TARGET, 443)
    with pytest.raises(ValueError, match="DNS query"):
        DnsQuery(bytes(12))
    with pytest.raises(ValueError, match="IKE ping"):
        ike_daemons.ike_request(bytes(27), bytes(8))
    assert packets.IPPROTO_TCP == 6
