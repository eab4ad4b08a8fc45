import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.netlink.message import (
    HEADER,
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSG_ERROR,
    Ack,
    NetlinkMessage,
    ack,
    attribute,
    attributes,
    message,
    messages,
    nested,
    numbered,
    string,
    text,
    wants_answer,
)

tables = st.dictionaries(st.integers(1, 60), st.binary(max_size=40), max_size=8)


@given(tables, st.integers(0, 16))
def test_attributes_are_read_as_they_were_written(table: dict[int, bytes], offset: int) -> None:
    body = bytes(offset) + b"".join(attribute(kind, value) for kind, value in table.items())

    assert attributes(body, offset) == table


@given(tables)
def test_nested_attributes_are_found_under_their_plain_type(table: dict[int, bytes]) -> None:
    body = nested(7, *(attribute(kind, value) for kind, value in table.items()))

    assert attributes(attributes(body)[7]) == table


@given(st.lists(st.tuples(st.integers(16, 120), st.binary(max_size=30)), max_size=5))
def test_messages_of_one_datagram_are_told_apart(sent: list[tuple[int, bytes]]) -> None:
    datagram = b"".join(numbered(message(kind, 0, body), n) for n, (kind, body) in enumerate(sent))

    assert [(m.type, m.sequence, m.body) for m in messages(datagram)] == [
        (kind, n, body) for n, (kind, body) in enumerate(sent)
    ]


@given(st.binary(max_size=200))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    list(messages(data))
    attributes(data)


@given(st.text("abc-é", max_size=20))
def test_strings_end_at_their_nul(value: str) -> None:
    assert string(text(value) + b"rest") == value


def test_only_a_request_with_the_flag_is_answered() -> None:
    assert wants_answer(message(16, NLM_F_ACK, b""))
    assert not wants_answer(message(16, 0, b""))


def error(code: int, flags: int, echoed: bytes, words: bytes) -> NetlinkMessage:
    return NetlinkMessage(NLMSG_ERROR, flags, 1, struct.pack("=i", code) + echoed + words)


def test_success_is_errno_0() -> None:
    assert ack(error(0, NLM_F_CAPPED, HEADER.pack(16, 24, 0, 1, 0), b"")) == Ack(0, "")


def test_the_kernels_words_are_the_reason_whether_or_not_it_echoes_the_request() -> None:
    words = attribute(1, b"Invalid nexthop id\0")
    request = HEADER.pack(20, 24, 0, 1, 0) + b"body"

    whole = ack(error(-errno.EINVAL, NLM_F_ACK_TLVS, request, words))
    capped = ack(error(-errno.EINVAL, NLM_F_ACK_TLVS | NLM_F_CAPPED, request[: HEADER.size], words))

    assert whole == capped == Ack(errno.EINVAL, "Invalid nexthop id")
    assert whole.reason == "Invalid nexthop id"


def test_the_sequence_number_is_put_in_place() -> None:
    request = numbered(message(105, NLM_F_ACK, b"body"), 0xABCDEF)

    assert struct.unpack_from("=I", request, 8) == (0xABCDEF,)
    assert request[HEADER.size :] == b"body"


def test_without_words_the_errno_is_the_reason() -> None:
    assert ack(error(-errno.EEXIST, NLM_F_CAPPED, bytes(16), b"")).reason == "File exists"
