import pytest
from hypothesis import given
from hypothesis import strategies as st
from vici.protocol import Message, Packet

from vpnagent.probe.ike_daemons import Frames, failure, framed


def answer(values: dict[str, object]) -> bytes:
    return bytes([Packet.CMD_RESPONSE]) + bytes(Message.serialize(values))


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(1, 30), min_size=1))
def test_packets_survive_however_the_stream_is_cut(packets: list[bytes], cuts: list[int]) -> None:
    data = b"".join(framed(packet) for packet in packets)
    frames, found, turn = Frames(), [], 0
    while data:
        cut = cuts[turn % len(cuts)]
        found += frames.feed(data[:cut])
        data, turn = data[cut:], turn + 1
    assert found == packets


def test_a_length_out_of_step_is_refused() -> None:
    with pytest.raises(ValueError, match="VICI packet of"):
        Frames().feed(b"\xff\xff\xff\xff")


def test_success_is_no_failure() -> None:
    assert failure(answer({"success": "yes", "matches": "1"})) is None


def test_an_answer_without_a_verdict_is_no_failure() -> None:
    assert failure(answer({})) is None


@pytest.mark.parametrize("before", [{}, {"a": {"success": "yes", "b": {"c": "d"}}}, {"matches": "0"}])
def test_the_reason_of_a_failure_is_told(before: dict[str, object]) -> None:
    told = failure(answer({**before, "success": "no", "errmsg": "no matching SAs to terminate found"}))
    assert told == "no matching SAs to terminate found"


def test_an_unknown_command_is_a_failure() -> None:
    assert failure(bytes([Packet.CMD_UNKNOWN])) == "charon does not know the command"


@given(st.binary(max_size=200))
def test_any_bytes_have_a_verdict(packet: bytes) -> None:
    assert failure(packet) is None or failure(packet)
