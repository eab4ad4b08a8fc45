"""The packets of the TCP and DNS probes and of the IKE ping, with scapy as the oracle."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.ikev2 import IKEv2, IKEv2_SA
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP
from tests.probe.test_icmp import run_filter

from vpnagent.probe import craft, ike_daemons, packets
from vpnagent.probe.packets import (
    DNS_HEADER,
    DNS_IDS,
    SYN_PORTS,
    DnsQuery,
    Syn,
    between,
    dns_answers,
    dns_id,
    initial_number,
    syn_answered,
    syn_filter,
)

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
