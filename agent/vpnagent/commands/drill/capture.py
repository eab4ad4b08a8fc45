"""What a capture of a drill keeps, as a socket filter: its own echoes, and ESP of the peers. A shell.

The filter stands where the IP header begins (packet(7), SOCK_DGRAM). It cuts packets short: what is told of
them is in their headers.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from vpnagent.probe.inbox import attach
from vpnagent.probe.packets import REJECT, assembled

SNAP: Final = 96  #: octets
MARK: Final = 16  #: where `probe.packets` puts the slot, in octets from the end of the IP header
MOST_PEERS: Final = 32  #: a jump reaches 255 instructions

ICMP: Final = 1
UDP: Final = 17
ESP: Final = 50
NAT_T: Final = 4500


class CapturedPacket(NamedTuple):
    """A captured packet, from its IP header on."""

    at: float  #: monotonic seconds
    interface: str
    outgoing: bool
    data: bytes


_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20  # at a fixed offset
_PACKET_PROTOCOL = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL
_ETH_P_IP = 0x0800
_LOAD_HEADER_LENGTH = 0xB1  # ldxb 4*([0]&0xf)
_LOAD_HALF_X, _LOAD_WORD_X = 0x48, 0x40  # behind the IP header
_EQUAL, _RETURN = 0x15, 0x06
_PROTOCOL, _SOURCE, _DESTINATION = 9, 12, 16

_Line = tuple[int, int, str, str]  # opcode, operand, where to go if equal, where otherwise; "" is on


def program(mark: int, peers: Sequence[IPv4Address]) -> bytes:
    """Return the BPF program (linux/filter.h) that keeps echoes with this mark, and the peers' ESP."""
    lines: dict[str, list[_Line]] = {
        "begin": [
            (_LOAD_HALF, _PACKET_PROTOCOL, "", ""),
            (_EQUAL, _ETH_P_IP, "", "drop"),
            (_LOAD_HEADER_LENGTH, 0, "", ""),
            (_LOAD_BYTE, _PROTOCOL, "", ""),
            (_EQUAL, ICMP, "icmp", ""),
            (_EQUAL, ESP, "outer", ""),
            (_EQUAL, UDP, "", "drop"),
            (_LOAD_HALF_X, 0, "", ""),
            (_EQUAL, NAT_T, "outer", ""),
            (_LOAD_HALF_X, 2, "", ""),
            (_EQUAL, NAT_T, "outer", "drop"),
        ],
        "icmp": [(_LOAD_WORD_X, MARK, "", ""), (_EQUAL, mark, "keep", "drop")],
        "outer": [
            line
            for offset in (_SOURCE, _DESTINATION)
            for line in (
                (_LOAD_WORD, offset, "", ""),
                *((_EQUAL, int(peer), "keep", "") for peer in peers[:MOST_PEERS]),
            )
        ],
        "drop": [(_RETURN, 0, "", "")],
        "keep": [(_RETURN, SNAP, "", "")],
    }
    return _linked(lines)


def _linked(parts: dict[str, list[_Line]]) -> bytes:
    """Return the parts one after the other, with their jumps resolved."""
    starts, position = {}, 0
    for name, lines in parts.items():
        starts[name] = position
        position += len(lines)
    flat = [line for lines in parts.values() for line in lines]

    def distance(here: int, label: str) -> int:
        return starts[label] - here - 1 if label else 0

    return assembled(
        (opcode, distance(here, equal), distance(here, other), operand)
        for here, (opcode, operand, equal, other) in enumerate(flat)
    )


# Listens on every interface for what a drill's probes become: in clear inside, as ESP outside.
# Nothing is read while it is measured: packets wait in the socket, with the kernel's receive times, until
# ``collect``. Its buffer is the bound; what did not fit is counted.

_ETH_P_ALL: Final = 3  #: what leaves is shown to those who ask for everything only
_PACKET_OUTGOING: Final = 4
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_BUFFER: Final = 8 * 1024 * 1024  #: bytes: some ten thousand packets
_NOTHING = assembled((REJECT,))
_STAMP = struct.Struct("@qq")
_STATISTICS = struct.Struct("@II")


class Captured(NamedTuple):
    """What a capture has."""

    packets: list[CapturedPacket]
    dropped: int


class Capture:
    """Open from its making until ``collect``."""

    def __init__(self, mark: int, peers: Sequence[IPv4Address]) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ALL))
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        attach(self._socket, program(mark, peers))
        self._filtered_from = time.time()

    def collect(self) -> Captured:
        """End it; return what has come since the filter stood and until now, on the monotonic clock.

        Nothing is let in meanwhile: where packets come faster than they are read, what waits would never end.
        """
        offset = time.time() - time.monotonic()
        packets = []
        with self._socket as sock:
            attach(sock, _NOTHING)
            _, dropped = _STATISTICS.unpack(
                sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
            )
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, control, _, (interface, _, kind, *_) = sock.recvmsg(SNAP, 64)
                    seconds, nanoseconds = _STAMP.unpack_from(control[0][2])
                    stamp = seconds + nanoseconds / 1e9
                    if stamp >= self._filtered_from:
                        packets.append(
                            CapturedPacket(stamp - offset, interface, kind == _PACKET_OUTGOING, data)
                        )
        return Captured(packets, dropped)
