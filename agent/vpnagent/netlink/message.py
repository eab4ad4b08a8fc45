"""Netlink messages as bytes: header, attributes, acknowledgements (RFC 3549 §2.3; linux/netlink.h). Pure.

Bytes that the kernel would not send are read as far as they make sense; what lacks a field that must be there
raises ``struct.error``.
"""

import errno
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

AF_UNSPEC = 0
AF_INET = 2

NLMSG_ERROR = 2
NLMSG_DONE = 3

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
NLMSGERR_ATTR_MSG = 1  #: the extended acknowledgement's text

HEADER = struct.Struct("=IHHII")  #: nlmsghdr: length, type, flags, sequence, port
SEQUENCE_OFFSET = 8
ATTRIBUTE = struct.Struct("=HH")  #: nlattr: length, type
U32 = struct.Struct("=I")
ERRNO = struct.Struct("=i")  #: nlmsgerr begins with it

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 1, 10, 11, 12
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL})  #: nothing to remove


class NetlinkRequest(NamedTuple):
    """One message to the kernel, and which refusals of it are as good as success."""

    data: bytes
    harmless: frozenset[int] = frozenset()


class NetlinkMessage(NamedTuple):
    """One message as it was received."""

    type: int
    flags: int
    sequence: int
    body: bytes  #: what follows the netlink header


class Ack(NamedTuple):
    """The kernel's answer to a request: errno, 0 for success, and its words, if it had any."""

    errno: int
    text: str

    @property
    def reason(self) -> str:
        """Why it was refused."""
        return self.text or os.strerror(self.errno)


def message(kind: int, flags: int, body: bytes) -> bytes:
    """Return a request without a sequence number, which is the socket's to give."""
    length = HEADER.size + len(body)
    return HEADER.pack(length, kind, flags | NLM_F_REQUEST, 0, 0) + body + bytes(-length % 4)


def numbered(request: bytes, sequence: int) -> bytes:
    """Return the request with its sequence number."""
    return request[:SEQUENCE_OFFSET] + U32.pack(sequence) + request[SEQUENCE_OFFSET + U32.size :]


def wants_answer(request: bytes) -> bool:
    """Whether a request asks for an acknowledgement."""
    return bool(HEADER.unpack_from(request)[2] & NLM_F_ACK)


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def u32_attribute(kind: int, value: int) -> bytes:
    """Return an attribute that is a number."""
    return attribute(kind, U32.pack(value))


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds others."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(value: str) -> bytes:
    """Return a string as netlink has it."""
    return value.encode() + b"\0"


def messages(datagram: bytes) -> Iterator[NetlinkMessage]:
    """Split what one receive returned."""
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, offset)
        if length < HEADER.size:
            return
        yield NetlinkMessage(kind, flags, sequence, datagram[offset + HEADER.size : offset + length])
        offset += length + -length % 4


def attributes(body: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return the attributes that begin at an offset, by type; of a type that comes twice, the last."""
    found: dict[int, bytes] = {}
    end = len(body)
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(body, offset)
        if length < ATTRIBUTE.size:
            break
        found[kind & NLA_TYPE_MASK] = body[offset + 4 : offset + length]
        offset += length + -length % 4
    return found


def u32(value: bytes | None) -> int:
    """Read an attribute that is a number; 0 for one that is missing, or of another size."""
    return U32.unpack(value)[0] if value is not None and len(value) == U32.size else 0


def string(value: bytes) -> str:
    """Return a netlink string."""
    return value.split(b"\0", 1)[0].decode(errors="replace")


def ack(reply: NetlinkMessage) -> Ack:
    """Read an NLMSG_ERROR: errno and, where the kernel sent one, the reason in words."""
    (code,) = ERRNO.unpack_from(reply.body)
    if not reply.flags & NLM_F_ACK_TLVS:
        return Ack(-code, "")
    (request_length,) = U32.unpack_from(reply.body, ERRNO.size)
    echoed = HEADER.size if reply.flags & NLM_F_CAPPED else request_length
    words = attributes(reply.body, ERRNO.size + echoed + -echoed % 4)
    return Ack(-code, string(words.get(NLMSGERR_ATTR_MSG, b"")))
