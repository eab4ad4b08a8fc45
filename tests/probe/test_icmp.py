import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.packets import NETWORK, Echo, checksum, words

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
