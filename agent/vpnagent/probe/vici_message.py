"""What the prober must know of VICI: framing, and whether a command succeeded. Pure.

The commands themselves are bytes that the control daemon made. Of an answer only ``success`` and
``errmsg`` are read. strongSwan src/libcharon/plugins/vici/README.md, "Message encoding".
"""

import struct
from typing import Final

CMD_RESPONSE: Final = 1
CMD_UNKNOWN: Final = 2
_SECTION_START = 1
_SECTION_END = 2
_KEY_VALUE = 3
_MAXIMUM = 512 * 1024  #: bytes, VICI's own limit of a packet
_LENGTH = struct.Struct("!I")
_VALUE_LENGTH = struct.Struct("!H")


class Frames:
    """Cuts a byte stream into packets, each after its length."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what was read; return the packets that are complete. ValueError: out of step."""
        self._data += data
        packets = []
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > _MAXIMUM:
                raise ValueError(f"VICI packet of {length} octets")
            if len(self._data) < _LENGTH.size + length:
                break
            packets.append(self._data[_LENGTH.size : _LENGTH.size + length])
            self._data = self._data[_LENGTH.size + length :]
        return packets


def framed(packet: bytes) -> bytes:
    """Return a packet as it goes onto the stream."""
    return _LENGTH.pack(len(packet)) + packet


def failure(packet: bytes) -> str | None:
    """Return why the command that a packet answers failed; None: it did not."""
    if not packet or packet[0] == CMD_UNKNOWN:
        return "charon does not know the command"
    if packet[0] != CMD_RESPONSE:
        return f"unexpected answer of type {packet[0]}"
    try:
        values = _top_values(packet)
    except (IndexError, struct.error):
        return "the answer cannot be read"
    if values.get(b"success", b"yes") == b"yes":
        return None
    return values.get(b"errmsg", b"").decode("utf-8", "replace") or "refused"


def _top_values(packet: bytes) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    at, depth = 1, 0
    while at < len(packet):
        kind = packet[at]
        at += 1
        if kind == _SECTION_END:
            depth -= 1
            continue
        if kind not in (_SECTION_START, _KEY_VALUE):
            break  # a list: nothing behind it concerns us
        name = packet[at + 1 : at + 1 + packet[at]]
        at += 1 + packet[at]
        if kind == _SECTION_START:
            depth += 1
            continue
        (length,) = _VALUE_LENGTH.unpack_from(packet, at)
        if not depth:
            values[name] = packet[at + 2 : at + 2 + length]
        at += 2 + length
    return values
